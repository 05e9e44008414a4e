"""Many mammograms in, masks out: what `maseg predict` does. Not what is done with each file (`segment_file.py`).

On this machine a few threads take one file each from reading to writing; decoding, the network, resampling and
compressing all free Python's lock, so they overlap, and no more images are in memory than there are threads. On a
Dask cluster a task is a batch of files. Either way outcomes come back one by one, into the journal (`journal.py`).

A file that can't be used, or whose result can't be written, is named there, and the rest goes on.
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

from maseg_nnunet.arrays import Image
from maseg_nnunet.errors import ModelError, UsageError
from maseg_nnunet.files import size_of, stamp
from maseg_nnunet.parallel.tasks import WorkerLostError, run_tasks
from maseg_nnunet.parallel.threads import Crew, usable_cores
from maseg_nnunet.prediction.gpu_batches import Batcher
from maseg_nnunet.prediction.journal import FileOutcome, PredictJournal, Status, write_report, write_statistics
from maseg_nnunet.prediction.segment_file import PredictSettings, segment_file
from maseg_nnunet.prediction.segmenter import Prepared, Segmenter
from maseg_nnunet.prediction.sources import Source, find_sources
from maseg_nnunet.writers.measures import STATISTICS_COLUMNS

BATCH: Final = 16
"""Files of one task of a cluster: some seconds of work, and the most that is done again when a worker dies."""

MOST_WORKERS: Final = 8
"""Threads by default, on however many cores: each holds an image and its logits."""

_PACKAGES: Final = ("maseg-nnunet", "nnunetv2", "torch", "numpy", "pydicom", "imagecodecs", "highdicom")

Sink = Callable[[FileOutcome], None]
Finished = Callable[[Source], bool]


@dataclass
class Summary:
    """How a run went: files by what became of them, and seconds by stage, added up over the threads."""

    counts: Counter[Status] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    wall: float = 0.0

    def add(self, outcome: FileOutcome) -> None:
        """Count one file."""
        self.counts[outcome.status] += 1
        self.seconds.update(outcome.seconds)

    @property
    def bad(self) -> int:
        """Files that were refused or failed."""
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
    """Segment `inputs` (see `inputs.find_sources`) into the folder `settings.output`.

    `workers`: threads of this process, by default as many as it has cores, at most MOST_WORKERS; `scheduler`: the
    address of a Dask cluster that does it instead. `resume` skips files whose results are all there
    and which the journal has as done, unless another file lies there since. `report` is a
    .json file, relative to the output folder and in it. `progress` gets each outcome as it comes.

    The journal, the table and the report are written also where the run is interrupted or breaks off; the exception is
    raised then. Raises ModelError, UsageError, and OutputError where the output folder can't be written.
    """
    if report is not None and (report.is_absolute() or ".." in report.parts or report.suffix != ".json"):
        raise UsageError(f"--report {report}: give a name that ends in .json, of a file in the output folder")
    started, begin = datetime.now(timezone.utc), time.perf_counter()
    segmenter = Segmenter(settings.model, settings.device, tta=settings.tta, keep_largest=settings.keep_largest)
    described = _described(settings, segmenter)
    summary = Summary()
    is_complete = False
    sources = find_sources(inputs, settings.output)
    # Before the journal is begun anew: a mistyped input must not cost an earlier run's.
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
            # The results alone may be of other settings, or of another woman's file of that name.
            outputs = [path.relative_to(settings.output).as_posix() for path in settings.results(source)]
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
                write_statistics(journal, STATISTICS_COLUMNS)
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
    """Segment `sources` in threads of this process, `workers` of them; `sink` gets every outcome, in this thread.

    An interrupt, and an exception of `sink`, end the run after the files under way.
    """
    cores = usable_cores()
    workers = workers or min(cores, MOST_WORKERS)
    threads = torch.get_num_threads()
    batcher = Batcher(segmenter) if segmenter.device.type == "cuda" else None

    def logits(prepared: Prepared) -> Image:
        if batcher is not None:
            return batcher.logits(prepared)
        # PyTorch keeps the number for each calling thread. The last files get the cores of those who have none left.
        torch.set_num_threads(max(1, cores // crew.busy))
        return segmenter.logits([prepared])[0]

    def work(source: Source) -> FileOutcome:
        return _earlier(source) if is_finished(source) else segment_file(source, settings, segmenter, logits)

    crew = Crew(sources, work, workers)
    try:
        with batcher or nullcontext():
            crew.run(sink)
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Batch:
    """A task of a cluster. `digest`: the model's, which the file on the worker must have as well."""

    settings: PredictSettings
    digest: str
    sources: tuple[Source, ...]


def predict_on_cluster(
    sources: Iterator[Source], settings: PredictSettings, digest: str, scheduler: str, sink: Sink, is_finished: Finished
) -> None:
    """Segment `sources` on the Dask cluster whose scheduler has that address; `sink` gets every outcome.

    `digest`: the model's. Raises ModelError where a worker finds another model at that path.
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
    # One of a batch may have killed the worker: alone, each tells whether it was that one.
    alone = (Batch(settings, digest, (source,)) for source in lost)
    for batch, outcomes in run_tasks(predict_batch, alone, scheduler=scheduler) if lost else ():
        if isinstance(outcomes, WorkerLostError):
            outcomes = [FileOutcome(source.name, Status.FAILED, str(outcomes)) for source in batch.sources]
        for outcome in outcomes:
            sink(outcome)


def predict_batch(batch: Batch) -> list[FileOutcome]:
    """Segment the files of one task, in the thread that the cluster gives it. Doing it twice does no harm."""
    settings = batch.settings
    segmenter = _segmenter(settings.model, batch.digest, settings.device, settings.tta, settings.keep_largest)
    # The cluster runs as many tasks at once as it is told to: each has one core.
    torch.set_num_threads(1)
    return [
        segment_file(source, settings, segmenter, lambda prepared: segmenter.logits([prepared])[0])
        for source in batch.sources
    ]


@lru_cache(maxsize=1)
def _segmenter(model: Path, digest: str, device: str, tta: bool, keep_largest: bool) -> Segmenter:
    # The digest is a key of the cache: workers outlive a run, and the model may be trained on meanwhile.
    segmenter = Segmenter(model, device, tta=tta, keep_largest=keep_largest)
    if segmenter.model.digest != digest:
        raise ModelError(f"the model {model.name} of a worker is another than that of this machine")
    return segmenter


def _earlier(source: Source) -> FileOutcome:
    return FileOutcome(source.name, Status.EARLIER)


def _described(settings: PredictSettings, segmenter: Segmenter) -> dict[str, Any]:
    """What two runs must share for their results to stand side by side."""
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
    """The report without its files. No paths: they may name people."""
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
        "seconds": {"wall": round(summary.wall, 3), **{key: round(sum_, 3) for key, sum_ in summary.seconds.items()}},
    }
