"""The paper's three experiments (section 2.3) as lists of commands, each run only if its result is missing.

1. All processed images and films: train, predict the test set, Tables 5 to 7.
2. Raw images too: train, predict the processed and raw test images with this model and with the first, Table 8.
3. One data set left out at a time: train one fold for each, predict the known sets and the unknown one, Table 9.

`steps.py` runs the commands. This module does not convert, train or score anything itself.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maseg_nnunet.dataset.cases import image_of, select_rows
from maseg_nnunet.dataset.folders import PREPROCESSED, RAW, RESULTS, nnunet_folder
from maseg_nnunet.dataset.folds import check_cases
from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, read_manifest
from maseg_nnunet.errors import UsageError
from maseg_nnunet.evaluation.scoring import score_folder
from maseg_nnunet.experiments.steps import CommandStep, Phase, nnunet_environment
from maseg_nnunet.files import write_json
from maseg_nnunet.models.folder import CHECKPOINT

if TYPE_CHECKING:
    from maseg_nnunet.evaluation.tables import ReportTable

SETUP: Final = "setup.json"
"""File in the output folder that records the model and the data sets of its results."""

ON_PROCESSED: Final = "trained on processed"
ON_BOTH: Final = "trained on processed and raw"
"""Folders of experiment 2's predictions. The columns of Table 8 have their names."""

KNOWN: Final = "test"
UNKNOWN: Final = "unknown"
"""Folders of experiment 3's predictions: the combined set's test images, and the left-out set's training images."""


@dataclass(frozen=True)
class ExperimentPart:
    """One data set of the combined one.

    Attributes:
        key: Name of the data set, as convert_vendor takes it.
        dataset_id: nnU-Net's number of it.
        folder: Name of its folder in nnUNet_raw.
        input: Source of its images, None if it is converted already.
        masks: Source of its masks, None if it is converted already.
    """

    key: str
    dataset_id: int
    folder: str
    input: Path | None = None
    masks: Path | None = None


@dataclass(frozen=True)
class Setup:
    """What all steps share.

    Attributes:
        parts: The data sets that are combined.
        output: Folder of the predictions, logs and reports, with a folder for each experiment.
        combined: Number of the combined set of processed images and films.
        with_raw: Number of the combined set that has raw images too.
        plans: Name of the plans, and of their template.
        trainer: Class name of the trainer.
        device: cuda, cpu or mps.
        workers: Processes for conversion, preprocessing and scoring.
        scheduler: Address of a Dask scheduler.
    """

    parts: tuple[ExperimentPart, ...]
    output: Path
    combined: int = 500
    with_raw: int = 510
    plans: str = "maseg_paper"
    trainer: str = "MasegTrainer"
    device: str = "cuda"
    workers: int = 2
    scheduler: str | None = None

    @property
    def model(self) -> tuple[str, ...]:
        """The options that all of nnU-Net's trainings and predictions share."""
        return "-p", self.plans, "-tr", self.trainer, "-device", self.device

    def dataset(self, number: int) -> Path:
        """Folder of a combined data set in nnUNet_raw, as `maseg combine` names it."""
        return nnunet_folder(RAW) / f"Dataset{number:03d}_{'Maseg' if number == self.combined else 'MasegRaw'}"

    def trained(self, number: int, fold: int) -> Path:
        """Folder of a fold's training."""
        model = nnunet_folder(RESULTS) / self.dataset(number).name / f"{self.trainer}__{self.plans}__2d"
        return model / f"fold_{fold}"

    def predictions(self, experiment: int, *names: str) -> Path:
        """Folder of the masks that an experiment predicts."""
        return self.output / f"experiment{experiment}" / "predictions" / Path(*names)

    def report(self, experiment: int) -> Path:
        """Folder of an experiment's tables."""
        return self.output / f"experiment{experiment}" / "report"


Words = Sequence[str | Path | int]


def read_sources(path: Path) -> dict[str, tuple[Path, Path]]:
    """Read where the data sets to convert are.

    Args:
        path: A CSV with the columns name, input, masks. Relative paths start at its folder.

    Returns:
        The name of each data set, with the absolute paths of its input and masks.

    Raises:
        UsageError: The file has another form, names a data set twice, or names a path that does not exist.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} can't be read: a CSV with the columns name, input, masks was expected") from error
    sources: dict[str, tuple[Path, Path]] = {}
    for number, row in enumerate(rows, start=2):
        name, *places = ((row.get(column) or "").strip() for column in ("name", "input", "masks"))
        if not name or not all(places) or name in sources:
            raise UsageError(f"{path}, line {number}: name, input and masks were expected, every name once")
        found = [(path.parent / place).absolute() for place in places]
        if missing := [str(place) for place in found if not place.exists()]:
            raise UsageError(f"{path}, line {number}: {', '.join(missing)} does not exist")
        sources[name] = found[0], found[1]
    if not sources:
        raise UsageError(f"{path} names no data set")
    return sources


def phases(experiment: int, setup: Setup) -> list[Phase]:
    """List the commands of an experiment, up to the predictions that `write_tables` scores.

    Args:
        experiment: 1, 2 or 3.
        setup: What all steps share.

    Returns:
        Conversion, combination, planning, training and prediction, to be run by `steps.run_phases`.

    Raises:
        UsageError: There is no such experiment, or it can't be made of these data sets and numbers.
    """
    if experiment not in (1, 2, 3):
        raise UsageError(f"there is no experiment {experiment}: 1 views and vendors, 2 raw images, 3 vendors left out")
    if experiment == 2 and setup.combined == setup.with_raw:
        raise UsageError(f"experiment 2 needs a number of its own for the set with raw images, not {setup.combined}")
    if experiment == 3 and len(setup.parts) < 2:
        raise UsageError("experiment 3 leaves one data set out at a time: it needs at least two")
    numbers = [setup.combined, setup.with_raw] if experiment == 2 else [setup.combined]
    folds = range(1, len(setup.parts) + 1) if experiment == 3 else [0]
    return [
        lambda: [_convert(setup, part) for part in setup.parts if part.input is not None],
        lambda: [_combine(setup, number) for number in numbers],
        lambda: [_plan(setup, number) for number in numbers],
        lambda: [_train(setup, number, fold) for number in numbers for fold in folds],
        lambda: _predict(setup, experiment),
    ]


def _step(
    setup: Setup,
    title: str,
    command: Words,
    *,
    result: Path | None = None,
    masks: Path | None = None,
    cases: tuple[str, ...] = (),
    model: Path | None = None,
    links: tuple[tuple[Path, Path], ...] = (),
    spread: bool = False,
) -> CommandStep:
    words, log = tuple(map(str, command)), setup.output / "logs" / f"{title.replace(' ', '_')}.log"
    return CommandStep(title, words, log, result, masks, cases, model, links, spread, nnunet_environment())


def _convert(setup: Setup, part: ExperimentPart) -> CommandStep:
    # Raw images too: `maseg combine` leaves them out if they are not wanted.
    command: Words = ["convert_vendor", "--name", part.key]
    sources: Words = ["--input", part.input or "", "--masks", part.masks or "", "--intent", "both"]
    where: Words = ["--scheduler", setup.scheduler] if setup.scheduler else ["--workers", setup.workers]
    command = [*command, *sources, *where]
    return _step(setup, f"convert {part.key}", command)


def _combine(setup: Setup, number: int) -> CommandStep:
    intent = "processed" if number == setup.combined else "both"
    numbers = [part.dataset_id for part in setup.parts]
    return _step(setup, f"combine {number}", ["maseg", "combine", "-d", number, "--intent", intent, *numbers])


def _plan(setup: Setup, number: int) -> CommandStep:
    command: Words = ["maseg", "plan", "-d", number, "--plans", setup.plans, "--workers", setup.workers]
    return _step(setup, f"plan {number}", command)


def _train(setup: Setup, number: int, fold: int) -> CommandStep:
    if number == setup.with_raw and (rows := _rows(setup, number)) and not any(row.intent == "raw" for row in rows):
        raise UsageError(
            f"{setup.dataset(number)} has no raw image, and experiment 2 needs some: convert with --intent both"
        )
    trained = setup.trained(number, fold)
    # nnU-Net writes the summary last. --c continues a training that was started, or starts one.
    done = trained / "validation" / "summary.json"
    check_cases(trained, nnunet_folder(PREPROCESSED) / setup.dataset(number).name, fold)
    command: Words = ["nnUNetv2_train", number, "2d", fold, *setup.model, "--c"]
    return _step(setup, f"train {number} fold {fold}", command, result=done, spread=True)


def _predict(setup: Setup, experiment: int) -> list[CommandStep]:
    combined, with_raw = setup.combined, setup.with_raw
    if experiment == 1:
        return [_predict_test(setup, combined, combined, 0, setup.predictions(1))]
    if experiment == 2:
        return [
            _predict_test(setup, combined, with_raw, 0, setup.predictions(2, ON_PROCESSED)),
            _predict_test(setup, with_raw, with_raw, 0, setup.predictions(2, ON_BOTH)),
        ]
    steps = []
    for fold, part in enumerate(setup.parts, start=1):
        masks = setup.predictions(3, part.key)
        steps.append(_predict_test(setup, combined, combined, fold, masks / KNOWN))
        # The part's own folder also has its validation and raw images, which Table 9 leaves out.
        training = [row for row in _rows(setup, combined) if row.dataset == part.key and row.subset == "train"]
        images = setup.output / "experiment3" / "images" / part.key
        files = [image_of(setup.dataset(combined), row) for row in training]
        links = tuple((images / file.name, file.absolute()) for file in files)
        if training or not _rows(setup, combined):
            steps.append(_predict_images(setup, combined, fold, images, masks / UNKNOWN, training, links))
    return steps


def _predict_test(setup: Setup, model: int, dataset: int, fold: int, masks: Path) -> CommandStep:
    test = [row for row in _rows(setup, dataset) if row.subset == "test"]
    return _predict_images(setup, model, fold, setup.dataset(dataset) / "imagesTs", masks, test)


def _predict_images(
    setup: Setup,
    model: int,
    fold: int,
    images: Path,
    masks: Path,
    rows: Iterable[ManifestRow],
    links: tuple[tuple[Path, Path], ...] = (),
) -> CommandStep:
    """Predict as the paper does: without mirroring, without post-processing."""
    folders: Words = ["-i", images, "-o", masks]
    which: Words = ["-d", model, "-c", "2d", "-f", fold, *setup.model, "--disable_tta"]
    command: Words = ["nnUNetv2_predict", *folders, *which, "--continue_prediction"]
    names = [name for name in masks.relative_to(setup.output).parts if name != "predictions"]
    title = f"predict {' '.join(names)}"
    cases, checkpoint = tuple(row.case for row in rows), setup.trained(model, fold) / CHECKPOINT
    return _step(setup, title, command, masks=masks, cases=cases, model=checkpoint, links=links, spread=True)


def _rows(setup: Setup, number: int) -> list[ManifestRow]:
    """The manifest of a combined set, empty if the set does not exist yet (in a dry run)."""
    folder = setup.dataset(number)
    return read_manifest(folder) if (folder / MANIFEST).is_file() else []


def check_output(setup: Setup) -> None:
    """Record in the output folder which model and data sets its results are of.

    Raises:
        UsageError: The folder has results of another model or of other data sets.
    """
    made_of = {
        "plans": setup.plans,
        "trainer": setup.trainer,
        "combined": setup.combined,
        "with_raw": setup.with_raw,
        "parts": [part.key for part in setup.parts],
    }
    file = setup.output / SETUP
    if file.is_file() and (before := json.loads(file.read_text())) != made_of:
        changed = ", ".join(f"{key} {before.get(key)}" for key in made_of if before.get(key) != made_of[key])
        raise UsageError(f"{setup.output} has results of {changed}: choose another folder with -o")
    write_json(file, made_of)


def write_tables(experiment: int, setup: Setup, *, pictures: bool = True) -> list[ReportTable]:
    """Score an experiment's predictions and write its tables and page to its report folder.

    Args:
        experiment: 1, 2 or 3.
        setup: What all steps share.
        pictures: Whether the page shows the cases.

    Returns:
        The tables to show in a terminal.

    Raises:
        ProblemsError: A prediction is missing or can't be scored.
    """
    from maseg_nnunet.evaluation.comparison import write_comparison
    from maseg_nnunet.evaluation.leave_one_out import write_left_out
    from maseg_nnunet.evaluation.output import write_evaluation
    from maseg_nnunet.evaluation.pictures import draw_pictures

    report, workers = setup.report(experiment), setup.workers
    dataset = setup.dataset(setup.with_raw if experiment == 2 else setup.combined)
    rows = select_rows(dataset)
    if experiment == 1:
        predictions = setup.predictions(1)
        cases = score_folder(predictions, dataset, rows, workers=workers)
        drawn = draw_pictures(rows, dataset, predictions, workers=workers) if pictures else {}
        about = f"Experiment 1, {dataset.name}: {len(cases)} test images, {setup.plans}, {setup.trainer}."
        return write_evaluation(report, cases, drawn, about)
    if experiment == 2:
        folders = setup.predictions(2, ON_PROCESSED), setup.predictions(2, ON_BOTH)
        return write_comparison(report, dataset, rows, folders, workers=workers, pictures=pictures, of_paper=True)
    models = {part.key: setup.predictions(3, part.key) for part in setup.parts}
    folders_of = {key: (folder / KNOWN, folder / UNKNOWN) for key, folder in models.items()}
    return write_left_out(report, dataset, read_manifest(dataset), folders_of, workers=workers)
