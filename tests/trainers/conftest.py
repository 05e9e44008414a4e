from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainers import tiny


@pytest.fixture(scope="session")
def tiny_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set, raw and preprocessed, made once a session."""
    base = tmp_path_factory.mktemp("tiny")
    tiny.make(base)
    return base


@pytest.fixture
def tiny_base(tiny_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the tiny data set for one test, with nnU-Net's variables set to it. Torch uses one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    base = tmp_path / "nnunet"
    shutil.copytree(tiny_template, base)
    for name, value in tiny.environment(base).items():
        monkeypatch.setenv(name, value)
    yield base
    torch.set_num_threads(threads)
