"""Masks that `nnUNetv2_predict` wrote for a converted folder, back onto the grids of the files they came from.

The converted folder's manifest.csv tells each source's grid, its sources.csv where the source is. A label image is
resampled to the nearest pixel, so its edge shows the steps of the converted image's pixels; `maseg predict`, which has
the logits, draws smooth ones. Names are the cases' (pseudonyms). Not for predicting.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maseg_nnunet.arrays import Mask
from maseg_nnunet.dataset.folders import ENDING, SOURCES
from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest
from maseg_nnunet.errors import DatasetError, MasegError, OutputError, RefusedError, UsageError, reason_of
from maseg_nnunet.files import atomic, stamp
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.parallel.threads import in_threads
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.readers.masks import read_mask
from maseg_nnunet.resample import mask_to_source, target_shape
from maseg_nnunet.writers.measures import STATISTICS_COLUMNS, ImageStatistics, image_statistics
from maseg_nnunet.writers.results import Format, result_paths, write_mammogram_preview, write_mask

if TYPE_CHECKING:
    from maseg_nnunet.writers.dicom_seg import Algorithm

STATISTICS: Final = "statistics.csv"


@dataclass(frozen=True)
class ExportSettings:
    """What is made of each mask. `keep_largest` cleans it up as `maseg predict` does by default, which turns
    images upright first: here the chest wall is looked for left and right alone.
    """

    output: Path
    formats: tuple[Format, ...] = (Format.NIFTI,)
    preview: bool = False
    keep_largest: bool = False


@dataclass(frozen=True)
class Exported:
    """What became of one case. `problem` says why not, or is ""; `statistics` is None where there is no mask."""

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
    """Export every mask in the folder `masks`, in the order of the manifest in `converted`; one outcome a case.

    A mask of no case is a problem, and so is a case to predict (subset `predict`) without mask; the rest goes on.
    Raises UsageError where the masks would be overwritten; DatasetError where there are no masks, no manifest, or no
    sources.csv although a format needs the sources.
    """
    if settings.output.resolve() == masks.resolve():
        raise UsageError(f"the output folder {settings.output} is that of the masks, which would be lost")
    found = {path.name.removesuffix(ENDING): path for path in sorted(masks.glob(f"*{ENDING}"))}
    if not found:
        raise DatasetError(f"{masks} holds no mask (*{ENDING}): give the folder that nnUNetv2_predict wrote with -o")
    rows = read_manifest(converted)
    needs_sources = settings.preview or Format.DICOM_SEG in settings.formats
    sources = read_sources(converted) if needs_sources else {}
    for case in sorted(found.keys() - {row.case for row in rows}):
        yield Exported(case, f"a mask of no case of {converted.name}")
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
    """The real path and the stamp (`files.stamp`) of each source by its number; no stamp from older conversions.

    Raises DatasetError where sources.csv is missing or broken."""
    path = converted / SOURCES
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = csv.DictReader(stream)
            return {int(cells["source"]): (Path(cells["path"]), cells.get("stamp") or "") for cells in rows}
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is missing: it tells where the sources are, which DICOM SEG and previews need"
        ) from error
    except (KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{path} is damaged: convert the data set again") from error


def read_algorithm(masks: Path) -> Algorithm:
    """What drew the masks, as far as the plans.json that nnU-Net leaves beside them tells."""
    from importlib.metadata import version

    from maseg_nnunet.writers.dicom_seg import Algorithm

    try:
        name = str(json.loads((masks / "plans.json").read_text(encoding="utf-8"))["plans_name"])
    except (OSError, ValueError, KeyError, TypeError):
        name = "unknown plans"
    return Algorithm(version("maseg-nnunet"), f"{name[:40]} by nnUNetv2_predict")


def write_statistics(path: Path, exported: Iterable[Exported]) -> None:
    """Write the case and its measures, one row a case that has a mask."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("case", *STATISTICS_COLUMNS))
        writer.writerows((one.case, *one.statistics.cells()) for one in exported if one.statistics is not None)


def _export(case: _Case, settings: ExportSettings, algorithm: Algorithm | None) -> Exported:
    try:
        return _export_mask(case, _on_source_grid(case), settings, algorithm)
    except RefusedError as error:
        return Exported(case.row.case, str(error))
    except Exception as error:  # one case must not end the run
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
    """Write every format and the preview; what went wrong, one text each."""
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
        raise OutputError(f"its source, number {case.row.source} of {SOURCES}, is not where it was{relative}")
    if before and stamp(path) != before:
        # It may be another woman's, whose name the result would bear.
        raise OutputError(f"its source, number {case.row.source} of {SOURCES}, has changed since: convert again")
    return path


def _reason(error: MasegError | OSError) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)
