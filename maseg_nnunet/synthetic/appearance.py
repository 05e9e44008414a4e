"""Change how a whole image looks: another display, a raw look, edges of a detector or film, labels beside the breast.

`artefacts.py` draws the single objects, `tissue_contrast.py` changes the brightness of tissue. Images are float32 gray
in [0, 1], (rows, columns). `breast` is bool of the same shape, breast and pectoral muscle. Every function returns an
image of the same shape and dtype and draws from the generator that it is given, in a fixed order.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from maseg_nnunet.arrays import Image, Region
from maseg_nnunet.chest_wall import beyond_chest_wall, chest_wall_is_left, extent
from maseg_nnunet.synthetic.artefacts import end_film, fog_background, paste_label, paste_tape, paste_text
from maseg_nnunet.voi import Function, LookUpTable, apply_lut

WINDOWS: Final = 2 / 3
"""Share of the synthetic displays that are windows. The others are sigmoids."""

NEARLY_BLACK: Final = 0.05
"""Gray in [0, 1]. Darker pixels are not counted as tissue."""


def another_display(image: Image, rng: np.random.Generator) -> Image:
    """Apply a random window or sigmoid, like those in headers.

    A window begins between -0.15 and 0.1, or 0.9 of the image's own dark tissue if that is brighter. So the skin stays
    visible, and fat may become nearly black, as some makers show it. It ends between 0.65 and 1.3.
    """
    if rng.random() < WINDOWS:
        seen = image[image > NEARLY_BLACK]
        dark = float(np.percentile(seen, 5)) if seen.size else 0.0
        low, high = rng.uniform(-0.15, max(0.1, 0.9 * dark)), rng.uniform(0.65, 1.3)
        lut = LookUpTable("", Function.LINEAR_EXACT, center=(low + high) / 2, width=high - low)
    else:
        lut = LookUpTable("", Function.SIGMOID, center=rng.uniform(0.35, 0.65), width=rng.uniform(0.5, 1.2))
    return apply_lut(lut, image).astype(np.float32)


def raw_like(image: Image, rng: np.random.Generator) -> Image:
    """Make an image look raw: exp(-k gray), scaled to [0, 1], so that air is bright.

    k, from 1 to 4, is the contrast of the breast. Half of the images are turned over, as MONOCHROME1 raw images are
    when they are read.
    """
    k = rng.uniform(1, 4)
    # Clipped, because rounding may give values below 0, and gamma would make them NaN.
    dose: Image = np.clip((np.exp(-k * image) - np.exp(-k)) / (1 - np.exp(-k)), 0, 1).astype(np.float32)
    return dose if rng.random() < 0.5 else 1 - dose


def within_edges(image: Image, breast: Region, rng: np.random.Generator) -> Image:
    """Make an image black beyond the edges of a detector: at the chest wall, and up to half a patch from the breast.

    The air of a raw image may be white, and there is more of it than in training images, which are cropped to pixels
    that are not black. On each of the other three sides, the breast reaches the edge of the detector half of the time.
    Otherwise a network expects white above the muscle, and calls a muscle that the edge cuts background. An image
    without a breast is unchanged.
    """
    if not breast.any():
        return image
    rows, columns = extent(breast)
    above, below, left, right = (rng.uniform(-0.5, 0.5, 4).clip(0) * np.repeat(image.shape, 2)).astype(int)
    seen = np.zeros_like(breast)
    seen[max(0, rows.start - above) : rows.stop + below, max(0, columns.start - left) : columns.stop + right] = True
    return np.where(seen & ~beyond_chest_wall(breast), image, np.float32(0))


def as_scanned(image: Image, breast: Region, rng: np.random.Generator) -> Image:
    """Make an image look like a film on the black bed of a scanner.

    The background becomes gray, and the film ends up to 0.3 patches above, below and beside the breast, slightly
    rotated. Half of the films have bright edges. Pixels beyond the chest wall are unchanged, because an edge there
    could not be told from the muscle. An image without a breast is unchanged.
    """
    if not breast.any():
        return image
    rows, columns = extent(breast)
    beyond = beyond_chest_wall(breast)
    image = np.where(beyond, image, fog_background(image, breast, strength=float(rng.uniform(0, 0.15)), rng=rng))
    height, width = image.shape
    above, below = rows.start - rng.uniform(0, 0.3) * height, rows.stop - 1 + rng.uniform(0, 0.3) * height
    # The film reaches far beyond the patch at the chest wall, so nothing changes there.
    left, right = -float(width), 2.0 * width
    if chest_wall_is_left(breast):
        right = columns.stop - 1 + rng.uniform(0, 0.3) * width
    else:
        left = columns.start - rng.uniform(0, 0.3) * width
    corners = np.array([[above, left], [above, right], [below, right], [below, left]])
    corners += rng.uniform(-0.02, 0.02, corners.shape) * image.shape
    rim = float(rng.uniform(0.3, 1)) if rng.random() < 0.5 else 0.0
    return end_film(image, corners, rim=rim, width=int(rng.integers(1, 4)), keep=breast | beyond)


def paste_beside(image: Image, breast: Region, rng: np.random.Generator) -> Image:
    """Paste one to three objects beside the breast: text, sticker, tape or fog.

    Nothing is pasted beyond the chest wall, because beside a muscle nothing would show what it is. Letters are 2 to 6 %
    of the image's rows high, tape is up to 8 % of its columns wide.
    """
    if breast.any():
        keep, at_left = breast | beyond_chest_wall(breast), not chest_wall_is_left(breast)
    else:
        keep, at_left = breast, bool(rng.random() < 0.5)
    free = np.flatnonzero(~keep)
    if free.size == 0:
        return image
    rows, columns = image.shape
    for _ in range(rng.integers(1, 4)):
        corner = divmod(int(rng.choice(free)), columns)
        text = "".join(rng.choice(list("ABCDEFGHLMNORSTUX0123456789 "), rng.integers(1, 9)))
        height = float(rng.uniform(0.02, 0.06) * rows)
        kind = rng.random()
        if kind < 0.35:
            image = paste_text(image, text, corner, height=height, gray=float(rng.uniform(0.4, 1)), keep=keep)
        elif kind < 0.7:
            angle = float(rng.choice([0, 90, -90, 180])) + float(rng.uniform(-8, 8))
            image = paste_label(image, text, corner, height=height, angle=angle, keep=keep)
        elif kind < 0.85:
            width = float(rng.uniform(0.01, 0.08) * columns)
            image = paste_tape(image, at_left=at_left, width=width, rng=rng, keep=keep)
        else:
            # Fog covers the breast too, but not the pixels beyond the chest wall.
            fogged = fog_background(image, breast, strength=float(rng.uniform(0.03, 0.2)), rng=rng)
            image = np.where(keep & ~breast, image, fogged)
    return image
