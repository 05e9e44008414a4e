"""What lies beside the breast in a mammogram: labels, lead markers, tape, film edges, fog.

Each function returns a new image and leaves the pixels where `keep` is true alone (fog veils what is darker than itself
there too), so they can be pasted onto real images as augmentation as well as onto phantoms. Images are (rows, columns)
float32 gray in [0, 1], bright is dense; `keep` is a boolean array of the same shape; lengths are pixels. None of them
knows where a breast is.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import FloatArray, Image, Region

SCANNER_BED: Final = 0.004
"""Gray of what a film scanner sees beside the film: nearly, but not exactly, black."""

_FONT = cv2.FONT_HERSHEY_DUPLEX


def paste_text(
    image: Image,
    text: str,
    corner: tuple[int, int],
    *,
    height: float,
    gray: float = 1.0,
    keep: Region | None = None,
) -> Image:
    """Letters `height` pixels high as a lead marker leaves them; `corner` is the upper left (row, column)."""
    return _blend(image, _letters(image.shape, text, corner, height), gray, keep)


def paste_label(
    image: Image,
    text: str,
    corner: tuple[int, int],
    *,
    height: float,
    angle: float = 0.0,
    keep: Region | None = None,
) -> Image:
    """A bright sticker with dark letters `height` pixels high, turned by `angle` degrees about its upper left."""
    (width, _), _ = cv2.getTextSize(text, _FONT, *_font(height))
    edge = 0.5 * height
    sticker = np.zeros(image.shape, np.float32)
    row, column = corner
    box = np.array([[0, 0], [width + 2 * edge, 0], [width + 2 * edge, height + 2 * edge], [0, height + 2 * edge]])
    cv2.fillPoly(sticker, [np.round(box + np.array([column, row])).astype(np.int32)], 1.0)
    letters = _letters(image.shape, text, (round(row + edge), round(column + edge)), height)
    turn = cv2.getRotationMatrix2D((float(column), float(row)), angle, 1.0)
    size = (image.shape[1], image.shape[0])
    box_cover, ink = (cv2.warpAffine(layer, turn, size, flags=cv2.INTER_LINEAR) for layer in (sticker, letters))
    return _blend(_blend(image, box_cover, 0.96, keep), ink * box_cover, 0.08, keep)


def paste_tape(
    image: Image, *, at_left: bool, width: float, rng: np.random.Generator, keep: Region | None = None
) -> Image:
    """A bright strip down the left or right edge, up to `width` pixels wide, slightly askew: tape or a rim."""
    rows, columns = image.shape
    ends = rng.uniform(0.2, 1.0, 2) * width
    strip = np.array([[0, 0], [ends[0], 0], [ends[1], rows], [0, rows]])
    if not at_left:
        strip[:, 0] = columns - 1 - strip[:, 0]
    cover = np.zeros(image.shape, np.float32)
    cv2.fillPoly(cover, [np.round(strip).astype(np.int32)], 1.0)
    return _blend(image, cover, float(rng.uniform(0.75, 1.0)), keep)


def paste_film_edge(image: Image, before: int, after: int, *, rng: np.random.Generator) -> Image:
    """The film on the scanner's black bed: `before` and `after` black columns are added, and a bright rim at times.

    Returns (rows, before + columns + after).
    """
    scan = np.pad(image, ((0, 0), (before, after))).astype(np.float32)
    scan[:, :before] = scan[:, scan.shape[1] - after :] = SCANNER_BED
    rows, columns = scan.shape
    for edge in (before - 1, columns - after):
        if 0 < edge < columns - 1 and rng.random() < 0.4:
            scan[int(rng.uniform(0, 0.3) * rows) : int(rng.uniform(0.7, 1.0) * rows), edge] = rng.uniform(0.5, 1.0)
    return scan


def end_film(
    image: Image, corners: FloatArray, *, rim: float = 0.0, width: int = 1, keep: Region | None = None
) -> Image:
    """A film with these `corners`, float (4, 2) of (row, column), one after the other: beyond it, the scanner's bed.

    Light that falls past the film draws its edges `width` pixels wide and `rim` bright; 0 for none.
    """
    outline = np.round(corners[:, ::-1]).astype(np.int32)
    bed, edges = np.ones(image.shape, np.float32), np.zeros(image.shape, np.float32)
    cv2.fillPoly(bed, [outline], 0.0)
    image = _blend(image, bed, SCANNER_BED, keep)
    if rim:
        cv2.polylines(edges, [outline], isClosed=True, color=1.0, thickness=width)
        image = _blend(image, edges, rim, keep)
    return image


def fog_background(image: Image, keep: Region, *, strength: float, rng: np.random.Generator) -> Image:
    """A gray veil of about `strength` outside `keep`, uneven as on films that were stored or scanned badly."""
    knots = rng.uniform(0.4, 1.3, (4, 4)).astype(np.float32)
    veil = cv2.resize(knots, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC) * np.float32(strength)
    # Inside, the veil disappears in the breast's own gray: nothing is added where the image is brighter than it.
    return np.asarray(np.where(keep, np.maximum(image, veil * 0.9), np.maximum(image, veil)), dtype=np.float32)


def _font(height: float) -> tuple[float, int]:
    """OpenCV's (scale, thickness) for capitals `height` pixels high; its letters are 22 pixels at scale 1."""
    return height / 22, max(1, round(height / 9))


def _letters(shape: tuple[int, ...], text: str, corner: tuple[int, int], height: float) -> Image:
    layer = np.zeros(shape, np.uint8)
    scale, thickness = _font(height)
    # putText's origin is the lower left of the letters, (column, row).
    cv2.putText(layer, text, (corner[1], corner[0] + round(height)), _FONT, scale, 255, thickness, cv2.LINE_AA)
    return np.asarray(layer / np.float32(255), dtype=np.float32)


def _blend(image: Image, cover: npt.NDArray[Any], gray: float, keep: Region | None) -> Image:
    if keep is not None:
        cover = np.where(keep, 0, cover)
    return np.asarray(image + (gray - image) * cover, dtype=np.float32)
