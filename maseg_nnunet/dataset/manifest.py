"""manifest.csv: one row per case, with all that splits, reports and masks on the source's grid need to know."""

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
    """One case. Every field is text or a number as in the CSV, and none identifies a patient.

    Attributes:
        case: Name of the case.
        subset: One of `SUBSETS`.
        woman: Pseudonym of the woman, or her published name.
        exam: Pseudonym of the exam.
        view: Value of `mammogram.View`.
        side: Value of `mammogram.Side`.
        intent: Value of `mammogram.Intent`.
        dataset: Key of the data set that the case came from, a vendor for instance.
        vendor: Vendor of the system that made the image.
        model: ManufacturerModelName.
        source: The line of sources.csv with the file's real path, which is never copied into a report.
        sop_class: Name of the SOP class.
        twin: Case of the raw or processed partner, empty if there is none.
        spacing_row: Of the source, mm.
        spacing_column: Of the source, mm.
        spacing_source: The attribute that the spacing came from.
        rows: Of the source.
        columns: Of the source.
        target_spacing: Of the converted image, mm; 0 if it keeps the source's grid.
        quality: Of the reference mask: empty, ok, minor, uncertain or exclude.
        background_tissue: As mini-MIAS publishes it.
        abnormality: As mini-MIAS publishes it.
        flags: Values of `mammogram.Flag`, separated by "; ".
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
    """The row's cells, in the order of `MANIFEST_COLUMNS`."""
    return [str(getattr(row, name)) for name in MANIFEST_COLUMNS]


def row_from_csv(cells: dict[str, str]) -> ManifestRow:
    """The row of `cells`, column to cell: the inverse of `row_to_csv`.

    Raises:
        KeyError: A column is missing.
        ValueError: A cell should be a number and is not.
    """
    return ManifestRow(**{name: _TYPES[name](cells[name]) for name in MANIFEST_COLUMNS})


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> bool:
    """Write `rows` sorted by case; return whether the file changed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MANIFEST_COLUMNS)
    writer.writerows(row_to_csv(row) for row in sorted(rows))
    return write_text(path, text.getvalue())


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest.

    Args:
        path: The file, or the folder that contains it.

    Raises:
        DatasetError: The manifest is missing or broken.
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
