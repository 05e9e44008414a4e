"""The paper's Table 4: eight trainings, two losses with four weights of the pectoral muscle, and the best of them.

The trainers are variants of MasegTrainer. They run through `nnUNetv2_train`, which leaves the scores of the validation
set; `steps.py` skips a training that has them.
"""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from maseg_nnunet.dataset.folders import ENDING, PREPROCESSED, RESULTS
from maseg_nnunet.dataset.folds import check_cases
from maseg_nnunet.dataset.manifest import MANIFEST, read_manifest
from maseg_nnunet.errors import DatasetError
from maseg_nnunet.experiments.steps import CommandStep, nnunet_environment
from maseg_nnunet.files import write_text
from maseg_nnunet.labels import Label


@dataclass(frozen=True)
class Variant:
    """A row of Table 4: the loss, the weight of the pectoral muscle in it, and the trainer that has them."""

    loss: str
    alpha: float
    trainer: str


TABLE_4: Final = (
    Variant("Cross-entropy", 1.0, "MasegTrainerCE10"),
    Variant("Cross-entropy", 1.5, "MasegTrainerCE15"),
    Variant("Cross-entropy", 2.0, "MasegTrainer"),
    Variant("Cross-entropy", 2.5, "MasegTrainerCE25"),
    Variant("Focal", 1.0, "MasegTrainerFocal10"),
    Variant("Focal", 1.5, "MasegTrainerFocal15"),
    Variant("Focal", 2.0, "MasegTrainerFocal"),
    Variant("Focal", 2.5, "MasegTrainerFocal25"),
)

LOG: Final = "sweep.log"
"""File in a training's folder that the output of its command is appended to."""


@dataclass(frozen=True)
class SweepScore:
    """Dice of a finished training over the validation images, as in Table 4.

    Attributes:
        variant: The row of Table 4.
        images: Number of validation images.
        breast: Mean and sample standard deviation of the breast's Dice.
        visible: Number of images whose reference has a pectoral muscle. Only these count for `pectoral`.
        pectoral: Mean and sample standard deviation of the muscle's Dice.
    """

    variant: Variant
    images: int
    breast: tuple[float, float]
    visible: int
    pectoral: tuple[float, float]


def plan_sweep(dataset: str, plans: str, fold: int, device: str) -> list[CommandStep]:
    """List the trainings of a preprocessed data set, one for each row of Table 4 and in its order.

    Args:
        dataset: Name of the data set's folder (Dataset500_Maseg).
        plans: Name of the plans, as given to `maseg plan`.
        fold: Number of the fold.
        device: cuda, cpu or mps.

    Returns:
        Steps with the trainer's name as title, to be run by `steps.run_steps`. A command continues a training that
        was started.

    Raises:
        UsageError: One of nnU-Net's folders is not set.
        DatasetError: The plans file is missing, or a training was started on other cases than the fold has now.
    """
    environment = nnunet_environment()
    folders = dict(environment)
    preprocessed = Path(folders[PREPROCESSED]) / dataset
    path = preprocessed / f"{plans}.json"
    if not path.is_file():
        raise DatasetError(f"{path} is missing: run `maseg plan -d {int(dataset[7:10])} --plans {plans}` first")
    steps = []
    for trainer in (variant.trainer for variant in TABLE_4):
        output = Path(folders[RESULTS]) / dataset / f"{trainer}__{plans}__2d" / f"fold_{fold}"
        check_cases(output, preprocessed, fold)
        what = (dataset, "2d", str(fold), "-p", plans, "-tr", trainer, "-device", device)
        # nnU-Net writes the summary last. --c continues a training that was started, or starts one.
        command, summary = ("nnUNetv2_train", *what, "--c"), output / "validation" / "summary.json"
        steps.append(CommandStep(trainer, command, output / LOG, summary, spread=True, environment=environment))
    return steps


def state(step: CommandStep) -> str:
    """Whether a training is finished, started or to do, in these words."""
    if step.is_done:
        return "finished"
    return "started" if any(step.log.parent.glob("checkpoint_*.pth")) else "to do"


def score_sweep(steps: Sequence[CommandStep], preprocessed: Path) -> list[SweepScore]:
    """Score the finished trainings.

    Args:
        steps: All steps of `plan_sweep`.
        preprocessed: The preprocessed data set. Cases whose reference muscle its manifest calls wrong don't count for
            the muscle.

    Returns:
        The scores in the order of Table 4.

    Raises:
        DatasetError: The scores of a finished training can't be read.
    """
    manifest = preprocessed / MANIFEST
    unscored = {row.case for row in read_manifest(manifest) if not row.is_scored} if manifest.is_file() else set()
    results = [(variant, step.result) for variant, step in zip(TABLE_4, steps, strict=True) if step.is_done]
    return [_score(variant, summary, unscored) for variant, summary in results if summary is not None]


def winner(scores: Sequence[SweepScore]) -> SweepScore | None:
    """The highest mean pectoral Dice, by which the paper chose. None if no image has a pectoral muscle."""
    seen = [score for score in scores if score.visible]
    return max(seen, key=lambda score: score.pectoral[0], default=None)


def write_table(path: Path, scores: Sequence[SweepScore]) -> None:
    """Write Table 4 as CSV, one line for each finished training."""
    best = winner(scores)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    moments = ("breast_mean", "breast_sd", "pectoral_mean", "pectoral_sd")
    lines.writerow(("loss", "alpha_pectoral", "trainer", "images", "images_with_muscle", *moments, "winner"))
    for row in scores:
        variant = row.variant
        dice = [f"{value:.4f}" for value in (*row.breast, *row.pectoral)]
        won = "yes" if row is best else ""
        lines.writerow((variant.loss, variant.alpha, variant.trainer, row.images, row.visible, *dice, won))
    write_text(path, text.getvalue())


def _score(variant: Variant, summary: Path, unscored: set[str]) -> SweepScore:
    try:
        cases = json.loads(summary.read_text(encoding="utf-8"))["metric_per_case"]
        metrics = {Path(case["reference_file"]).name.removesuffix(ENDING): case["metrics"] for case in cases}
        breast = [float(case[str(int(Label.BREAST))]["Dice"]) for case in metrics.values()]
        muscle = {name: case[str(int(Label.PECTORAL_MUSCLE))] for name, case in metrics.items()}
        pectoral = [float(m["Dice"]) for name, m in muscle.items() if m["n_ref"] > 0 and name not in unscored]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{summary} has no scores ({error}): remove it and run the sweep again") from error
    return SweepScore(variant, len(metrics), _moments(breast), len(pectoral), _moments(pectoral))


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of the finite values, NaN if there are too few."""
    finite = [value for value in values if math.isfinite(value)]
    mean = statistics.fmean(finite) if finite else math.nan
    return mean, statistics.stdev(finite) if len(finite) > 1 else math.nan
