"""What a header says about a mammogram, and whether it is one.

Not for pixels (`pixels.py`) and not for look-up tables (`luts.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import uid
from pydicom.dataset import Dataset

from maseg_nnunet.arrays import Spacing
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Identity, Intent, Side, View
from maseg_nnunet.readers.attributes import code, integer, items, printable, text, texts
from maseg_nnunet.readers.identity import is_dummy_patient_id, read_identity
from maseg_nnunet.readers.kinds import is_digitized_film, read_kind
from maseg_nnunet.readers.spacing import read_spacing
from maseg_nnunet.readers.vendors import known_model, recognise
from maseg_nnunet.readers.views import (
    is_specimen,
    read_modifiers,
    read_side,
    read_view,
    read_view_code,
    side_from_path,
    side_from_text,
    view_from_path,
    view_from_text,
)

_MAMMOGRAPHY: Final = {
    uid.DigitalMammographyXRayImageStorageForPresentation: Intent.PROCESSED,
    uid.DigitalMammographyXRayImageStorageForProcessing: Intent.RAW,
    uid.BreastTomosynthesisImageStorage: Intent.PROCESSED,
}
_GENERAL: Final = {
    uid.ComputedRadiographyImageStorage: Intent.PROCESSED,
    uid.DigitalXRayImageStorageForPresentation: Intent.PROCESSED,
    uid.DigitalXRayImageStorageForProcessing: Intent.RAW,
    uid.SecondaryCaptureImageStorage: Intent.PROCESSED,
}
_INTENTS: Final = {"FOR PRESENTATION": Intent.PROCESSED, "FOR PROCESSING": Intent.RAW}
_BREAST_CODES: Final = frozenset({"76752008", "T-04000"})
_BREAST_WORDS: Final = frozenset({"BREAST", "BREASTS", "MAMMO", "MAMMOGRAPHY"})
_PROJECTIONS: Final = frozenset({"", "CR", "DX", "RG", "OT", "SC"})
"""Values of Modality of a projection image. OT and SC are what converters of secondary captures write."""

_MAMMOGRAPHIC: Final = frozenset({View.CC, View.MLO, View.LMO, View.XCCL, View.XCCM})
"""Views of a breast only: other parts have ML, LM and caudo-cranial views, too."""


@dataclass(frozen=True)
class Header:
    """One DICOM mammogram without its pixels.

    The fields are those of `Mammogram`, with the size beside them.

    Attributes:
        rows: Rows (0028,0010); 0 if it is missing.
        columns: Columns (0028,0011); 0 if it is missing.
        spacing: (row, column) in mm, or None if the header has none.
    """

    path: Path
    rows: int
    columns: int
    spacing: Spacing | None
    spacing_source: str
    intent: Intent
    view: View
    side: Side
    vendor: str
    model: str
    sop_class: str
    identity: Identity
    flags: tuple[Flag, ...]
    horizontal_flip: str
    patient_orientation: tuple[str, ...]


def parse_header(dataset: Dataset, path: Path) -> Header:
    """Read everything but pixels and look-up tables.

    Args:
        dataset: The data set, at least up to its pixels.
        path: The file, whose words may name view and side.

    Raises:
        RefusedError: WRONG_MODALITY, SPECIMEN, MULTI_FRAME or BAD_SPACING.
    """
    sop_class, intent = _read_class(dataset)
    if is_specimen(dataset):
        raise RefusedError(Reason.SPECIMEN, "the image is of a specimen")
    if (integer(dataset, "NumberOfFrames") or 1) != 1:
        raise RefusedError(Reason.MULTI_FRAME, "only images with one frame are read, not tomosynthesis slices")
    modifiers = read_modifiers(dataset)
    spacing, spacing_source, spacing_flags = read_spacing(dataset, modifiers)
    identity = read_identity(dataset)
    view, side = read_view(dataset), read_side(dataset)
    found = {*modifiers, *spacing_flags, *read_kind(dataset, sop_class)}
    if view is View.UNKNOWN and (view := view_from_text(dataset)) is not View.UNKNOWN:
        found.add(Flag.VIEW_FROM_TEXT)
    if view is View.UNKNOWN and (view := view_from_path(path)) is not View.UNKNOWN:
        found.add(Flag.VIEW_FROM_PATH)
    if side is Side.UNKNOWN and (side := side_from_text(dataset)) is not Side.UNKNOWN:
        found.add(Flag.SIDE_FROM_TEXT)
    if side is Side.UNKNOWN and (side := side_from_path(path)) is not Side.UNKNOWN:
        found.add(Flag.SIDE_FROM_PATH)
    conditions = {
        Flag.DUMMY_PATIENT: is_dummy_patient_id(identity.patient_id),
        Flag.BURNED_IN: code(dataset, "BurnedInAnnotation") == "YES",
    }
    found.update(flag for flag, holds in conditions.items() if holds)
    model = text(dataset, "ManufacturerModelName")
    vendor = recognise(text(dataset, "Manufacturer"), model)
    return Header(
        path=path,
        rows=integer(dataset, "Rows") or 0,
        columns=integer(dataset, "Columns") or 0,
        spacing=spacing,
        spacing_source=spacing_source,
        intent=intent,
        view=view,
        side=side,
        vendor=vendor,
        model=known_model(vendor, model),
        sop_class=sop_class.name if sop_class else "",
        identity=identity,
        flags=tuple(flag for flag in Flag if flag in found),
        horizontal_flip=printable(code(dataset, "FieldOfViewHorizontalFlip")),
        patient_orientation=tuple(printable(entry) for entry in texts(dataset, "PatientOrientation")[:2]),
    )


def _read_class(dataset: Dataset) -> tuple[uid.UID, Intent]:
    """The SOP class and the intent. Raises RefusedError (WRONG_MODALITY) if the class is not one that is read.

    Research copies without SOPClassUID exist. Modality then decides, as it does for the general classes.
    """
    if "DirectoryRecordSequence" in dataset:
        raise RefusedError(
            Reason.WRONG_MODALITY, "a DICOMDIR, the index of a disc: give the folder of the images instead"
        )
    sop_class = uid.UID(text(dataset, "SOPClassUID"))
    intents = {**_MAMMOGRAPHY, **_GENERAL, uid.UID(""): Intent.PROCESSED}
    if sop_class not in intents:
        name = sop_class.name if sop_class.name != str(sop_class) else "an object of a kind that DICOM does not list"
        raise RefusedError(Reason.WRONG_MODALITY, f"{name}, expected a digital mammogram, CR, DX or secondary capture")
    if sop_class not in _MAMMOGRAPHY and code(dataset, "Modality") != "MG" and not _is_breast(dataset):
        raise RefusedError(
            Reason.WRONG_MODALITY, "the header has neither Modality MG nor body part BREAST nor a mammographic view"
        )
    if is_digitized_film(dataset):
        return sop_class, Intent.FILM
    return sop_class, _INTENTS.get(code(dataset, "PresentationIntentType"), intents[sop_class])


def _is_breast(dataset: Dataset) -> bool:
    """Whether a header of a general class says breast: by region or body part or, if it has neither, by view code."""
    regions = {text(item, "CodeValue") for item in items(dataset, "AnatomicRegionSequence")}
    part = set(re.findall("[A-Z]+", code(dataset, "BodyPartExamined")))
    if part or regions:
        return bool(part & _BREAST_WORDS or regions & _BREAST_CODES)
    return code(dataset, "Modality") in _PROJECTIONS and read_view_code(dataset) in _MAMMOGRAPHIC
