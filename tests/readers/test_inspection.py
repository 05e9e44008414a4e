from __future__ import annotations

from pathlib import Path

import pytest

from maseg_nnunet.readers.inspection import inspect_file


@pytest.mark.parametrize(
    ("name", "vendor", "base", "inverted"),
    [
        ("GE_SIGMOID_3LUT_RMLO.dcm", "ge", "SIGMOID", False),
        ("Hologic_Selenia_LCC.dcm", "hologic", "LINEAR", False),
        ("Hologic_scout_MONOCHROME1.dcm", "hologic", "LINEAR", True),
        ("Siemens_overlays_LCC.dcm", "siemens", "LINEAR", False),
    ],
)
def test_real_files(real_dicom: Path, name: str, vendor: str, base: str, inverted: bool) -> None:
    found, _ = inspect_file(str(real_dicom / name))
    assert found.refusal == ""
    assert found.vendor == vendor
    assert [lut.function for lut in found.luts if lut.base] == [base]
    assert found.inverted is inverted
