"""Read reference masks from NIfTI, NRRD, MHA (ITK-SNAP, 3D Slicer), PNG or DICOM SEG, on the image's own grid.

Not for finding the mask of an image (the data set conversion does that), and not for writing masks (`writers/`). A mask
is taken pixel by pixel: spacing and orientation of its file are ignored, and its size must be the image's. SimpleITK's
axes are (x, y, z) and its arrays (z, y, x), so a single slice becomes (rows, columns).
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import Mask
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.labels import Label
from maseg_nnunet.readers.dicom import is_dicom
from maseg_nnunet.readers.dicom_seg import check_mask_size, read_instance_uid, read_seg
from maseg_nnunet.readers.film import JPEG_MAGIC, is_film, read_gray
from maseg_nnunet.readers.refusals import read_start, refused_as

_ITK: Final = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
_NONE: Final = 255
"""Marks values that are not a label until they are refused."""


def read_mask(path: str | os.PathLike[str], shape: tuple[int, int], labels: Mapping[int, int] | None = None) -> Mask:
    """Read a mask on the grid of its image.

    PNG and DICOM SEG (PS3.3 A.51) are recognised by their content, NIfTI, NRRD and MHA by their ending. The segments of
    a SEG are identified by their property types, else by their segment labels; if they overlap, the muscle is on top.

    Args:
        path: The file.
        shape: (rows, columns) of the image.
        labels: Maps the file's values, or the segment numbers of a SEG, to `Label`; 0 is background unless it is mapped
            too. By default the file's values are the labels.

    Returns:
        Values of `Label`, uint8 of `shape`.

    Raises:
        RefusedError: MASK_UNREADABLE; MASK_SIZE, with both sizes in the text; MASK_LABELS, if a value is not a label.
    """
    path = Path(path)
    with refused_as(Reason.MASK_UNREADABLE):
        start = read_start(path)
    # The values of a JPEG are not exact.
    if is_film(start) and not start.startswith(JPEG_MAGIC):
        values: npt.NDArray[Any] = _read_png(path, shape)
    elif is_dicom(start):
        return read_seg(path, shape, labels)
    else:
        values = _read_itk(path, shape)
    return relabel(values, labels)


def mask_instance_uid(path: str | os.PathLike[str]) -> str:
    """Read the SOPInstanceUID of the one image that a DICOM SEG refers to.

    Raises:
        RefusedError: MASK_UNREADABLE, if the file is not a SEG, or refers to no image or to more than one.
    """
    return read_instance_uid(Path(path))


def relabel(values: npt.NDArray[Any], labels: Mapping[int, int] | None) -> Mask:
    """Map the values of a file to labels.

    Args:
        values: Values of any numeric type and shape.
        labels: As in `read_mask`.

    Returns:
        Values of `Label`, uint8 of the same shape.

    Raises:
        RefusedError: MASK_LABELS, if a value is not mapped.
    """
    mapping = {0: 0} | (dict(labels) if labels is not None else {int(label): int(label) for label in Label})
    if values.dtype == np.uint8:
        table = np.full(256, _NONE, np.uint8)
        for value, label in mapping.items():
            if 0 <= value < len(table):
                table[value] = label
        result = np.asarray(table[values])
    else:
        result = np.full(values.shape, _NONE, np.uint8)
        for value, label in mapping.items():
            result[values == value] = label
    other = values[result == _NONE]
    if other.size:
        expected = ", ".join(str(value) for value in sorted(mapping))
        raise RefusedError(
            Reason.MASK_LABELS, f"the mask has the value {other[0]:g}, expected {expected}: map it with --labels"
        )
    return result


def _read_png(path: Path, shape: tuple[int, int]) -> npt.NDArray[Any]:
    with refused_as(Reason.MASK_UNREADABLE):
        values = read_gray(path, _limit(shape))
    check_mask_size(values.shape, shape)
    return values


def _limit(shape: tuple[int, int]) -> float:
    """Megapixels up to which a mask of another size is read, so that its size can be reported."""
    return max(1.0, 4 * shape[0] * shape[1] / 1e6)


def _read_itk(path: Path, shape: tuple[int, int]) -> npt.NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    name = path.name.lower()
    reader.SetFileName(str(path))
    io = next((io for suffix, io in _ITK.items() if name.endswith(suffix)), None)
    if io is None:
        raise RefusedError(Reason.MASK_UNREADABLE, "the file is none of PNG, DICOM SEG, NIfTI, NRRD and MHA")
    reader.SetImageIO(io)
    try:
        if io == "NiftiImageIO":
            _check_nifti_end(path, shape)
        reader.ReadImageInformation()
        size = tuple(int(n) for n in reader.GetSize())[::-1]
        if reader.GetNumberOfComponents() != 1:
            raise RefusedError(
                Reason.MASK_UNREADABLE, "the mask has more than one value per pixel (overlapping segments)"
            )
        check_mask_size(_without_single_slice(size), shape)
        values = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise RefusedError(
            Reason.MASK_UNREADABLE, f"the file is damaged or is not a {io.removesuffix('ImageIO')} file"
        ) from error
    return np.asarray(values).reshape(shape)


def _without_single_slice(size: tuple[int, ...]) -> tuple[int, ...]:
    """The size without axes of one slice, as long as more than two are left; the first such axis is dropped first."""
    while len(size) > 2 and 1 in size:
        at = size.index(1)
        size = size[:at] + size[at + 1 :]
    return size


def _check_nifti_end(path: Path, shape: tuple[int, int]) -> None:
    """Raise RefusedError if a NIfTI file has fewer bytes than its header states: SimpleITK would read zeros instead.

    NIfTI-1 header: dim at 40 (8 words), bitpix at 72, vox_offset at 108 (float).
    """
    limit = 8 * shape[0] * shape[1] + (1 << 20)  # eight bytes per pixel; a larger mask is refused later for its size
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        try:
            content = file.read(limit)
        except (EOFError, OSError, zlib.error) as error:
            raise RefusedError(Reason.MASK_UNREADABLE, "the compressed file is damaged or truncated") from error
    order = next((o for o in "<>" if len(content) >= 348 and struct.unpack_from(f"{o}i", content)[0] == 348), None)
    if order is None:
        raise RefusedError(Reason.MASK_UNREADABLE, "the file is not NIfTI-1")
    count, *sides = struct.unpack_from(f"{order}8h", content, 40)
    (bits,) = struct.unpack_from(f"{order}h", content, 72)
    (offset,) = struct.unpack_from(f"{order}f", content, 108)
    needed = offset + math.prod(sides[: max(0, count)]) * bits // 8
    if not len(content) >= min(needed, limit):
        raise RefusedError(
            Reason.MASK_UNREADABLE, f"the file ends after {len(content)} bytes, but its header needs more"
        )
