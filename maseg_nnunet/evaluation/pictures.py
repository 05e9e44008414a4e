"""The report's picture of one case: the displayed image, with the edges of prediction and reference drawn over it.

Edges are vector paths, not pixels, so one small picture serves as thumbnail and at full size, and the page can hide
the edges of either mask.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import Mask, Region
from maseg_nnunet.dataset.cases import image_of, masks_in, read_pixels, reference_of
from maseg_nnunet.dataset.manifest import ManifestRow
from maseg_nnunet.errors import RefusedError
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Flag
from maseg_nnunet.parallel.threads import in_threads
from maseg_nnunet.readers.masks import read_mask
from maseg_nnunet.writers.png import shrink, to_gray

logger = logging.getLogger(__name__)

LONGEST: Final = 720
"""Longer side of a picture in pixels, about that of an image with the paper's pixels of 0.4 mm."""

_QUALITY: Final = 70
_TOLERANCE: Final = 0.6
"""Largest distance of a simplified path from the edge, in pixels of the picture."""


@dataclass(frozen=True)
class Edges:
    """The edges of one mask as SVG paths, as the paper's Fig. 3 shows them.

    Attributes:
        skin: Between the background and the breast or muscle.
        muscle: Between the breast and the muscle.
    """

    skin: str
    muscle: str


@dataclass(frozen=True)
class Picture:
    """An image and the edges over it.

    Attributes:
        image: Data URI.
        width: Width in pixels.
        height: Height in pixels.
        prediction: Edges of the prediction, in these pixels.
        reference: Edges of the reference, in these pixels.
    """

    image: str
    width: int
    height: int
    prediction: Edges
    reference: Edges


def picture_of(units: npt.NDArray[Any], prediction: Mask, reference: Mask) -> Picture:
    """Draw one case.

    Args:
        units: Image in VOI units, shape (rows, columns). Clamped to [0, 1], they are the displayed gray.
        prediction: Predicted labels, of the same shape.
        reference: Reference labels, of the same shape.
    """
    small = to_gray(shrink(np.clip(units, 0, 1).astype(np.float32), LONGEST))
    _, data = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    scale = small.shape[0] / units.shape[0]
    return Picture(
        image="data:image/webp;base64," + base64.b64encode(data.tobytes()).decode("ascii"),
        width=small.shape[1],
        height=small.shape[0],
        prediction=edges_of(prediction, scale),
        reference=edges_of(reference, scale),
    )


def edges_of(mask: Mask, scale: float = 1.0) -> Edges:
    """Trace the edges of a mask.

    The border of the image is not an edge. Where the muscle meets the background, the edge is the skin's.

    Args:
        mask: Labels, shape (rows, columns).
        scale: Factor from the mask's pixels to those of the picture.
    """
    muscle = mask == Label.PECTORAL_MUSCLE
    breast = cv2.dilate((mask == Label.BREAST).view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    inside = np.ones(mask.shape, bool)
    return Edges(
        skin=_path(mask != Label.BACKGROUND, inside, scale),
        muscle=_path(muscle, breast, scale),
    )


def _path(region: Region, where: Region, scale: float) -> str:
    """The outline of `region` as an SVG path, limited to the pixels of `where`, without the border of the image."""
    outlines, _ = cv2.findContours(region.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    rows, columns = region.shape
    pieces = []
    for outline in outlines:
        points = outline[:, 0, :]
        x, y = points[:, 0], points[:, 1]
        free = (x > 0) & (y > 0) & (x < columns - 1) & (y < rows - 1) & where[y, x]
        pieces += [_line(run, scale) for run in _runs(points, free)]
    return "".join(pieces)


def _runs(points: npt.NDArray[Any], free: Region) -> list[npt.NDArray[Any]]:
    """The stretches of a closed outline (n, 2) whose points are `free`; the whole outline, closed, if all are."""
    if free.all():
        return [np.concatenate([points, points[:1]])]
    first = int(np.argmin(free))  # start at a gap, so that the end of the array does not cut a stretch in two
    points, free = np.roll(points, -first, axis=0), np.roll(free, -first)
    steps = np.diff(np.concatenate([[0], free.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return [points[start:end] for start, end in zip(starts, ends, strict=True) if end - start > 1]


def _line(points: npt.NDArray[Any], scale: float) -> str:
    simple = cv2.approxPolyDP(points.astype(np.float32)[:, None, :], _TOLERANCE / scale, closed=False)[:, 0, :]
    corners = np.rint((simple + 0.5) * scale * 10) / 10
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in corners)


def draw_pictures(
    rows: Iterable[ManifestRow],
    dataset: Path,
    predictions: Path,
    *,
    merge: Mapping[int, Label] | None = None,
    workers: int = 1,
) -> dict[str, Picture]:
    """Draw the pictures of some cases.

    Args:
        rows: Cases to draw, from the data set's manifest.
        dataset: Folder of the converted data set.
        predictions: Folder of predicted masks.
        merge: Label of each value of the predictions, if they are not those of `Label`.
        workers: Number of threads.

    Returns:
        Case to its picture. Images with burned-in annotation are left out. So are images that are missing or
        unreadable, which is logged.
    """
    masks = masks_in(predictions)
    wanted = [row for row in rows if Flag.BURNED_IN.value not in row.flags and row.case in masks]

    def draw(row: ManifestRow) -> Picture | None:
        try:
            units, _ = read_pixels(image_of(dataset, row))
            shape = (int(units.shape[0]), int(units.shape[1]))
            reference = read_mask(reference_of(dataset, row), shape)
            return picture_of(units, read_mask(masks[row.case], shape, merge), reference)
        except (ValueError, RefusedError) as error:
            logger.warning("no picture of %s: %s", row.case, error)
            return None

    drawn = in_threads(draw, wanted, workers)
    return {row.case: picture for row, picture in zip(wanted, drawn, strict=True) if picture}
