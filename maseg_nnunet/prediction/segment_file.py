"""One mammogram from its file to its results: read, segment, measure, write. Which file is next is `predict.py`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maseg_nnunet import files
from maseg_nnunet.arrays import GivenSpacing, Logits, Mask
from maseg_nnunet.errors import MasegError, OutputError, Reason, RefusedError, as_text, place_of, reason_of
from maseg_nnunet.mammogram import Flag, Mammogram
from maseg_nnunet.prediction.journal import FileOutcome, Status
from maseg_nnunet.prediction.preprocessing import Prepared
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.prediction.sources import Source
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.writers.measures import image_statistics, mask_flags
from maseg_nnunet.writers.results import Format, result_paths, write_mammogram_preview, write_mask

if TYPE_CHECKING:
    from maseg_nnunet.writers.dicom_seg import Algorithm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictSettings:
    """What to do with each file.

    The settings are sent to the workers of a cluster, so `model` and `output` must be absolute paths that exist there.

    Attributes:
        model: The model folder or ZIP.
        output: The folder of the results.
        formats: The formats of the masks.
        preview: Whether to write previews.
        statistics: Whether to measure the masks.
        device: The device, as for `Segmenter`.
        tta: Whether to average with the mirrored image.
        keep_largest: Whether to clean up the masks.
        spacing_mm: Spacing in mm, one number or (row, column), of files that do not contain theirs.
        raw_windows: Whether to use the windows of raw images. A model that was trained on them always does.
        max_megapixels: Larger images are rejected before they are decoded.
    """

    model: Path
    output: Path
    formats: tuple[Format, ...] = (Format.NIFTI,)
    preview: bool = False
    statistics: bool = False
    device: str = "auto"
    tta: bool = False
    keep_largest: bool = True
    spacing_mm: GivenSpacing | None = None
    raw_windows: bool = False
    max_megapixels: float = 120

    def results(self, source: Source) -> list[Path]:
        """The result files of `source`: its masks in the order of `formats`, then its preview."""
        return result_paths(self.output / source.stem, self.formats, self.preview)


ForwardPass = Callable[[Prepared], Logits]
"""Runs the network on one image and returns its logits (3, rows, columns): `Segmenter.logits`, or a GPU's batches."""


def segment_file(source: Source, settings: PredictSettings, segmenter: Segmenter, forward: ForwardPass) -> FileOutcome:
    """Read, segment and measure one file, and write its results.

    A file that can't be used, or whose results can't be written, gives an outcome that says so and not an exception.

    Args:
        source: The file.
        settings: What to do with it.
        segmenter: Prepares the image and makes its mask.
        forward: Runs the network in between.

    Returns:
        The file's line of the journal.
    """
    clock = _Clock()
    # Before reading, so that a file that replaces this one during the run has another stamp.
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
        logits = forward(prepared)
        clock.lap("network")
        mask = segmenter.mask(prepared, logits)
        clock.lap("mask")
        flags = list(mammogram.flags)
        if prepared.image is None and Flag.CONSTANT not in flags:
            flags.append(Flag.CONSTANT)
        cells = image_statistics(mask, mammogram.spacing, flags, mammogram.view).cells() if settings.statistics else ()
        unusual = mask_flags(mask, mammogram.spacing, mammogram.view)
        written, problems = _write(settings, source, stamp, mammogram, mask, segmenter)
        clock.lap("write")
        return FileOutcome(
            source.name,
            Status.FAILED if problems else Status.DONE,
            "; ".join(problems),
            stamp,
            outputs=tuple(as_text(path.relative_to(settings.output).as_posix()) for path in written),
            flags=(*(flag.value for flag in flags), *(flag.value for flag in unusual)),
            statistics=tuple(cells),
            seconds=clock.seconds,
        )
    except RefusedError as error:
        is_no_image = error.reason is Reason.NOT_DICOM or files.size_of(source.path) == 0
        is_stray = is_no_image and not source.listed and not source.is_named_image
        status = Status.IGNORED if is_stray else Status.REFUSED
        # A file that can't be read now may still be the one that has these results.
        if status is Status.REFUSED and error.reason is not Reason.UNREADABLE:
            _remove(settings.results(source))
        return FileOutcome(source.name, status, str(error), stamp, seconds=clock.seconds)
    except MasegError as error:
        return FileOutcome(source.name, Status.FAILED, str(error), stamp, seconds=clock.seconds)
    except Exception as error:  # unexpected error: report the file and continue
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
    """Write every format and the preview. Returns the files that were written and the problems of the others."""
    stem = settings.output / source.stem
    algorithm = _algorithm(segmenter) if Format.DICOM_SEG in settings.formats else None
    written, problems = [], []
    paths = settings.results(source)
    for form, path in zip(settings.formats, paths, strict=False):
        try:
            # The SEG takes the patient from the file, which may have become another woman's by now.
            if form is Format.DICOM_SEG and files.stamp(source.path) != stamp:
                raise OutputError("the file was replaced while it was being segmented: predict it again")
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
    """Remove results of an earlier file of the same name, which this file can't have."""
    for path in results:
        with suppress(OSError):
            path.unlink()


def _algorithm(segmenter: Segmenter) -> Algorithm:
    # highdicom is slow to import and needed for this format only.
    from maseg_nnunet.writers.dicom_seg import algorithm_of

    return algorithm_of(segmenter.model.plans_name, segmenter.model.digest)


class _Clock:
    """Seconds that each stage takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage and begin the next."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 4)
        self._last = now
