"""Write a mask as a DICOM Segmentation object (PS3.3 A.51): one object per image, BINARY, two segments.

Patient and study come from the source, whose header may be incomplete or partly illegal. A required attribute without a
legal value is written empty. If a UID that the object needs is missing or illegal, no object is written. Not for
reading segmentations (`readers/dicom_seg.py`), and not for sending them (`serving/server.py`).

UIDs are derived from the source's header, the algorithm and the mask. The same result sent twice is one object in an
archive; another mask or a corrected patient is another object. Every object is a series of its own, because viewers
show one SEG per series.
"""

from __future__ import annotations

import hashlib
import io
import logging
import uuid
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.errors import InvalidDicomError
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from maseg_nnunet.arrays import Mask, Spacing
from maseg_nnunet.errors import OutputError
from maseg_nnunet.files import write_bytes
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Side
from maseg_nnunet.writers.dicom_header import (
    copy_patient_and_study,
    fingerprint,
    read_source_header,
    uid,
    value,
    values,
)

# highdicom logs UIDs at level INFO.
logging.getLogger("highdicom").setLevel(logging.WARNING)

CATEGORY: Final = Code("91723000", "SCT", "Anatomical Structure")  # CID 7150
BREAST: Final = Code("76752008", "SCT", "Breast")
PECTORALIS_MAJOR: Final = Code("60005003", "SCT", "Pectoralis major muscle")
SIDES: Final = {
    Side.LEFT: Code("7771000", "SCT", "Left"),  # CID 244
    Side.RIGHT: Code("24028007", "SCT", "Right"),
}
_SEGMENTS: Final = (
    (Label.BREAST, "Breast", BREAST, (255, 0, 0)),
    (Label.PECTORAL_MUSCLE, "Pectoral muscle", PECTORALIS_MAJOR, (64, 128, 255)),
)

LOSSY_METHODS: Final[dict[str | None, str]] = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}

ALWAYS_LOSSY: Final = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)

MANUFACTURER: Final = "maseg-nnunet"
SERIES_NUMBER: Final = 9000
"""The source's instance number is added, so that the series is after every acquired series of the study."""

_NAMESPACE: Final = uuid.UUID("5b0f7e86-6d0e-5c1b-9f0a-3f6f2d6b6a11")


@dataclass(frozen=True)
class Algorithm:
    """The algorithm that made a mask, as the object identifies it (PS3.3 table 10-19).

    Attributes:
        version: Version of this package.
        model: Name or hash of the weights, at most 64 characters.
        name: Name of the algorithm.
    """

    version: str
    model: str
    name: str = MANUFACTURER


def algorithm_of(plans_name: str, digest: str) -> Algorithm:
    """The algorithm of this package with given weights.

    Args:
        plans_name: Name of the plans that the network was trained with.
        digest: SHA-256 of the weights, hexadecimal.
    """
    return Algorithm(version("maseg-nnunet"), f"{plans_name[:40]} {digest[:16]}")


def write_dicom_seg(
    path: Path,
    mask: Mask,
    source: Path,
    spacing: Spacing,
    side: Side,
    algorithm: Algorithm,
    created: datetime | None = None,
) -> bool:
    """Write a mask as a DICOM Segmentation object (PS3.3 A.51, C.8.20).

    A file that already is this object is not written again, whenever it was created.

    Args:
        path: The file to write.
        mask: Values of `Label`, shape (rows, columns), uint8, on the grid of the source.
        source: The DICOM file that the mask is of.
        spacing: Pixel spacing that was used, (row, column) in mm, whatever attribute it came from.
        side: Side of the breast; it modifies the type of both segments.
        algorithm: The algorithm that made the mask.
        created: Date and time of the object; now by default.

    Returns:
        Whether the file was written.

    Raises:
        OutputError: The source's header can't be read or has no legal UIDs, or the mask does not fit the source.
        OSError: The file can't be written.
    """
    seg = dicom_seg(read_source_header(source), mask, spacing, side, algorithm, created or datetime.now())
    if _holds(path, seg.SOPInstanceUID):
        return False
    buffer = io.BytesIO()
    dcmwrite(buffer, seg, enforce_file_format=True)
    return write_bytes(path, buffer.getvalue())


def dicom_seg(
    source: Dataset,
    mask: Mask,
    spacing: Spacing,
    side: Side,
    algorithm: Algorithm,
    created: datetime,
) -> Dataset:
    """Make the Segmentation object of a mask.

    The parameters are those of `write_dicom_seg`, except that `source` is what `read_source_header` returned.

    Raises:
        OutputError: The source has no legal UIDs, or the mask does not fit it.
    """
    reference = _reference(source, mask)
    identity = f"{fingerprint(source)} {algorithm} {spacing} {side.value} {_digest(mask)}"
    seg: Dataset = highdicom.seg.Segmentation(
        source_images=[reference],
        pixel_array=mask,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(side, algorithm),
        series_instance_uid=_derived_uid("series", identity),
        series_number=SERIES_NUMBER + _instance_number(source),
        sop_instance_uid=_derived_uid("instance", identity),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number=algorithm.model,
        content_label="BREAST_SEG",
        content_description="Breast and pectoral muscle",
        series_description="Breast and pectoral muscle segmentation",
        # A projection has no thickness, but highdicom can't read a SEG without one.
        pixel_measures=highdicom.PixelMeasuresSequence(pixel_spacing=spacing, slice_thickness=1.0),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        # A muscle that was not found is a segment without pixels, not a segment without a frame.
        omit_empty_frames=False,
    )
    seg.ContentCreatorName = ""  # type 2 (PS3.3 table 10-12): no person drew it
    copy_patient_and_study(source, seg)
    # Type 2C, required if there is no frame of reference (PS3.3 C.7.6.1).
    orientation = values(source, "PatientOrientation")
    seg.PatientOrientation = orientation if len(orientation) == 2 else None
    seg["PixelData"].VR = "OB"  # pydicom resolves "OB or OW" only if it rewrites every value
    _refer_to(seg, uid(source, "SOPClassUID"))
    _stamp(seg, identity, created)
    return seg


def _holds(path: Path, instance: str) -> bool:
    """Whether `path` is a file of that instance. It is complete, because `files.atomic` writes no part of a file."""
    try:
        return bool(dcmread(path, stop_before_pixels=True).SOPInstanceUID == instance)
    except (OSError, InvalidDicomError, EOFError, AttributeError):
        return False


def _reference(source: Dataset, mask: Mask) -> Dataset:
    """The source as highdicom sees it, without the patient, whom it would quote in warnings and logs."""
    reference = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(reference, keyword, uid(source, keyword))
    # For a class that may have frames, highdicom needs more than a mask of one frame does. `_refer_to` corrects it.
    reference.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(reference, keyword, "")
    reference.StudyDate = reference.StudyTime = None
    if (source.get("Rows"), source.get("Columns")) != mask.shape:
        raise OutputError(f"no DICOM SEG: the mask's shape {mask.shape} is not the source's")
    if mask.max(initial=0) > max(Label):
        raise OutputError(f"no DICOM SEG: the mask has the label {mask.max()}, expected at most {int(max(Label))}")
    reference.Rows, reference.Columns = mask.shape
    if frame_of_reference := value(source, "FrameOfReferenceUID"):
        reference.FrameOfReferenceUID = frame_of_reference
    if value(source, "LossyImageCompression") == "01" or _syntax(source) in ALWAYS_LOSSY:
        # The attribute may be missing, and JPEG 2000 may be lossless. Ratio and method are type 1C in the object and
        # often missing in the source. A ratio of 1 only says that the image was compressed.
        reference.LossyImageCompression = "01"
        reference.LossyImageCompressionRatio = values(source, "LossyImageCompressionRatio") or "1"
        reference.LossyImageCompressionMethod = values(source, "LossyImageCompressionMethod") or _method(source)
    return reference


def _method(source: Dataset) -> str:
    """The lossy compression method (PS3.3 C.7.6.1.1.5.1) of the source's transfer syntax, else UNKNOWN."""
    return LOSSY_METHODS.get(_syntax(source), "UNKNOWN")


def _syntax(source: Dataset) -> str | None:
    syntax: str | None = getattr(source, "file_meta", Dataset()).get("TransferSyntaxUID")
    return syntax


def _descriptions(side: Side, algorithm: Algorithm) -> list[SegmentDescription]:
    identification = highdicom.AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=codes.cid7162.ArtificialIntelligence,
        version=algorithm.version,
        parameters={"model": algorithm.model},
    )
    descriptions = []
    for label, text, code, color in _SEGMENTS:
        description = SegmentDescription(
            segment_number=int(label),
            segment_label=text,
            segmented_property_category=CATEGORY,
            segmented_property_type=code,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=identification,
            display_color=CIELabColor.from_rgb(*color),
        )
        if side in SIDES:
            # The side modifies the type, so it is inside the type's item (PS3.3 C.8.20.2). highdicom has no argument
            # for it.
            modifier = highdicom.sr.CodedConcept.from_code(SIDES[side])
            description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
        descriptions.append(description)
    return descriptions


def _refer_to(seg: Dataset, sop_class: str) -> None:
    """Name the source's own SOP class wherever `seg` refers to the source."""
    frames = [source for frame in seg.PerFrameFunctionalGroupsSequence for source in frame.DerivationImageSequence]
    referring = [*seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence, *seg.SourceImageSequence]
    for item in (*referring, *(image for frame in frames for image in frame.SourceImageSequence)):
        item.ReferencedSOPClassUID = sop_class


def _stamp(seg: Dataset, identity: str, created: datetime) -> None:
    """Set every date and time to `created`, and derive the UID that highdicom generates at random."""
    seg.ContentDate = seg.InstanceCreationDate = created.strftime("%Y%m%d")
    seg.ContentTime = seg.InstanceCreationTime = created.strftime("%H%M%S")
    for equipment in seg.ContributingEquipmentSequence:
        equipment.ContributionDateTime = created.strftime("%Y%m%d%H%M%S")
    organization = _derived_uid("dimensions", identity)
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization


def _derived_uid(kind: str, identity: str) -> str:
    """A UID from a name-based UUID (PS3.5 B.2): 2.25 and the UUID as a decimal number."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{kind} {identity}').int}"


def _digest(mask: Mask) -> str:
    return hashlib.blake2b(np.ascontiguousarray(mask).data, digest_size=16).hexdigest()


def _instance_number(source: Dataset) -> int:
    number = int(value(source, "InstanceNumber") or 0)
    return number if 0 <= number < 1_000_000 else 0
