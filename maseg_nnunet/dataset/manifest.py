"""manifest.csv: one row a case, enough to split by woman, to report, and to put a mask back onto its source's grid."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from maseg_nnunet.errors import DatasetError
from maseg_nnunet.files import write_text

MANIFEST: Final = "manifest.csv"

SUBSETS: Final = ("train", "val", "test", "predict")


@dataclass(frozen=True, order=True)
class ManifestRow:
    """One case. Every field is text or a number as the CSV shows it; none identifies a patient.

    `source`: the line of sources.csv (never copied into a report) with the file's real path. `twin`: the case of the
    raw or processed partner. `spacing_row`, `spacing_column`: of the source, mm. `rows`, `columns`: of the source.
    `target_spacing`: of the converted image, mm, 0 where it keeps the source's grid. `flags`: joined by "; ".
    `quality`: of the reference mask: "", ok, minor, uncertain or exclude. `background_tissue` and `abnormality` are
    mini-MIAS's. `dataset`: the data set's key (vendor name) the case came from.
    """

    case: str
    subset: str
    woman: str
    exam: str
    view: str
    side: str
    intent: str
    dataset: str
    vendor: str
    model: str
    source: int
    sop_class: str
    twin: str
    spacing_row: float
    spacing_column: float
    spacing_source: str
    rows: int
    columns: int
    target_spacing: float
    quality: str = ""
    background_tissue: str = ""
    abnormality: str = ""
    flags: str = ""

    @property
    def spacing(self) -> tuple[float, float]:
        """(row, column) spacing of the source, mm."""
        return self.spacing_row, self.spacing_column

    @property
    def target(self) -> tuple[float, float]:
        """(row, column) spacing of the converted image, mm."""
        return (self.target_spacing, self.target_spacing) if self.target_spacing else self.spacing

    @property
    def is_scored(self) -> bool:
        """Whether the muscle of this case is trained on and scored (quality other than exclude)."""
        return self.quality != "exclude"


MANIFEST_COLUMNS: Final = tuple(f.name for f in fields(ManifestRow))
_TYPES: Final = {f.name: {"int": int, "float": float}.get(str(f.type), str) for f in fields(ManifestRow)}


def row_to_csv(row: ManifestRow) -> list[str]:
    """The row's cells in the order of COLUMNS."""
    return [str(getattr(row, name)) for name in MANIFEST_COLUMNS]


def row_from_csv(cells: dict[str, str]) -> ManifestRow:
    """The inverse of `row_to_csv`. Raises ValueError or KeyError on cells that are none."""
    return ManifestRow(**{name: _TYPES[name](cells[name]) for name in MANIFEST_COLUMNS})


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> bool:
    """Write `rows` sorted by case; tell whether the file changed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MANIFEST_COLUMNS)
    writer.writerows(row_to_csv(row) for row in sorted(rows))
    return write_text(path, text.getvalue())


def read_manifest(path: Path) -> list[ManifestRow]:
    """The rows of `path`, or of the manifest in the folder `path`.

    Raises DatasetError where there is none, or it is broken.
    """
    path = path / MANIFEST if path.is_dir() else path
    if not path.is_file():
        raise DatasetError(f"{path} is missing: convert the data set with convert_vendor, which writes it")
    with path.open(newline="", encoding="utf-8") as handle:
        try:
            return [row_from_csv(cells) for cells in csv.DictReader(handle)]
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise DatasetError(
                f"{path} is not a manifest of this version ({error}): convert the data set again"
            ) from error
