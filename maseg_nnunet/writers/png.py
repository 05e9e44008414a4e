"""Write PNG pictures: masks, the displayed image, and previews with the two edges. Not for masks on other grids.

A preview follows the paper's Fig. 3: the background/breast edge is red, the breast/pectoral muscle edge blue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import Mask, Region
from maseg_nnunet.errors import OutputError
from maseg_nnunet.files import write_bytes
from maseg_nnunet.labels import Label

RED: Final = (255, 0, 0)
BLUE: Final = (64, 128, 255)
"""Lighter than pure blue, which looks black on a gray image."""

PREVIEW_LONGEST: Final = 1536
"""Longer side of a preview in pixels. It fits a screen and keeps a two-pixel line visible."""


def write_mask_png(path: Path, mask: Mask) -> bool:
    """Write a mask as an 8-bit gray PNG with the values of `Label`: 0, 1 and 2.

    Args:
        path: The file to write.
        mask: Shape (rows, columns), uint8.

    Returns:
        Whether the file was written; one that has the same bytes already is not.

    Raises:
        OutputError: The mask has another dtype.
        OSError: The file can't be written.
    """
    return _write(path, mask)


def write_displayed(path: Path, displayed: npt.NDArray[np.floating[Any]]) -> bool:
    """Write the displayed image at full size as an 8-bit gray PNG.

    Args:
        path: The file to write.
        displayed: Shape (rows, columns), float, 0 black to 1 white.

    Returns:
        Whether the file was written; one that has the same bytes already is not.

    Raises:
        OSError: The file can't be written.
    """
    return _write(path, to_gray(displayed))


def write_preview(path: Path, displayed: npt.NDArray[np.floating[Any]], mask: Mask) -> bool:
    """Write the displayed image with the edges of a mask as an RGB PNG of at most PREVIEW_LONGEST pixels on a side.

    The background/breast edge is red and the breast/pectoral muscle edge blue, as in the paper's Fig. 3.

    Args:
        path: The file to write.
        displayed: Shape (rows, columns), float, 0 black to 1 white.
        mask: Values of `Label`, same shape, uint8.

    Returns:
        Whether the file was written; one that has the same bytes already is not.

    Raises:
        OutputError: The shapes differ.
        OSError: The file can't be written.
    """
    _same_shape(displayed, mask)
    small = shrink(displayed, PREVIEW_LONGEST)
    size = (small.shape[1], small.shape[0])
    return _write(path, overlay(small, cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)))


def overlay(displayed: npt.NDArray[np.floating[Any]], mask: Mask) -> npt.NDArray[np.uint8]:
    """Draw the edges of a mask into the displayed image.

    An edge is two pixels wide, one on each side of it. The edge between muscle and background is red too. The border of
    the image is not an edge.

    Args:
        displayed: Shape (rows, columns), float, 0 black to 1 white.
        mask: Values of `Label`, same shape, uint8.

    Returns:
        RGB, shape (rows, columns, 3), uint8.

    Raises:
        OutputError: The shapes differ.
    """
    _same_shape(displayed, mask)
    picture = np.repeat(to_gray(displayed)[:, :, None], 3, axis=2)
    muscle = mask == Label.PECTORAL_MUSCLE
    background = mask == Label.BACKGROUND
    picture[_edge(muscle, ~muscle & ~background)] = BLUE
    picture[_edge(background, ~background)] = RED
    return picture


def to_gray(displayed: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Values in [0, 1], of any shape, as rounded 0 to 255, uint8. Values outside are clamped, and NaN becomes black."""
    gray = np.rint(np.nan_to_num(np.clip(displayed, 0.0, 1.0)) * 255)
    return np.asarray(gray, dtype=np.uint8)


def shrink(image: npt.NDArray[Any], longest: int) -> npt.NDArray[Any]:
    """Average an image (rows, columns) by area so that no side is longer than `longest` pixels. Never enlarges."""
    factor = longest / max(image.shape)
    if factor >= 1:
        return image
    rows, columns = (max(1, round(side * factor)) for side in image.shape)
    return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA))


def _edge(one: Region, other: Region) -> Region:
    """The pixels of each region within one pixel of the other."""
    kernel = np.ones((3, 3), np.uint8)
    near_one, near_other = cv2.dilate(one.view(np.uint8), kernel), cv2.dilate(other.view(np.uint8), kernel)
    return (near_one > 0) & (near_other > 0) & (one | other)


def _same_shape(displayed: npt.NDArray[Any], mask: npt.NDArray[Any]) -> None:
    if displayed.shape != mask.shape:
        raise OutputError(f"the mask's shape {mask.shape} is not the image's {displayed.shape}")


def _write(path: Path, picture: npt.NDArray[np.uint8]) -> bool:
    if picture.dtype != np.uint8:
        raise OutputError(f"{path.name}: expected uint8 for a PNG, not {picture.dtype}")
    # OpenCV's default settings (fast deflate, run lengths) are fast and give small files for masks.
    done, data = cv2.imencode(".png", picture[:, :, ::-1] if picture.ndim == 3 else picture)
    if not done:
        raise OutputError(f"{path.name}: a picture of shape {picture.shape} can't be encoded as PNG")
    return write_bytes(path, data.tobytes())
