"""The spacings that a user gives for files that state none: a CSV file with one row for a file or pattern."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from maseg_nnunet.errors import UsageError

LEAST: Final = 0.02
"""Least accepted spacing in mm."""

LARGEST: Final = 1.0
"""Largest accepted spacing in mm."""


def read_spacing_table(file: Path) -> dict[str, float]:
    """Read a CSV file with the columns `file`, a name or pattern such as `scanner_a/*.png`, and `spacing_mm`.

    Args:
        file: A CSV file in UTF-8.

    Returns:
        Pattern to spacing in mm, in the order of the file.

    Raises:
        UsageError: The file can't be read, has other columns, or has a spacing that is not within LEAST to LARGEST mm.
    """
    table: dict[str, float] = {}
    line = 1
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            for row in csv.DictReader(lines):
                line += 1
                pattern, spacing = row["file"].strip(), float(row["spacing_mm"])
                if not Path(pattern).parts or not LEAST <= spacing <= LARGEST:
                    raise ValueError
                table.setdefault(pattern, spacing)
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UsageError(f"{file} is not a CSV in UTF-8: save it as one") from None
    except KeyError:
        raise UsageError(f"{file} has other columns, expected: file,spacing_mm") from None
    except (ValueError, TypeError, AttributeError):
        raise UsageError(
            f"{file}, line {line}: expected a file name or pattern, and {LEAST:g} to {LARGEST:g} mm"
        ) from None
    if not table:
        raise UsageError(f"{file} has no rows, expected the columns file,spacing_mm")
    return table
