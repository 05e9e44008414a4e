"""The threshold network as a model folder, and a few exams to run it on."""

from __future__ import annotations

from pathlib import Path

import pytest

from maseg_nnunet.prediction.segment_file import PredictSettings
from maseg_nnunet.prediction.segmenter import Segmenter
from tests.prediction.helpers import write_exams
from tests.tiny_models import write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "threshold")


@pytest.fixture(scope="session")
def segmenter(model: Path) -> Segmenter:
    return Segmenter(model, device="cpu", keep_largest=False)


@pytest.fixture
def exams(tmp_path: Path) -> Path:
    return write_exams(tmp_path / "exams")


@pytest.fixture
def settings(model: Path, tmp_path: Path) -> PredictSettings:
    return PredictSettings(model, tmp_path / "out", device="cpu", keep_largest=False)
