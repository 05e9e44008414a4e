from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Side
from maseg_nnunet.readers.masks import mask_instance_uid, read_mask
from tests.readers.dicom_factory import code, encode_frame, item, save, write

SHAPE = (48, 40)
MASK = np.zeros(SHAPE, np.uint8)
MASK[5:40, :30] = 1
MASK[5:20, :10] = 2
BREAST, MUSCLE = "76752008", "60005003"
SOURCE = "1.2.826.0.1.3680043.8.498.1"


def make_seg(
    frames: list[np.ndarray],
    numbers: list[int],
    segments: list[Dataset],
    *,
    kind: str = "BINARY",
    sources: list[str] | None = None,
    syntax: str = uid.ExplicitVRLittleEndian,
    **attributes: Any,
) -> Dataset:
    """A Segmentation written by hand, with only the attributes that a reader needs."""
    rows, columns = frames[0].shape
    bits = 1 if kind == "BINARY" else 8
    seg = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7" if kind == "LABELMAP" else uid.SegmentationStorage,
        SOPInstanceUID="1.2.3",
        Modality="SEG",
        SegmentationType=kind,
        SegmentSequence=segments,
        NumberOfFrames=len(frames),
        Rows=rows,
        Columns=columns,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
        PerFrameFunctionalGroupsSequence=[
            item(
                SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
                DerivationImageSequence=[item(SourceImageSequence=[item(ReferencedSOPInstanceUID=source)])],
            )
            for number, source in zip(numbers, sources or [SOURCE] * len(numbers), strict=True)
        ],
    )
    seg.file_meta = pydicom.dataset.FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = uid.UID(syntax)
    seg.file_meta.MediaStorageSOPClassUID = seg.SOPClassUID
    seg.file_meta.MediaStorageSOPInstanceUID = seg.SOPInstanceUID
    if uid.UID(syntax).is_encapsulated:
        data = encapsulate([encode_frame(frame.astype(np.uint8), syntax, 8) for frame in frames])
    elif bits == 1:
        data = np.packbits(np.stack(frames).ravel().astype(bool), bitorder="little").tobytes()
    else:
        data = np.stack(frames).astype(np.uint8).tobytes()
    seg.add_new("PixelData", "OB", data + b"\0" * (len(data) % 2))
    seg["PixelData"].is_undefined_length = uid.UID(syntax).is_encapsulated
    for keyword, value in attributes.items():
        setattr(seg, keyword, value)
    return seg


def segment(number: int, value: str = "", label: str = "", meaning: str = "") -> Dataset:
    entry = item(SegmentNumber=number, SegmentLabel=label)
    if value or meaning:
        kind = code(value or "X")
        kind.CodeMeaning = meaning
        entry.SegmentedPropertyTypeCodeSequence = [kind]
    return entry


TWO = [segment(1, BREAST), segment(2, MUSCLE)]


def refusal(path: Path, labels: dict[int, int] | None = None, shape: tuple[int, int] = SHAPE) -> Reason:
    with pytest.raises(RefusedError) as caught:
        read_mask(path, shape, labels)
    return caught.value.reason


def test_what_we_write_is_what_we_read(tmp_path: Path) -> None:
    from maseg_nnunet.writers.dicom_seg import Algorithm, write_dicom_seg

    source = write(tmp_path / "image.dcm")
    algorithm = Algorithm("0.1", "test")
    for name, mask in (("both", MASK), ("breast", np.minimum(MASK, 1)), ("none", MASK * 0)):
        path = tmp_path / f"{name}.dcm"
        write_dicom_seg(path, mask, source, (0.07, 0.07), Side.LEFT, algorithm, datetime(2024, 1, 2))
        np.testing.assert_array_equal(read_mask(path, SHAPE), mask)
        assert mask_instance_uid(path) == mask_instance_uid(str(path)) == SOURCE


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_segments_that_overlap_leave_the_muscle_on_top(tmp_path: Path, order: tuple[int, int]) -> None:
    frames = {1: MASK > 0, 2: MASK == 2}
    path = save(make_seg([frames[number] for number in order], list(order), TWO), tmp_path / "seg")
    np.testing.assert_array_equal(read_mask(path, SHAPE), MASK)


@pytest.mark.parametrize(
    "segments",
    [
        [segment(7, BREAST), segment(9, MUSCLE)],
        [segment(7, "T-04000"), segment(9, "T-14110")],
        [segment(7, "T-04000"), segment(9, label="Pectoral muscle")],
        [segment(7, label="Right breast"), segment(9, meaning="Pectoralis major")],
        [segment(7, "000", meaning="Breast"), segment(9, "001", label="muscle")],
    ],
)
def test_how_a_segment_is_told(tmp_path: Path, segments: list[Dataset]) -> None:
    path = save(make_seg([MASK == 1, MASK == 2], [7, 9], segments), tmp_path / "seg")
    np.testing.assert_array_equal(read_mask(path, SHAPE), MASK)


def test_segments_by_number(tmp_path: Path) -> None:
    strange = [segment(1, label="a"), segment(2, label="b")]
    path = save(make_seg([MASK == 1, MASK == 2], [1, 2], strange), tmp_path / "seg")
    assert refusal(path) is Reason.MASK_LABELS
    np.testing.assert_array_equal(read_mask(path, SHAPE, {1: 1, 2: 2}), MASK)
    np.testing.assert_array_equal(read_mask(path, SHAPE, {1: 2, 2: 1}), np.choose(MASK, [0, 2, 1]))
    assert refusal(path, {1: 1}) is Reason.MASK_LABELS


def test_an_empty_segment_may_have_no_frame(tmp_path: Path) -> None:
    path = save(make_seg([MASK > 0], [1], TWO), tmp_path / "seg")
    np.testing.assert_array_equal(read_mask(path, SHAPE), MASK > 0)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless])
def test_fractions_from_one_half_on(tmp_path: Path, syntax: str) -> None:
    fraction = np.where(MASK == 1, 100, np.where(MASK == 2, 99, 0))
    seg = make_seg(
        [fraction, np.where(MASK == 2, 200, 20)],
        [1, 2],
        TWO,
        kind="FRACTIONAL",
        syntax=syntax,
        MaximumFractionalValue=200,
    )
    np.testing.assert_array_equal(read_mask(save(seg, tmp_path / "seg"), SHAPE), MASK)


def test_a_label_map(tmp_path: Path) -> None:
    segments = [segment(4, BREAST), segment(5, MUSCLE)]
    path = save(make_seg([np.choose(MASK, [0, 4, 5])], [0], segments, kind="LABELMAP"), tmp_path / "seg")
    np.testing.assert_array_equal(read_mask(path, SHAPE), MASK)


def test_several_images_in_one_object_are_refused(tmp_path: Path) -> None:
    path = save(make_seg([MASK == 1, MASK == 2], [1, 2], TWO, sources=["1.2.3", "1.2.4"]), tmp_path / "seg")
    assert refusal(path) is Reason.MASK_UNREADABLE
    with pytest.raises(RefusedError, match="2 images"):
        mask_instance_uid(path)


def test_where_the_image_is_named(tmp_path: Path) -> None:
    seg = make_seg([MASK == 1], [1], TWO)
    del seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
    with pytest.raises(RefusedError, match="0 images"):
        mask_instance_uid(save(seg, tmp_path / "seg"))
    seg.ReferencedSeriesSequence = [item(ReferencedInstanceSequence=[item(ReferencedSOPInstanceUID="1.2.77")])]
    assert mask_instance_uid(save(seg, tmp_path / "seg")) == "1.2.77"


def test_what_is_no_segmentation_is_refused(tmp_path: Path) -> None:
    image = write(tmp_path / "image")
    assert refusal(image) is Reason.MASK_UNREADABLE
    with pytest.raises(RefusedError) as caught:
        mask_instance_uid(image)
    assert caught.value.reason is Reason.MASK_UNREADABLE


def test_another_size_is_refused(tmp_path: Path) -> None:
    path = save(make_seg([MASK == 1, MASK == 2], [1, 2], TWO), tmp_path / "seg")
    assert refusal(path, shape=(48, 41)) is Reason.MASK_SIZE


@pytest.mark.parametrize(
    "change", [{"NumberOfFrames": 3}, {"NumberOfFrames": 10_000}, {"BitsAllocated": 32}, {"PixelData": b""}]
)
def test_damaged_segmentations_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = save(make_seg([MASK == 1, MASK == 2], [1, 2], TWO, **change), tmp_path / "seg")
    assert refusal(path) is Reason.MASK_UNREADABLE


def test_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    data = save(make_seg([MASK == 1, MASK == 2], [1, 2], TWO), tmp_path / "seg").read_bytes()
    rng = np.random.default_rng(5)
    for number in range(150):
        broken = bytearray(data)
        for position in rng.integers(132, len(data), rng.integers(1, 4)):
            broken[position] = rng.integers(0, 256)
        (tmp_path / "seg").write_bytes(broken[: rng.integers(140, len(data))] if number % 5 == 0 else broken)
        try:
            mask = read_mask(tmp_path / "seg", SHAPE)
        except RefusedError:
            continue
        assert mask.shape == SHAPE
        assert mask.max() <= 2
