"""What the tests of the readers share."""

from __future__ import annotations

import math

import pytest

from maseg_nnunet.readers import spacing


@pytest.fixture(autouse=True)
def small_images_are_usual(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images of these tests have a few pixels, so each would be flagged. Tests of the extent are named so."""
    if "extent" not in request.node.name:
        monkeypatch.setattr(spacing, "USUAL_SHORTER", (0.0, math.inf))
        monkeypatch.setattr(spacing, "USUAL_LONGER", (0.0, math.inf))
