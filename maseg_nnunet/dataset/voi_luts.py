"""voi_luts.json: the look-up tables of every case."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from maseg_nnunet.dataset.folders import VOI_LUTS
from maseg_nnunet.dataset.manifest import ManifestRow
from maseg_nnunet.errors import DatasetError
from maseg_nnunet.files import write_text
from maseg_nnunet.voi import CaseLuts


def read_voi_luts(path: Path) -> dict[str, CaseLuts]:
    """The look-up tables of every case in voi_luts.json. Raises DatasetError where it is broken."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {case: CaseLuts.from_json(entry) for case, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} is not a file of look-up tables of this version ({error}): convert again"
        ) from error


def write_voi_luts(folder: Path, rows: Iterable[ManifestRow], luts: Mapping[str, str]) -> None:
    """voi_luts.json from the JSON of each case's look-up tables, one case a line."""
    lines = (f"{json.dumps(row.case)}: {luts[row.case]}" for row in sorted(rows))
    write_text(folder / VOI_LUTS, "{\n" + ",\n".join(lines) + "\n}\n")
