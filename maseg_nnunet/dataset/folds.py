"""The cases that a fold trains and validates on: split by woman, never by image. Conversion draws the split.

If nnU-Net finds no split, or too few folds, it splits by image, so that a woman may be on both sides. Here each of
these is an error.
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
"""Key in a combined set's folds.json: the data set that a fold leaves out."""

HELD_BACK: Final = "held_back"
"""Key in folds.json: the number of the share of the women that a fold holds out."""

CASES: Final = "cases.json"
"""File in a training's folder, which records the cases it trains and validates on."""

_LOGGER = logging.getLogger(__name__)


def fetch(folder: Path, raw: Path | None, names: Iterable[str] = (SPLITS, MANIFEST, VOI_LUTS)) -> None:
    """Copy files that are missing from a preprocessed data set, because nnU-Net's own planner does not copy them.

    Args:
        folder: The preprocessed data set.
        raw: The converted data set, None if it is not there.
        names: The files to copy.

    Raises:
        DatasetError: A file in `folder` differs from that in `raw`. A split may differ, because a user may have written
            another one.
    """
    for name in names:
        if raw is None or not (raw / name).is_file():
            continue
        if not (folder / name).exists():
            with atomic(folder / name) as temporary:
                shutil.copyfile(raw / name, temporary)
        elif name != SPLITS and (folder / name).read_bytes() != (raw / name).read_bytes():
            raise DatasetError(
                f"{folder / name} differs from that of {raw}, which was converted or combined since: run `maseg plan`, "
                "or remove the file and plan as before"
            )


def read_fold(folder: Path, fold: int) -> tuple[list[str], list[str]]:
    """Read a fold from splits_final.json, and check it against the manifest.

    Without a manifest, women can't be checked; that is logged as a warning.

    Args:
        folder: The preprocessed data set.
        fold: Number of the fold.

    Returns:
        The cases to train on and those to validate on, without cases whose quality is `exclude`: their reference muscle
        is known to be wrong.

    Raises:
        DatasetError: The file or the fold is missing or empty, a case or a woman is on both sides, a woman is to be
            tested, or a case is missing from the manifest.
    """
    splits = _read_splits(folder / SPLITS)
    if not 0 <= fold < len(splits):
        raise DatasetError(
            f"{folder / SPLITS} has the folds 0 to {len(splits) - 1}, not {fold}; nnU-Net would split by image here, "
            "which puts a woman's images on both sides: train an existing fold"
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
            "no %s in %s: it can't be checked whether a woman is on both sides of the split", MANIFEST, folder
        )
        return list(train), list(validation)
    rows = {row.case: row for row in read_manifest(folder / MANIFEST)}
    woman = {case: row.woman for case, row in rows.items()}
    if unknown := sorted(case for case in (*train, *validation) if case not in woman):
        raise DatasetError(
            f"fold {fold} has cases that are missing from {folder / MANIFEST}, {_some(unknown)}: convert and plan again"
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
    """`cases` without those whose quality in the manifest in `folder` is `exclude`; all if there is no manifest."""
    rows = read_manifest(folder / MANIFEST) if (folder / MANIFEST).is_file() else []
    return _scored(cases, {row.case: row for row in rows})


def _scored(cases: Iterable[str], rows: Mapping[str, ManifestRow]) -> list[str]:
    return [case for case in cases if case not in rows or rows[case].is_scored]


def note_cases(output: Path, train: list[str], validation: list[str]) -> None:
    """Record in a training's folder `output` the cases that its checkpoints were trained and validated on."""
    write_json(output / CASES, {"train": list(train), "val": list(validation)})
    (output / CASES).touch()  # its time says when; an unchanged file would not be written again


def check_same_cases(output: Path, train: list[str], validation: list[str]) -> None:
    """Check that the training in the folder `output` used these cases.

    If a data set is combined again, the same fold may leave out another part. The women to be tested may then be women
    that the checkpoint was trained on.

    Raises:
        DatasetError: The training used other cases.
    """
    noted = output / CASES
    if not noted.is_file():
        return
    # As sets, because nnU-Net sorts the lists that it is given.
    if {key: set(cases) for key, cases in json.loads(noted.read_text()).items()} != {
        "train": set(train),
        "val": set(validation),
    }:
        raise DatasetError(f"{output} was trained on other cases than its fold has now: remove it and train again")


def check_cases(output: Path, preprocessed: Path, fold: int) -> None:
    """Check that the training in a folder is up to date with its preprocessed data set.

    Args:
        output: nnU-Net's folder TRAINER__PLANS__CONFIGURATION/fold_N.
        preprocessed: The preprocessed data set.
        fold: Number of the fold.

    Raises:
        DatasetError: The training used other cases than the fold has now, or they were preprocessed again since.
    """
    if not (output / CASES).is_file():
        return
    check_same_cases(output, *read_fold(preprocessed, fold))
    stored = finished_marker(preprocessed, "_".join(output.parent.name.split("__")[1:]))
    if stored.is_file() and stored.stat().st_mtime_ns > (output / CASES).stat().st_mtime_ns:
        raise DatasetError(f"{output} was trained before its data were preprocessed again: remove it and train again")


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
