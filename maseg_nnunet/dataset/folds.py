"""The cases a fold trains and validates on, by woman and never by image. Not how they are drawn: that is conversion.

nnU-Net, where it finds no split or too few folds, draws 80:20 by image, and a woman's other breast then tells the
answer. Here each of these is an error.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from maseg_nnunet.dataset.folders import SPLITS, VOI_LUTS, finished_marker
from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, read_manifest
from maseg_nnunet.errors import DatasetError
from maseg_nnunet.files import atomic, write_json

LEFT_OUT: Final = "left_out"
"""Key of a fold in a combined set's folds.json: the part that it leaves out."""

HELD_BACK: Final = "held_back"
"""Key of a fold there: the number of the share of the women that it holds back."""

CASES: Final = "cases.json"
"""File in a training's folder: the cases it trains and validates on."""

_LOGGER = logging.getLogger(__name__)


def fetch(folder: Path, raw: Path | None, names: Iterable[str] = (SPLITS, MANIFEST, VOI_LUTS)) -> None:
    """Copy those of `names` that `folder` (preprocessed) lacks and `raw`, the converted data set, has.

    nnU-Net's own planner does not know these files and leaves them behind. Raises DatasetError where there are others
    than `raw` has by now, but for a split, which may be a person's own.
    """
    for name in names:
        if raw is None or not (raw / name).is_file():
            continue
        if not (folder / name).exists():
            with atomic(folder / name) as temporary:
                shutil.copyfile(raw / name, temporary)
        elif name != SPLITS and (folder / name).read_bytes() != (raw / name).read_bytes():
            raise DatasetError(
                f"{folder / name} is not that of {raw}, which was converted or combined since: run `maseg plan`, or "
                "remove the file and plan as before"
            )


def read_fold(folder: Path, fold: int) -> tuple[list[str], list[str]]:
    """Cases to train and to validate on in `fold`, from splits_final.json in `folder`, checked by the manifest.

    Cases whose quality in the manifest is `exclude` are left out: their reference muscle is known to be wrong.

    Raises DatasetError where the file or the fold is missing or empty, where a case or, by the manifest, a woman is on
    both sides or is to be tested, or where the manifest lacks a case. Without a manifest women can't be checked: a
    warning says so.
    """
    splits = _read_splits(folder / SPLITS)
    if not 0 <= fold < len(splits):
        raise DatasetError(
            f"{folder / SPLITS} has the folds 0 to {len(splits) - 1}, not {fold}; nnU-Net would draw by image here, "
            "which puts a woman's two breasts on both sides: train a fold that is there"
        )
    train, validation = splits[fold]["train"], splits[fold]["val"]
    if not train or not validation:
        raise DatasetError(
            f"fold {fold} of {folder / SPLITS} has {len(train)} training and {len(validation)} validation cases"
        )
    if shared := sorted(set(train) & set(validation)):
        raise DatasetError(f"fold {fold} of {folder / SPLITS} trains and validates on {_some(shared)}: convert again")
    if not (folder / MANIFEST).is_file():
        _LOGGER.warning(
            "no %s in %s: it can't be checked that no woman is on both sides of the split", MANIFEST, folder
        )
        return list(train), list(validation)
    rows = {row.case: row for row in read_manifest(folder / MANIFEST)}
    woman = {case: row.woman for case, row in rows.items()}
    if unknown := sorted(case for case in (*train, *validation) if case not in woman):
        raise DatasetError(
            f"{folder / MANIFEST} lacks {_some(unknown)}, which fold {fold} names: convert and plan again"
        )
    tested = {row.woman for row in rows.values() if row.subset == "test"}
    if seen := sorted(case for case in (*train, *validation) if woman[case] in tested):
        raise DatasetError(
            f"fold {fold} of {folder / SPLITS} trains or validates on women who are to be tested, with the cases "
            f"{_some(seen)}: convert again"
        )
    if both := sorted({woman[case] for case in train} & {woman[case] for case in validation}):
        cases = sorted(case for case in (*train, *validation) if woman[case] in both)
        raise DatasetError(
            f"fold {fold} of {folder / SPLITS} has {len(both)} women on both sides, with the cases {_some(cases)}: "
            "a split must be by woman; convert again"
        )
    return _scored(train, rows), _scored(validation, rows)


def without_excluded(folder: Path, cases: Iterable[str]) -> list[str]:
    """`cases` but for those that the manifest in `folder`, if there is one, has as `exclude`."""
    rows = read_manifest(folder / MANIFEST) if (folder / MANIFEST).is_file() else []
    return _scored(cases, {row.case: row for row in rows})


def _scored(cases: Iterable[str], rows: Mapping[str, ManifestRow]) -> list[str]:
    return [case for case in cases if case not in rows or rows[case].is_scored]


def note_cases(output: Path, train: list[str], validation: list[str]) -> None:
    """Write down in `output`, a training's folder, what the checkpoints there have trained and validated on."""
    write_json(output / CASES, {"train": list(train), "val": list(validation)})
    (output / CASES).touch()  # it tells when, too, and an unchanged file was not written


def check_same_cases(output: Path, train: list[str], validation: list[str]) -> None:
    """Raises DatasetError where the training in `output` has trained on other cases than these.

    Combined anew, a fold's number may mean another source left out, and women to be tested would have been trained on.
    """
    noted = output / CASES
    if noted.is_file() and json.loads(noted.read_text()) != {"train": list(train), "val": list(validation)}:
        raise DatasetError(f"{output} was trained on other cases than its fold has now: remove it to train anew")


def check_cases(output: Path, preprocessed: Path, fold: int) -> None:
    """Raises DatasetError where the training in `output` is of other cases than `fold` of `preprocessed` has.

    Also where they were preprocessed since. `output` is nnU-Net's TRAINER__PLANS__CONFIGURATION/fold_N.
    """
    if not (output / CASES).is_file():
        return
    check_same_cases(output, *read_fold(preprocessed, fold))
    stored = finished_marker(preprocessed, "_".join(output.parent.name.split("__")[1:]))
    if stored.is_file() and stored.stat().st_mtime_ns > (output / CASES).stat().st_mtime_ns:
        raise DatasetError(f"{output} was trained before its data were preprocessed anew: remove it to train anew")


def _read_splits(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DatasetError(f"{path} is missing: run `maseg plan`, which copies it from the converted data set")
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(split["train"], list) and isinstance(split["val"], list) for split in splits):
            return list(splits)
    except (ValueError, KeyError, TypeError):
        pass
    raise DatasetError(f"{path} is not a list of folds with the keys train and val: run `maseg plan` again")


def _some(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
