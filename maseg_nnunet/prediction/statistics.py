"""statistics.csv of a run: one row an image, with what its mask measures. Measuring is `writers/measures.py`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from maseg_nnunet.files import atomic, csv_text
from maseg_nnunet.writers.measures import STATISTICS_COLUMNS

STATISTICS: Final = "statistics.csv"


def write_rows(folder: Path, key: str, rows: Iterable[Sequence[str]]) -> Path:
    """Write statistics.csv.

    Args:
        folder: The folder of the results.
        key: Header of the first column, which says what a row is about: "file" or "case".
        rows: The key and the cells of `ImageStatistics` of each image. They are streamed.

    Returns:
        The path of the file.
    """
    path = folder / STATISTICS
    with (
        atomic(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow((key, *STATISTICS_COLUMNS))
        writer.writerows([csv_text(name), *cells] for name, *cells in rows)
    return path
