import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Intent, Side, View
from maseg_nnunet.readers import read_header, read_mammogram
from maseg_nnunet.synthetic.phantom_dicom import VENDORS, write_exam
from tests.readers.dicom_factory import LOSSLESS, LOSSY, code, item, make, picture, save, write


def refusal(path: Path) -> Reason:
    """The reason for which both readers refuse the file."""
    reasons = []
    for read in (read_header, read_mammogram):
        with pytest.raises(RefusedError) as caught:
            read(path)
        reasons.append(caught.value.reason)
    assert reasons[0] is reasons[1]
    return reasons[0]


def test_an_ordinary_mammogram(tmp_path: Path) -> None:
    path = write(tmp_path / "image.dcm", FieldOfViewHorizontalFlip="YES")
    read = read_mammogram(path)
    np.testing.assert_array_equal(read.pixels, picture())
    assert read.path == path
    assert (read.shape, read.spacing, read.spacing_source) == ((48, 40), (0.07, 0.07), "ImagerPixelSpacing")
    assert (read.view, read.side, read.intent) == (View.MLO, Side.LEFT, Intent.PROCESSED)
    assert (read.vendor, read.model) == ("hologic", "Selenia Dimensions")
    assert read.sop_class == "Digital Mammography X-Ray Image Storage - For Presentation"
    assert (read.horizontal_flip, read.patient_orientation) == ("YES", ("A", "F"))
    assert read.flags == ()
    assert not read.luts.inverted


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    path = write(tmp_path / "image.dcm")
    assert read_mammogram(str(path)).path == path
    assert read_header(str(path)).path == path


def test_the_header_alone_says_the_same(tmp_path: Path) -> None:
    path = write(
        tmp_path / "RCC.dcm",
        ImageLaterality=None,
        PatientID="",
        BurnedInAnnotation="YES",
        EstimatedRadiographicMagnificationFactor="1.04",
    )
    read, header = read_mammogram(path), read_header(path)
    assert (header.rows, header.columns) == read.shape
    for name in ("spacing", "spacing_source", "intent", "view", "side", "vendor", "model", "sop_class", "identity"):
        assert getattr(header, name) == getattr(read, name)
    assert header.flags == read.flags
    assert set(read.flags) == {
        Flag.DUMMY_PATIENT,
        Flag.BURNED_IN,
        Flag.SIDE_FROM_PATH,
        Flag.CONTACT_MAGNIFICATION,
    }
    assert pickle.loads(pickle.dumps(header)) == header


@pytest.mark.parametrize("name", ["image", "image.txt", "image.png", "image.dcm", "1.2.3.4", "IM000001"])
@pytest.mark.parametrize("preamble", [True, False])
def test_the_name_does_not_matter(tmp_path: Path, name: str, preamble: bool) -> None:
    # The published code ignores the header of a file whose name does not end in .dcm.
    path = write(tmp_path / name, preamble=preamble, PhotometricInterpretation="MONOCHROME1")
    read = read_mammogram(path)
    assert read.luts.inverted
    np.testing.assert_array_equal(read.pixels, picture())


@pytest.mark.parametrize("syntax", LOSSLESS[:3])
def test_a_data_set_without_preamble_and_meta_information(tmp_path: Path, syntax: uid.UID) -> None:
    read = read_mammogram(write(tmp_path / "image", syntax=syntax, preamble=False))
    np.testing.assert_array_equal(read.pixels, picture())


@pytest.mark.parametrize(
    ("sop_class", "intent"),
    [
        (uid.DigitalMammographyXRayImageStorageForPresentation, Intent.PROCESSED),
        (uid.DigitalMammographyXRayImageStorageForProcessing, Intent.RAW),
        (uid.ComputedRadiographyImageStorage, Intent.PROCESSED),
        (uid.DigitalXRayImageStorageForPresentation, Intent.PROCESSED),
        (uid.DigitalXRayImageStorageForProcessing, Intent.RAW),
        (uid.SecondaryCaptureImageStorage, Intent.PROCESSED),
        (None, Intent.PROCESSED),
    ],
)
def test_classes_and_intents(tmp_path: Path, sop_class: str | None, intent: Intent) -> None:
    assert read_header(write(tmp_path / "image", SOPClassUID=sop_class, PresentationIntentType=None)).intent is intent
    for stated, expected in (("FOR PROCESSING", Intent.RAW), ("FOR PRESENTATION", Intent.PROCESSED), ("?", intent)):
        path = write(tmp_path / "image", SOPClassUID=sop_class, PresentationIntentType=stated)
        assert read_header(path).intent is expected


@pytest.mark.parametrize(
    "sop_class",
    [uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation, uid.SecondaryCaptureImageStorage],
)
def test_general_classes_need_a_breast(tmp_path: Path, sop_class: str) -> None:
    other = {"SOPClassUID": sop_class, "Modality": "CR", "BodyPartExamined": "CHEST"}
    assert refusal(write(tmp_path / "image", **other)) is Reason.WRONG_MODALITY
    for breast in (
        {"Modality": "MG"},
        {"BodyPartExamined": "BREAST"},
        {"AnatomicRegionSequence": [code("T-04000", "SRT")]},
        {"AnatomicRegionSequence": [code("76752008")]},
    ):
        assert read_mammogram(write(tmp_path / "image", **{**other, **breast})).shape == (48, 40)


@pytest.mark.parametrize(
    "change",
    [
        {"SOPClassUID": uid.CTImageStorage, "Modality": "CT"},
        {"SOPClassUID": uid.SegmentationStorage, "Modality": "SEG"},
        {"SOPClassUID": uid.MammographyCADSRStorage, "Modality": "SR", "PixelData": None},
        {"SOPClassUID": "1.2.3.4.5"},
        {"SOPClassUID": None, "Modality": "CT", "BodyPartExamined": None},
    ],
)
def test_other_objects_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    assert refusal(write(tmp_path / "image", **change)) is Reason.WRONG_MODALITY


def test_several_frames_are_refused(tmp_path: Path) -> None:
    change = {"SOPClassUID": uid.BreastTomosynthesisImageStorage, "NumberOfFrames": 2, "Rows": 24}
    assert refusal(write(tmp_path / "image", **change)) is Reason.MULTI_FRAME


@pytest.mark.parametrize("frames", [1, None, "", 0])
def test_one_frame_however_it_is_said(tmp_path: Path, frames: Any) -> None:
    assert read_mammogram(write(tmp_path / "image", NumberOfFrames=frames)).shape == (48, 40)


def test_a_synthetic_image_keeps_everything_in_functional_groups(tmp_path: Path) -> None:
    path = write(
        tmp_path / "image",
        SOPClassUID=uid.BreastTomosynthesisImageStorage,
        PresentationIntentType=None,
        NumberOfFrames=1,
        ImagerPixelSpacing=None,
        ImageLaterality=None,
        WindowCenter=None,
        WindowWidth=None,
        SharedFunctionalGroupsSequence=[
            item(
                PixelMeasuresSequence=[item(PixelSpacing=["0.1", "0.1"])],
                FrameAnatomySequence=[item(FrameLaterality="R")],
                PixelValueTransformationSequence=[item(RescaleSlope="1", RescaleIntercept="10")],
            )
        ],
        PerFrameFunctionalGroupsSequence=[
            item(FrameVOILUTSequence=[item(WindowCenter=["2000", "9"], WindowWidth=["3000", "8"])])
        ],
    )
    read = read_mammogram(path)
    assert read.flags == (Flag.SYNTHETIC,)
    assert (read.intent, read.side, read.spacing) == (Intent.PROCESSED, Side.RIGHT, (0.1, 0.1))
    assert [(lut.center, lut.width) for lut in read.luts.luts] == [(2000, 3000), (9, 8)]
    np.testing.assert_array_equal(read.pixels, picture() + 10)


@pytest.mark.parametrize(
    "content",
    [
        b"\x08",
        b"hello, this is a text that goes on and on" * 10,
        b"%PDF-1.7" + b"\0" * 500,
        b"GIF89a" + b"\0" * 500,
        b"PK\x03\x04" + b"\0" * 500,
        b"\0" * 1000,
    ],
)
def test_what_is_not_dicom(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(content)
    assert refusal(path) is Reason.NOT_DICOM


@pytest.mark.parametrize("content", [b"", b"\0" * 128 + b"DICM"])
def test_what_a_full_disk_left_of_a_file_is_no_stray_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(content)
    assert refusal(path) is Reason.TRUNCATED


def test_a_header_without_end_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "image")
    dataset = pydicom.dcmread(path)
    dataset.private_block(0x0009, "MAKER", create=True).add_new(0x01, "OB", bytes(75_000_000))
    dataset.save_as(path)
    with pytest.raises(RefusedError) as caught:
        read_header(path, max_megapixels=1)
    assert caught.value.reason is Reason.TOO_LARGE
    assert read_header(path, max_megapixels=3).rows == 48


def test_a_dicomdir_is_no_image(tmp_path: Path) -> None:
    index = Dataset()
    index.FileSetID = "X"
    index.DirectoryRecordSequence = [item(DirectoryRecordType="PATIENT", PatientID="QUI")]
    index.file_meta = FileMetaDataset()
    index.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    index.file_meta.MediaStorageSOPClassUID = uid.MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.preamble = b"\0" * 128
    pydicom.dcmwrite(tmp_path / "DICOMDIR", index)
    assert refusal(tmp_path / "DICOMDIR") is Reason.WRONG_MODALITY


def test_files_that_can_not_be_opened(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing") is Reason.UNREADABLE
    assert refusal(tmp_path) is Reason.UNREADABLE
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") is Reason.UNREADABLE  # and reading does not block
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refusal(tmp_path / "loop") is Reason.UNREADABLE


def test_sequences_without_end_in_depth_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "image").read_bytes()
    # (0008,1140) ReferencedImageSequence of undefined length, an item of undefined length, and so on inside.
    nested = (b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 5000
    position = whole.index(b"\x10\x00\x10\x00PN")
    (tmp_path / "deep").write_bytes(whole[:position] + nested + whole[position:])
    with pytest.raises(RefusedError):
        read_mammogram(tmp_path / "deep")


def test_the_header_is_read_without_the_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "image")
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    assert read_header(path).rows == 48
    with pytest.raises(RefusedError) as caught:
        read_mammogram(path)
    assert caught.value.reason is Reason.TRUNCATED


def test_an_error_brings_nothing_of_pydicoms_own_along(tmp_path: Path) -> None:
    path = tmp_path / "image"
    data = write(path, syntax=uid.JPEG2000Lossless).read_bytes()
    middle = data.rindex(b"\xff\x93") + 40
    path.write_bytes(data[:middle] + b"\xff" * 200 + data[middle + 200 :])
    with pytest.raises(RefusedError) as caught:
        read_mammogram(path)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_many_threads_read_the_same(tmp_path: Path) -> None:
    paths = [write(tmp_path / syntax, syntax=syntax) for syntax in LOSSLESS]
    with ThreadPoolExecutor(8) as pool:
        for read in pool.map(read_mammogram, paths * 4):
            np.testing.assert_array_equal(read.pixels, picture())


@pytest.mark.parametrize("vendor", VENDORS)
def test_exams_of_six_makers(tmp_path: Path, vendor: str) -> None:
    for path, _ in write_exam(tmp_path, vendor, 3, scale=0.1):
        read = read_mammogram(path)
        assert read.vendor == vendor
        assert (read.intent is Intent.RAW) == path.stem.endswith("_raw")
        assert path.stem.removesuffix("_raw").endswith(f"{read.side.value}{read.view.value}")
        assert not {Flag.VIEW_FROM_PATH, Flag.SIDE_FROM_PATH} & set(read.flags)
        assert Flag.CONTACT_MAGNIFICATION in read.flags
        shown = read.displayed()
        if read.intent is Intent.PROCESSED:
            assert min(shown[0, 0], shown[0, -1]) < 0.1  # the background is black, inverted or not
        assert shown.max() > 0.5


REAL = {
    "GE_RCC.dcm": ((2294, 1914), "ge", View.CC, Side.RIGHT, 0.09409090909091, ()),
    "GE_SIGMOID_3LUT_RMLO.dcm": (
        (3062, 2394),
        "ge",
        View.MLO,
        Side.RIGHT,
        0.09409090909091,
        (Flag.DUMMY_PATIENT,),
    ),
    "Hologic_Selenia_LCC.dcm": ((3328, 2560), "hologic", View.CC, Side.LEFT, 0.07, (Flag.DUMMY_PATIENT,)),
    "Hologic_scout_MONOCHROME1.dcm": (
        (512, 512),
        "hologic",
        View.CC,
        Side.LEFT,
        0.1,
        (Flag.SPOT, Flag.BIOPSY, Flag.MAGNIFICATION_BELOW_ONE),
    ),
    "MG_Explicit_Little.dcm": ((512, 512), "unknown", View.CC, Side.RIGHT, 0.5 / 1.5, (Flag.MAGNIFICATION,)),
    "Siemens_overlays_LCC.dcm": (
        (788, 1318),
        "siemens",
        View.CC,
        Side.LEFT,
        0.085,
        (Flag.BIOPSY, Flag.CONTACT_MAGNIFICATION, Flag.TURNED),
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_that_are_accepted(real_dicom: Path, name: str, tmp_path: Path) -> None:
    shape, vendor, view, side, spacing, flags = REAL[name]
    # A name that says nothing about view and side.
    shutil.copy(real_dicom / name, tmp_path / "x")
    read = read_mammogram(tmp_path / "x")
    assert (read.shape, read.vendor, read.view, read.side, read.flags) == (shape, vendor, view, side, flags)
    assert read.intent is Intent.PROCESSED
    assert read.spacing == pytest.approx((spacing, spacing))
    assert read.luts.inverted == ("MONOCHROME1" in name)
    assert 0 <= read.displayed().min() < read.displayed().max() <= 1


def test_the_real_film_needs_a_spacing(real_dicom: Path) -> None:
    path = real_dicom / "MG1_J2KI.dcm"
    with pytest.raises(RefusedError) as caught:
        read_mammogram(path)
    assert caught.value.reason is Reason.NO_SPACING
    read = read_mammogram(path, spacing_mm=0.05)
    assert (read.shape, read.view, read.side, read.vendor) == ((4664, 3064), View.MLO, Side.LEFT, "unknown")
    assert read.flags == (Flag.SPACING_GIVEN,)


def test_the_ground_of_real_ge_images_is_black_under_every_window(real_dicom: Path) -> None:
    for name in ("GE_RCC.dcm", "GE_SIGMOID_3LUT_RMLO.dcm"):
        read = read_mammogram(real_dicom / name)
        ground = read.pixels == 0
        assert 0.6 < ground.mean() < 0.8
        for lut in read.luts.luts:
            assert read.luts.display(np.zeros(1), lut) < 0.01


@pytest.mark.parametrize("syntax", (*LOSSLESS, *LOSSY), ids=lambda syntax: syntax.keyword)
def test_a_real_mammogram_in_every_syntax(real_dicom: Path, tmp_path: Path, syntax: uid.UID) -> None:
    real = read_mammogram(real_dicom / "Siemens_overlays_LCC.dcm").pixels
    bits = 8 if syntax == uid.JPEGBaseline8Bit else 12
    pixels = (real >> 4).astype(np.uint8) if bits == 8 else np.array(real)
    read = read_mammogram(write(tmp_path / "image", pixels, bits=bits, syntax=syntax)).pixels
    difference = np.abs(read.astype(int) - pixels)
    if syntax in LOSSLESS:
        assert difference.max() == 0
    else:
        assert 0 < difference.mean() < 0.005 * (1 << bits)


def test_other_elements_before_the_pixels_do_not_matter(tmp_path: Path) -> None:
    dataset = make()
    for group in (0x6000, 0x6002):
        dataset.add_new((group, 0x0010), "US", 101)
        dataset.add_new((group, 0x0050), "SS", [-25, -25])
        dataset.add_new((group, 0x3000), "OW", b"\0" * 1276)
    dataset.add_new(0x00091001, "UN", b"\1" * 100_001)
    np.testing.assert_array_equal(read_mammogram(save(dataset, tmp_path / "image")).pixels, picture())
