"""Measures the Dice on a source that was not trained on, and what each part of the augmentation gains there.

    python benchmarks/sources_left_out.py -d 500 -o left_out [--trainer MasegTrainerVariedNoGamma]

Trains each trainer (see `trainers/maseg_ablations.py`) on the folds of the combined data set that leave out one source.
Every woman of that source is segmented, as `maseg predict` does it. `raw-like`, `labels, tape` and `film edges` are its
test women again, changed by the functions that training uses. An interrupted run continues. Finished trainings and
scores are kept: a changed data set or another version needs another -o and another nnUNet_results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import SimpleITK as sitk  # noqa: N813
from accuracy import JUDGED, read_converted
from conditions import CONDITIONS, Change, changed
from rich.progress import track

from maseg_nnunet.dataset.cases import image_of, reference_of
from maseg_nnunet.dataset.folders import (
    DATASET_JSON,
    EXTERNAL_TRAINER,
    FOLDS,
    PREPROCESSED,
    RAW,
    RESULTS,
    SPLITS,
    dataset_folder,
    external_trainers,
    nnunet_folder,
)
from maseg_nnunet.dataset.folds import LEFT_OUT, check_cases
from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest
from maseg_nnunet.evaluation.metrics import score_case
from maseg_nnunet.mammogram import Intent
from maseg_nnunet.models.folder import CHECKPOINT, PLANS
from maseg_nnunet.prediction.segmenter import Segmenter

TRAINERS = (
    "MasegTrainerVariedShort",
    "MasegTrainerVariedNoGamma",
    "MasegTrainerVariedNoJitter",
    "MasegTrainerVariedNoDisplays",
    "MasegTrainerVariedNoArtefacts",
    "MasegTrainerVariedNoFilmEdges",
    "MasegTrainerVariedNoRawLike",
    "MasegTrainerVariedNoTissue",
)
ABLATIONS = Path(__file__).parent / "trainers"


def main() -> None:
    parser = training_options(__doc__, "left_out")
    parser.add_argument("--source", action="append", help="data set to leave out, by default each in turn")
    options = parser.parse_args()
    folder = dataset_folder(nnunet_folder(RAW), options.dataset)
    folds = {entry["fold"]: entry[LEFT_OUT] for entry in json.loads((folder / FOLDS).read_text()) if LEFT_OUT in entry}
    if unknown := set(options.source or []) - set(folds.values()):
        parser.error(f"no fold leaves out {min(unknown)}: choose from {', '.join(folds.values())}")
    chosen = {fold: source for fold, source in folds.items() if source in (options.source or folds.values())}
    for trainer in options.trainer or TRAINERS:
        for fold, source in chosen.items():
            scores = options.output / f"{trainer}_without_{source}.csv"
            check_cases(trained_folder(folder, options.plans, trainer) / f"fold_{fold}", preprocessed(folder), fold)
            if not scores.is_file():
                trained = train_once(folder, fold, options.plans, trainer, options.device)
                table = score(segmenter_of(trained, fold, options.device), folder, source)
                scores.parent.mkdir(parents=True, exist_ok=True)
                table.to_csv(scores, index=False)
            for line in summary(pd.read_csv(scores)):
                print(f"| {trainer} | {source} {line}", flush=True)


def training_options(description: str | None, output: str) -> argparse.ArgumentParser:
    """The options that say what to train. `output` is the default folder of the scores."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", "--dataset", type=int, default=500, help="combined data set (default 500)")
    parser.add_argument("-p", "--plans", default="maseg_lite")
    parser.add_argument("-o", "--output", type=Path, default=Path(output))
    parser.add_argument("--trainer", action="append", help="trainer, by default all that are compared")
    parser.add_argument("--device", default="cpu")
    return parser


def train_once(dataset: Path, fold: int, plans: str, trainer: str, device: str) -> Path:
    """Train one fold unless it is trained, and return the folder of the model."""
    trained = trained_folder(dataset, plans, trainer)
    planned, combined = (json.loads((at / SPLITS).read_text()) for at in (preprocessed(dataset), dataset))
    if planned[fold : fold + 1] != combined[fold : fold + 1]:
        sys.exit(f"fold {fold} was combined again after it was planned: run maseg plan again")
    check_cases(trained / f"fold_{fold}", preprocessed(dataset), fold)
    if not (trained / f"fold_{fold}" / CHECKPOINT).is_file():
        command = [str(Path(sys.executable).with_name("nnUNetv2_train")), dataset.name, "2d", str(fold), "-p", plans]
        command += ["-tr", trainer, "-device", device, "--c"]
        subprocess.run(command, env=os.environ | training_environment(), check=True, stdout=sys.stderr)
    return trained


def training_environment() -> dict[str, str]:
    """The variable by which nnU-Net finds MasegTrainer, the user's trainers and the ablations."""
    return {EXTERNAL_TRAINER: os.pathsep.join([external_trainers(), str(ABLATIONS)])}


def trained_folder(dataset: Path, plans: str, trainer: str) -> Path:
    return nnunet_folder(RESULTS) / dataset.name / f"{trainer}__{plans}__2d"


def preprocessed(dataset: Path) -> Path:
    return nnunet_folder(PREPROCESSED) / dataset.name


def segmenter_of(trained: Path, fold: int, device: str) -> Segmenter:
    """Load the model of one fold from a folder that has several."""
    with TemporaryDirectory() as temporary:
        for name in (PLANS, DATASET_JSON, f"fold_{fold}"):
            (Path(temporary) / name).symlink_to((trained / name).resolve())
        return Segmenter(temporary, device)


def score(segmenter: Segmenter, folder: Path, source: str) -> pd.DataFrame:
    """Score every judged case of `source` as it is, and its test women under the other conditions too."""
    rows = [row for row in read_manifest(folder) if row.dataset == source and row.quality in JUDGED]
    scores = []
    for row in track(rows, description=source, disable=not sys.stderr.isatty()):
        for condition, change in CONDITIONS.items():
            if condition == "as it is" or row.subset == "test":
                scores.append({"condition": condition, "case": row.case, **segment(segmenter, folder, row, change)})
    return pd.DataFrame(scores)


def segment(segmenter: Segmenter, folder: Path, row: ManifestRow, change: Change) -> dict[str, float | bool]:
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(reference_of(folder, row))))
    mammogram = read_converted(image_of(folder, row), Intent(row.intent))
    mask = segmenter.predict(changed(mammogram, labels, row.case, change))
    found = score_case(mask, labels, mammogram.spacing)
    return {
        "breast": found.dice_breast,
        "muscle": found.dice_pectoral,
        "overall": found.dice_overall,
        "large_false_positive": found.large_false_positive,
        "without_muscle": found.reference_pectoral_area == 0,
    }


def summary(scores: pd.DataFrame) -> list[str]:
    """The end of a row for each condition: n, breast, muscle, overall, large muscles where there is none."""
    lines = []
    for condition in CONDITIONS:
        chosen = scores[scores["condition"] == condition]
        extra = f"{int(chosen['large_false_positive'].sum())} of {int(chosen['without_muscle'].sum())}"
        means = " | ".join(f"{chosen[name].mean():.3f}" for name in ("breast", "muscle", "overall"))
        lines.append(f"| {condition} | {len(chosen)} | {means} | {extra} |")
    return lines


if __name__ == "__main__":
    main()
