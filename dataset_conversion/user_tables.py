"""Tables that users write: CSV files with a header, in UTF-8."""

from __future__ import annotations

import csv
from pathlib import Path

from maseg_nnunet.errors import DatasetError


def read_table(file: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header line.

    Returns:
        One dictionary per line, column to cell. A cell that is missing from a line is empty.

    Raises:
        DatasetError: The file is not a CSV in UTF-8.
        OSError: The file can't be read.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            return list(csv.DictReader(handle, restkey="", restval=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file} is not a CSV in UTF-8: save it as one") from error
