"""What the readers make of one file, as plain values: for `maseg inspect`. Nothing in it tells who the woman is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maseg_nnunet.arrays import Spacing
from maseg_nnunet.errors import Reason, RefusedError, as_text, reason_of
from maseg_nnunet.mammogram import Mammogram
from maseg_nnunet.readers import read_header, read_mammogram
from maseg_nnunet.readers.header import Header
from maseg_nnunet.voi import LookUpTable


@dataclass(frozen=True)
class InspectedLut:
    """One look-up table; of a table (`entries` above 0) the values are left out. `base`: whether it is the one used."""

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
    """One file. `refusal` is "" where it can be used; else the rest is what its header tells, if it has one.

    `spacing`: (row, column) in mm. `inverted`: whether small stored values are bright (MONOCHROME1).
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
        """Everything, as `--json` shows it."""
        return asdict(self)


def inspect_file(
    path: Path, *, spacing_mm: float | None = None, raw_windows: bool = False
) -> tuple[Inspection, Mammogram | None]:
    """Read `path` as prediction would; the mammogram is None where it is refused."""
    try:
        mammogram = read_mammogram(path, spacing_mm=spacing_mm, raw_windows=raw_windows)
    except RefusedError as error:
        return _refused(path, error.reason, error.detail), None
    except Exception as error:  # a file that nobody thought of: the others are shown all the same
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
    except Exception:  # RefusedError, or what was not thought of
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
    """Text of a header or a file name as a terminal may show it: no control characters, no broken ones."""
    return "".join(c if c.isprintable() else "?" for c in as_text(text))
