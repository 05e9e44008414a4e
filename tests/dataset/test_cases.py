from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from maseg_nnunet.dataset.cases import (
    image_of,
    image_path,
    label_path,
    masks_in,
    read_grid,
    read_pixels,
    reference_of,
    select_rows,
)
from maseg_nnunet.dataset.manifest import ManifestRow
from maseg_nnunet.errors import DatasetError, UsageError
from tests.evaluation.helpers import make_dataset, mask_with, row, write_mask


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A test case `a` and a training case `t`, with masks."""
    return make_dataset(
        tmp_path / "Dataset503_Fuji", {r: mask_with(10, 4) for r in (row("a"), row("t", subset="train"))}
    )


def test_rows_are_selected_by_subset_and_intent(dataset: Path) -> None:
    assert [r.case for r in select_rows(dataset)] == ["a"]
    assert [r.case for r in select_rows(dataset, ["train", "test"], ["processed"])] == ["a", "t"]


def test_unknown_split_and_empty_split(dataset: Path) -> None:
    with pytest.raises(UsageError, match="tset"):
        select_rows(dataset, ["tset"])
    with pytest.raises(UsageError, match="rwa"):
        select_rows(dataset, ["test"], ["rwa"])
    with pytest.raises(DatasetError, match="no case"):
        select_rows(dataset, ["val"])
    with pytest.raises(DatasetError, match="no case in the split test raw"):
        select_rows(dataset, ["test"], ["raw"])


@pytest.mark.parametrize(
    ("subset", "image", "label"),
    [
        ("train", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
        ("val", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
        ("test", "imagesTs/a_0000.nii.gz", "labelsTs/a.nii.gz"),
        ("predict", "a_0000.nii.gz", None),
    ],
)
def test_paths_of_nnunet_raw(subset: str, image: str, label: str | None) -> None:
    folder = Path("Dataset503_Fuji")
    assert image_path(folder, "a", subset) == folder / image
    assert label_path(folder, "a", subset) == (None if label is None else folder / label)


def combined(folder: Path, content: object) -> tuple[Path, ManifestRow]:
    """A combined set whose dataset.json has `content`, and its training case."""
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder, row("t", subset="train")


def test_files_of_a_combined_set_are_those_of_its_parts(dataset: Path, tmp_path: Path) -> None:
    entry = {
        "images": ["../Dataset503_Fuji/imagesTr/t_0000.nii.gz"],
        "label": "../Dataset503_Fuji/labelsTr/t.nii.gz",
    }
    folder, training = combined(tmp_path / "Dataset500_Maseg", {"dataset": {"t": entry}})
    assert reference_of(folder, training).resolve() == reference_of(dataset, training)
    assert image_of(folder, training).resolve() == image_of(dataset, training)
    other = row("u", subset="train")
    assert reference_of(folder, other) == folder / "labelsTr" / "u.nii.gz"
    assert image_of(folder, other) == folder / "imagesTr" / "u_0000.nii.gz"


@pytest.mark.parametrize("entries", [[], {"t": []}, {"t": {"label": []}}, {"t": {"label": 7}}])
def test_a_broken_dataset_json_is_named(entries: object, tmp_path: Path) -> None:
    folder, training = combined(tmp_path / "Dataset500_Maseg", {"dataset": entries})
    with pytest.raises(DatasetError, match="names no label of t"):
        reference_of(folder, training)


def test_masks_in_a_folder(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.PNG", "c.mha", ".d.png", "plans.json"):
        (tmp_path / name).touch()
    assert masks_in(tmp_path) == {"a": tmp_path / "a.nii.gz", "b": tmp_path / "b.PNG", "c": tmp_path / "c.mha"}


def test_two_files_of_one_case(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.png"):
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match="two masks of a"):
        masks_in(tmp_path)


@pytest.mark.parametrize("values", [mask_with(10, 4), np.arange(200, dtype=np.float32).reshape(20, 10)])
def test_pixels_and_their_grid(values: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_mask(path, values, (0.4, 0.5))
    read, spacing = read_pixels(path)
    np.testing.assert_array_equal(read, values)
    assert spacing == pytest.approx((0.4, 0.5))
    assert read_grid(path) == ((20, 10), spacing)


def test_a_png_has_no_spacing(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", mask_with(10, 4))
    assert read_grid(tmp_path / "a.png") == ((20, 10), None)


def test_only_one_slice_of_one_value_per_pixel_is_read(tmp_path: Path) -> None:
    write_mask(tmp_path / "slice.nii.gz", mask_with(10, 4)[None], (1.0, 0.4, 0.5))
    assert read_pixels(tmp_path / "slice.nii.gz")[0].shape == (20, 10)
    write_mask(tmp_path / "volume.nii.gz", np.zeros((2, 20, 10), np.uint8), (0.4, 0.4, 0.4))
    colour = sitk.GetImageFromArray(np.zeros((20, 10, 3), np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.png"))
    (tmp_path / "broken.nii.gz").write_bytes(b"not gzip")
    for name in ("volume.nii.gz", "colour.png", "broken.nii.gz"):
        with pytest.raises(ValueError, match=r"not an? (2D )?image"):
            read_grid(tmp_path / name)
