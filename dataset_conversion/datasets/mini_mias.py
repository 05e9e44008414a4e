"""mini-MIAS: 322 digitized MLO films of 161 women, 1024 x 1024 PGM at 200 um, with Info.txt (Suckling et al. 1994).

The caption of the paper's Table 1 says CC, but the films are MLO, as the paper's Table 5 says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Dataset, Found, Known, Published, files_below, table_beside
from maseg_nnunet.mammogram import Intent, Side, View

SPACING: Final = (0.2, 0.2)
_FILM = re.compile(r"(mdb(\d{3}))\.pgm", re.IGNORECASE)
_ENTRY = re.compile(r"(mdb\d{3})\s+([FGD])\s+([A-Z]{4})(?:\s+([BM]))?")


def films(folder: Path) -> Iterator[Found]:
    """Yield the films mdb001 to mdb322; films 2n-1 and 2n are a woman's right and left side (Info.txt)."""
    entries = _info(folder)
    table = table_beside(folder, "mini_mias.csv")
    for path in files_below(folder):
        name = _FILM.fullmatch(path.name)
        if not name:
            continue
        film, number = name[1].lower(), int(name[2])
        tissue, abnormality = entries.get(film, ("", ""))
        yield Found(
            path,
            Known(
                case=film,
                woman=f"mini_mias_{(number + 1) // 2:03d}",
                view=View.MLO,
                side=Side.LEFT if number % 2 == 0 else Side.RIGHT,
                intent=Intent.FILM,
                spacing=SPACING,
                quality=table.get(film, {}).get("quality", ""),
                background_tissue=tissue,
                abnormality=abnormality,
            ),
        )


def _info(folder: Path) -> dict[str, tuple[str, str]]:
    """(background tissue, abnormalities) of each film in Info.txt, abnormalities separated by spaces."""
    file = next((path for path in files_below(folder) if path.name.lower() == "info.txt"), None)
    entries: dict[str, tuple[str, str]] = {}
    if file is None:
        return entries
    for line in file.read_text(encoding="latin-1").splitlines():
        entry = _ENTRY.match(line.strip())
        if entry:
            film, tissue = entry[1].lower(), entry[2]
            finding = "-".join(filter(None, (entry[3], entry[4])))
            before = entries.get(film, (tissue, ""))[1]
            entries[film] = (tissue, f"{before} {finding}".strip())
    return entries


DATASET: Final = Dataset(
    key="mini_mias",
    dataset_id=506,
    name="MiniMias",
    title="mini-MIAS, digitized screen-film mammograms",
    layout=films,
    published=Published(images=322, women=161),
    licence="research only, see Licence.txt of the database",
    reference="Suckling et al. 1994, Excerpta Medica 1069: 375-378",
)
