"""Reference masks from NIfTI, NRRD, MHA (ITK-SNAP, 3D Slicer), PNG or DICOM SEG, on the image's own grid.

Not for finding the mask of an image (the data set conversion does), and not for writing masks (`writers/`). A mask is
taken pixel by pixel: spacing and orientation of its file are not asked, its size must be the image's. SimpleITK's axes
are (x, y, z), its arrays (z, y, x): a single slice of an image comes out as (rows, columns).
"""

from __future__ import annotations

import gzip
import math
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
from maseg_nnunet.readers.film import is_film, read_gray

_ITK: Final = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
_NONE: Final = 255
"""Stands for values that are no label until they are refused."""

_START: Final = 256


def read_mask(path: Path, shape: tuple[int, int], labels: Mapping[int, int] | None = None) -> Mask:
    """Read a mask of an image of `shape` (rows, columns): uint8 of that shape with values of `Label`.

    `labels` maps the file's values to ours; 0 is background unless it says otherwise. A SEG's segments are told by
    their property types, else by their labels, and `labels`, where given, by their numbers.

    Raises RefusedError: MASK_UNREADABLE, MASK_SIZE (both sizes named), MASK_LABELS (a value that is no label).
    """
    path = Path(path)
    start = _start(path)
    if is_film(start):
        values: npt.NDArray[Any] = _read_png(path, shape)
    elif is_dicom(start):
        return read_seg(path, shape, labels)
    else:
        values = _read_itk(path, shape)
    return relabel(values, labels)


def mask_instance_uid(path: Path) -> str:
    """The SOPInstanceUID of the one image that a DICOM SEG belongs to.

    Raises RefusedError (MASK_UNREADABLE) where the file is no SEG, or names none or several.
    """
    return read_instance_uid(Path(path))


def relabel(values: npt.NDArray[Any], labels: Mapping[int, int] | None) -> Mask:
    """The values of a file, of any numeric type, as labels. Raises RefusedError (MASK_LABELS)."""
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
            Reason.MASK_LABELS, f"the mask holds the value {other[0]:g}, expected {expected}: map it with --labels"
        )
    return result


def _start(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise RefusedError(Reason.MASK_UNREADABLE, "it is missing, or no regular file")
        with path.open("rb") as file:
            return file.read(_START)
    except OSError as error:
        raise RefusedError(Reason.MASK_UNREADABLE, f"the file can't be read: {error.strerror}") from error


def _read_png(path: Path, shape: tuple[int, int]) -> npt.NDArray[Any]:
    try:
        values = read_gray(path, _limit(shape))
    except RefusedError as error:
        raise RefusedError(Reason.MASK_UNREADABLE, error.detail) from error
    check_mask_size(values.shape, shape)
    return values


def _limit(shape: tuple[int, int]) -> float:
    """Megapixels that a mask may have to be told from one of the right size."""
    return max(1.0, 4 * shape[0] * shape[1] / 1e6)


def _read_itk(path: Path, shape: tuple[int, int]) -> npt.NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    name = path.name.lower()
    reader.SetFileName(str(path))
    io = next((io for suffix, io in _ITK.items() if name.endswith(suffix)), None)
    if io is None:
        raise RefusedError(Reason.MASK_UNREADABLE, "neither PNG, DICOM SEG, NIfTI, NRRD nor MHA")
    reader.SetImageIO(io)
    try:
        if io == "NiftiImageIO":
            _check_nifti_end(path, shape)
        reader.ReadImageInformation()
        size = tuple(int(n) for n in reader.GetSize())[::-1]
        if reader.GetNumberOfComponents() != 1:
            raise RefusedError(Reason.MASK_UNREADABLE, "several values a pixel (segments that overlap)")
        check_mask_size(_without_single_slice(size), shape)
        values = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise RefusedError(Reason.MASK_UNREADABLE, f"damaged, or no {io.removesuffix('ImageIO')} file") from error
    return np.asarray(values).reshape(shape)


def _without_single_slice(size: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of a volume's two axes, where all others have one slice; the first such axis goes first."""
    while len(size) > 2 and 1 in size:
        at = size.index(1)
        size = size[:at] + size[at + 1 :]
    return size


def _check_nifti_end(path: Path, shape: tuple[int, int]) -> None:
    """Raise RefusedError where a NIfTI file holds fewer bytes than its header promises: SimpleITK reads zeros instead.

    NIfTI-1 header: dim at 40 (8 words), bitpix at 72, vox_offset at 108 (float).
    """
    limit = 8 * shape[0] * shape[1] + (1 << 20)  # eight bytes a pixel: more is another size, which is refused later
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        try:
            content = file.read(limit)
        except (EOFError, OSError, zlib.error) as error:
            raise RefusedError(Reason.MASK_UNREADABLE, "the compressed file is damaged or cut off") from error
    order = next((o for o in "<>" if len(content) >= 348 and struct.unpack_from(f"{o}i", content)[0] == 348), None)
    if order is None:
        raise RefusedError(Reason.MASK_UNREADABLE, "no NIfTI-1 file")
    count, *sides = struct.unpack_from(f"{order}8h", content, 40)
    (bits,) = struct.unpack_from(f"{order}h", content, 72)
    (offset,) = struct.unpack_from(f"{order}f", content, 108)
    needed = offset + math.prod(sides[: max(0, count)]) * bits // 8
    if not len(content) >= min(needed, limit):
        raise RefusedError(Reason.MASK_UNREADABLE, f"the file ends after {len(content)} bytes, its header needs more")
