"""The whole path on synthetic exams of three makers: DICOM, conversion, planning, training, prediction, scores.

Only the data and the short training are special to the demo. Every stage runs the command that a user would type, with
nnU-Net's folders below the demo's folder.

The demo's folder has `exams` (DICOM files and masks), `overlays` (the test exams with the predicted edges), `report`
(what `maseg evaluate` writes), `logs` (what the commands print) and `work` (nnU-Net's folders, removed at the end
unless they are to be kept).
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import numpy as np

from maseg_nnunet.dataset.folders import EXTERNAL_TRAINER, PREPROCESSED, RAW, RESULTS, external_trainers
from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest
from maseg_nnunet.errors import MasegError, ModelError, UsageError
from maseg_nnunet.experiments.steps import remove_damaged
from maseg_nnunet.files import write_json, write_text

LEAST_BREAST_DICE: Final = 0.95
LEAST_PECTORAL_DICE: Final = 0.80
"""The demo fails unless its mean Dice over the test images is above these: otherwise something is broken."""

DATASET_ID: Final = 509
DATASET: Final = "Dataset509_Dicom"
PLANS: Final = "maseg_demo"
TRAINER: Final = "MasegTrainerDemo"

MARKER: Final = ".maseg-demo.json"
"""File that marks a folder as the demo's and records its settings. Nothing is removed from a folder without it."""

# One process each: on images this small nnU-Net's pools cost more than they gain.
_SINGLE: Final = {
    "nnUNet_n_proc_DA": "1",
    "nnUNet_def_n_proc": "1",
    "nnUNet_npp": "1",
    "nnUNet_nps": "1",
    "nnUNet_compile": "f",
}


@dataclass(frozen=True)
class DemoSettings:
    """What the demo makes.

    Attributes:
        vendors: The makers whose exams are imitated.
        women: Number of women of each vendor in train, val and test.
        scale: Size of the pixel matrix relative to the maker's.
    """

    vendors: tuple[str, ...] = ("hologic", "ge", "fuji")
    women: tuple[int, int, int] = (5, 1, 2)
    scale: float = 0.15


@dataclass(frozen=True)
class DemoStage:
    """A finished stage.

    Attributes:
        title: What the stage is called.
        seconds: Wall-clock time.
        cpu_seconds: CPU time, with that of child processes.
        note: What the stage made.
    """

    title: str
    seconds: float
    cpu_seconds: float
    note: str


@dataclass(frozen=True)
class VendorScore:
    """Mean Dice of one vendor's test images of one view and intent.

    Attributes:
        vendor: Name of the maker.
        view: CC or MLO.
        intent: processed, or another value of `Intent`.
        images: Number of images.
        breast: Mean Dice of the breast.
        pectoral: Mean Dice of the pectoral muscle, NaN if no image has one.
        with_muscle: Number of images that `pectoral` is the mean of.
    """

    vendor: str
    view: str
    intent: str
    images: int
    breast: float
    pectoral: float
    with_muscle: int


@dataclass(frozen=True)
class DemoResult:
    """The scores of the demo, and where its files are.

    Attributes:
        scores: One entry for each vendor, view and intent.
        breast: Mean Dice of the breast over all test images, as in the paper.
        pectoral: Mean Dice of the pectoral muscle over all test images that have one.
        overlays: Folder of the pictures.
        report: Folder of what `maseg evaluate` wrote.
    """

    scores: tuple[VendorScore, ...]
    breast: float
    pectoral: float
    overlays: Path
    report: Path

    def check(self) -> None:
        """Raise ModelError if a mean Dice is not above what the demo promises."""
        for name, dice, least in (
            ("breast", self.breast, LEAST_BREAST_DICE),
            ("pectoral", self.pectoral, LEAST_PECTORAL_DICE),
        ):
            if not dice > least:
                raise ModelError(f"the {name} Dice of the demo is {dice:.3f}, but should be above {least:.2f}")


def run_demo(
    folder: Path,
    *,
    settings: DemoSettings = DemoSettings(),
    keep: bool = False,
    started: Callable[[str], None] = lambda title: None,
    ended: Callable[[DemoStage], None] = lambda stage: None,
) -> DemoResult:
    """Run every stage. An interrupted demo continues after its last finished stage.

    Args:
        folder: The demo's folder, created if it is missing.
        settings: What the demo makes. Results of other settings are removed from the folder.
        keep: Keep nnU-Net's folders.
        started: Called with the title of each stage before it runs.
        ended: Called with each stage after it has run.

    Raises:
        UsageError: `folder` has files that are not the demo's.
        MasegError: A stage failed. The message names its log.
    """
    _claim(folder, settings)
    stages = _Stages(folder, settings)
    result: DemoResult | None = None
    for title, run in stages.in_order():
        started(title)
        clock, cpu = time.monotonic(), _cpu_seconds()
        made = run()
        if isinstance(made, DemoResult):
            result, note = made, f"mean Dice breast {made.breast:.3f}, pectoral muscle {made.pectoral:.3f}"
        else:
            note = made
        ended(DemoStage(title, time.monotonic() - clock, _cpu_seconds() - cpu, note))
    assert result is not None
    if not keep:
        shutil.rmtree(stages.work)
    return result


def _claim(folder: Path, settings: DemoSettings) -> None:
    """Mark `folder` as the demo's, and remove what other settings or another version left in it."""
    marker = folder / MARKER
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not marker.is_file())):
        raise UsageError(f"{folder} has files that are not the demo's: name a new folder with --output")
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = json.loads(json.dumps(_fingerprint(settings)))
    if not marker.is_file() or json.loads(marker.read_text(encoding="utf-8")) != fingerprint:
        # Empty until the old results are gone: if this run is killed in between, the next one removes them.
        write_json(marker, {})
        for name in ("exams", "work", "overlays", "report", "logs"):
            shutil.rmtree(folder / name, ignore_errors=True)
        write_json(marker, fingerprint)


def _fingerprint(settings: DemoSettings) -> dict[str, Any]:
    from importlib.metadata import version

    return {"version": version("maseg-nnunet"), **asdict(settings)}


class _Stages:
    """The stages and the paths they share. Each stage returns a note on what it made; evaluation returns the scores."""

    def __init__(self, folder: Path, settings: DemoSettings) -> None:
        folder = folder.resolve()  # the commands run in another folder
        self.settings = settings
        self.exams, self.logs, self.work = folder / "exams", folder / "logs", folder / "work"
        self.overlays, self.report = folder / "overlays", folder / "report"
        self.predictions = self.work / "predictions"
        self.dataset = self.work / RAW / DATASET
        self.model = self.work / RESULTS / DATASET / f"{TRAINER}__{PLANS}__2d" / "fold_0"

    def in_order(self) -> Iterator[tuple[str, Callable[[], str | DemoResult]]]:
        yield "Synthetic exams as DICOM", self._make_exams
        yield "Conversion", self._convert
        yield "Planning and preprocessing", self._plan
        yield "Training", self._train
        yield "Prediction", self._predict
        yield "Evaluation", self._evaluate
        yield "Overlay pictures", self._draw

    def _make_exams(self) -> str:
        from maseg_nnunet.synthetic.phantom_dicom import write_exam

        split = [("image", "subset")]
        files = 0
        for vendor in self.settings.vendors:
            subsets = (s for s, n in zip(("train", "val", "test"), self.settings.women, strict=True) for _ in range(n))
            for seed, subset in enumerate(subsets, start=1):
                written = write_exam(self.exams, vendor, seed, scale=self.settings.scale)
                split += [(image.name, subset) for image, _ in written]
                files += len(written)
        write_text(self.exams / "split.csv", "".join(f"{name},{subset}\n" for name, subset in split))
        # The women don't exist, so their pseudonyms need no secret, and equal names make runs comparable.
        (self.exams / "pseudonym.key").write_bytes(bytes(range(32)))
        return f"{files} files of {len(self.settings.vendors)} makers, {sum(self.settings.women)} women each"

    def _convert(self) -> str:
        # Without the raw twins, as in the paper's first experiment: so short a training can't learn both.
        exams = self.exams
        self._run(
            "convert_vendor", "--name", "dicom",
            "--input", exams / "images", "--masks", exams / "masks",
            "--split-file", exams / "split.csv", "--key-file", exams / "pseudonym.key",
        )  # fmt: skip
        rows = read_manifest(self.dataset)
        counts = [f"{sum(row.subset == subset for row in rows)} {subset}" for subset in ("train", "val", "test")]
        return f"{DATASET}: {', '.join(counts)} images"

    def _plan(self) -> str:
        self._run("maseg", "plan", "-d", DATASET_ID, "-p", PLANS, "--workers", "1")
        return f"{PLANS}, 2d"

    def _train(self) -> str:
        # nnU-Net writes the summary last.
        if not (self.model / "validation" / "summary.json").is_file():
            self._run("nnUNetv2_train", DATASET_ID, "2d", "0", "-p", PLANS, "-tr", TRAINER, "-device", "cpu", "--c")
        return f"{TRAINER}, fold 0, on the CPU"

    def _predict(self) -> str:
        remove_damaged(self.predictions)
        wanted = [self.predictions / f"{row.case}.nii.gz" for row in self._test_rows()]
        if not all(path.is_file() for path in wanted):
            self._run(
                "nnUNetv2_predict", "-i", self.dataset / "imagesTs", "-o", self.predictions,
                "-d", DATASET_ID, "-c", "2d", "-f", "0", "-p", PLANS, "-tr", TRAINER, "-device", "cpu",
                "-npp", "1", "-nps", "1",
            )  # fmt: skip
        return f"{len(wanted)} test images"

    def _evaluate(self) -> DemoResult:
        self._run("maseg", "evaluate", "-d", DATASET_ID, "-p", self.predictions, "-o", self.report, "--workers", "1")
        with (self.report / "cases.csv").open(newline="", encoding="utf-8") as handle:
            cases = list(csv.DictReader(handle))
        keys = sorted({(case["vendor"], case["view"], case["intent"]) for case in cases}, key=self._order)
        scores = tuple(
            _score(*key, [case for case in cases if (case["vendor"], case["view"], case["intent"]) == key])
            for key in keys
        )
        breast, pectoral = (_mean(cases, name)[0] for name in ("dice_breast", "dice_pectoral"))
        return DemoResult(scores, breast, pectoral, self.overlays, self.report)

    def _draw(self) -> str:
        from maseg_nnunet.dataset.cases import read_pixels
        from maseg_nnunet.writers.png import write_preview

        rows = self._test_rows()
        for row in rows:
            units, _ = read_pixels(self.dataset / "imagesTs" / f"{row.case}_0000.nii.gz")
            mask, _ = read_pixels(self.predictions / f"{row.case}.nii.gz")
            # VOI units clamped to [0, 1] are the displayed gray.
            write_preview(self.overlays / f"{_picture(row)}.png", np.clip(units, 0, 1), mask.astype(np.uint8))
        return f"{len(rows)} in {self.overlays}"

    def _test_rows(self) -> list[ManifestRow]:
        return [row for row in read_manifest(self.dataset) if row.subset == "test"]

    def _order(self, key: tuple[str, str, str]) -> tuple[int, str, str]:
        vendor, view, intent = key
        vendors = self.settings.vendors
        return vendors.index(vendor) if vendor in vendors else len(vendors), intent, view

    def _run(self, command: str, *arguments: object) -> None:
        """Run an installed command and write its output to a log. Raises MasegError if the command fails."""
        self.logs.mkdir(parents=True, exist_ok=True)
        words = [str(argument) for argument in arguments]
        name = f"{command}_{words[0]}" if command == "maseg" else command
        log = self.logs / f"{name}.log"
        with log.open("w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(f"$ {command} {' '.join(words)}\n")
            stream.flush()
            status = subprocess.run(
                [*_python(command), *words],
                cwd=self.logs,
                env=_environment(self.work),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if status:
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            raise MasegError(f"{command} ended with status {status}: {lines[-1].strip()} (see {log})")


def _python(command: str) -> Sequence[str]:
    """The words that run an installed command in this interpreter, by its entry point: it needs no script in PATH."""
    found = list(entry_points(group="console_scripts", name=command))
    if not found:
        raise UsageError(f"the command {command} is not installed: pip install maseg-nnunet")
    module, _, function = found[0].value.partition(":")
    return sys.executable, "-c", f"import sys; sys.argv[0] = {command!r}; from {module} import {function} as f; f()"


def _environment(work: Path) -> Mapping[str, str]:
    """This process's environment, with nnU-Net's folders below `work`."""
    folders = {name: str(work / name) for name in (RAW, PREPROCESSED, RESULTS)}
    for path in folders.values():
        Path(path).mkdir(parents=True, exist_ok=True)
    return {**os.environ, **_SINGLE, **folders, EXTERNAL_TRAINER: external_trainers()}


def _score(vendor: str, view: str, intent: str, cases: Sequence[Mapping[str, str]]) -> VendorScore:
    breast, _ = _mean(cases, "dice_breast")
    pectoral, with_muscle = _mean(cases, "dice_pectoral")
    return VendorScore(vendor, view, intent, len(cases), breast, pectoral, with_muscle)


def _mean(cases: Sequence[Mapping[str, str]], column: str) -> tuple[float, int]:
    """Mean and number of the filled cells in a column of cases.csv. The mean of none is NaN."""
    values = [float(case[column]) for case in cases if case[column]]
    return (float(np.mean(values)) if values else float("nan")), len(values)


def _picture(row: ManifestRow) -> str:
    return f"{row.vendor}_{row.woman[-4:]}_{row.side}{row.view}_{row.intent}"


def _cpu_seconds() -> float:
    """User and system time of this process and of its ended children, in seconds."""
    try:
        import resource
    except ImportError:  # Windows: without the child processes
        return time.process_time()
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)
