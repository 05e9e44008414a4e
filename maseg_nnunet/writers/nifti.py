"""2D NIfTI files of masks and images, spacing in the header. Not for resampling, not for reading other formats.

The header is the one that ITK writes for a 2D image at the origin (qform 180 degrees about z, which takes the image's
left-posterior axes to NIfTI's right-anterior ones), so nnU-Net's SimpleITKIO and every viewer built on ITK read the
array and the spacing back unchanged. The file is made in memory: SimpleITK's own NIfTI writer does not notice a full
disk, and this way equal input gives equal bytes.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from maseg_nnunet.errors import OutputError, Reason, RefusedError
from maseg_nnunet.files import gzipped, write_bytes

MAX_PIXELS: Final = 120_000_000
"""A 2D image larger than this is not read: no mammogram is."""

# What nibabel lets out when a file is none, or is damaged.
_DEFECTS: Final = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)


def write_nifti(path: Path, array: npt.NDArray[Any], spacing: tuple[float, float]) -> bool:
    """Write `array`, shape (rows, columns), uint8 or float32, with `spacing` (row, column) in mm to `path` (.nii.gz).

    Tell whether anything was written: a file that holds the same bytes is left alone. Raises OutputError on an array
    of another kind, OSError where the disk refuses.
    """
    if array.ndim != 2 or array.dtype not in (np.uint8, np.float32):
        raise OutputError(f"a 2D NIfTI file holds uint8 or float32 (rows, columns), not {array.dtype} {array.shape}")
    header = nibabel.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape[::-1])
    header.set_zooms((spacing[1], spacing[0]))
    header.set_xyzt_units("mm")
    affine = np.diag([-spacing[1], -spacing[0], 1.0, 1.0])
    header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    # NIfTI runs along the columns' index first, as a C-contiguous (rows, columns) array does.
    data = header.binaryblock + bytes(4) + np.ascontiguousarray(array).tobytes()
    return write_bytes(path, gzipped(data))


def read_nifti(path: Path) -> tuple[npt.NDArray[Any], tuple[float, float]]:
    """The array (rows, columns) of a 2D NIfTI file (a third axis of length 1 is dropped) and its spacing in mm.

    The dtype is the file's. Raises RefusedError (UNREADABLE, TRUNCATED, TOO_LARGE) with the defect, FileNotFoundError
    where there is no such file.
    """
    try:
        image = nibabel.Nifti1Image.from_filename(path)
    except FileNotFoundError:
        raise
    except _DEFECTS as error:
        raise RefusedError(Reason.UNREADABLE, "not a NIfTI file") from error
    if len(image.shape) != 2 and image.shape[2:] != (1,):
        raise RefusedError(Reason.UNREADABLE, f"a 2D NIfTI image was expected, its shape is {image.shape}")
    if int(np.prod(image.shape)) > MAX_PIXELS:
        raise RefusedError(Reason.TOO_LARGE, f"{image.shape} is more than {MAX_PIXELS} pixels")
    try:
        array = np.asanyarray(image.dataobj)
    except _DEFECTS as error:
        raise RefusedError(Reason.TRUNCATED, "the data end too early or are damaged") from error
    # The header holds float32; the shortest decimal that gives it is what was written, 0.4 and not 0.40000001.
    column, row = (float(str(zoom)) for zoom in image.header.get_zooms()[:2])
    return np.ascontiguousarray(array.reshape(image.shape[:2]).T), (row, column)
