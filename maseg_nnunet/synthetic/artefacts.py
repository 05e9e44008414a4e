"""Draw the objects beside the breast in a mammogram: labels, lead markers, tape, film edges, fog.

Each function returns a new image and does not change pixels where `keep` is true, except that fog brightens the darker
ones. So they can be used on phantoms and, as augmentation, on real images. None of them looks for the breast.

Images are (rows, columns) float32 gray in [0, 1], dense tissue bright. `keep` is bool of the same shape, None for
nothing. Lengths are in pixels, corners are (row, column), angles are in degrees.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from maseg_nnunet.arrays import FloatArray, Image, Region

SCANNER_BED: Final = 0.004
"""Gray of the scanner's bed beside a film: almost black, but not exactly."""

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
    """Draw letters `height` pixels high, like those of a lead marker. `corner` is the upper left."""
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
    """Draw a bright sticker with dark letters `height` pixels high, rotated by `angle` about its `corner`."""
    (width, _), _ = cv2.getTextSize(text, _FONT, *_font(height))
    edge = 0.5 * height
    sticker = np.zeros(image.shape, np.float32)
    row, column = corner
    box = np.array([[0, 0], [width + 2 * edge, 0], [width + 2 * edge, height + 2 * edge], [0, height + 2 * edge]])
    cv2.fillPoly(sticker, [np.round(box + np.array([column, row])).astype(np.int32)], 1.0)
    letters = _letters(image.shape, text, (round(row + edge), round(column + edge)), height)
    turn = cv2.getRotationMatrix2D((float(column), float(row)), angle, 1.0)
    size = (image.shape[1], image.shape[0])
    paper, ink = (
        np.asarray(cv2.warpAffine(layer, turn, size, flags=cv2.INTER_LINEAR), dtype=np.float32)
        for layer in (sticker, letters)
    )
    return _blend(_blend(image, paper, 0.96, keep), ink * paper, 0.08, keep)


def paste_tape(
    image: Image, *, at_left: bool, width: float, rng: np.random.Generator, keep: Region | None = None
) -> Image:
    """Draw a bright strip along the left or right edge, at most `width` pixels wide and slightly slanted."""
    rows, columns = image.shape
    ends = rng.uniform(0.2, 1.0, 2) * width
    strip = np.array([[0, 0], [ends[0], 0], [ends[1], rows], [0, rows]])
    if not at_left:
        strip[:, 0] = columns - 1 - strip[:, 0]
    cover = np.zeros(image.shape, np.float32)
    cv2.fillPoly(cover, [np.round(strip).astype(np.int32)], 1.0)
    return _blend(image, cover, float(rng.uniform(0.75, 1.0)), keep)


def paste_film_edge(image: Image, before: int, after: int, *, rng: np.random.Generator) -> Image:
    """Put a film on the black bed of a scanner, sometimes with bright edges.

    Args:
        image: The film.
        before: Number of black columns to add on the left.
        after: Number of black columns to add on the right.
        rng: Generator to draw from.

    Returns:
        Shape (rows, before + columns + after).
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
    """End a film at four corners and show the scanner's bed beyond.

    Args:
        image: The film.
        corners: Float (4, 2), each (row, column), in order around the film.
        rim: Gray of the film's edges, which light brightens; 0 for no edges.
        width: Width of the edges.
        keep: Pixels that do not change.

    Returns:
        The same shape.
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
    """Draw an uneven gray veil, as on films that were stored or scanned badly.

    Args:
        image: The image.
        keep: Pixels of the breast. Only those darker than the veil become brighter.
        strength: Mean gray of the veil, roughly.
        rng: Generator to draw from.

    Returns:
        The same shape.
    """
    knots = rng.uniform(0.4, 1.3, (4, 4)).astype(np.float32)
    veil = cv2.resize(knots, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC) * np.float32(strength)
    # A maximum, not a sum: in the breast, which is mostly brighter, the veil can't be seen.
    return np.asarray(np.where(keep, np.maximum(image, veil * 0.9), np.maximum(image, veil)), dtype=np.float32)


def _font(height: float) -> tuple[float, int]:
    """OpenCV's scale and thickness for capitals `height` pixels high. At scale 1 they are 22 pixels high."""
    return height / 22, max(1, round(height / 9))


def _letters(shape: tuple[int, ...], text: str, corner: tuple[int, int], height: float) -> Image:
    layer = np.zeros(shape, np.uint8)
    scale, thickness = _font(height)
    # The origin of putText is the lower left, (column, row).
    cv2.putText(layer, text, (corner[1], corner[0] + round(height)), _FONT, scale, 255, thickness, cv2.LINE_AA)
    return np.asarray(layer / np.float32(255), dtype=np.float32)


def _blend(image: Image, cover: Image, gray: float, keep: Region | None) -> Image:
    if keep is not None:
        cover = np.where(keep, np.float32(0), cover)
    return np.asarray(image + (gray - image) * cover, dtype=np.float32)
