"""One mammogram from its file to its results: read, segment, measure, write. Who takes which file is `predict.py`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maseg_nnunet import files
from maseg_nnunet.arrays import Image, Mask
from maseg_nnunet.errors import MasegError, OutputError, Reason, RefusedError, place_of, reason_of
from maseg_nnunet.mammogram import Flag, Mammogram
from maseg_nnunet.prediction.journal import FileOutcome, Status
from maseg_nnunet.prediction.segmenter import Prepared, Segmenter
from maseg_nnunet.prediction.sources import Source
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.writers.measures import image_statistics
from maseg_nnunet.writers.results import Format, result_paths, write_mammogram_preview, write_mask

if TYPE_CHECKING:
    from maseg_nnunet.writers.dicom_seg import Algorithm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictSettings:
    """What is done with each file. Sent to the workers of a cluster, so `model` and `output` are
    absolute paths that must be there as well.

    `spacing_mm` serves files that tell none; `raw_windows` uses the windows of raw images, as a model that was trained
    on them does by itself; `max_megapixels` bounds what is decoded.
    """

    model: Path
    output: Path
    formats: tuple[Format, ...] = (Format.NIFTI,)
    preview: bool = False
    statistics: bool = False
    device: str = "auto"
    tta: bool = False
    keep_largest: bool = True
    spacing_mm: float | tuple[float, float] | None = None
    raw_windows: bool = False
    max_megapixels: float = 120

    def results(self, source: Source) -> list[Path]:
        """The files that a finished `source` has."""
        return result_paths(self.output / source.stem, self.formats, self.preview)


Network = Callable[[Prepared], Image]
"""Runs the network on one image: `Segmenter.logits`, or something that gathers batches."""


def segment_file(source: Source, settings: PredictSettings, segmenter: Segmenter, logits: Network) -> FileOutcome:
    """Take one file from reading to writing. Never raises for what is wrong with a file or its results."""
    clock = _Clock()
    # Before it is read: what comes into its place meanwhile is another file.
    stamp = files.stamp(source.path)
    try:
        if source.problem:
            return FileOutcome(source.name, Status.REFUSED, source.problem, stamp)
        mammogram = read_mammogram(
            source.path,
            spacing_mm=settings.spacing_mm,
            raw_windows=settings.raw_windows or segmenter.model.raw_windows,
            max_megapixels=settings.max_megapixels,
        )
        clock.lap("read")
        prepared = segmenter.prepare(mammogram)
        clock.lap("prepare")
        found = logits(prepared)
        clock.lap("network")
        mask = segmenter.mask(prepared, found)
        clock.lap("mask")
        flags = list(mammogram.flags)
        if prepared.image is None and Flag.CONSTANT not in flags:
            flags.append(Flag.CONSTANT)
        cells = image_statistics(mask, mammogram.spacing, flags, mammogram.view).cells() if settings.statistics else ()
        written, problems = _write(settings, source, stamp, mammogram, mask, segmenter)
        clock.lap("write")
        return FileOutcome(
            source.name,
            Status.FAILED if problems else Status.DONE,
            "; ".join(problems),
            stamp,
            outputs=tuple(path.relative_to(settings.output).as_posix() for path in written),
            flags=tuple(flag.value for flag in flags),
            statistics=tuple(cells),
            seconds=clock.seconds,
        )
    except RefusedError as error:
        is_no_image = error.reason is Reason.NOT_DICOM or files.size_of(source.path) == 0
        is_stray = is_no_image and not source.listed and not source.is_named_image
        status = Status.IGNORED if is_stray else Status.REFUSED
        # What can't be read now may be the same file still.
        if status is Status.REFUSED and error.reason is not Reason.UNREADABLE:
            _remove(settings.results(source))
        return FileOutcome(source.name, status, str(error), stamp, seconds=clock.seconds)
    except Exception as error:  # one file must not end the run
        logger.debug("%s: %s", source.name, place_of(error))
        return FileOutcome(source.name, Status.FAILED, reason_of(error), stamp, seconds=clock.seconds)


def _write(
    settings: PredictSettings,
    source: Source,
    stamp: str,
    mammogram: Mammogram,
    mask: Mask,
    segmenter: Segmenter,
) -> tuple[list[Path], list[str]]:
    """Write every format; the files written, and what went wrong with the others."""
    stem = settings.output / source.stem
    algorithm = _algorithm(segmenter) if Format.DICOM_SEG in settings.formats else None
    written, problems = [], []
    paths = settings.results(source)
    for form, path in zip(settings.formats, paths, strict=False):
        try:
            # It takes the patient from the file once more: by now that may be another woman's.
            if form is Format.DICOM_SEG and files.stamp(source.path) != stamp:
                raise OutputError("the file was replaced while it was segmented: predict it again")
            written.append(
                write_mask(
                    stem,
                    mask,
                    form,
                    source=source.path,
                    spacing=mammogram.spacing,
                    side=mammogram.side,
                    algorithm=algorithm,
                )
            )
        except MasegError as error:
            problems.append(f"{form.value} not written: {error}")
            _remove([path])
        except OSError as error:
            problems.append(f"{form.value} not written: {error.strerror}")
    if settings.preview:
        try:
            write_mammogram_preview(paths[-1], mammogram, mask)
            written.append(paths[-1])
        except (MasegError, OSError) as error:
            problems.append(f"preview not written: {error.strerror if isinstance(error, OSError) else error}")
    return written, problems


def _remove(results: Iterable[Path]) -> None:
    """Remove results that this file can't have: they are of an earlier one of its name."""
    for path in results:
        with suppress(OSError):
            path.unlink()


def _algorithm(segmenter: Segmenter) -> Algorithm:
    # highdicom takes half a second to import, and is needed for this one format.
    from maseg_nnunet.writers.dicom_seg import algorithm_of

    return algorithm_of(segmenter.model.plans_name, segmenter.model.digest)


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 4)
        self._last = now
