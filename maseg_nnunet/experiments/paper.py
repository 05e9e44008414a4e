"""The paper's three experiments (section 2.3) as lists of commands, each run only while its result is missing.

1. All processed images and films: train, predict the test set, Tables 5 to 7.
2. Also with raw images: train, predict processed and raw test images by this model and by the first, Table 8.
3. Without one data set at a time: train a fold each, predict the known sets and the unknown one, Table 9.

How a step is run is told in `steps.py`; how data are converted, a network trained or a mask scored is not
known here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maseg_nnunet.dataset.cases import image_of, select_rows
from maseg_nnunet.dataset.folders import (
    EXTERNAL_TRAINER,
    PREPROCESSED,
    RAW,
    RESULTS,
    external_trainers,
    nnunet_folder,
)
from maseg_nnunet.dataset.folds import check_cases
from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, read_manifest
from maseg_nnunet.errors import UsageError
from maseg_nnunet.evaluation.scoring import score_folder
from maseg_nnunet.experiments.steps import CommandStep, Phase
from maseg_nnunet.files import write_json
from maseg_nnunet.models.folder import CHECKPOINT

if TYPE_CHECKING:
    from maseg_nnunet.evaluation.tables import ReportTable

SETUP: Final = "setup.json"
"""File in the output folder: the model and the data sets whose results it holds."""

ON_PROCESSED: Final = "trained on processed"
ON_BOTH: Final = "trained on processed and raw"
"""Folders of experiment 2's predictions; Table 8 names its columns by them."""

KNOWN: Final = "test"
UNKNOWN: Final = "unknown"
"""Folders of experiment 3's predictions: the combined set's test images, and the left-out set's training images."""


@dataclass(frozen=True)
class ExperimentPart:
    """One data set of the combined one. `input` and `masks`: its sources, None where it is converted already."""

    key: str
    dataset_id: int
    folder: str
    input: Path | None = None
    masks: Path | None = None


@dataclass(frozen=True)
class Setup:
    """What all steps share. `combined`: number of the set of processed images; `with_raw`: of the one with raw images.

    `output` gets predictions, logs and reports, a folder each experiment. `scheduler`: address of a Dask scheduler.
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
        """The options of nnU-Net's commands that every training and prediction has."""
        return "-p", self.plans, "-tr", self.trainer, "-device", self.device

    def dataset(self, number: int) -> Path:
        """Folder of a combined data set in nnUNet_raw, as `maseg combine` names it."""
        return nnunet_folder(RAW) / f"Dataset{number:03d}_{'Maseg' if number == self.combined else 'MasegRaw'}"

    def trained(self, number: int, fold: int) -> Path:
        """Folder of a fold's training."""
        model = nnunet_folder(RESULTS) / self.dataset(number).name / f"{self.trainer}__{self.plans}__2d"
        return model / f"fold_{fold}"

    def predictions(self, experiment: int, *names: str) -> Path:
        """Folder of masks that an experiment predicts."""
        return self.output / f"experiment{experiment}" / "predictions" / Path(*names)

    def report(self, experiment: int) -> Path:
        """Folder of an experiment's tables."""
        return self.output / f"experiment{experiment}" / "report"


Words = Sequence[str | Path | int]


def read_sources(path: Path) -> dict[str, tuple[Path, Path]]:
    """(input, masks) of each data set in a CSV with the columns name, input, masks; relative paths are from its folder.

    Raises UsageError where the file is not so, or names a data set twice or a path that is not there.
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
            raise UsageError(f"{path}, line {number}: {', '.join(missing)} is not there")
        sources[name] = found[0], found[1]
    if not sources:
        raise UsageError(f"{path} names no data set")
    return sources


def phases(experiment: int, setup: Setup) -> list[Phase]:
    """The commands of an experiment, up to the predictions that `write_tables` scores."""
    if experiment not in (1, 2, 3):
        raise UsageError(f"there is no experiment {experiment}: 1 views and vendors, 2 raw images, 3 vendors left out")
    if experiment == 2 and setup.combined == setup.with_raw:
        raise UsageError(f"experiment 2 needs a number of its own for the set with raw images, not {setup.combined}")
    if experiment == 3 and len(setup.parts) < 2:
        raise UsageError("experiment 3 leaves one data set out at a time: it needs two at least")
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
    environment = {name: str(nnunet_folder(name).absolute()) for name in (RAW, PREPROCESSED, RESULTS)}
    environment[EXTERNAL_TRAINER] = external_trainers()
    log = setup.output / "logs" / f"{title.replace(' ', '_')}.log"
    words, variables = tuple(map(str, command)), tuple(environment.items())
    return CommandStep(title, words, log, result, masks, cases, model, links, spread, variables)


def _convert(setup: Setup, part: ExperimentPart) -> CommandStep:
    # Raw images too: combining leaves them out where they are not wanted.
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
            f"{setup.dataset(number)} has no raw image, which experiment 2 is about: convert with --intent both"
        )
    trained = setup.trained(number, fold)
    # The summary is the last file that nnU-Net writes. --c goes on with a training that was started, or starts one.
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
        # The part's own folder also holds its validation and raw images, which Table 9 leaves out.
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
    """As the paper predicted: without mirroring, without post-processing."""
    folders: Words = ["-i", images, "-o", masks]
    which: Words = ["-d", model, "-c", "2d", "-f", fold, *setup.model, "--disable_tta"]
    command: Words = ["nnUNetv2_predict", *folders, *which, "--continue_prediction"]
    names = [name for name in masks.relative_to(setup.output).parts if name != "predictions"]
    title = f"predict {' '.join(names)}"
    cases, checkpoint = tuple(row.case for row in rows), setup.trained(model, fold) / CHECKPOINT
    return _step(setup, title, command, masks=masks, cases=cases, model=checkpoint, links=links, spread=True)


def _rows(setup: Setup, number: int) -> list[ManifestRow]:
    """The manifest of a combined set, empty where it is still to be made (in a dry run)."""
    folder = setup.dataset(number)
    return read_manifest(folder) if (folder / MANIFEST).is_file() else []


def check_output(setup: Setup) -> None:
    """Write down in the output folder what its results are of. Raises UsageError where it holds others' results."""
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
        raise UsageError(f"{setup.output} holds results of {changed}: choose another -o")
    write_json(file, made_of)


def write_tables(experiment: int, setup: Setup, *, pictures: bool = True) -> list[ReportTable]:
    """Score an experiment's predictions and write its tables and page to its report folder; what a terminal shows.

    Raises ProblemsError where a prediction is missing or can't be scored.
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
