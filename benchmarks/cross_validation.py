"""Measures how well the muscle of CC views is found: too few test women have one, so every woman is scored.

    maseg combine -d 500 505 506 --cross-validation 3
    maseg plan -d 500 --plans maseg_lite
    python benchmarks/cross_validation.py -d 500 -o cross_validation

Trains on fold 0 and on each fold that holds out a share of the women. Every woman is segmented, as `maseg predict` does
it, by the model that has not seen her: the test women by that of fold 0, the others by that of the fold that holds them
out. `--fold` limits both to one fold. `found` counts the muscles of which any pixel was found. The size of drawn
muscles (`maseg_nnunet/synthetic/cc_muscle.py`) was chosen in view of the same images. Finished trainings and scores are
kept, see `sources_left_out.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from accuracy import JUDGED
from conditions import as_it_is
from sources_left_out import preprocessed, segment, segmenter_of, train_once, trained_folder, training_options

from maseg_nnunet.dataset.folders import FOLDS, RAW, SPLITS, dataset_folder, nnunet_folder
from maseg_nnunet.dataset.folds import HELD_BACK, check_cases
from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest

TRAINERS = ("MasegTrainerVariedMedium",)
COLUMNS = "| trainer | view | n | overall | muscle (n) | median | found | extra muscle where none is |"


def main() -> None:
    parser = training_options(__doc__, "cross_validation")
    parser.add_argument("--source", default="inbreast", help="data set that is scored (default inbreast)")
    parser.add_argument("--fold", type=int, action="append", help="fold to train on and score, by default all")
    options = parser.parse_args()
    folder = dataset_folder(nnunet_folder(RAW), options.dataset)
    unseen = rows_unseen(folder, options.source)
    if unknown := set(options.fold or []) - set(unseen):
        parser.error(f"fold {min(unknown)} holds out no women: choose from {', '.join(map(str, unseen))}")
    print(COLUMNS + "\n" + "| --- " * COLUMNS[1:].count("|") + "|")
    for trainer in options.trainer or TRAINERS:
        scores = []
        for fold in options.fold or unseen:
            rows = unseen[fold]
            file = options.output / f"{trainer}_fold_{fold}.csv"
            trained = trained_folder(folder, options.plans, trainer)
            check_cases(trained / f"fold_{fold}", preprocessed(folder), fold)
            if not file.is_file():
                train_once(folder, fold, options.plans, trainer, options.device)
                segmenter = segmenter_of(trained, fold, options.device)
                found = [{"view": row.view, **segment(segmenter, folder, row, as_it_is)} for row in rows]
                file.parent.mkdir(parents=True, exist_ok=True)
                pd.DataFrame(found, index=[row.case for row in rows]).to_csv(file, index_label="case")
            scores.append(pd.read_csv(file))
        for line in summary(pd.concat(scores)):
            print(f"| {trainer} {line}", flush=True)


def rows_unseen(folder: Path, source: str) -> dict[int, list[ManifestRow]]:
    """The judged cases of `source` by fold: the test women for fold 0, else the women that the fold holds out."""
    rows = [row for row in read_manifest(folder) if row.dataset == source and row.quality in JUDGED]
    splits = json.loads((folder / SPLITS).read_text())
    unseen = {0: [row for row in rows if row.subset == "test"]}
    for entry in json.loads((folder / FOLDS).read_text()):
        if HELD_BACK in entry:
            split = splits[entry["fold"]]
            used = {*split["train"], *split["val"]}
            unseen[entry["fold"]] = [row for row in rows if row.subset != "test" and row.case not in used]
    return unseen


def summary(scores: pd.DataFrame) -> list[str]:
    """The end of a row for each view."""
    lines = []
    for view, group in scores.groupby("view"):
        muscles = group.loc[~group["without_muscle"], "muscle"]
        extra = f"{int(group['large_false_positive'].sum())} of {int(group['without_muscle'].sum())}"
        lines.append(
            f"| {view} | {len(group)} | {group['overall'].mean():.3f} | {muscles.mean():.3f} ({len(muscles)}) "
            f"| {muscles.median():.3f} | {int((muscles > 0).sum())} of {len(muscles)} | {extra} |"
        )
    return lines


if __name__ == "__main__":
    main()
