"""Convert one case: read the image and its mask, resample both, map the image to VOI units, write both.

This runs in workers. A case is done when its outcome is in the journal, not when its files exist.
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

from maseg_nnunet.arrays import GivenSpacing, Mask, Region
from maseg_nnunet.dataset.manifest import ManifestRow
from maseg_nnunet.dataset_conversion.plausibility import MaskDoubt, mask_doubts
from maseg_nnunet.dataset_conversion.scan import UNEXPECTED, Rejected
from maseg_nnunet.dataset_conversion.selection import Selected
from maseg_nnunet.errors import Reason, RefusedError, place_of
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Flag, Mammogram, View
from maseg_nnunet.resample import image_to_target, mask_to_target

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConversionSettings:
    """The settings that decide the bytes of a converted case.

    Attributes:
        spacing: Pixel spacing of the result in mm; 0 keeps the source's grid.
        spacing_mm: Pixel spacing, in mm, of sources whose header has none.
        labels: Maps the masks' values to `Label`; None if they already are labels.
        raw_windows: Use the windows in the headers of raw images.
        trim_masks: Set mask pixels on the black margin of an image to background.
    """

    spacing: float = 0.4
    spacing_mm: GivenSpacing | None = None
    labels: Mapping[int, int] | None = None
    raw_windows: bool = False
    trim_masks: bool = False


@dataclass(frozen=True)
class ConvertTask:
    """One case to convert.

    Attributes:
        selected: The image and its mask.
        dataset: The data set's key.
        settings: How to convert it.
        image: The image file to write.
        label: The mask file to write, None for an exam to be predicted.
        signature: The case's key in the journal.
    """

    selected: Selected
    dataset: str
    settings: ConversionSettings
    image: Path
    label: Path | None
    signature: str


@dataclass(frozen=True)
class Converted:
    """A case that was written.

    Attributes:
        row: Its row of the manifest.
        luts: Its look-up tables as JSON. The worker makes the JSON, because tables have thousands of numbers and one
            process collects the outcomes of all workers.
    """

    row: ManifestRow
    luts: str


def convert_case(task: ConvertTask) -> Converted | Rejected:
    """Convert one case.

    Returns:
        The case's row and tables, or the reason why the image or its mask can't be used.

    Raises:
        OSError: The result can't be written.
    """
    scanned = task.selected.scanned
    try:
        mammogram = read(task)
        mask = None if task.label is None else _mask(task, mammogram)
    except RefusedError as error:
        return Rejected(scanned.number, error.reason, error.detail, task.selected.case)
    except Exception as error:  # unexpected error: report the file and continue
        logger.debug("source %d: %s", scanned.number, place_of(error))
        detail = UNEXPECTED.format(type(error).__name__)
        return Rejected(scanned.number, Reason.UNREADABLE, detail, task.selected.case)
    doubts = write(task, mammogram, mask)
    return Converted(_row(task, mammogram, doubts), json.dumps(mammogram.luts.to_json(), ensure_ascii=False))


def read(task: ConvertTask) -> Mammogram:
    """Read the image; what its data set knows about it replaces what the file says.

    Raises:
        RefusedError: The file can't be used, or its pixels all have one value and it is not to be predicted.
    """
    from maseg_nnunet.readers import read_mammogram

    known = task.selected.scanned.known
    given = known.spacing if known is not None and known.spacing is not None else task.settings.spacing_mm
    mammogram = read_mammogram(task.selected.scanned.path, spacing_mm=given, raw_windows=task.settings.raw_windows)
    if known is not None:
        has_spacing = known.spacing is not None
        mammogram = replace(
            mammogram,
            view=known.view,
            side=known.side,
            intent=known.intent,
            spacing_source="data set" if has_spacing else mammogram.spacing_source,
            flags=tuple(f for f in mammogram.flags if not (has_spacing and f is Flag.SPACING_GIVEN)),
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
    """The black surround of a breast: the scanner's bed beyond a film, or air blanked by the vendor's processing.

    Masks made by a threshold on a smoothed image spread onto it. Black pixels inside the breast do not belong to it.

    Args:
        units: The image, (rows, columns), in VOI units.

    Returns:
        (rows, columns), True for pixels of the lowest value that are 4-connected to the image's edge through pixels of
        that value.
    """
    black = (units == units.min()).astype(np.uint8)
    # A border of one pixel connects all regions that reach an edge.
    _, parts = cv2.connectedComponents(cv2.copyMakeBorder(black, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1), None, 4)
    return np.asarray(parts[1:-1, 1:-1] == parts[0, 0])


def _mask_of_annotation(task: ConvertTask, path: Path, mammogram: Mammogram) -> Mask:
    """The mask of an INbreast annotation, which has only the muscle: the breast comes from Otsu (section 2.1.1)."""
    from maseg_nnunet.annotation.otsu import initial_mask
    from maseg_nnunet.dataset_conversion.datasets.inbreast_muscle import muscle_of, read_border

    known = task.selected.scanned.known
    annotated = known.annotated_spacing if known is not None and known.annotated_spacing else mammogram.spacing
    scale = (annotated[0] / mammogram.spacing[0], annotated[1] / mammogram.spacing[1])
    muscle = muscle_of(read_border(path), mammogram.shape, scale)
    mask = initial_mask(replace(mammogram, view=View.CC))  # as CC, so that Otsu does not guess a muscle
    mask[muscle] = Label.PECTORAL_MUSCLE
    return mask


def write(task: ConvertTask, mammogram: Mammogram, mask: Mask | None) -> tuple[MaskDoubt, ...]:
    """Resample the stored values, map them to VOI units and write them, and the mask if there is one.

    The order matters, because look-up tables are not linear.

    Returns:
        What is implausible about the mask.
    """
    from maseg_nnunet.writers.nifti import write_nifti

    spacing = mammogram.spacing
    target = (task.settings.spacing,) * 2 if task.settings.spacing else spacing
    stored = image_to_target(mammogram.pixels, spacing, target) if target != spacing else mammogram.pixels
    units = mammogram.luts.to_voi_units(stored).astype(np.float32)
    doubts: tuple[MaskDoubt, ...] = ()
    if mask is not None and task.label is not None:
        label = mask_to_target(mask, spacing, target) if target != spacing else mask
        doubts = mask_doubts(units, label)
        write_nifti(task.label, label, target)
    write_nifti(task.image, units, target)
    return doubts


def _row(task: ConvertTask, mammogram: Mammogram, doubts: tuple[MaskDoubt, ...]) -> ManifestRow:
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
        flags="; ".join([flag.value for flag in mammogram.flags] + [doubt.value for doubt in doubts]),
    )
