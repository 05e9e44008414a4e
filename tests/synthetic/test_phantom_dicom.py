import warnings
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.config import RAISE, settings

from maseg_nnunet.errors import UsageError
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.synthetic.phantom import processed_gray, with_marker
from maseg_nnunet.synthetic.phantom_breast import make_breast
from maseg_nnunet.synthetic.phantom_dicom import PLANTED, VENDORS, write_exam

HAS_RAW = {"hologic", "ims_giotto", "ge", "siemens"}

Exams = dict[str, list[tuple[Path, Path]]]


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Exams:
    folder = tmp_path_factory.mktemp("exams")
    return {vendor: write_exam(folder / vendor, vendor, 1, scale=0.1) for vendor in VENDORS}


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_reading_validation_mode", RAISE)


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_exam_is_both_views_of_both_sides_with_raw_twins_where_sent(exams: Exams, vendor: str) -> None:
    headers = [pydicom.dcmread(image) for image, _ in exams[vendor]]
    processed = [d for d in headers if d.PresentationIntentType == "FOR PRESENTATION"]
    raw = {d.SOPInstanceUID: d for d in headers if d.PresentationIntentType == "FOR PROCESSING"}
    assert {(d.ImageLaterality, d.ViewCodeSequence[0].CodeMeaning) for d in processed} == {
        (side, view) for side in "LR" for view in ("cranio-caudal", "medio-lateral oblique")
    }
    assert len(raw) == (4 if vendor in HAS_RAW else 0)
    for d in processed:
        if vendor not in HAS_RAW:
            assert "SourceImageSequence" not in d
            continue
        twin = raw.pop(d.SourceImageSequence[0].ReferencedSOPInstanceUID)
        for keyword in ("StudyInstanceUID", "ImageLaterality", "AcquisitionTime", "PatientID", "Rows", "Columns"):
            assert d[keyword].value == twin[keyword].value
        assert d.ViewCodeSequence[0].CodeValue == twin.ViewCodeSequence[0].CodeValue
        assert "WindowCenter" not in twin and "VOILUTSequence" not in twin
    assert len({d.AcquisitionTime for d in processed}) == 4
    assert len({d.SOPInstanceUID for d in headers}) == len(headers)
    assert len({d.StudyInstanceUID for d in headers}) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_file_reads_back_without_a_warning_and_its_mask_fits(exams: Exams, vendor: str) -> None:
    for image, mask in exams[vendor]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            d = pydicom.dcmread(image)
            for element in d.iterall():
                _ = element.value
        assert d.pixel_array.max() < 1 << d.BitsStored
        labels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == np.uint8 and labels.shape == d.pixel_array.shape
        assert set(np.unique(labels)) <= {0, 1, 2}
        assert mask.stem == image.stem


def test_makers_differ_in_what_a_reader_must_get_right(exams: Exams) -> None:
    first = {vendor: pydicom.dcmread(exams[vendor][0][0]) for vendor in VENDORS}
    assert {d.PhotometricInterpretation for d in first.values()} == {"MONOCHROME1", "MONOCHROME2"}
    assert first["fuji"].PhotometricInterpretation == "MONOCHROME1"
    assert len({tuple(d.ImagerPixelSpacing) for d in first.values()}) >= 5
    assert {d.BitsStored for d in first.values()} == {12, 13, 14}
    assert {d.get("VOILUTFunction") for d in first.values()} == {"LINEAR", "LINEAR_EXACT", "SIGMOID", None}
    assert list(first["ge"].WindowCenterWidthExplanation) == ["NORMAL", "HARDER", "SOFTER"]
    assert [item.LUTExplanation for item in first["ge"].VOILUTSequence] == ["NORMAL", "HARDER", "SOFTER"]
    assert "WindowCenter" not in first["siemens"] and len(first["siemens"].VOILUTSequence) == 2
    assert {d.ViewCodeSequence[0].CodingSchemeDesignator for d in first.values()} == {"SRT", "SNM3", "SCT"}
    assert len({d.PatientID for d in first.values()}) == len(VENDORS)


@pytest.mark.parametrize("vendor", VENDORS)
def test_pydicom_s_own_windowing_shows_the_phantom_s_gray(exams: Exams, vendor: str) -> None:
    d = pydicom.dcmread(exams[vendor][1 if vendor not in HAS_RAW else 2][0])
    assert d.ImageLaterality == "L" and d.ViewCodeSequence[0].CodeMeaning == "medio-lateral oblique"
    # Windows are preferred: pydicom's SIGMOID and LINEAR are an implementation that is not ours.
    shown = pydicom.pixels.apply_voi_lut(d.pixel_array, d, prefer_lut="WindowCenter" not in d).astype(np.float64)
    shown = (shown - 0) / ((1 << d.BitsStored) - 1)
    shown = 1 - shown if d.PhotometricInterpretation == "MONOCHROME1" else shown
    woman = len(VENDORS) + VENDORS.index(vendor)
    breast = make_breast(
        woman,
        View.MLO,
        Side.LEFT,
        rows=d.Rows,
        columns=d.Columns,
        spacing=tuple(float(s) for s in d.ImagerPixelSpacing),
    )
    expected = with_marker(processed_gray(breast), breast)
    # Air is padded or ends at the window's foot.
    inside = (breast.mask > 0) & (expected < 0.99)
    assert np.abs(shown - expected)[inside].max() < 0.01
    assert shown[breast.mask == 0].mean() < 0.1


def test_a_patient_is_planted(exams: Exams) -> None:
    for vendor in VENDORS:
        text = exams[vendor][0][0].read_bytes()
        assert all(word.encode() in text for word in PLANTED)


def test_equal_arguments_give_equal_bytes_and_the_scale_keeps_the_field(tmp_path: Path) -> None:
    def hologic(folder: str, scale: float) -> list[tuple[Path, Path]]:
        return write_exam(tmp_path / folder, "hologic", 3, scale=scale, sides=(Side.LEFT,), views=(View.CC,), raw=False)

    first, again = hologic("a", 0.1), hologic("b", 0.1)
    assert [path.read_bytes() for pair in first for path in pair] == [
        path.read_bytes() for pair in again for path in pair
    ]
    small, large = (pydicom.dcmread(hologic("c", scale)[0][0]) for scale in (0.1, 0.2))
    assert large.Rows == pytest.approx(2 * small.Rows, abs=1)
    assert large.Rows * large.ImagerPixelSpacing[0] == pytest.approx(small.Rows * small.ImagerPixelSpacing[0], rel=0.01)
    assert len(first) == 1


@pytest.mark.parametrize(("vendor", "scale"), [("kodak", 0.1), ("ge", 0.0), ("ge", 1.5)])
def test_nonsense_is_refused_before_anything_is_written(tmp_path: Path, vendor: str, scale: float) -> None:
    with pytest.raises(UsageError):
        write_exam(tmp_path, vendor, 0, scale=scale)
    assert not any(tmp_path.iterdir())
