"""One mammogram in memory, as every reader returns it. `readers/` reads it, `resample.py` resamples it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final

import numpy as np

from maseg_nnunet.arrays import Image, Pixels, Shape, Spacing
from maseg_nnunet.voi import CaseLuts


class View(str, Enum):
    """Projection (DICOM PS3.16 CID 4014). The manifest shows the value; `meaning` is its name."""

    CC = "CC"
    MLO = "MLO"
    ML = "ML"
    LM = "LM"
    LMO = "LMO"
    XCCL = "XCCL"
    XCCM = "XCCM"
    FB = "FB"
    UNKNOWN = ""

    @property
    def meaning(self) -> str:
        """The view's name in words."""
        return _VIEW_NAMES[self]

    @property
    def is_mlo_like(self) -> bool:
        """Whether a large pectoral muscle is expected: MLO, ML, LM and LMO."""
        return self in (View.MLO, View.ML, View.LM, View.LMO)


_VIEW_NAMES: Final = {
    View.CC: "cranio-caudal",
    View.MLO: "medio-lateral oblique",
    View.ML: "medio-lateral",
    View.LM: "latero-medial",
    View.LMO: "latero-medial oblique",
    View.XCCL: "cranio-caudal, exaggerated laterally",
    View.XCCM: "cranio-caudal, exaggerated medially",
    View.FB: "caudo-cranial (from below)",
    View.UNKNOWN: "unknown",
}


class Side(str, Enum):
    """Laterality of the breast, in the letters of ImageLaterality (0020,0062)."""

    LEFT = "L"
    RIGHT = "R"
    UNKNOWN = ""


class Intent(str, Enum):
    """What an image is for: PresentationIntentType (0008,0068), or film for digitized screen-film mammograms."""

    PROCESSED = "processed"
    RAW = "raw"
    FILM = "film"


class Flag(str, Enum):
    """Something that a user should know about a file that was read nevertheless.

    The manifest, the statistics and `maseg inspect` show the value; `meaning` explains it.
    """

    DUMMY_PATIENT = "patient id empty or a dummy: the study counts as the woman"
    BURNED_IN = "burned-in annotation"
    MAGNIFICATION = "magnification view"
    SPOT = "spot view"
    IMPLANT_DISPLACED = "implant-displaced view"
    ROLLED = "rolled view"
    CLEAVAGE = "cleavage view"
    TANGENTIAL = "tangential view"
    AXILLARY_TAIL = "axillary tail view"
    SYNTHETIC = "synthetic 2D from tomosynthesis"
    TOMOSYNTHESIS = "tomosynthesis slice or projection"
    SUBTRACTION = "contrast-enhanced subtraction"
    BIOPSY = "image of a biopsy"
    IMPLANT = "breast implant"
    QUALITY_CONTROL = "quality control image"
    MAGNIFICATION_BELOW_ONE = "magnification factor below 1 ignored"
    CONTACT_MAGNIFICATION = "spacing at the detector: areas are larger than in the breast"
    SIGMOID_ASSUMED = "VOILUTFunction missing: SIGMOID assumed"
    LINEAR_ASSUMED = "VOILUTFunction missing: LINEAR assumed"
    BASE_NOT_NORMAL = "no usable NORMAL look-up table: the next one is the base"
    TABLE_BITS_OVERSTATED = "VOI LUT with fewer bits than stated: its largest entry is white"
    TURNED = "stored sideways or upside down: turned upright for the network"
    ORIENTATION_DOUBTED = "PatientOrientation contradicts the image: not turned"
    VIEW_FROM_TEXT = "view from the series description or protocol name"
    SIDE_FROM_TEXT = "side from the series description or protocol name"
    VIEW_FROM_PATH = "view from the file's path"
    SIDE_FROM_PATH = "side from the file's path"
    SPACING_GIVEN = "spacing given by the user"
    DECIMAL_COMMA = "decimal comma in the spacing"
    UNUSUAL_EXTENT = "unusual size in mm"
    HIGH_BIT_SHIFTED = "HighBit above BitsStored - 1: shifted"
    SYNTAX_CONTRADICTED = "compressed otherwise than the transfer syntax says"
    CONSTANT = "one constant value"

    @property
    def meaning(self) -> str:
        """What the flag means and what a user should do, as one sentence."""
        return _FLAG_MEANINGS[self]


_FLAG_MEANINGS: Final = {
    Flag.DUMMY_PATIENT: "PatientID is empty or a placeholder, so each study counts as another woman: make sure that no "
    "woman has two studies in the data set, or she may be in training and in test.",
    Flag.BURNED_IN: "BurnedInAnnotation is YES, so the pixels may show the patient's name: previews and reports do not "
    "show the image, and you should not pass it on.",
    Flag.MAGNIFICATION: "The image shows a part of the breast, enlarged, and is not used for training: look at the "
    "preview, and do not compare its areas with those of whole breasts.",
    Flag.SPOT: "The image shows a part of the breast under a small paddle and is not used for training: look at the "
    "preview, and do not compare its areas with those of whole breasts.",
    Flag.IMPLANT_DISPLACED: "The implant was pushed back and only the tissue in front of it is shown, and the image is "
    "not used for training: look at the preview.",
    Flag.ROLLED: "The breast was turned, which moves the pectoral muscle: look at the preview.",
    Flag.CLEAVAGE: "The image shows the inner parts of both breasts and is not used for training: look at the preview.",
    Flag.TANGENTIAL: "The image shows a part of the breast from its edge and is not used for training: look at the "
    "preview.",
    Flag.AXILLARY_TAIL: "The image shows the outer upper part of the breast and is not used for training: look at the "
    "preview, and do not compare its areas with those of whole breasts.",
    Flag.SYNTHETIC: "The image was computed from a tomosynthesis series and looks different from a mammogram: look at "
    "the preview.",
    Flag.TOMOSYNTHESIS: "ImageType names a single slice or projection of tomosynthesis, and the image is not used for "
    "training: give the synthetic 2D image instead, or look at the preview.",
    Flag.SUBTRACTION: "ImageType names a subtraction with contrast medium, which looks different from a mammogram, and "
    "the image is not used for training: give the low-energy image instead, or look at the preview.",
    Flag.BIOPSY: "ImageType names an image of a biopsy, which shows a part of the breast, and is not used for "
    "training: look at the preview.",
    Flag.IMPLANT: "BreastImplantPresent is YES, and an implant is bright as muscle is: look at the preview.",
    Flag.QUALITY_CONTROL: "QualityControlImage says that the image shows a test object, and the image is not used for "
    "training: leave it out unless it shows a breast.",
    Flag.MAGNIFICATION_BELOW_ONE: "EstimatedRadiographicMagnificationFactor is below 1, which is impossible, and was "
    "ignored: check the spacing before you use areas and lengths.",
    Flag.CONTACT_MAGNIFICATION: "The spacing is that of the detector, which is farther from the tube than the breast: "
    "areas and lengths are somewhat larger than in the breast, so compare them only with others that have this flag.",
    Flag.SIGMOID_ASSUMED: "VOILUTFunction is missing, and the maker's windows usually are SIGMOID then: check that "
    "the preview looks as it does on the maker's workstation.",
    Flag.LINEAR_ASSUMED: "VOILUTFunction is missing, and a table in the header shows that the windows are LINEAR: "
    "check that the preview looks as it does on the maker's workstation.",
    Flag.BASE_NOT_NORMAL: "The NORMAL look-up table, or the first if none is NORMAL, can't be used, so another one "
    "says what is black and white: check the contrast of the preview.",
    Flag.TABLE_BITS_OVERSTATED: "The entries of a VOI LUT are far below the range that LUTDescriptor states, which "
    "would make the image nearly black, so the largest entry is shown white: check the contrast of the preview.",
    Flag.TURNED: "PatientOrientation says that the image is not stored upright, and the image agrees, so the network "
    "saw it turned: check the mask, which fits the image as it is stored.",
    Flag.ORIENTATION_DOUBTED: "PatientOrientation says that the image is not stored upright, but then the chest wall "
    "would be elsewhere, so the image was taken as it is stored: check the mask.",
    Flag.VIEW_FROM_TEXT: "The file has no code of its view, which was taken from words of SeriesDescription or "
    "ProtocolName: check that it is right.",
    Flag.SIDE_FROM_TEXT: "The file has no code of its side, which was taken from words of SeriesDescription or "
    "ProtocolName: check that it is right.",
    Flag.VIEW_FROM_PATH: "The file does not state its view, which was taken from words of its path: check that it is "
    "right.",
    Flag.SIDE_FROM_PATH: "The file does not state its side, which was taken from words of its path: check that it is "
    "right.",
    Flag.SPACING_GIVEN: "The file has no pixel spacing and got the one that you gave: areas and lengths depend on it, "
    "so check it.",
    Flag.DECIMAL_COMMA: "The spacing has a decimal comma, which DICOM does not allow, and was read as a point: check "
    "that areas are plausible.",
    Flag.UNUSUAL_EXTENT: "The image is smaller or larger in mm than detectors and films are, so its spacing is "
    "probably wrong: check it before you use areas and lengths.",
    Flag.HIGH_BIT_SHIFTED: "HighBit is above BitsStored - 1, so the samples were shifted down (PS3.5 section 8.1.1): "
    "check that the preview looks right.",
    Flag.SYNTAX_CONTRADICTED: "TransferSyntaxUID contradicts the pixel data, which were decoded as what they are: "
    "other programs may fail, so correct the header or export the image again.",
    Flag.CONSTANT: "All pixels have the same value or gray, so the mask is empty: export the image again.",
}


@dataclass(frozen=True)
class Identity:
    """Whose image it is and which, from the header. It is never printed or written: `repr` shows nothing.

    Attributes:
        patient_id: PatientID (0010,0020).
        issuer: IssuerOfPatientID (0010,0021).
        study_uid: StudyInstanceUID (0020,000D).
        instance_uid: SOPInstanceUID (0008,0018).
        source_uids: SOPInstanceUIDs of the images that it was made from, by SourceImageSequence (0008,2112).
        acquisition: What a raw image and its processed twin have in common: IrradiationEventUID (0008,3010), or the
            study with date and time of acquisition. Empty if the header has neither.
    """

    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    instance_uid: str = field(default="", repr=False)
    source_uids: tuple[str, ...] = field(default=(), repr=False)
    acquisition: str = field(default="", repr=False)


@dataclass(frozen=True, eq=False)
class Mammogram:
    """One image, in stored orientation.

    Attributes:
        path: The file.
        pixels: Stored values after the modality LUT (DICOM PS3.3 C.11.1), shape (rows, columns), any integer type, or
            float32 if the rescale is not integer. Pixel padding (C.7.5.1.1.2) is set to the dark end. Pixels of the
            readers are read-only.
        spacing: Size of a pixel, (row, column), in mm.
        spacing_source: Keyword of the attribute with the spacing: ImagerPixelSpacing (0018,1164), PixelSpacing
            (0028,0030) or NominalScannedPixelSpacing (0018,2010). "user" if the user gave it, "data set" if a data set
            is known to have it.
        luts: All usable VOI look-up tables (C.11.2), the base among them, and whether the image is MONOCHROME1.
        intent: Film if ConversionType (0008,0064) is DF; else processed or raw, by PresentationIntentType (0008,0068),
            else by the SOP class.
        view: By ViewCodeSequence (0054,0220), else ViewPosition (0018,5101), else words of SeriesDescription
            (0008,103E) or ProtocolName (0018,1030), else words of the path.
        side: By ImageLaterality (0020,0062), Laterality (0020,0060) or FrameLaterality (0020,9072), else ViewPosition,
            SeriesDescription, ProtocolName or words of the path.
        vendor: A key of `readers.vendors.VENDORS`, by Manufacturer (0008,0070) and model, or "unknown".
        model: The known words of ManufacturerModelName (0008,1090).
        sop_class: Name of the SOP class (0008,0016); empty for a film.
        identity: Patient, study and instance, for naming cases; never shown.
        flags: What a user should know about the file, in the order of `Flag`.
        horizontal_flip: FieldOfViewHorizontalFlip (0018,7034), "YES", "NO" or empty. It is recorded, and nothing uses
            it.
        patient_orientation: PatientOrientation (0020,0020): the directions that the rows and the columns of the stored
            image point to. Empty if unknown.
    """

    path: Path
    pixels: Pixels
    spacing: Spacing
    spacing_source: str
    luts: CaseLuts
    intent: Intent
    view: View = View.UNKNOWN
    side: Side = Side.UNKNOWN
    vendor: str = "unknown"
    model: str = ""
    sop_class: str = ""
    identity: Identity = Identity()
    flags: tuple[Flag, ...] = ()
    horizontal_flip: str = ""
    patient_orientation: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """(rows, columns) in pixels."""
        rows, columns = self.pixels.shape
        return rows, columns

    @property
    def quarter_turns(self) -> int:
        """Counter-clockwise turns by 90 degrees that make the image upright, 0 to 3.

        Upright means that the chest wall is on the left or right and the head is not below. PatientOrientation (PS3.3
        C.7.6.1.1.1) decides; 0 if it is missing or contradicts itself, or if the flag ORIENTATION_DOUBTED is set.
        Biopsy views are stored as seen from the table, sometimes with the chest wall below.
        """
        if Flag.ORIENTATION_DOUBTED in self.flags:
            return 0
        rightwards, downwards = (*self.patient_orientation, "", "")[:2]
        # The first letter is the main direction. H and F may come second, because an MLO view is oblique.
        if downwards[:1] in ("A", "P") and rightwards[:1] in ("R", "L", "F", "H"):
            return 1 if "H" in rightwards else 3
        return 2 if rightwards[:1] in ("A", "P") and "H" in downwards else 0

    def upright(self) -> Mammogram:
        """Turn the image by its `quarter_turns`.

        Returns:
            A copy with turned `pixels`, with `spacing` exchanged if rows became columns, and without
            `patient_orientation`. The image itself if it is upright or its orientation is unknown.
        """
        turns = self.quarter_turns
        if not turns:
            return self
        spacing = self.spacing if turns == 2 else self.spacing[::-1]
        pixels = np.ascontiguousarray(np.rot90(self.pixels, turns))
        return replace(self, pixels=pixels, spacing=spacing, patient_orientation=())

    def displayed(self) -> Image:
        """Apply the base look-up table, as a viewer does.

        Returns:
            Gray, shape (rows, columns), float32: 0 is black and 1 is white, also for MONOCHROME1.
        """
        return self.luts.display(self.pixels).astype(np.float32)
