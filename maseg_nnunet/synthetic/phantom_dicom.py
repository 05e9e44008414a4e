"""Write DICOM exams of phantoms like those of six makers, for the demo and for tests of what reads a header.

The makers differ on purpose in look-up tables (LINEAR, LINEAR_EXACT, SIGMOID, tables), MONOCHROME1 and 2, bits,
spacing, padding, code schemes and raw twins. The headers have the attributes that this project reads and are not
conformance samples. Every header has a planted patient (`PLANTED`), for whom tests can search the results. `phantom.py`
draws the images.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    generate_uid,
)

from maseg_nnunet.arrays import Image
from maseg_nnunet.errors import UsageError
from maseg_nnunet.files import write_bytes
from maseg_nnunet.mammogram import Intent, Side, View
from maseg_nnunet.synthetic.phantom import processed_gray, raw_gray, with_marker
from maseg_nnunet.synthetic.phantom_breast import Breast, make_breast
from maseg_nnunet.voi import Function, LookUpTable, apply_lut, from_voi_units

PLANTED: Final = ("Quitte", "Mirabelle", "19480229", "ACC-QUITTE", "Obstgarten")
"""Words of the planted patient: names, birth date, accession number, institution. PatientIDs begin with QUI."""

MASKS: Final = "masks"
IMAGES: Final = "images"

_RAW_BITS: Final = 14
_VIEW_CODES: Final = {
    "SRT": {View.CC: "R-10242", View.MLO: "R-10226"},
    "SNM3": {View.CC: "R-10242", View.MLO: "R-10226"},
    "SCT": {View.CC: "399162004", View.MLO: "399368009"},
}
_VIEW_MEANINGS: Final = {View.CC: "cranio-caudal", View.MLO: "medio-lateral oblique"}
_ORIENTATION: Final = {
    (View.CC, Side.LEFT): ["A", "R"],
    (View.CC, Side.RIGHT): ["P", "L"],
    (View.MLO, Side.LEFT): ["A", "FR"],
    (View.MLO, Side.RIGHT): ["P", "FL"],
}


@dataclass(frozen=True)
class _Maker:
    """What differs between the images of makers.

    Attributes:
        rows: Rows of a full-size image.
        columns: Columns of a full-size image.
        spacing: Side of its square pixels in mm.
        luts: VOI look-up tables of processed images; the first is the base.
        bits: BitsStored of processed images.
        inverted: Whether processed images are MONOCHROME1.
        raw: Whether the maker sends raw twins.
        raw_inverted: Whether raw images are MONOCHROME1.
        scheme: Coding scheme designator of the view.
        view_position: Whether the header has ViewPosition.
        padding: PixelPaddingValue and PixelPaddingRangeLimit, None without padding.
    """

    manufacturer: str
    model: str
    rows: int
    columns: int
    spacing: float
    luts: tuple[LookUpTable, ...]
    bits: int = 12
    inverted: bool = False
    raw: bool = True
    raw_inverted: bool = False
    scheme: str = "SRT"
    view_position: bool = True
    padding: tuple[int, int] | None = None


def _gamma_table(explanation: str, power: float, bits: int = 12) -> LookUpTable:
    size = 1 << bits
    entries = np.round(np.power(np.linspace(0, 1, size), power) * (size - 1)).astype(np.int64)
    return LookUpTable(explanation, Function.TABLE, first=0, bits=bits, values=entries)


def _window(explanation: str, function: Function, center: float, width: float) -> LookUpTable:
    return LookUpTable(explanation, function, center=center, width=width)


def _tabulated(lut: LookUpTable, bits: int = 12) -> LookUpTable:
    """A table that shows the same gray as the window `lut`. GE sends both."""
    size = 1 << bits
    entries = np.round(apply_lut(lut, np.arange(size)) * (size - 1)).astype(np.int64)
    return LookUpTable(lut.explanation, Function.TABLE, first=0, bits=bits, values=entries)


_GE_WINDOWS: Final = (
    _window("NORMAL", Function.SIGMOID, 2653, 900),
    _window("HARDER", Function.SIGMOID, 2713, 750),
    _window("SOFTER", Function.SIGMOID, 2569, 1050),
)

_MAKERS: Final[dict[str, _Maker]] = {
    "hologic": _Maker(
        "HOLOGIC, Inc.",
        "Selenia Dimensions",
        3328,
        2560,
        0.070,
        (_window("NORMAL", Function.LINEAR, 1850, 2300), _window("CONTRAST", Function.LINEAR, 2050, 1700)),
        scheme="SNM3",
    ),
    "ims_giotto": _Maker(
        "I.M.S. srl",
        "GIOTTO IMAGE 3DL",
        3584,
        2816,
        0.085,
        (_window("NORMAL", Function.LINEAR_EXACT, 4000, 6400),),
        bits=13,
        raw_inverted=True,
        view_position=False,
    ),
    "fuji": _Maker(
        "FUJIFILM Corporation",
        "FDR-3000AWS",
        4728,
        3540,
        0.050,
        (_window("NORMAL", Function.LINEAR, 2047, 3600), _window("SOFT", Function.LINEAR, 2047, 4096)),
        inverted=True,
        raw=False,
    ),
    "ge": _Maker(
        "GE MEDICAL SYSTEMS",
        "Senographe Essential VERSION ADS_54.10",
        3062,
        2394,
        0.09409090909091,
        (*_GE_WINDOWS, *(_tabulated(window) for window in _GE_WINDOWS)),
        raw_inverted=True,
        scheme="SNM3",
        padding=(0, 30),
    ),
    "siemens": _Maker(
        "SIEMENS",
        "Mammomat Inspiration",
        3518,
        2800,
        0.085,
        (_gamma_table("OpView2", 1.35), _gamma_table("soft", 0.9)),
        scheme="SCT",
    ),
    "planmed": _Maker(
        "Planmed Oy",
        "Planmed Nuance",
        3584,
        2816,
        0.083,
        (_window("NORMAL", Function.LINEAR, 8000, 13000),),
        bits=14,
        inverted=True,
        raw=False,
    ),
}

VENDORS: Final = tuple(_MAKERS)
"""The vendors of `write_exam`: keys of `readers.vendors.VENDORS`."""


def write_exam(
    folder: Path,
    vendor: str,
    seed: int,
    *,
    scale: float = 0.25,
    raw: bool = True,
    views: tuple[View, ...] = (View.CC, View.MLO),
    sides: tuple[Side, ...] = (Side.LEFT, Side.RIGHT),
) -> list[tuple[Path, Path]]:
    """Write one woman's exam: DICOM files in `folder`/images, and masks as PNG of the same stem in `folder`/masks.

    Equal arguments give equal bytes. Files that have these bytes already are not written again.

    Args:
        folder: Where to write; made if missing.
        vendor: One of `VENDORS`.
        seed: The woman. Each vendor has other women.
        scale: Size of the pixel matrix relative to the maker's own, above 0 and at most 1. The field in mm is the same.
        raw: Also write raw twins, if the maker has them.
        views: The views of each side.
        sides: The breasts.

    Returns:
        Paths of each image and its mask. A raw twin comes after its processed image.

    Raises:
        UsageError: If the vendor is unknown or the scale out of range.
    """
    maker = _MAKERS.get(vendor)
    if maker is None:
        raise UsageError(f"there are no phantoms of vendor {vendor}: expected one of {', '.join(VENDORS)}")
    if not 0 < scale <= 1:
        raise UsageError(f"the scale is {scale:g}, expected a number above 0 and at most 1")
    woman = seed * len(_MAKERS) + VENDORS.index(vendor)
    rows, columns = round(maker.rows * scale), round(maker.columns * scale)
    written = []
    for number, (side, view) in enumerate((side, view) for side in sides for view in views):
        spacing = (maker.spacing / scale, maker.spacing / scale)
        breast = make_breast(woman, view, side, rows=rows, columns=columns, spacing=spacing)
        stem = f"{vendor}_{seed:04d}_{side.value}{view.value}"
        intents = (Intent.PROCESSED, Intent.RAW) if raw and maker.raw else (Intent.PROCESSED,)
        for intent in intents:
            name = f"{stem}_raw" if intent is Intent.RAW else stem
            dataset = _header(maker, vendor, seed, number, breast, intent, has_twin=len(intents) > 1)
            _add_pixels(dataset, maker, breast, intent)
            image, mask = folder / IMAGES / f"{name}.dcm", folder / MASKS / f"{name}.png"
            data = io.BytesIO()
            dataset.save_as(data, enforce_file_format=True)
            write_bytes(image, data.getvalue())
            write_bytes(mask, cv2.imencode(".png", breast.mask)[1].tobytes())
            written.append((image, mask))
    return written


def _header(
    maker: _Maker, vendor: str, seed: int, number: int, breast: Breast, intent: Intent, *, has_twin: bool
) -> Dataset:
    """The data set without the pixels and their attributes."""

    def uid(*parts: object) -> str:
        return generate_uid(entropy_srcs=["maseg phantom", vendor, str(seed), *map(str, parts)])

    processed = intent is Intent.PROCESSED
    sop_classes = (
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalMammographyXRayImageStorageForPresentation,
    )
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SpecificCharacterSet = "ISO_IR 100"
    d.ImageType = ["DERIVED" if processed else "ORIGINAL", "PRIMARY", ""]
    d.SOPClassUID = sop_classes[processed]
    d.SOPInstanceUID = uid(number, intent.value)
    day = f"2019{1 + seed % 12:02d}{1 + seed % 28:02d}"
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = day
    d.StudyTime = d.SeriesTime = "101500"
    d.AcquisitionTime = f"10{20 + number:02d}{(seed * 7) % 60:02d}"
    d.ContentTime = f"10{20 + number:02d}59"
    d.AccessionNumber = f"{PLANTED[3]}-{seed}"
    d.Modality = "MG"
    d.PresentationIntentType = "FOR PRESENTATION" if processed else "FOR PROCESSING"
    d.Manufacturer = maker.manufacturer
    d.InstitutionName = f"Klinik {PLANTED[4]}"
    d.ReferringPhysicianName = f"{PLANTED[0]}^Doktor"
    d.ManufacturerModelName = maker.model
    if processed and has_twin:
        source = Dataset()
        source.ReferencedSOPClassUID = sop_classes[0]
        source.ReferencedSOPInstanceUID = uid(number, Intent.RAW.value)
        source.SpatialLocationsPreserved = "YES"
        d.SourceImageSequence = Sequence([source])
    d.AnatomicRegionSequence = Sequence([_code("T-04000", "SRT", "Breast")])
    d.PatientName = f"{PLANTED[0]}^{PLANTED[1]}"
    d.PatientID = f"QUI{VENDORS.index(vendor)}{seed:05d}"
    d.PatientBirthDate = PLANTED[2]
    d.PatientSex = "F"
    d.PatientAge = "071Y"
    d.BodyPartExamined = "BREAST"
    d.KVP = "29"
    d.BodyPartThickness = str(round(float(breast.thickness.max())))
    d.ImagerPixelSpacing = [f"{spacing:.8f}" for spacing in breast.spacing]
    d.EstimatedRadiographicMagnificationFactor = "1.04"
    d.PositionerType = "MAMMOGRAPHIC"
    d.FieldOfViewHorizontalFlip = "NO"
    if maker.view_position:
        d.ViewPosition = breast.view.value
    d.StudyInstanceUID = uid("study")
    d.SeriesInstanceUID = uid("series", number, intent.value)
    d.StudyID = str(seed)
    d.SeriesNumber = number * 2 + (1 if processed else 2)
    d.InstanceNumber = number * 2 + (1 if processed else 2)
    d.PatientOrientation = _ORIENTATION[breast.view, breast.side]
    d.ImageLaterality = breast.side.value
    d.BurnedInAnnotation = "NO"
    d.LossyImageCompression = "00"
    view = _code(_VIEW_CODES[maker.scheme][breast.view], maker.scheme, _VIEW_MEANINGS[breast.view])
    view.ViewModifierCodeSequence = Sequence([])
    d.ViewCodeSequence = Sequence([view])
    return d


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def _add_pixels(dataset: Dataset, maker: _Maker, breast: Breast, intent: Intent) -> None:
    """Add the pixels and their attributes. The base look-up table shows the gray of the phantom."""
    if intent is Intent.RAW:
        bits, inverted = _RAW_BITS, maker.raw_inverted
        stored = raw_gray(breast) * ((1 << bits) - 1)
        dataset.PixelIntensityRelationship = "LIN"
        dataset.PixelIntensityRelationshipSign = 1
    else:
        bits, inverted = maker.bits, maker.inverted
        gray = with_marker(processed_gray(breast), breast)
        stored = _to_stored(maker.luts[0], gray, inverted)
        if maker.padding is not None:
            stored = np.maximum(stored, maker.padding[1] + 1)
            stored[(breast.mask == 0) & (gray < 0.02)] = maker.padding[0]
            dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = maker.padding
        dataset.PixelIntensityRelationship = "LOG"
        dataset.PixelIntensityRelationshipSign = -1
        _add_luts(dataset, maker.luts)
    pixels = np.clip(np.round(stored), 0, (1 << bits) - 1).astype("<u2")
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PixelData = pixels.tobytes()


def _to_stored(lut: LookUpTable, gray: Image, inverted: bool) -> npt.NDArray[np.floating[Any]]:
    """The stored values that `lut` shows as `gray`."""
    shown = np.clip(1 - gray if inverted else gray, 0.002, 0.998)
    return np.array(from_voi_units(lut, shown))


def _add_luts(dataset: Dataset, luts: tuple[LookUpTable, ...]) -> None:
    windows = [lut for lut in luts if lut.values is None]
    if windows:
        dataset.WindowCenter = [f"{lut.center:g}" for lut in windows]
        dataset.WindowWidth = [f"{lut.width:g}" for lut in windows]
        dataset.WindowCenterWidthExplanation = [lut.explanation for lut in windows]
        dataset.VOILUTFunction = windows[0].function.value
    tables = []
    for lut in luts:
        if lut.values is not None:
            item = Dataset()
            item.LUTDescriptor = [len(lut.values), lut.first, lut.bits]
            item.LUTExplanation = lut.explanation
            item.add_new("LUTData", "OW", lut.values.astype("<u2").tobytes())
            tables.append(item)
    if tables:
        dataset.VOILUTSequence = Sequence(tables)
