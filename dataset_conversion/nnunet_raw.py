"""A converted data set in nnU-Net's raw format: the files written once all cases are converted.

`imagesTr/CASE_0000.nii.gz` and `labelsTr/CASE.nii.gz` are train and val, `imagesTs` and `labelsTs` are test. Exams to
be predicted have no masks, and their images are in one flat folder. The one channel is called "noNorm", so that nnU-Net
leaves VOI units as they are.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from maseg_nnunet.dataset.cases import image_path, label_path
from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.folders import (
    DATASET_JSON,
    ENDING,
    IMAGES_TEST,
    IMAGES_TRAIN,
    LABELS_TEST,
    LABELS_TRAIN,
    REJECTED,
    SOURCES,
    SPLITS,
    VOI_LUTS,
)
from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, write_manifest
from maseg_nnunet.dataset.voi_luts import write_voi_luts
from maseg_nnunet.dataset_conversion.datasets.base import Dataset
from maseg_nnunet.dataset_conversion.plausibility import MaskDoubt
from maseg_nnunet.dataset_conversion.scan import Rejected
from maseg_nnunet.dataset_conversion.splits import fold
from maseg_nnunet.files import UNFINISHED, atomic, write_json, write_text


def training_cases(rows: Iterable[ManifestRow]) -> int:
    """The number of cases that nnU-Net counts as training cases: those of imagesTr."""
    return sum(row.subset in ("train", "val") for row in rows)


def write_descriptions(
    folder: Path, dataset: Dataset, rows: Sequence[ManifestRow], luts: dict[str, str], settings: dict[str, Any]
) -> None:
    """Write the files that describe the cases. dataset.json is last, because nnU-Net knows a data set by it.

    Args:
        folder: The converted data set.
        dataset: What it was converted from.
        rows: The manifest.
        luts: Each case's look-up tables, as JSON.
        settings: The conversion settings that dataset.json records.
    """
    write_voi_luts(folder / VOI_LUTS, luts)
    write_manifest(folder / MANIFEST, rows)
    if any(row.subset == "predict" for row in rows) or not rows:
        return
    write_json(folder / SPLITS, [fold({row.case: row.subset for row in rows})])
    description = dataset_json(
        training_cases(rows),
        name=dataset.name,
        description=dataset.title,
        licence=dataset.licence,
        reference=dataset.reference,
        settings=settings,
    )
    write_json(folder / DATASET_JSON, description)


def write_sources(folder: Path, sources: Iterable[tuple[int, Path, str]]) -> None:
    """Write sources.csv: number, path and stamp (`files.stamp`) of each source.

    It is the only file with the real paths, and only its owner can read it.
    """
    path = folder / SOURCES
    text = _csv(("source", "path", "stamp"), sorted(sources))
    data = text.encode("utf-8", "surrogateescape")
    if path.is_file() and path.read_bytes() == data:
        return
    with atomic(path, mode=0o600) as temporary:
        temporary.write_bytes(data)


def write_rejected(folder: Path, rejected: Iterable[Rejected]) -> None:
    """Write rejected.csv: source number (see sources.csv), case if it already had a name, reason, detail."""
    lines = sorted((item.number, item.case, item.reason.value, item.detail) for item in rejected)
    write_text(folder / REJECTED, _csv(("source", "case", "reason", "detail"), lines))


def report(
    dataset: Dataset, rows: Sequence[ManifestRow], rejected: Sequence[Rejected], counts: dict[str, Any]
) -> dict[str, Any]:
    """The content of report.json: what was found, and what a complete copy should have (the paper, Table 1).

    Args:
        dataset: What was converted.
        rows: The manifest.
        rejected: The files that were not converted.
        counts: Further entries of the report.
    """
    not_raw = [row for row in rows if row.intent != "raw"]
    found = {
        "images": len(not_raw),
        "women": len({row.woman for row in rows}),
        "raw_images": len(rows) - len(not_raw),
    }
    expected = dataset.published
    return {
        "dataset": dataset.key,
        "found": found,
        "published": None
        if expected is None
        else {"images": expected.images, "women": expected.women, "raw_images": expected.raw_images},
        "subsets": dict(sorted(Counter(row.subset for row in rows).items())),
        "views": dict(sorted(Counter(row.view or "unknown" for row in rows).items())),
        "implausible_masks": {
            doubt.value: count for doubt in MaskDoubt if (count := sum(doubt.value in row.flags for row in rows))
        },
        "rejected": dict(sorted(Counter(item.reason.value for item in rejected).items())),
        **counts,
    }


def prune(folder: Path, rows: Iterable[ManifestRow]) -> int:
    """Delete the images and masks of cases that are not in the manifest; nnU-Net would train on them or predict them.

    Files that a killed run left unfinished are deleted too. Masks that somebody put beside exams to be predicted stay.

    Returns:
        The number of files deleted.
    """
    keep: set[Path | None] = set()
    for row in rows:
        keep.add(image_path(folder, row.case, row.subset))
        keep.add(label_path(folder, row.case, row.subset))
    removed = 0
    ours = [f"{place}/*{ENDING}" for place in (IMAGES_TRAIN, LABELS_TRAIN, IMAGES_TEST, LABELS_TEST)]
    for pattern in (*ours, f"*_0000{ENDING}", f"{UNFINISHED}*{ENDING}"):
        for path in set(folder.glob(pattern)) - keep:
            path.unlink()
            removed += 1
    return removed


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()
