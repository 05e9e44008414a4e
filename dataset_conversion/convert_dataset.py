"""From an input folder to a converted data set, in four steps: scan, select, convert, describe.

This module has the order of the steps; each step is in a module of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from maseg_nnunet.dataset.cases import image_path, label_path
from maseg_nnunet.dataset.folders import DATASET_JSON, REPORT
from maseg_nnunet.dataset_conversion import nnunet_raw, scan
from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings, Converted, ConvertTask, convert_case
from maseg_nnunet.dataset_conversion.datasets.base import Dataset, Found
from maseg_nnunet.dataset_conversion.journal import JOURNAL, CaseOutcome, ConversionJournal
from maseg_nnunet.dataset_conversion.mask_index import index_masks
from maseg_nnunet.dataset_conversion.pseudonyms import KeyFile, Pseudonyms
from maseg_nnunet.dataset_conversion.scan import Rejected, Scanned
from maseg_nnunet.dataset_conversion.selection import Selected, Selection, select
from maseg_nnunet.errors import DatasetError, Reason, UsageError
from maseg_nnunet.files import locked, stamp, write_json
from maseg_nnunet.mammogram import Intent
from maseg_nnunet.parallel.tasks import WorkerLostError, run_tasks

LOCK: Final = ".lock"
"""Locked while a run writes into the folder."""

_SYNC_EVERY: Final = 64

_FEW: Final = 2000
"""Up to this number of files, this process reads the headers itself, because a pool takes longer to start."""

Progress = Callable[[str, int, int | None], None]
"""Called with the stage's name, how many files are done, and how many there are (None: not known yet)."""


@dataclass(frozen=True)
class Request:
    """One run of convert_vendor.

    Attributes:
        dataset: What is converted.
        source: The input folder.
        folder: The converted data set's folder, or the flat folder of exams to be predicted.
        masks: A folder or CSV of masks; None converts exams to be predicted.
        intents: Which digital images are converted; films count as processed.
        settings: How each case is converted.
        seed: Seed of the drawing of women into subsets.
        split_file: CSV that gives the subsets instead of the drawing.
        key_file: Key of the pseudonyms, by default the user's own.
        overwrite: Convert all cases again, even with other settings than before.
        workers: Number of local processes.
        scheduler: Address of a Dask scheduler to use instead of local processes.
    """

    dataset: Dataset
    source: Path
    folder: Path
    masks: Path | None = None
    intents: frozenset[Intent] = frozenset({Intent.PROCESSED})
    settings: ConversionSettings = field(default_factory=ConversionSettings)
    seed: int = 0
    split_file: Path | None = None
    key_file: Path | None = None
    overwrite: bool = False
    workers: int = 1
    scheduler: str | None = None


def convert_dataset(request: Request, progress: Progress = lambda stage, done, total: None) -> dict[str, Any]:
    """Convert a data set, or continue an interrupted conversion.

    Args:
        request: What to convert, and how.
        progress: Called as the conversion proceeds.

    Returns:
        The content of report.json.

    Raises:
        DatasetError: The input is missing or has no image of this data set, the key file can't be used, or the split
            file or the table of masks is wrong.
        UsageError: The output folder has other files or was converted with other settings, or there is no Dask
            scheduler at that address.
        OutputError: Another conversion is at work in the output folder.
        OSError: The input can't be listed, or the output can't be written.
    """
    if not request.source.is_dir():
        raise DatasetError(f"the input folder {request.source} does not exist")
    settings = _described_settings(request)
    _check_folder(request, settings)
    found = list(request.dataset.layout(request.source))
    # Stamped before any file is read, because somebody may replace a file by another woman's meanwhile.
    sources = {number: (item.path, stamp(item.path)) for number, item in enumerate(found, start=1)}
    selection = _select(request, found, progress)
    request.folder.mkdir(parents=True, exist_ok=True)
    with locked(request.folder / LOCK):
        _check_folder(request, settings)  # another run may have written since
        # If there is no report, an overwriting run was interrupted: the journal is its own, and this run continues it.
        if request.overwrite and (request.folder / REPORT).is_file():
            (request.folder / DATASET_JSON).unlink(missing_ok=True)  # nnU-Net must not mistake a mixture for a data set
            (request.folder / JOURNAL).unlink(missing_ok=True)
        with ConversionJournal(request.folder) as journal:
            if request.overwrite:
                (request.folder / REPORT).unlink(missing_ok=True)
            current = _convert(request, selection, journal, progress)
        outcomes = [journal.outcomes[signature] for signature in current]
        report = _describe(request, settings, selection, outcomes, sources)
        journal.keep(set(current))
    return report


def _described_settings(request: Request) -> dict[str, Any]:
    """The settings that a second run must share with the first, as report.json and dataset.json record them."""
    labels = request.settings.labels
    return {
        "target_spacing": request.settings.spacing,
        "spacing_mm": request.settings.spacing_mm,
        "labels": None if labels is None else {str(value): label for value, label in sorted(labels.items())},
        "raw_windows": request.settings.raw_windows,
        "trim_masks": request.settings.trim_masks,
        "intents": sorted(intent.value for intent in request.intents),
        "seed": request.seed,
    }


def _check_folder(request: Request, settings: dict[str, Any]) -> None:
    """Refuse to mix settings in one folder, or to write into a folder with files of something else."""
    folder = request.folder
    if not folder.exists() or {path.name for path in folder.iterdir()} <= {LOCK}:
        return
    report = folder / REPORT
    if not report.is_file() and not (folder / JOURNAL).is_file():
        raise UsageError(f"{folder} has files that convert_vendor did not write: choose another --output")
    if report.is_file() and not request.overwrite:
        try:
            before = json.loads(report.read_text(encoding="utf-8"))
        except ValueError:
            return
        if (before.get("settings"), before.get("dataset")) != (settings, request.dataset.key):
            raise UsageError(f"{folder} was converted with other settings: use --overwrite to convert it again")


def _select(request: Request, found: Sequence[Found], progress: Progress) -> Selection:
    public = all(item.known is not None for item in found)
    key = None if public else KeyFile.of(request.key_file)
    names = None if key is None else Pseudonyms(key.load())
    masks = None if request.masks is None else index_masks(request.masks, names)
    outcomes: list[Scanned | Rejected] = []
    tasks = scan.tasks(found, request.seed, key)
    workers = request.workers if len(found) > _FEW else 1
    for task, batch in run_tasks(scan.scan, tasks, workers=workers, scheduler=request.scheduler):
        if isinstance(batch, WorkerLostError):
            outcomes += [Rejected(number, Reason.UNREADABLE, str(batch)) for number, _ in task.files]
        else:
            outcomes += batch
        progress("reading headers", len(outcomes), len(found))
    selection = select(
        outcomes,
        request.dataset,
        intents=request.intents,
        masks=masks,
        root=request.source,
        split_file=request.split_file,
    )
    if not selection.cases and not selection.rejected:
        raise DatasetError(
            f"{request.source} has no image that --name {request.dataset.key} accepts: {len(found)} files found, "
            f"{selection.not_dicom} not DICOM, {sum(selection.other_vendors.values())} of other vendors, "
            f"{selection.other_intents} of another intent"
        )
    return selection


def _convert(request: Request, selection: Selection, journal: ConversionJournal, progress: Progress) -> list[str]:
    """Convert the cases that are not done yet; return the signatures of all cases of this run."""
    signatures, tasks = [], []
    for selected in selection.cases:
        task = _task(request, selected)
        signatures.append(task.signature)
        if not _is_done(task, journal.outcomes.get(task.signature)):
            tasks.append(task)
    done, total = len(signatures) - len(tasks), len(signatures)
    progress("converting", done, total)
    workers = min(request.workers, len(tasks))
    for task, outcome in run_tasks(convert_case, tasks, workers=workers, scheduler=request.scheduler):
        if isinstance(outcome, WorkerLostError):
            number = task.selected.scanned.number
            outcome = Rejected(number, Reason.UNREADABLE, str(outcome), task.selected.case)
        journal.add(task.signature, outcome)
        done += 1
        if done % _SYNC_EVERY == 0:
            journal.sync()
        progress("converting", done, total)
    journal.sync()
    return signatures


def _task(request: Request, selected: Selected) -> ConvertTask:
    return ConvertTask(
        selected=selected,
        dataset=request.dataset.key,
        settings=request.settings,
        image=image_path(request.folder, selected.case, selected.subset),
        label=label_path(request.folder, selected.case, selected.subset),
        signature=_signature(request.settings, selected),
    )


def _signature(settings: ConversionSettings, selected: Selected) -> str:
    """A hash of everything that the case's bytes and its row depend on."""
    parts: list[object] = [version("maseg-nnunet"), sorted(asdict(settings).items(), key=str)]
    parts += [selected.case, selected.subset, selected.twin]
    parts += [selected.scanned.number, selected.scanned.woman, selected.scanned.exam, selected.scanned.known]
    for path in (selected.scanned.path, selected.mask):
        status = None if path is None else path.stat()
        parts += [path, status and status.st_size, status and status.st_mtime_ns]
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _is_done(task: ConvertTask, outcome: CaseOutcome | None) -> bool:
    # Rejected files are tried again: meanwhile a folder may have become readable, or a decoder was installed.
    if not isinstance(outcome, Converted):
        return False
    return task.image.is_file() and (task.label is None or task.label.is_file())


def _describe(
    request: Request,
    settings: dict[str, Any],
    selection: Selection,
    outcomes: list[CaseOutcome],
    sources: dict[int, tuple[Path, str]],
) -> dict[str, Any]:
    converted = [outcome for outcome in outcomes if isinstance(outcome, Converted)]
    rejected = selection.rejected + [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    rows = [outcome.row for outcome in converted]
    present = {row.case for row in rows}
    # A twin may have been rejected.
    rows = [row if row.twin in present else replace(row, twin="") for row in rows]
    numbers = {selected.scanned.number for selected in selection.cases} | {item.number for item in rejected}
    counts = {
        "not_dicom": selection.not_dicom,
        "other_vendors": dict(sorted(selection.other_vendors.items())),
        "other_intents": selection.other_intents,
        "women_with_more_than_36_images": selection.crowded_women,
        "settings": settings,
    }
    report = nnunet_raw.report(request.dataset, rows, rejected, counts)
    nnunet_raw.write_sources(request.folder, ((number, *sources[number]) for number in numbers))
    nnunet_raw.write_rejected(request.folder, rejected)
    nnunet_raw.prune(request.folder, rows)
    luts = {outcome.row.case: outcome.luts for outcome in converted}
    nnunet_raw.write_descriptions(request.folder, request.dataset, rows, luts, settings)
    write_json(request.folder / REPORT, report)
    return report
