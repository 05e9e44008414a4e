"""One case: read the image and its mask, resample, map to VOI units, write both. Runs in workers.

A case is done when its outcome is in the journal, not when its files are there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import Mask, Region
from maseg_nnunet.dataset.manifest import ManifestRow
from maseg_nnunet.dataset_conversion.scan import UNEXPECTED, Rejected
from maseg_nnunet.dataset_conversion.selection import Selected
from maseg_nnunet.errors import Reason, RefusedError, place_of
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Flag, Mammogram, View
from maseg_nnunet.resample import image_to_target, mask_to_target

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConversionSettings:
    """What decides the bytes of a converted case.

    `spacing` of the result in mm, 0 keeps the source's grid; `spacing_mm` of sources that state none; `labels` maps a
    mask's values to ours, None where they are ours; `raw_windows` uses the windows of raw images; `trim_masks` ends a
    mask where the image does.
    """

    spacing: float = 0.4
    spacing_mm: float | None = None
    labels: Mapping[int, int] | None = None
    raw_windows: bool = False
    trim_masks: bool = False


@dataclass(frozen=True)
class ConvertTask:
    """One case and where it goes; `label` is None for an exam to be predicted."""

    selected: Selected
    dataset: str
    settings: ConversionSettings
    image: Path
    label: Path | None
    signature: str


@dataclass(frozen=True)
class Converted:
    """A case that was written: its row of the manifest and its line of voi_luts.json.

    `luts` is JSON already: the tables of a header are thousands of numbers, which would cost the one process that
    collects the outcomes more than a worker needs for the image.
    """

    row: ManifestRow
    luts: str


def convert_case(task: ConvertTask) -> Converted | Rejected:
    """Convert one case. Returns why not for bad input; raises OSError where the result can't be written."""
    scanned = task.selected.scanned
    try:
        mammogram = read(task)
        mask = None if task.label is None else _mask(task, mammogram)
    except RefusedError as error:
        return Rejected(scanned.number, error.reason, error.detail, task.selected.case)
    except Exception as error:  # a file that nobody thought of: it is named, and the rest goes on
        logger.debug("source %d: %s", scanned.number, place_of(error))
        detail = UNEXPECTED.format(type(error).__name__)
        return Rejected(scanned.number, Reason.UNREADABLE, detail, task.selected.case)
    write(task, mammogram, mask)
    return Converted(_row(task, mammogram), json.dumps(mammogram.luts.to_json(), ensure_ascii=False))


def read(task: ConvertTask) -> Mammogram:
    """The image, with what the data set knows in place of what its file does not say.

    Raises RefusedError; of a constant image too, unless it is to be predicted.
    """
    from maseg_nnunet.readers import read_mammogram

    known = task.selected.scanned.known
    given = known.spacing if known is not None and known.spacing is not None else task.settings.spacing_mm
    mammogram = read_mammogram(task.selected.scanned.path, spacing_mm=given, raw_windows=task.settings.raw_windows)
    if known is not None:
        from_data_set = known.spacing is not None
        mammogram = replace(
            mammogram,
            view=known.view,
            side=known.side,
            intent=known.intent,
            spacing_source="data set" if from_data_set else mammogram.spacing_source,
            flags=tuple(f for f in mammogram.flags if not (from_data_set and f is Flag.SPACING_GIVEN)),
        )
    if Flag.CONSTANT in mammogram.flags and task.label is not None:
        raise RefusedError(Reason.CONSTANT, "every pixel has the same value")
    return mammogram


def _mask(task: ConvertTask, mammogram: Mammogram) -> Mask:
    from maseg_nnunet.readers.masks import read_mask

    path = task.selected.mask
    if path is None:
        raise RefusedError(Reason.NO_MASK, "no mask was found")
    if path.suffix.lower() == ".xml":
        mask = _mask_of_annotation(task, path, mammogram)
    else:
        mask = read_mask(path, mammogram.shape, task.settings.labels)
    if task.settings.trim_masks:
        mask[black_margin(mammogram.luts.to_voi_units(mammogram.pixels))] = Label.BACKGROUND
    return mask


def black_margin(units: npt.NDArray[np.floating]) -> Region:
    """The pixels of an image's lowest value that reach its edge through others of that value: (rows, columns).

    That is the scanner's bed beyond a film, and the air that a maker's processing has blanked. A mask made by a
    threshold on a smoothed image spreads onto it; what is as dark within the breast stays.
    """
    black = (units == units.min()).astype(np.uint8)
    # One pixel more all around joins what reaches any edge.
    _, parts = cv2.connectedComponents(cv2.copyMakeBorder(black, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1), None, 4)
    return np.asarray(parts[1:-1, 1:-1] == parts[0, 0])


def _mask_of_annotation(task: ConvertTask, path: Path, mammogram: Mammogram) -> Mask:
    """INbreast annotates the muscle alone: the breast is initialized as the paper does (section 2.1.1), by Otsu."""
    from maseg_nnunet.annotation.otsu import initial_mask
    from maseg_nnunet.dataset_conversion.datasets.inbreast_muscle import muscle_of, read_border

    known = task.selected.scanned.known
    drawn = known.annotated_spacing if known is not None and known.annotated_spacing else mammogram.spacing
    scale = (drawn[0] / mammogram.spacing[0], drawn[1] / mammogram.spacing[1])
    muscle = muscle_of(read_border(path), mammogram.shape, scale)
    mask = initial_mask(replace(mammogram, view=View.CC))  # the muscle is annotated: none is to be guessed
    mask[muscle] = Label.PECTORAL_MUSCLE
    return mask


def write(task: ConvertTask, mammogram: Mammogram, mask: Mask | None) -> None:
    """Resample stored values, map them to VOI units (in this order: a look-up table is not linear) and write."""
    from maseg_nnunet.writers.nifti import write_nifti

    spacing = mammogram.spacing
    target = (task.settings.spacing,) * 2 if task.settings.spacing else spacing
    stored = image_to_target(mammogram.pixels, spacing, target) if target != spacing else mammogram.pixels
    units = mammogram.luts.to_voi_units(stored).astype(np.float32)
    if mask is not None and task.label is not None:
        write_nifti(task.label, mask_to_target(mask, spacing, target) if target != spacing else mask, target)
    write_nifti(task.image, units, target)


def _row(task: ConvertTask, mammogram: Mammogram) -> ManifestRow:
    selected = task.selected
    known = selected.scanned.known
    return ManifestRow(
        case=selected.case,
        subset=selected.subset,
        woman=selected.scanned.woman,
        exam=selected.scanned.exam,
        view=mammogram.view.value,
        side=mammogram.side.value,
        intent=mammogram.intent.value,
        dataset=task.dataset,
        vendor=mammogram.vendor,
        model=mammogram.model,
        source=selected.scanned.number,
        sop_class=mammogram.sop_class,
        twin=selected.twin,
        spacing_row=mammogram.spacing[0],
        spacing_column=mammogram.spacing[1],
        spacing_source=mammogram.spacing_source,
        rows=mammogram.shape[0],
        columns=mammogram.shape[1],
        target_spacing=task.settings.spacing,
        quality=known.quality if known else "",
        background_tissue=known.background_tissue if known else "",
        abnormality=known.abnormality if known else "",
        flags="; ".join(flag.value for flag in mammogram.flags),
    )
