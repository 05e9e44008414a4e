from __future__ import annotations

from pathlib import Path

import pytest

from maseg_nnunet.dataset.folders import dataset_folder, find_dataset
from maseg_nnunet.errors import DatasetError, UsageError


def test_find_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tmp_path / "Dataset503_Fuji"
    dataset.mkdir()
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    assert find_dataset("503") == find_dataset("Dataset503_Fuji") == find_dataset(str(dataset)) == dataset
    with pytest.raises(DatasetError, match="no Dataset504"):
        find_dataset("504")
    with pytest.raises(DatasetError, match="Dataset504_GE is neither a folder nor a data set"):
        find_dataset("Dataset504_GE")
    monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(UsageError, match="nnUNet_raw"):
        find_dataset("503")


def test_two_data_sets_of_one_number_are_an_error(tmp_path: Path) -> None:
    for name in ("Dataset503_Fuji", "Dataset503_Other"):
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match="more than one data set 503"):
        dataset_folder(tmp_path, 503)
