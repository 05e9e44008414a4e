"""Segmenting many files: what `maseg predict` does. What happens to each file is `segment_file.py`.

On one machine, a few threads each take one file from reading to writing. Decoding, the network, resampling and
compression all release Python's interpreter lock, so they overlap. There are never more images in memory than threads.
On a Dask cluster, a task is a batch of files. Either way the outcomes arrive one by one and go into the journal
(`journal.py`). A file that can't be used, or whose results can't be written, is reported there, and the run continues.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import torch

from maseg_nnunet.arrays import Logits
from maseg_nnunet.errors import ModelError, UsageError, as_text
from maseg_nnunet.files import size_of, stamp
from maseg_nnunet.parallel.tasks import WorkerLostError, run_tasks
from maseg_nnunet.parallel.threads import ThreadTeam, usable_cores
from maseg_nnunet.prediction.gpu_batches import Batcher
from maseg_nnunet.prediction.journal import FileOutcome, PredictJournal, Status, statistics_rows, write_report
from maseg_nnunet.prediction.preprocessing import Prepared
from maseg_nnunet.prediction.segment_file import PredictSettings, segment_file
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.prediction.sources import Source, find_sources
from maseg_nnunet.prediction.statistics import write_rows

BATCH: Final = 16
"""Files in a task of a cluster. If a worker dies, at most this many files are done again."""

MOST_WORKERS: Final = 8
"""Largest default number of threads. Each thread needs memory for an image and its logits."""

_PACKAGES: Final = ("maseg-nnunet", "nnunetv2", "torch", "numpy", "pydicom", "imagecodecs", "highdicom")

Sink = Callable[[FileOutcome], None]
Finished = Callable[[Source], bool]


@dataclass
class Summary:
    """Counts of a run.

    Attributes:
        counts: Number of files with each outcome.
        flags: Number of files with each flag.
        seconds: Duration of each stage in seconds, summed over the threads.
        wall: Duration of the run in seconds.
    """

    counts: Counter[Status] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    wall: float = 0.0

    def add(self, outcome: FileOutcome) -> None:
        """Count one file."""
        self.counts[outcome.status] += 1
        self.flags.update(outcome.flags)
        self.seconds.update(outcome.seconds)

    @property
    def bad(self) -> int:
        """Number of files that were rejected or failed."""
        return sum(count for status, count in self.counts.items() if status.is_bad)


def predict(
    inputs: Sequence[Path],
    settings: PredictSettings,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    report: Path | None = None,
    progress: Sink = lambda outcome: None,
) -> Summary:
    """Segment files and folders into the folder `settings.output`.

    Args:
        inputs: Files, folders, and lists of them, as for `sources.find_sources`.
        settings: What to do with each file.
        workers: Number of threads of this process, by default one for each core, at most MOST_WORKERS.
        scheduler: Address of a Dask scheduler, to use its cluster instead of this process.
        resume: Whether to skip files that an earlier run finished with the same settings, if all their results exist
            and the file has not changed.
        report: Name of a .json file in the output folder that the report is written to.
        progress: Called with each outcome as it arrives.

    Returns:
        The counts of the run.

    Raises:
        ModelError: If there is no model, it can't be used, or a worker of the cluster has another one.
        UsageError: If an option makes no sense, an input is missing, there is no file at all, or the journal to resume
            was written with other settings.
        OutputError: If the output folder can't be written, or another run uses it.
        KeyboardInterrupt: If the user interrupts. Then, as after an error, the files under way are finished, and the
            journal, statistics.csv and the report are written.
    """
    if report is not None and (report.is_absolute() or ".." in report.parts or report.suffix != ".json"):
        raise UsageError(f"--report {report}: give the name of a .json file, relative to the output folder")
    started, begin = datetime.now(timezone.utc), time.perf_counter()
    segmenter = Segmenter(settings.model, settings.device, tta=settings.tta, keep_largest=settings.keep_largest)
    described = _described(settings, segmenter)
    summary = Summary()
    is_complete = False
    sources = find_sources(inputs, settings.output)
    # Before the journal is opened, so that a mistyped input does not overwrite that of an earlier run.
    first = next(sources, None)
    if first is None:
        raise UsageError(f"there is no file in {', '.join(map(str, inputs))}")
    sources = chain([first], sources)
    with PredictJournal(settings.output, described, resume=resume) as journal:

        def sink(outcome: FileOutcome) -> None:
            if outcome.status is not Status.EARLIER:
                journal.add(outcome)
            summary.add(outcome)
            progress(outcome)

        def is_finished(source: Source) -> bool:
            if not resume or source.problem or not all(map(size_of, settings.results(source))):
                return False
            # Results that exist may be from other settings, or from another woman's file of the same name.
            outputs = [as_text(path.relative_to(settings.output).as_posix()) for path in settings.results(source)]
            return journal.is_done(source.name, stamp(source.path), outputs, measured=settings.statistics)

        try:
            if scheduler:
                predict_on_cluster(sources, settings, segmenter.model.digest, scheduler, sink, is_finished)
            else:
                predict_here(sources, settings, segmenter, sink, is_finished, workers)
            is_complete = True
        finally:
            summary.wall = time.perf_counter() - begin
            if settings.statistics:
                write_rows(settings.output, "file", statistics_rows(journal))
            if report is not None:
                head = _head(started, summary, segmenter, described, settings)
                write_report(settings.output / report, journal, {"complete": is_complete, **head})
    return summary


def predict_here(
    sources: Iterator[Source],
    settings: PredictSettings,
    segmenter: Segmenter,
    sink: Sink,
    is_finished: Finished,
    workers: int | None = None,
) -> None:
    """Segment files in threads of this process.

    An interrupt, or an exception that `sink` raises, ends the run after the files under way.

    Args:
        sources: The files.
        settings: What to do with each file.
        segmenter: The loaded model.
        sink: Called in this thread with every outcome.
        is_finished: Whether to skip a file.
        workers: Number of threads, by default one for each core, at most MOST_WORKERS.
    """
    cores = usable_cores()
    workers = workers or min(cores, MOST_WORKERS)
    threads = torch.get_num_threads()
    batcher = Batcher(segmenter) if segmenter.device.type == "cuda" else None

    def forward(prepared: Prepared) -> Logits:
        if batcher is not None:
            return batcher.logits(prepared)
        # PyTorch keeps this number for each calling thread. At the end of a run, the last files share all cores.
        torch.set_num_threads(max(1, cores // team.busy))
        return segmenter.logits([prepared])[0]

    def work(source: Source) -> FileOutcome:
        return _earlier(source) if is_finished(source) else segment_file(source, settings, segmenter, forward)

    team = ThreadTeam(sources, work, workers)
    try:
        with batcher or nullcontext():
            team.run(sink)
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Batch:
    """A task of a cluster.

    Attributes:
        settings: What to do with each file.
        digest: Digest of the model, which the model at that path on the worker must have as well.
        sources: The files.
    """

    settings: PredictSettings
    digest: str
    sources: tuple[Source, ...]


def predict_on_cluster(
    sources: Iterator[Source], settings: PredictSettings, digest: str, scheduler: str, sink: Sink, is_finished: Finished
) -> None:
    """Segment files on a Dask cluster.

    Args:
        sources: The files, with paths that exist on the workers.
        settings: What to do with each file.
        digest: Digest of the model.
        scheduler: Address of the Dask scheduler.
        sink: Called in this thread with every outcome.
        is_finished: Whether to skip a file.

    Raises:
        ModelError: If a worker finds another model at the path in `settings`.
    """

    def remaining() -> Iterator[Source]:
        for source in sources:
            if is_finished(source):
                sink(_earlier(source))
            else:
                yield source

    left = remaining()
    batches = iter(lambda: Batch(settings, digest, tuple(islice(left, BATCH))), Batch(settings, digest, ()))
    lost: list[Source] = []
    for batch, outcomes in run_tasks(predict_batch, batches, scheduler=scheduler):
        if isinstance(outcomes, WorkerLostError):
            lost.extend(batch.sources)
            continue
        for outcome in outcomes:
            sink(outcome)
    # One file of a batch may have killed the worker. Each file is retried alone to find out which.
    alone = (Batch(settings, digest, (source,)) for source in lost)
    for batch, outcomes in run_tasks(predict_batch, alone, scheduler=scheduler) if lost else ():
        if isinstance(outcomes, WorkerLostError):
            outcomes = [FileOutcome(source.name, Status.FAILED, str(outcomes)) for source in batch.sources]
        for outcome in outcomes:
            sink(outcome)


def predict_batch(batch: Batch) -> list[FileOutcome]:
    """Segment the files of one task in the calling thread. A task may safely be run twice.

    Raises:
        ModelError: If the model here has another digest.
    """
    settings = batch.settings
    segmenter = _segmenter(settings.model, batch.digest, settings.device, settings.tta, settings.keep_largest)
    # The cluster decides how many tasks run at once, so each uses one core.
    torch.set_num_threads(1)
    return [
        segment_file(source, settings, segmenter, lambda prepared: segmenter.logits([prepared])[0])
        for source in batch.sources
    ]


@lru_cache(maxsize=1)
def _segmenter(model: Path, digest: str, device: str, tta: bool, keep_largest: bool) -> Segmenter:
    # The digest is a key of the cache because workers outlive a run, and the model may change between runs.
    segmenter = Segmenter(model, device, tta=tta, keep_largest=keep_largest)
    if segmenter.model.digest != digest:
        raise ModelError(f"the model {model.name} of a worker is another one than that of this machine")
    return segmenter


def _earlier(source: Source) -> FileOutcome:
    return FileOutcome(source.name, Status.EARLIER)


def _described(settings: PredictSettings, segmenter: Segmenter) -> dict[str, Any]:
    """The settings that two runs must share to write into the same folder."""
    return {
        "model": segmenter.model.digest,
        "tta": settings.tta,
        "keep_largest": settings.keep_largest,
        "spacing_mm": settings.spacing_mm,
        "raw_windows": settings.raw_windows or segmenter.model.raw_windows,
    }


def _head(
    started: datetime, summary: Summary, segmenter: Segmenter, described: dict[str, Any], settings: PredictSettings
) -> dict[str, Any]:
    """The report without its files. It contains no paths, because these may name people."""
    model = segmenter.model
    return {
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "model": {
            "name": model.name,
            "sha256": model.digest,
            "trainer": model.trainer,
            "plans": model.plans_name,
            "configuration": model.configuration,
            "spacing_mm": model.spacing,
        },
        "settings": {
            **{key: value for key, value in described.items() if key != "model"},
            "formats": [form.value for form in settings.formats],
            "preview": settings.preview,
            "statistics": settings.statistics,
            "device": str(segmenter.device),
            "max_megapixels": settings.max_megapixels,
        },
        "counts": {status.value: summary.counts[status] for status in Status},
        "flags": dict(summary.flags.most_common()),
        "seconds": {"wall": round(summary.wall, 3), **{key: round(sum_, 3) for key, sum_ in summary.seconds.items()}},
    }
