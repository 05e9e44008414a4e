"""2D NIfTI files of masks and images, spacing in the header. Not for resampling, not for reading (`readers/masks.py`).

The header is the one that ITK writes for a 2D image at the origin (qform 180 degrees about z, which turns ITK's
left-posterior axes into NIfTI's right-anterior ones), so nnU-Net's SimpleITKIO and every viewer built on ITK read the
array and the spacing back unchanged. The file is made in memory, because SimpleITK's own NIfTI writer does not notice a
full disk, and so that equal input gives equal bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import Spacing
from maseg_nnunet.errors import OutputError
from maseg_nnunet.files import gzipped, write_bytes


def write_nifti(path: Path, array: npt.NDArray[Any], spacing: Spacing) -> bool:
    """Write a mask or an image as a compressed 2D NIfTI-1 file.

    A file that has the same bytes already is not written again.

    Args:
        path: The file to write, ending in .nii.gz.
        array: Shape (rows, columns), uint8 or float32.
        spacing: (row, column) in mm.

    Returns:
        Whether the file was written.

    Raises:
        OutputError: The array has another shape or dtype.
        OSError: The file can't be written.
    """
    if array.ndim != 2 or array.dtype not in (np.uint8, np.float32):
        raise OutputError(
            f"expected uint8 or float32 (rows, columns) for a 2D NIfTI file, not {array.dtype} {array.shape}"
        )
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
    # In NIfTI the first index, the column, varies fastest, as in a C-contiguous (rows, columns) array.
    data = header.binaryblock + bytes(4) + np.ascontiguousarray(array).tobytes()
    return write_bytes(path, gzipped(data, 2 if array.dtype == np.uint8 else 1))
