"""What the readers find in one file, as plain values for `maseg inspect`. None of them identifies the woman."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maseg_nnunet.arrays import GivenSpacing, Spacing
from maseg_nnunet.errors import Reason, RefusedError, as_text, reason_of
from maseg_nnunet.mammogram import Mammogram
from maseg_nnunet.readers import read_header, read_mammogram
from maseg_nnunet.readers.header import Header
from maseg_nnunet.voi import LookUpTable


@dataclass(frozen=True)
class InspectedLut:
    """One VOI look-up table, without the values of a table.

    Attributes:
        base: Whether it is the look-up table in use.
        explanation: Its name in the header; "FULL RANGE" for the image's own range of values.
        function: LINEAR, LINEAR_EXACT, SIGMOID or TABLE.
        center: Center of a window, in stored values.
        width: Width of a window, in stored values.
        first: Stored value of the first entry of a table.
        entries: Number of entries of a table.
        bits: Bits of an entry of a table.
    """

    base: bool
    explanation: str
    function: str
    center: float | None = None
    width: float | None = None
    first: int | None = None
    entries: int | None = None
    bits: int | None = None


@dataclass(frozen=True)
class Inspection:
    """What the readers find in one file. If the file is refused, the rest is what its header says, if it has one.

    Attributes:
        file: Path of the file, printable.
        refusal: Why the file is refused, as a sentence; "" if it can be used.
        reason: The value of `Reason`; "" if it can be used.
        vendor: A key of `vendors.VENDORS`, or "unknown".
        model: ManufacturerModelName.
        intent: Value of `Intent`.
        view: Value of `View`.
        side: Value of `Side`.
        sop_class: Name of the SOP class.
        rows: Height in pixels.
        columns: Width in pixels.
        spacing: (row, column) in mm.
        spacing_source: The attribute of the spacing, or "user".
        inverted: Whether small stored values are bright (MONOCHROME1).
        luts: The usable look-up tables.
        patient_orientation: PatientOrientation (0020,0020).
        horizontal_flip: FieldOfViewHorizontalFlip (0018,7034).
        flags: Values of `Flag`.
    """

    file: str
    refusal: str = ""
    reason: str = ""
    vendor: str = ""
    model: str = ""
    intent: str = ""
    view: str = ""
    side: str = ""
    sop_class: str = ""
    rows: int | None = None
    columns: int | None = None
    spacing: Spacing | None = None
    spacing_source: str = ""
    inverted: bool | None = None
    luts: tuple[InspectedLut, ...] = ()
    patient_orientation: tuple[str, ...] = ()
    horizontal_flip: str = ""
    flags: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All values, as `--json` shows them."""
        return asdict(self)


def inspect_file(
    path: str | os.PathLike[str], *, spacing_mm: GivenSpacing | None = None, raw_windows: bool = False
) -> tuple[Inspection, Mammogram | None]:
    """Read a file as prediction would. It never raises, because the other files of a run are shown all the same.

    Args:
        path: The file.
        spacing_mm: See `readers.read_mammogram`.
        raw_windows: See `readers.read_mammogram`.

    Returns:
        The inspection and the mammogram, which is None if the file is refused.
    """
    path = Path(path)
    try:
        mammogram = read_mammogram(path, spacing_mm=spacing_mm, raw_windows=raw_windows)
    except RefusedError as error:
        return _refused(path, error.reason, error.detail), None
    except Exception as error:  # unexpected error: report the file and continue
        return _refused(path, Reason.UNREADABLE, reason_of(error)), None
    luts = mammogram.luts
    return (
        Inspection(
            file=_shown(str(path)),
            **_common(mammogram),
            rows=mammogram.shape[0],
            columns=mammogram.shape[1],
            inverted=luts.inverted,
            luts=tuple(_lut(lut, index == luts.base) for index, lut in enumerate(luts.luts)),
        ),
        mammogram,
    )


def _refused(path: Path, reason: Reason, detail: str) -> Inspection:
    refusal: dict[str, Any] = {"file": _shown(str(path)), "refusal": detail, "reason": reason.value}
    try:
        header = read_header(path)
    except Exception:  # a refusal or an unexpected error: the header adds nothing
        return Inspection(**refusal)
    return Inspection(**refusal, **_common(header), rows=header.rows, columns=header.columns)


def _common(image: Mammogram | Header) -> dict[str, Any]:
    return {
        "vendor": image.vendor,
        "model": image.model,
        "intent": image.intent.value,
        "view": image.view.value,
        "side": image.side.value,
        "sop_class": image.sop_class,
        "spacing": image.spacing,
        "spacing_source": image.spacing_source,
        "patient_orientation": image.patient_orientation,
        "horizontal_flip": image.horizontal_flip,
        "flags": tuple(flag.value for flag in image.flags),
    }


def _lut(lut: LookUpTable, base: bool) -> InspectedLut:
    explanation = _shown(lut.explanation)
    if lut.values is not None:
        return InspectedLut(
            base, explanation, lut.function.value, first=lut.first, entries=len(lut.values), bits=lut.bits
        )
    return InspectedLut(base, explanation, lut.function.value, center=lut.center, width=lut.width)


def _shown(text: str) -> str:
    """Text of a header or a file name, safe for a terminal: no control characters, no invalid ones."""
    return "".join(c if c.isprintable() else "?" for c in as_text(text))
