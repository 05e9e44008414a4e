import gzip
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.readers.masks import read_mask

SHAPE = (48, 40)
MASK = np.zeros(SHAPE, np.uint8)
MASK[5:40, :30] = 1
MASK[5:20, :10] = 2
FORMATS = ("mask.nii.gz", "mask.nii", "mask.nrrd", "mask.mha", "mask.mhd", "mask.png")


def save(path: Path, mask: np.ndarray, *, slices: bool = False, spacing: float = 0.1) -> Path:
    if path.suffix == ".png":
        cv2.imwrite(str(path), mask)
        return path
    image = sitk.GetImageFromArray(mask[None] if slices else mask)
    image.SetSpacing((spacing,) * image.GetDimension())
    sitk.WriteImage(image, str(path))
    return path


def refusal(path: Path, shape: tuple[int, int] = SHAPE, labels: Mapping[int, int] | None = None) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read_mask(path, shape, labels)
    return caught.value


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, MASK)
    for read in (read_mask(path, SHAPE), read_mask(str(path), SHAPE)):
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, MASK)


@pytest.mark.parametrize("name", FORMATS[:-1])
def test_one_slice_of_a_volume(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read_mask(save(tmp_path / name, MASK, slices=True), SHAPE), MASK)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_type_of_number(tmp_path: Path, dtype: type) -> None:
    np.testing.assert_array_equal(read_mask(save(tmp_path / "mask.nii.gz", MASK.astype(dtype)), SHAPE), MASK)


def test_direction_and_origin_do_not_turn_a_mask(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(MASK)
    image.SetDirection((-1, 0, 0, -1))
    image.SetOrigin((7, -3))
    for name in FORMATS[:-1]:
        sitk.WriteImage(image, str(tmp_path / name))
        np.testing.assert_array_equal(read_mask(tmp_path / name, SHAPE), MASK)


@pytest.mark.parametrize("name", FORMATS)
def test_labels_are_mapped(tmp_path: Path, name: str) -> None:
    other = np.choose(MASK, [0, 128, 255]).astype(np.uint8)
    path = save(tmp_path / name, other)
    np.testing.assert_array_equal(read_mask(path, SHAPE, {128: 1, 255: 2}), MASK)
    np.testing.assert_array_equal(read_mask(path, SHAPE, {128: 2, 255: 2}), (MASK > 0) * np.uint8(2))
    np.testing.assert_array_equal(read_mask(path, SHAPE, {0: 1, 128: 0, 255: 2}), np.choose(MASK, [1, 0, 2]))
    error = refusal(path)
    assert error.reason is Reason.MASK_LABELS
    assert "--labels" in error.detail
    assert refusal(path, labels={128: 1}).reason is Reason.MASK_LABELS


def test_without_map_only_our_own_labels_are_known(tmp_path: Path) -> None:
    assert "value 3" in refusal(save(tmp_path / "a.png", MASK + np.uint8(1))).detail
    fractions = save(tmp_path / "b.nii.gz", MASK.astype(np.float32) * 0.5)
    assert refusal(fractions).reason is Reason.MASK_LABELS
    negative = save(tmp_path / "c.nii.gz", -MASK.astype(np.int16))
    assert refusal(negative).reason is Reason.MASK_LABELS
    wide = save(tmp_path / "d.nii.gz", MASK.astype(np.int32) * 256)
    assert refusal(wide).reason is Reason.MASK_LABELS


@pytest.mark.parametrize("name", FORMATS)
def test_another_size_is_refused_with_both_sizes(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, MASK)
    error = refusal(path, (50, 40))
    assert error.reason is Reason.MASK_SIZE
    assert "48 x 40" in error.detail
    assert "50 x 40" in error.detail
    assert "exchanged" in refusal(path, (40, 48)).detail


def test_two_slices_are_another_size(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([MASK, MASK])), str(tmp_path / "mask.nii.gz"))
    error = refusal(tmp_path / "mask.nii.gz")
    assert error.reason is Reason.MASK_SIZE
    assert "2 x 48 x 40" in error.detail


def test_a_narrow_image_is_not_taken_for_a_volume(tmp_path: Path) -> None:
    column = MASK[:, :1].copy()
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.nii.gz", column), (48, 1)), column)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "b.nii.gz", column, slices=True), (48, 1)), column)


def test_several_values_a_pixel_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.dstack([MASK, MASK]), isVector=True), str(tmp_path / "mask.nrrd"))
    assert refusal(tmp_path / "mask.nrrd").reason is Reason.MASK_UNREADABLE
    cv2.imwrite(str(tmp_path / "mask.png"), np.dstack([MASK, MASK, 1 - MASK]))
    assert refusal(tmp_path / "mask.png").reason is Reason.MASK_UNREADABLE


@pytest.mark.parametrize("name", [*FORMATS, "mask.txt", "mask"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind" * 50])
def test_what_is_no_mask_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name).reason is Reason.MASK_UNREADABLE


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "mask.mhd"])
def test_a_mask_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8))
    data = path.read_bytes()
    for keep in (0.3, 0.6, 0.9):
        path.write_bytes(data[: int(len(data) * keep)])
        assert refusal(path).reason is Reason.MASK_UNREADABLE


def test_a_compressed_mask_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    data = save(tmp_path / "mask.nii", MASK).read_bytes()
    (tmp_path / "mask.nii.gz").write_bytes(gzip.compress(data + b"\0" * (200 << 20)))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", SHAPE), MASK)  # the rest is not read
    wide = bytearray(data)
    struct.pack_into("<3h", wide, 40, 2, 30_000, 30_000)
    (tmp_path / "mask.nii.gz").write_bytes(gzip.compress(bytes(wide) + b"\0" * (200 << 20)))
    assert refusal(tmp_path / "mask.nii.gz").reason is Reason.MASK_SIZE


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path):
        assert refusal(path).reason is Reason.MASK_UNREADABLE


def test_real_masks(real_data: Path) -> None:
    path = real_data / "mini_mias_masks" / "mdb001.png"
    expected: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read_mask(path, expected.shape), expected)
    assert set(np.unique(expected)) == {0, 1, 2}
