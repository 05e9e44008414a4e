"""2D NIfTI files of masks and images, spacing in the header. Not for resampling, not for reading (`readers/masks.py`).

The header is the one that ITK writes for a 2D image at the origin (qform 180 degrees about z, which takes the image's
left-posterior axes to NIfTI's right-anterior ones), so nnU-Net's SimpleITKIO and every viewer built on ITK read the
array and the spacing back unchanged. The file is made in memory: SimpleITK's own NIfTI writer does not notice a full
disk, and this way equal input gives equal bytes.
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
    return write_bytes(path, gzipped(data, 2 if array.dtype == np.uint8 else 1))
