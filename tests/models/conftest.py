"""A model folder with the threshold network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "MasegTrainer__threshold__2d")
