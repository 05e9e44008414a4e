"""Masks that `nnUNetv2_predict` wrote for a converted folder, put back onto the grids of the source files.

The converted folder's manifest.csv contains the grid of each source, its sources.csv the path. A mask is resampled to
the nearest pixel, so its edge shows the steps of the converted image's pixels. `maseg predict` has the logits and makes
smooth edges. Results are named after their cases, which are pseudonyms.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from maseg_nnunet.arrays import Mask
from maseg_nnunet.dataset.folders import ENDING, SOURCES
from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest
from maseg_nnunet.errors import DatasetError, MasegError, OutputError, RefusedError, UsageError, reason_of
from maseg_nnunet.files import stamp
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.models.folder import PLANS
from maseg_nnunet.parallel.threads import in_threads
from maseg_nnunet.prediction.statistics import write_rows
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.readers.masks import read_mask
from maseg_nnunet.resample import mask_to_source, target_shape
from maseg_nnunet.writers.measures import ImageStatistics, image_statistics
from maseg_nnunet.writers.results import Format, result_paths, write_mammogram_preview, write_mask

if TYPE_CHECKING:
    from maseg_nnunet.writers.dicom_seg import Algorithm


@dataclass(frozen=True)
class ExportSettings:
    """What to do with each mask.

    Attributes:
        output: The folder of the results.
        formats: The formats of the masks.
        preview: Whether to write previews.
        keep_largest: Whether to clean up the masks, as `maseg predict` does by default. Images are not turned upright
            here, so a chest wall at the top or the bottom of an image is not recognised.
    """

    output: Path
    formats: tuple[Format, ...] = (Format.NIFTI,)
    preview: bool = False
    keep_largest: bool = False


@dataclass(frozen=True)
class Exported:
    """The outcome of one case.

    Attributes:
        case: The case.
        problem: What went wrong, or "".
        statistics: What the mask measures, None if the mask is missing or can't be used.
    """

    case: str
    problem: str = ""
    statistics: ImageStatistics | None = None


@dataclass(frozen=True)
class _Case:
    row: ManifestRow
    view: View
    side: Side
    mask: Path
    source: tuple[Path, str] | None


def export_masks(masks: Path, converted: Path, settings: ExportSettings, workers: int = 1) -> Iterator[Exported]:
    """Export every mask of a folder.

    A mask without a case is a problem, and so is a case of the subset `predict` without a mask. The other cases are
    exported all the same.

    Args:
        masks: Folder of the masks that nnUNetv2_predict wrote, CASE.nii.gz.
        converted: Folder that `convert_vendor` wrote, with manifest.csv and sources.csv.
        settings: What to do with each mask.
        workers: Number of threads.

    Yields:
        The outcome of each case, in the order of the manifest.

    Raises:
        UsageError: If the masks would be overwritten.
        DatasetError: If there are no masks, no manifest, or no sources.csv although a format needs the sources.
    """
    if settings.output.resolve() == masks.resolve():
        raise UsageError(f"the output folder {settings.output} is the folder of the masks, which would be lost")
    found = {path.name.removesuffix(ENDING): path for path in sorted(masks.glob(f"*{ENDING}"))}
    if not found:
        raise DatasetError(f"{masks} contains no mask (*{ENDING}): give the folder that nnUNetv2_predict wrote with -o")
    rows = read_manifest(converted)
    needs_sources = settings.preview or Format.DICOM_SEG in settings.formats
    sources = read_sources(converted) if needs_sources else {}
    for case in sorted(found.keys() - {row.case for row in rows}):
        yield Exported(case, f"there is no case of this mask's name in {converted.name}")
    for row in rows:
        if row.subset == "predict" and row.case not in found:
            yield Exported(row.case, f"it has no mask in {masks.name}")
    try:
        cases = [
            _Case(row, View(row.view), Side(row.side), found[row.case], sources.get(row.source))
            for row in rows
            if row.case in found
        ]
    except ValueError as error:
        raise DatasetError(f"the manifest in {converted} is damaged ({error}): convert the data set again") from error
    algorithm = read_algorithm(masks) if Format.DICOM_SEG in settings.formats else None
    yield from in_threads(partial(_export, settings=settings, algorithm=algorithm), cases, workers)


def read_sources(converted: Path) -> dict[int, tuple[Path, str]]:
    """Read sources.csv.

    Args:
        converted: Folder that `convert_vendor` wrote.

    Returns:
        The path and the stamp (`files.stamp`) of each source, by its number. The stamp is "" if an older version wrote
        the table.

    Raises:
        DatasetError: If sources.csv is missing or damaged.
    """
    path = converted / SOURCES
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = csv.DictReader(stream)
            return {int(cells["source"]): (Path(cells["path"]), cells.get("stamp") or "") for cells in rows}
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing: DICOM SEG and previews need it to find the sources") from error
    except (KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{path} is damaged: convert the data set again") from error


def read_algorithm(masks: Path) -> Algorithm:
    """Describe the algorithm that made the masks, by the plans.json that nnUNetv2_predict leaves beside them."""
    from importlib.metadata import version

    from maseg_nnunet.writers.dicom_seg import Algorithm

    try:
        name = str(json.loads((masks / PLANS).read_text(encoding="utf-8"))["plans_name"])
    except (OSError, ValueError, KeyError, TypeError):
        name = "unknown plans"
    return Algorithm(version("maseg-nnunet"), f"{name[:40]} by nnUNetv2_predict")


def write_statistics(folder: Path, exported: Iterable[Exported]) -> Path:
    """Write statistics.csv, one row for each case that was measured.

    Args:
        folder: The folder of the results.
        exported: The outcomes.

    Returns:
        The path of the file.
    """
    measured = ((one.case, *one.statistics.cells()) for one in exported if one.statistics is not None)
    return write_rows(folder, "case", measured)


def _export(case: _Case, settings: ExportSettings, algorithm: Algorithm | None) -> Exported:
    try:
        return _export_mask(case, _on_source_grid(case), settings, algorithm)
    except RefusedError as error:
        return Exported(case.row.case, str(error))
    except Exception as error:  # unexpected error: report the case and continue
        return Exported(case.row.case, reason_of(error))


def _export_mask(case: _Case, mask: Mask, settings: ExportSettings, algorithm: Algorithm | None) -> Exported:
    row = case.row
    if settings.keep_largest:
        from maseg_nnunet.prediction.cleanup import keep_largest

        mask = keep_largest(mask)
    statistics = image_statistics(mask, row.spacing, filter(None, row.flags.split("; ")), case.view)
    problems = _write(case, mask, settings, algorithm)
    return Exported(row.case, "; ".join(problems), statistics)


def _on_source_grid(case: _Case) -> Mask:
    row = case.row
    source = (row.rows, row.columns)
    mask = read_mask(case.mask, target_shape(source, row.spacing, row.target))
    return mask if row.target == row.spacing else mask_to_source(mask, source, row.spacing, row.target)


def _write(case: _Case, mask: Mask, settings: ExportSettings, algorithm: Algorithm | None) -> Sequence[str]:
    """Write every format and the preview. Returns a text for each that could not be written."""
    row = case.row
    stem = settings.output / row.case
    problems = []
    for form in settings.formats:
        try:
            write_mask(
                stem,
                mask,
                form,
                source=_source(case) if form is Format.DICOM_SEG else None,
                spacing=row.spacing,
                side=case.side,
                algorithm=algorithm,
            )
        except (MasegError, OSError) as error:
            problems.append(f"{form.value} not written: {_reason(error)}")
    if settings.preview:
        try:
            mammogram = read_mammogram(_source(case), spacing_mm=row.spacing)
            write_mammogram_preview(result_paths(stem, (), preview=True)[0], mammogram, mask)
        except (MasegError, OSError) as error:
            problems.append(f"preview not written: {_reason(error)}")
    return problems


def _source(case: _Case) -> Path:
    if case.source is None:
        raise OutputError(f"{SOURCES} has no source {case.row.source}")
    path, before = case.source
    if not path.is_file():
        relative = "" if path.is_absolute() else "; its path is relative to where convert_vendor was run"
        raise OutputError(f"its source, number {case.row.source} of {SOURCES}, is no longer at its path{relative}")
    if before and stamp(path) != before:
        # The file may be another woman's, and the result would have her name.
        raise OutputError(f"its source, number {case.row.source} of {SOURCES}, has changed since: convert again")
    return path


def _reason(error: MasegError | OSError) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)
