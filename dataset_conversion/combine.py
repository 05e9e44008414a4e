"""Several converted data sets as one, without copying an image: the paper's training set, and its experiments' folds.

nnU-Net finds the training cases through the key `dataset` of dataset.json, which names the parts' files by relative
path; imagesTs and labelsTs hold links. Fold 0 is the paper's split, fold k leaves the k-th part out of training and
validation (section 2.3.3): a model that was stopped early on a part has seen it. More folds, for what is too rare to be
judged by the test women alone, each hold some of the other women back.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from maseg_nnunet.dataset.cases import image_path, label_path
from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.folders import DATASET_JSON, FOLDS, OURS, REPORT, SOURCES, SPLITS, VOI_LUTS, dataset_folder
from maseg_nnunet.dataset.folds import HELD_BACK, LEFT_OUT
from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, read_manifest, write_manifest
from maseg_nnunet.dataset.voi_luts import write_voi_luts
from maseg_nnunet.dataset_conversion.nnunet_raw import training_cases, write_sources
from maseg_nnunet.dataset_conversion.splits import fold, shares
from maseg_nnunet.errors import DatasetError, UsageError
from maseg_nnunet.files import write_json

NAMES: Final = {False: "Maseg", True: "MasegRaw"}
"""Name of the combined set, without and with raw images."""

_STRICTEST_FIRST: Final = ("test", "val", "train")


@dataclass(frozen=True)
class CombinedPart:
    """One converted data set: its folder, its cases (of the wanted intents) and their look-up tables.

    `drawn`: each woman, and the subset that she was drawn into.
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
    """Combine the data sets `part_ids` of `base` (nnUNet_raw) into number `dataset_id`; the folder.

    Raw images are left out unless `raw_images`. `cross_validation`: so many folds more, each of which holds another
    share of the women back who are not in test; in the rest of it they keep their subsets. A fold without a part is
    without its women in the others as well. A woman who is in several
    parts is put into one subset, the strictest (test, then validation) that a part drew her into. Raises DatasetError
    for a part that is missing, converted for another spacing, or holds a case that another has; UsageError for parts
    that make no set and for shares that leave nobody to train or to validate on.
    """
    if len(set(part_ids)) != len(part_ids) or dataset_id in part_ids or not part_ids:
        raise UsageError("name every part once, and not the combined set itself: maseg combine -d 500 501 502 ...")
    parts = [_read_part(dataset_folder(base, number), raw_images) for number in part_ids]
    _check(parts)
    target = base / f"Dataset{dataset_id:03d}_{name or NAMES[raw_images]}"
    if target.exists() and not (target / FOLDS).is_file() and any(target.iterdir()):
        raise UsageError(f"{target} was not made by combine: remove it, or choose another number or --name")

    subsets, moved = _subsets(parts)
    if moved:
        warn(f"{moved} women are in several parts: all their images went to the strictest of their subsets")
    origin = {row.case: part for part in parts for row in part.rows}
    before = {row.case: row for part in parts for row in part.rows}
    numbers = {key: n for n, key in enumerate(sorted((row.dataset, row.source) for row in before.values()), start=1)}
    rows = [replace(row, subset=subsets[row.woman], source=numbers[row.dataset, row.source]) for row in before.values()]
    _write(target, parts, rows, before, origin, cross_validation)
    write_sources(target, _sources(parts, numbers))
    return target


def _read_part(folder: Path, raw_images: bool) -> CombinedPart:
    every = read_manifest(folder)
    rows = tuple(row for row in every if raw_images or row.intent != "raw")
    # Of raw images too: sets with and without them must agree on who is tested, for one is tested by the other's model.
    drawn = frozenset((row.woman, row.subset) for row in every)
    if not rows:
        raise DatasetError(f"{folder} has no cases{'' if raw_images else ' but raw ones: use --intent both'}")
    try:
        luts = json.loads((folder / VOI_LUTS).read_text(encoding="utf-8"))
        description = json.loads((folder / DATASET_JSON).read_text(encoding="utf-8"))
        of_rows = {row.case: json.dumps(luts[row.case], ensure_ascii=False) for row in rows}
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{folder} was not converted to its end: run its convert_vendor again") from error
    return CombinedPart(folder, rows, drawn, of_rows, description)


def _check(parts: Sequence[CombinedPart]) -> None:
    spacings = {part.description.get(OURS, {}).get("target_spacing") for part in parts}
    if len(spacings) > 1:
        listed = ", ".join(f"{p.folder.name} {p.description.get(OURS, {}).get('target_spacing')}" for p in parts)
        raise DatasetError(f"the parts have different spacings (mm): {listed}; convert them with one --spacing")
    if len(_raw_windows(parts)) > 1:
        raise DatasetError(
            "the parts differ in whether raw images have their windows: convert them alike, --raw-windows"
        )
    twice = [key for key, number in Counter(part.key for part in parts).items() if number > 1]
    if twice:
        raise DatasetError(
            f"several parts are of --name {twice[0]}: convert them as one, from a folder that holds both"
        )
    seen: dict[str, Path] = {}
    for part in parts:
        for row in part.rows:
            if row.case in seen:
                raise DatasetError(f"case {row.case} is in {seen[row.case].name} and in {part.folder.name}")
            seen[row.case] = part.folder


def _raw_windows(parts: Sequence[CombinedPart]) -> set[bool]:
    """Whether raw images were converted with the windows in their headers, of the parts that have such images."""
    with_raw = (part for part in parts if any(row.intent == "raw" for row in part.rows))
    return {bool(part.description.get(OURS, {}).get("raw_windows")) for part in with_raw}


def _subsets(parts: Sequence[CombinedPart]) -> tuple[dict[str, str], int]:
    """The one subset of each woman, and how many women had several."""
    drawn: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for woman, subset in part.drawn:
            drawn[woman].add(subset)
    chosen = {woman: next((s for s in _STRICTEST_FIRST if s in found), "train") for woman, found in drawn.items()}
    present = {row.woman for part in parts for row in part.rows}
    return chosen, sum(len(drawn[woman]) > 1 for woman in present)


def _write(
    target: Path,
    parts: Sequence[CombinedPart],
    rows: Sequence[ManifestRow],
    before: dict[str, ManifestRow],
    origin: dict[str, CombinedPart],
    cross_validation: int,
) -> None:
    folds = [{row.case: row.subset for row in rows}]
    for part in parts:
        women = {row.woman for row in rows if row.dataset == part.key}  # some have exams in other parts too
        folds.append({row.case: row.subset for row in rows if row.woman not in women})
    entries: list[dict[str, str | int]] = [{"name": "all"}]
    entries += [{"name": f"without {part.key}", LEFT_OUT: part.key} for part in parts]
    for number, women in enumerate(shares({row.woman for row in rows if row.subset != "test"}, cross_validation), 1):
        held = {row.case: row.subset for row in rows if row.woman not in women}
        if not women or not {"train", "val"} <= set(held.values()):
            raise UsageError(
                f"--cross-validation {cross_validation}: each share must hold some women back, and leave some to "
                "train and some to validate on"
            )
        folds.append(held)
        entries.append({"name": f"share {number} of {cross_validation} held back", HELD_BACK: number})
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / FOLDS, [{"fold": number, **entry} for number, entry in enumerate(entries)])
    training, links = {}, {}
    for row in sorted(rows):
        folder, was = origin[row.case].folder, before[row.case].subset
        image, label = image_path(folder, row.case, was), label_path(folder, row.case, was)
        if label is None:
            raise DatasetError(f"{folder} has no masks: convert it with --masks")
        if row.subset == "test":
            links[image_path(target, row.case, "test")] = image
            links[target / "labelsTs" / label.name] = label
        else:
            training[row.case] = {"images": [os.path.relpath(image, target)], "label": os.path.relpath(label, target)}
    _link(target, links)
    write_voi_luts(target, rows, {row.case: origin[row.case].luts[row.case] for row in rows})
    write_manifest(target / MANIFEST, rows)
    write_json(target / SPLITS, [fold(cases) for cases in folds])
    write_json(target / REPORT, _table2(parts, rows))
    raw_windows = _raw_windows(parts)
    description = dataset_json(
        training_cases(rows),
        name=target.name.partition("_")[2],
        description="; ".join(part.description.get("description", part.key) for part in parts),
        licence="; ".join(f"{part.key}: {part.description.get('licence', '')}" for part in parts),
        reference="; ".join(filter(None, (part.description.get("reference", "") for part in parts))),
        settings={
            **parts[0].description.get(OURS, {}),
            "raw_windows": True in raw_windows,
            "intents": ["processed", "raw"] if raw_windows else ["processed"],
            "parts": [part.folder.name for part in parts],
        },
    )
    write_json(target / DATASET_JSON, {**description, "dataset": training})


def _link(target: Path, links: dict[Path, Path]) -> None:
    """Make `links` (link to file), and remove what else lies in the folders of test cases."""
    for place in ("imagesTs", "labelsTs"):
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


def _sources(parts: Sequence[CombinedPart], numbers: dict[tuple[str, int], int]) -> Iterable[tuple[int, Path, str]]:
    for part in parts:
        file = part.folder / SOURCES
        if not file.is_file():
            continue
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as handle:
            for row in csv.DictReader(handle):
                if (number := numbers.get((part.key, int(row["source"])))) is not None:
                    yield number, Path(row["path"]), row.get("stamp") or ""


def _table2(parts: Sequence[CombinedPart], rows: Sequence[ManifestRow]) -> dict[str, Any]:
    """Women and images of each part's subsets: the paper's Table 2."""
    table: dict[str, Any] = {}
    for key in (*(part.key for part in parts), "total"):
        of_part = [row for row in rows if key in (row.dataset, "total")]
        table[key] = {
            subset: {
                "women": len({row.woman for row in of_part if row.subset == subset}),
                "images": sum(row.subset == subset for row in of_part),
            }
            for subset in ("train", "val", "test")
        }
    return table
