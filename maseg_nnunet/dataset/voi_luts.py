"""voi_luts.json: the look-up tables of every case, by which training turns VOI units into other displayed images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from maseg_nnunet.errors import DatasetError
from maseg_nnunet.files import write_text
from maseg_nnunet.voi import CaseLuts


def read_voi_luts(path: Path) -> dict[str, CaseLuts]:
    """Read the look-up tables of every case.

    Raises:
        DatasetError: The file is missing, is not JSON, or has other contents than this version writes.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {case: CaseLuts.from_json(entry) for case, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} is not a file of look-up tables of this version ({error}): convert again"
        ) from error


def write_voi_luts(path: Path, luts: Mapping[str, str]) -> None:
    """Write the look-up tables of every case, one case per line, sorted by case.

    Args:
        path: The file to write.
        luts: Each case's look-up tables, already as JSON (`CaseLuts.to_json`).
    """
    lines = (f"{json.dumps(case)}: {luts[case]}" for case in sorted(luts))
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")
