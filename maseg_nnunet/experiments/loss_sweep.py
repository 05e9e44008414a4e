"""The paper's Table 4: eight trainings, two losses with four weights of the pectoral muscle, and which one is best.

The trainers are variants of MasegTrainer and run through `nnUNetv2_train`, which leaves the scores of the validation
set behind; what is finished is not run again. How a training works is not known here.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from maseg_nnunet.dataset.folders import (
    ENDING,
    EXTERNAL_TRAINER,
    PREPROCESSED,
    RAW,
    RESULTS,
    external_trainers,
    nnunet_folder,
)
from maseg_nnunet.dataset.folds import check_cases
from maseg_nnunet.dataset.manifest import MANIFEST, read_manifest
from maseg_nnunet.errors import DatasetError, UsageError
from maseg_nnunet.files import write_text
from maseg_nnunet.labels import Label
from maseg_nnunet.parallel.commands import run_command, run_on_gpus
from maseg_nnunet.parallel.tasks import WorkerLostError, run_tasks


@dataclass(frozen=True)
class Variant:
    """A row of Table 4: the loss, the weight of the pectoral muscle, and the trainer that has them."""

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


@dataclass(frozen=True)
class Training:
    """One training. It is sent to workers as it is, so it holds all that `train` needs.

    `dataset` is a folder's name (Dataset500_Maseg); `folders` are nnU-Net's variables with their values.
    """

    variant: Variant
    dataset: str
    plans: str
    fold: int
    device: str
    folders: tuple[tuple[str, str], ...]

    @property
    def output(self) -> Path:
        """nnU-Net's results folder of the training."""
        name = f"{self.variant.trainer}__{self.plans}__2d"
        return Path(dict(self.folders)[RESULTS]) / self.dataset / name / f"fold_{self.fold}"

    @property
    def log(self) -> Path:
        """What the command printed."""
        return self.output / "sweep.log"

    @property
    def summary(self) -> Path:
        """The scores of the validation set, which nnU-Net writes last."""
        return self.output / "validation" / "summary.json"

    @property
    def state(self) -> str:
        """finished, started or to do."""
        if self.summary.is_file():
            return "finished"
        return "started" if any(self.output.glob("checkpoint_*.pth")) else "to do"

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the command; --c goes on with a started training and starts one where there is none."""
        identity = (self.dataset, "2d", str(self.fold), "-p", self.plans, "-tr", self.variant.trainer)
        return ("nnUNetv2_train", *identity, "-device", self.device, "--c")


@dataclass(frozen=True)
class SweepScore:
    """Dice of a finished training over the validation images: mean and standard deviation, as in Table 4.

    The pectoral muscle is scored in the `visible` images alone whose reference has any.
    """

    variant: Variant
    images: int
    breast: tuple[float, float]
    visible: int
    pectoral: tuple[float, float]


def plan_sweep(dataset: str, plans: str, fold: int, device: str) -> list[Training]:
    """The eight trainings of Table 4 on a data set that is preprocessed.

    Raises UsageError where nnU-Net's folders are not set, DatasetError where the plans file is missing or a
    training was begun on other cases than the fold has now.
    """
    folders = {name: str(nnunet_folder(name).absolute()) for name in (RAW, PREPROCESSED, RESULTS)}
    path = Path(folders[PREPROCESSED]) / dataset / f"{plans}.json"
    if not path.is_file():
        raise DatasetError(f"{path} is missing: run `maseg plan -d {int(dataset[7:10])} --plans {plans}` first")
    folders[EXTERNAL_TRAINER] = external_trainers()
    trainings = [Training(variant, dataset, plans, fold, device, tuple(folders.items())) for variant in TABLE_4]
    for training in trainings:
        check_cases(training.output, path.parent, fold)
    return trainings


def run_sweep(
    trainings: Iterable[Training], *, gpus: Sequence[str] = (), scheduler: str | None = None
) -> Iterator[tuple[Training, str]]:
    """Run the trainings that are not finished; yield each with what went wrong, empty for nothing.

    Locally one after the other, or at once on the GPUs of the numbers `gpus`, one each. `scheduler`: the address of a
    Dask scheduler; its workers should have one thread and one GPU each and see the same file system.
    """
    waiting = [training for training in trainings if training.state != "finished"]
    if scheduler and gpus:
        raise UsageError("--gpus is for this machine; with --scheduler every worker uses its own GPU")
    if scheduler:
        for training, outcome in run_tasks(train, waiting, scheduler=scheduler):
            yield training, str(outcome) if isinstance(outcome, WorkerLostError) else outcome
        return
    yield from run_on_gpus(train, waiting, gpus)


def train(training: Training, gpu: str | None = None) -> str:
    """Run the command of `training`, on the GPU of that number where one is given; what went wrong, empty for nothing.

    Its output goes to `training.log`. Also run on Dask's workers, which find it by name.
    """
    program, *arguments = training.command
    environment = os.environ | dict(training.folders) | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
    training.output.mkdir(parents=True, exist_ok=True)
    status = run_command([_beside_python(program), *arguments], environment, training.log)
    if training.summary.is_file():
        return ""
    return f"nnUNetv2_train ended with status {status} and without scores; its last words are in {training.log}"


def score(training: Training) -> SweepScore:
    """The scores of a finished training. Raises DatasetError where they can't be read."""
    try:
        cases = json.loads(training.summary.read_text(encoding="utf-8"))["metric_per_case"]
        metrics = {Path(case["reference_file"]).name.removesuffix(ENDING): case["metrics"] for case in cases}
        breast = [float(case[str(int(Label.BREAST))]["Dice"]) for case in metrics.values()]
        muscle = {name: case[str(int(Label.PECTORAL_MUSCLE))] for name, case in metrics.items()}
        unscored = _unscored(Path(dict(training.folders)[PREPROCESSED]) / training.dataset)
        pectoral = [float(m["Dice"]) for name, m in muscle.items() if m["n_ref"] > 0 and name not in unscored]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{training.summary} has no scores ({error}): remove it and run the sweep again") from error
    return SweepScore(training.variant, len(metrics), _moments(breast), len(pectoral), _moments(pectoral))


def winner(scores: Sequence[SweepScore]) -> SweepScore | None:
    """The highest mean pectoral Dice, by which the paper chose; None where nobody saw a muscle."""
    seen = [score for score in scores if score.visible]
    return max(seen, key=lambda score: score.pectoral[0], default=None)


def write_table(path: Path, scores: Sequence[SweepScore]) -> None:
    """Table 4 as CSV, one line a finished training."""
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


def _unscored(folder: Path) -> set[str]:
    """Cases whose reference muscle must not be scored."""
    if not (folder / MANIFEST).is_file():
        return set()
    return {row.case for row in read_manifest(folder / MANIFEST) if not row.is_scored}


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of the finite values, NaN where there are too few."""
    finite = [value for value in values if math.isfinite(value)]
    mean = statistics.fmean(finite) if finite else math.nan
    return mean, statistics.stdev(finite) if len(finite) > 1 else math.nan


def _beside_python(program: str) -> str:
    """The command of this environment, also where its folder is not in PATH."""
    path = Path(sys.executable).with_name(program)
    return str(path) if path.is_file() else program
