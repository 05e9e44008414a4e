"""Another appearance of a real image: another display, a raw look, film edges, labels beside the breast."""

from __future__ import annotations

from typing import Final

import numpy as np

from maseg_nnunet.arrays import Image, Region
from maseg_nnunet.chest_wall import beyond_chest_wall, chest_wall_is_left, extent
from maseg_nnunet.synthetic.artefacts import end_film, fog_background, paste_label, paste_tape, paste_text
from maseg_nnunet.voi import Function, LookUpTable, apply_lut

WINDOWS: Final = 2 / 3
"""Share of the synthetic displays that are windows; the others are sigmoids."""


NEARLY_BLACK: Final = 0.05
"""What is darker, in [0, 1], says nothing about the tissue."""


def another_display(image: Image, rng: np.random.Generator) -> Image:
    """`image`, float32 in [0, 1], by a window or a sigmoid as they are in headers.

    Windows begin below what is dark in the image, so that the skin is seen: between -0.15 and 0.1, or 0.9 of the
    image's own dark tissue where that is brighter. There fat is nearly black, as some makers show it. They end
    between 0.65 and 1.3.
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
    """`image` in [0, 1] as a detector might have seen it: exp(-k gray), bright where nothing absorbs, scaled to [0, 1].

    Half of them are turned over, as MONOCHROME1 raw images are on reading; k, 1 to 4, is the breast's contrast.
    """
    k = rng.uniform(1, 4)
    # Clipped: by rounding it may fall below 0, of which gamma would make no number.
    dose: Image = np.clip((np.exp(-k * image) - np.exp(-k)) / (1 - np.exp(-k)), 0, 1).astype(np.float32)
    return dose if rng.random() < 0.5 else 1 - dose


def within_edges(image: Image, breast: Region, rng: np.random.Generator) -> Image:
    """`image` with black where a detector ends: beyond the chest wall, and up to half a patch away from `breast`.

    The air of a raw image may be white, and there is more of it than in training images, which were cropped to what is
    not black. Each of the other three sides of the breast reaches the detector's edge half of the time: a muscle that
    always had white above it in training was called background wherever the edge cuts it. Unchanged without a breast.
    """
    if not breast.any():
        return image
    rows, columns = extent(breast)
    above, below, left, right = (rng.uniform(-0.5, 0.5, 4).clip(0) * np.repeat(image.shape, 2)).astype(int)
    seen = np.zeros_like(breast)
    seen[max(0, rows.start - above) : rows.stop + below, max(0, columns.start - left) : columns.stop + right] = True
    return np.where(seen & ~beyond_chest_wall(breast), image, np.float32(0))


def as_scanned(image: Image, breast: Region, rng: np.random.Generator) -> Image:
    """`image` as a film on a scanner's black bed: its base is not black, and it ends up to 0.3 patches off `breast`.

    Above, below and on the skin's side, a little askew; half of the films have bright edges. Nothing is changed beyond
    the chest wall, where it would hide in the muscle, nor without a breast.
    """
    if not breast.any():
        return image
    rows, columns = extent(breast)
    beyond = beyond_chest_wall(breast)
    image = np.where(beyond, image, fog_background(image, breast, strength=float(rng.uniform(0, 0.15)), rng=rng))
    height, width = image.shape
    above, below = rows.start - rng.uniform(0, 0.3) * height, rows.stop - 1 + rng.uniform(0, 0.3) * height
    # Far past the patch at the chest wall: whatever was seen there stays.
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
    """One to three of text, sticker, tape and fog where `breast` is false; all of the patch's shape.

    None of them beyond the chest wall: beside a dark or white muscle, nothing would tell what it is. Letters are 2 to
    6 % of the patch's rows high, tape is up to 8 % of its columns wide.
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
            # The veil lies over the breast too, but not beyond the chest wall.
            fogged = fog_background(image, breast, strength=float(rng.uniform(0.03, 0.2)), rng=rng)
            image = np.where(keep & ~breast, image, fogged)
    return image
