"""Combine converted data sets into one without copying an image: the paper's training set and its experiments' folds.

The key `dataset` of dataset.json lists every training case with the relative paths of its files in the parts, and
nnU-Net reads them from there. imagesTs and labelsTs contain links. Fold 0 is the paper's split. Fold k leaves the k-th
part out of training and validation (section 2.3.3), because a model whose training was stopped early on a part has
already seen that part. Cross-validation folds each hold out a share of the non-test women, because findings that are
rare cannot be judged by the test women alone.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from maseg_nnunet.dataset.cases import image_path, label_path
from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.folders import (
    DATASET_JSON,
    FOLDS,
    IMAGES_TEST,
    LABELS_TEST,
    OURS,
    REPORT,
    SOURCES,
    SPLITS,
    VOI_LUTS,
    dataset_folder,
)
from maseg_nnunet.dataset.folds import HELD_BACK, LEFT_OUT
from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, read_manifest, write_manifest
from maseg_nnunet.dataset.voi_luts import write_voi_luts
from maseg_nnunet.dataset_conversion.nnunet_raw import training_cases, write_sources
from maseg_nnunet.dataset_conversion.splits import fold, shares
from maseg_nnunet.errors import DatasetError, UsageError
from maseg_nnunet.files import write_json

NAMES: Final = {False: "Maseg", True: "MasegRaw"}
"""Default name of the combined set, without and with raw images."""

_STRICTEST_FIRST: Final = ("test", "val", "train")


@dataclass(frozen=True)
class CombinedPart:
    """One converted data set that becomes part of the combined set.

    Attributes:
        folder: The data set's folder in nnUNet_raw.
        rows: Manifest rows of the cases to include.
        drawn: Pairs of a woman and her subset in this data set, also for women all of whose images are left out.
        luts: The look-up tables of each case in `rows`, as JSON.
        description: The content of dataset.json.
    """

    folder: Path
    rows: tuple[ManifestRow, ...]
    drawn: frozenset[tuple[str, str]]
    luts: dict[str, str]
    description: dict[str, Any]

    @property
    def key(self) -> str:
        """The data set's key, as in the manifest."""
        return self.rows[0].dataset

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the data set was converted with."""
        settings: dict[str, Any] = self.description.get(OURS, {})
        return settings


@dataclass(frozen=True)
class _CombinedCase:
    """A case's row in the combined manifest, the part that has its files, and the subset that names their folder."""

    row: ManifestRow
    part: CombinedPart
    subset_in_part: str


def combine(
    base: Path,
    dataset_id: int,
    part_ids: Sequence[int],
    *,
    raw_images: bool = False,
    name: str | None = None,
    cross_validation: int = 0,
    warn: Callable[[str], None] = lambda text: None,
) -> Path:
    """Combine converted data sets into one.

    A woman who is in several parts is put into the strictest subset (test, then validation) that one of them drew her
    into. A fold that leaves a part out also leaves out the images that the part's women have in other parts.

    Args:
        base: The folder nnUNet_raw, which contains the parts.
        dataset_id: Number of the combined set.
        part_ids: Numbers of the data sets to combine. Fold k leaves the k-th of them out.
        raw_images: Whether to include raw images.
        name: Name of the combined set, by default one of `NAMES`.
        cross_validation: Number of extra folds. Each holds out a different share of the non-test women; the other
            women keep their subsets.
        warn: Called with a message if women are in several parts.

    Returns:
        The folder of the combined set.

    Raises:
        DatasetError: A part is missing or incomplete, the parts were converted with different settings, or two of them
            have the same key or the same case.
        UsageError: The numbers do not name a set of parts, the target folder has files of something else, or a
            cross-validation fold leaves nobody to train or to validate on.
    """
    if len(set(part_ids)) != len(part_ids) or dataset_id in part_ids or not part_ids:
        raise UsageError("name every part once, and not the combined set itself: maseg combine -d 500 501 502 ...")
    parts = [_read_part(dataset_folder(base, part_id), raw_images) for part_id in part_ids]
    _check(parts)
    target = base / f"Dataset{dataset_id:03d}_{name or NAMES[raw_images]}"
    if others := [path.name for path in base.glob(f"Dataset{dataset_id:03d}_*") if path.name != target.name]:
        raise UsageError(f"{min(others)} has the number {dataset_id} already: choose another -d, or remove it")
    if target.exists() and not (target / FOLDS).is_file() and any(target.iterdir()):
        raise UsageError(f"{target} was not made by combine: remove it, or choose another number or --name")

    subsets, moved = _subsets(parts)
    if moved:
        warn(f"{moved} women are in several parts: all their images went into the strictest of their subsets")
    keys = sorted((row.dataset, row.source) for part in parts for row in part.rows)
    source_numbers = {key: number for number, key in enumerate(keys, start=1)}
    cases = [
        _CombinedCase(
            replace(row, subset=subsets[row.woman], source=source_numbers[row.dataset, row.source]), part, row.subset
        )
        for part in parts
        for row in part.rows
    ]
    _write(target, parts, cases, cross_validation)
    write_sources(target, _sources(parts, source_numbers))
    return target


def _read_part(folder: Path, raw_images: bool) -> CombinedPart:
    all_rows = read_manifest(folder)
    rows = tuple(row for row in all_rows if raw_images or row.intent != "raw")
    # From raw images too: a set with raw images and one without must have the same test women, because each is tested
    # with the other's model.
    drawn = frozenset((row.woman, row.subset) for row in all_rows)
    if not rows:
        raise DatasetError(f"{folder} has no cases{'' if raw_images else ' but raw ones: use --intent both'}")
    try:
        luts = json.loads((folder / VOI_LUTS).read_text(encoding="utf-8"))
        description = json.loads((folder / DATASET_JSON).read_text(encoding="utf-8"))
        luts_of_rows = {row.case: json.dumps(luts[row.case], ensure_ascii=False) for row in rows}
        if not (isinstance(description, dict) and isinstance(description.get(OURS, {}), dict)):
            raise ValueError(DATASET_JSON)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder} was not converted to its end: run its convert_vendor again") from error
    return CombinedPart(folder, rows, drawn, luts_of_rows, description)


def _check(parts: Sequence[CombinedPart]) -> None:
    spacings = [part.settings.get("target_spacing") for part in parts]
    if len(set(spacings)) > 1:
        listed = ", ".join(f"{part.folder.name} {spacing}" for part, spacing in zip(parts, spacings, strict=True))
        raise DatasetError(f"the parts have different spacings (mm): {listed}; convert them with one --spacing")
    if len(_raw_windows(parts)) > 1:
        raise DatasetError(
            "the parts differ in whether raw images have their windows: convert all of them with --raw-windows, or none"
        )
    repeated = [key for key, count in Counter(part.key for part in parts).items() if count > 1]
    if repeated:
        raise DatasetError(
            f"several parts are of --name {repeated[0]}: convert them as one, from a folder that contains both"
        )
    seen: dict[str, Path] = {}
    for part in parts:
        for row in part.rows:
            if row.case in seen:
                raise DatasetError(f"case {row.case} is in {seen[row.case].name} and in {part.folder.name}")
            seen[row.case] = part.folder


def _raw_windows(parts: Sequence[CombinedPart]) -> set[bool]:
    """For each part that has raw images, whether they were converted with the windows in their headers."""
    with_raw = (part for part in parts if any(row.intent == "raw" for row in part.rows))
    return {bool(part.settings.get("raw_windows")) for part in with_raw}


def _subsets(parts: Sequence[CombinedPart]) -> tuple[dict[str, str], int]:
    """The subset of each woman, and the number of women who were drawn into several subsets."""
    drawn: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for woman, subset in part.drawn:
            drawn[woman].add(subset)
    chosen = {woman: next((s for s in _STRICTEST_FIRST if s in found), "train") for woman, found in drawn.items()}
    present = {row.woman for part in parts for row in part.rows}
    return chosen, sum(len(drawn[woman]) > 1 for woman in present)


def _write(target: Path, parts: Sequence[CombinedPart], cases: Sequence[_CombinedCase], cross_validation: int) -> None:
    rows = [case.row for case in cases]
    folds, names = _folds(parts, rows, cross_validation)
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / FOLDS, [{"fold": number, **name} for number, name in enumerate(names)])
    training = _place_cases(target, cases)
    write_voi_luts(target / VOI_LUTS, {case.row.case: case.part.luts[case.row.case] for case in cases})
    write_manifest(target / MANIFEST, rows)
    write_json(target / SPLITS, folds)
    write_json(target / REPORT, _table2(parts, rows))
    raw_windows = _raw_windows(parts)
    description = dataset_json(
        training_cases(rows),
        name=target.name.partition("_")[2],
        description="; ".join(part.description.get("description", part.key) for part in parts),
        licence="; ".join(f"{part.key}: {part.description.get('licence', '')}" for part in parts),
        reference="; ".join(filter(None, (part.description.get("reference", "") for part in parts))),
        settings={
            **parts[0].settings,
            "raw_windows": True in raw_windows,
            "intents": ["processed", "raw"] if raw_windows else ["processed"],
            "parts": [part.folder.name for part in parts],
        },
    )
    write_json(target / DATASET_JSON, {**description, "dataset": training})


def _folds(
    parts: Sequence[CombinedPart], rows: Sequence[ManifestRow], cross_validation: int
) -> tuple[list[dict[str, list[str]]], list[dict[str, str | int]]]:
    """The entries of splits_final.json and, in the same order, what folds.json says about each."""
    folds = [fold({row.case: row.subset for row in rows})]
    names: list[dict[str, str | int]] = [{"name": "all"}]
    for part in parts:
        women = {row.woman for row in rows if row.dataset == part.key}  # some also have exams in other parts
        folds.append(fold({row.case: row.subset for row in rows if row.woman not in women}))
        names.append({"name": f"without {part.key}", LEFT_OUT: part.key})
    for number, women in enumerate(shares({row.woman for row in rows if row.subset != "test"}, cross_validation), 1):
        kept = {row.case: row.subset for row in rows if row.woman not in women}
        if not women or not {"train", "val"} <= set(kept.values()):
            raise UsageError(
                f"--cross-validation {cross_validation}: every fold must hold out some women, and leave some to "
                "train and some to validate on; choose another number of folds"
            )
        folds.append(fold(kept))
        names.append({"name": f"share {number} of {cross_validation} held back", HELD_BACK: number})
    return folds, names


def _place_cases(target: Path, cases: Sequence[_CombinedCase]) -> dict[str, dict[str, Any]]:
    """Link the test cases' files into `target`; return dataset.json's entries of the training cases."""
    training: dict[str, dict[str, Any]] = {}
    links: dict[Path, Path] = {}
    for combined in sorted(cases, key=lambda combined: combined.row):
        case, folder = combined.row.case, combined.part.folder
        image = image_path(folder, case, combined.subset_in_part)
        label = label_path(folder, case, combined.subset_in_part)
        if label is None:
            raise DatasetError(f"{folder} has no masks: convert it with --masks")
        if combined.row.subset == "test":
            links[image_path(target, case, "test")] = image
            links[target / LABELS_TEST / label.name] = label
        else:
            training[case] = {"images": [os.path.relpath(image, target)], "label": os.path.relpath(label, target)}
    _link(target, links)
    return training


def _link(target: Path, links: dict[Path, Path]) -> None:
    """Make `links` (link to file), and remove everything else from the folders of test cases."""
    for place in (IMAGES_TEST, LABELS_TEST):
        (target / place).mkdir(exist_ok=True)
        for path in (target / place).iterdir():
            if path not in links:
                path.unlink()
    for link, file in links.items():
        wanted = os.path.relpath(file, link.parent)
        if link.is_symlink() and os.readlink(link) == wanted:  # noqa: PTH115  Path.readlink normalizes
            continue
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(wanted)
        except OSError:  # a file system without links
            shutil.copyfile(file, link)


def _sources(
    parts: Sequence[CombinedPart], source_numbers: dict[tuple[str, int], int]
) -> Iterator[tuple[int, Path, str]]:
    """The parts' lines of sources.csv, numbered as in the combined set: number, path, stamp."""
    for part in parts:
        file = part.folder / SOURCES
        if not file.is_file():
            continue
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as handle:
            for line in csv.DictReader(handle):
                if (number := source_numbers.get((part.key, int(line["source"])))) is not None:
                    yield number, Path(line["path"]), line.get("stamp") or ""


def _table2(parts: Sequence[CombinedPart], rows: Sequence[ManifestRow]) -> dict[str, Any]:
    """Women and images in the subsets of each part, as in the paper's Table 2."""
    table: dict[str, Any] = {}
    for key in (*(part.key for part in parts), "total"):
        part_rows = [row for row in rows if key in (row.dataset, "total")]
        table[key] = {
            subset: {
                "women": len({row.woman for row in part_rows if row.subset == subset}),
                "images": sum(row.subset == subset for row in part_rows),
            }
            for subset in ("train", "val", "test")
        }
    return table
