"""Tables that users write: CSV with a header, in UTF-8."""

from __future__ import annotations

import csv
from pathlib import Path

from maseg_nnunet.errors import DatasetError


def read_table(file: Path) -> list[dict[str, str]]:
    """The rows of `file`; a cell that a row lacks is empty.

    Raises DatasetError for a file that is no CSV, OSError for one that can't be read.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            return list(csv.DictReader(handle, restkey="", restval=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file} is no CSV in UTF-8: save it as one") from error
