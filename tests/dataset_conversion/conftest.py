"""A converted data set of films, and DICOM exams of phantoms to convert."""

from __future__ import annotations

from pathlib import Path

import pytest

from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset
from maseg_nnunet.synthetic.phantom_dicom import write_exam
from tests.dataset_conversion.helpers import MINI_MIAS, VENDORS, films_request


@pytest.fixture(scope="module")
def converted(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The converted data set of `films`; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("raw") / MINI_MIAS.folder
    convert_dataset(films_request(films, folder))
    return folder


@pytest.fixture(scope="session")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two women for each of six vendors, with four views each, and raw twins if the vendor has them."""
    base = tmp_path_factory.mktemp("exams")
    for vendor in VENDORS:
        for seed in (1, 2):
            write_exam(base / vendor, vendor, seed, scale=0.1)
    return base


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key file."""
    file = tmp_path_factory.mktemp("key") / "key"
    file.write_bytes(bytes(range(32)))
    return file
