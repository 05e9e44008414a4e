from __future__ import annotations

from pathlib import Path

import pytest

from maseg_nnunet.mammogram import View
from maseg_nnunet.synthetic.phantom_dicom import write_exam


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are retried at once."""
    monkeypatch.setattr("maseg_nnunet.serving.server.FIRST_DELAY", 0.05)
    monkeypatch.setattr("maseg_nnunet.serving.server.LONGEST_DELAY", 0.1)


@pytest.fixture(scope="session")
def exam(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two DICOM files of one woman."""
    pairs = write_exam(tmp_path_factory.mktemp("exam"), "ge", 1, scale=0.1, raw=False, views=(View.MLO,))
    return [image for image, _ in pairs]
