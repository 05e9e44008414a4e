"""Draw one synthetic breast between the paddles: its outline, its tissue and its mask.

Geometry and tissue are functions of millimetres, so the same breast can be drawn on every grid. `phantom.py` adds the
detector and the gray values.

While drawing, `y` is in mm down from the upper edge and `x` in mm from the chest wall. Left breasts have the chest wall
at column 0. Right breasts are mirrored, as images are hung.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np

from maseg_nnunet.arrays import Image, Mask, Spacing
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.synthetic.texture import FIELD_MM, curve, fractal, ridges, soft_step

FAT_ATTENUATION: Final = 0.030
DENSE_ATTENUATION: Final = 0.058
"""Effective attenuation per mm, scatter included, of fat and of gland or muscle."""

SKIN_MM: Final = 1.6


@dataclass(frozen=True, eq=False)
class Breast:
    """One compressed breast in one projection, before any detector.

    Attributes:
        thickness: mm, 0 outside the breast, float32 (rows, columns).
        dense: Share of gland, muscle, skin or calcium along the ray, from 0 (fat) to about 1, float32 (rows, columns).
        depth: Distance from the skin line in mm, 0 outside the breast, float32 (rows, columns).
        mask: Values of `Label`, uint8 (rows, columns).
        spacing: (row, column) in mm.
        view: CC or MLO.
        side: Left or right.
        seed: The woman.
    """

    thickness: Image
    dense: Image
    depth: Image
    mask: Mask
    spacing: Spacing
    view: View
    side: Side
    seed: int

    @property
    def attenuation(self) -> Image:
        """Line integral of the attenuation coefficient, without unit, 0 outside the breast: float32 (rows, columns)."""
        per_mm = FAT_ATTENUATION + (DENSE_ATTENUATION - FAT_ATTENUATION) * self.dense
        return (self.thickness * per_mm).astype(np.float32)


@dataclass(frozen=True)
class _Woman:
    """What is the same in all images of a woman. Lengths are in mm."""

    reach: float
    half_height: float
    compressed: float
    density: float
    muscle: float


def make_breast(
    seed: int, view: View, side: Side, *, rows: int, columns: int, spacing: Spacing, muscle: bool | None = None
) -> Breast:
    """Draw a breast. It is as large as the field allows; mammograms are about 180-300 mm high and 140-240 mm wide.

    Args:
        seed: The woman.
        view: CC or MLO.
        side: Left or right.
        rows: Rows of the grid.
        columns: Columns of the grid.
        spacing: (row, column) in mm.
        muscle: Whether the pectoral muscle is visible; by default always in MLO and in about a third of CC.

    Returns:
        The breast.

    Raises:
        ValueError: If the view is neither CC nor MLO, the side is unknown, or the field is not 100 to `FIELD_MM` mm
            high and wide.
    """
    if view not in (View.CC, View.MLO) or side is Side.UNKNOWN:
        raise ValueError("a phantom's view must be CC or MLO, and its side L or R")
    if not all(100 <= n * mm <= FIELD_MM for n, mm in zip((rows, columns), spacing, strict=True)):
        raise ValueError(f"a phantom's field must be 100 to {FIELD_MM:.0f} mm high and wide")
    woman = _draw_woman(seed, rows * spacing[0], columns * spacing[1])
    rng = np.random.default_rng([seed, view is View.MLO, side is Side.LEFT])
    y = (np.arange(rows, dtype=np.float32) + 0.5) * spacing[0]
    x = (np.arange(columns, dtype=np.float32) + 0.5) * spacing[1]
    height = rows * spacing[0]

    skin, nipple_y = (_mlo_skin if view is View.MLO else _cc_skin)(rng, woman, y, height)
    nipple_x = float(np.interp(nipple_y, y, skin))
    is_breast = (x[None, :] < skin[:, None]).astype(np.uint8)
    depth = _depth(is_breast, spacing)
    thickness = _thickness(depth, woman.compressed)

    seen = muscle if muscle is not None else (view is View.MLO or rng.random() < 0.35)
    edge = _muscle_edge(rng, woman, view, y, skin, nipple_y) if seen else np.full_like(y, -100.0)
    inside = edge[:, None] - x[None, :]
    is_muscle = (inside > 0) & (is_breast > 0)

    dense = _gland(rng, woman, y, x, depth, (nipple_y, nipple_x))
    dense = _with_muscle(rng, dense, inside, y, x, view)
    dense += _vessels(rng, y, x, depth, (nipple_y, nipple_x), spacing)
    dense += 0.55 * np.clip(1.3 - depth / SKIN_MM, 0, 1) + _nipple(y, x, nipple_y, nipple_x)
    dense = np.where(is_breast > 0, np.clip(dense, 0, 1.4), 0).astype(np.float32)

    mask = is_breast * np.uint8(Label.BREAST)
    mask[is_muscle] = Label.PECTORAL_MUSCLE
    breast = Breast(thickness, dense, depth, mask, spacing, view, side, seed)
    return breast if side is Side.LEFT else _mirrored(breast)


def _mirrored(breast: Breast) -> Breast:
    flip: dict[str, Any] = {
        n: np.ascontiguousarray(getattr(breast, n)[:, ::-1]) for n in ("thickness", "dense", "depth", "mask")
    }
    return replace(breast, **flip)


def _draw_woman(seed: int, height: float, width: float) -> _Woman:
    rng = np.random.default_rng([seed, 7])
    size = rng.uniform(0.0, 1.0)
    return _Woman(
        reach=min(62 + 62 * size + rng.normal(0, 5), 0.72 * width),
        half_height=min(62 + 38 * size + rng.normal(0, 4), 0.44 * height),
        compressed=38 + 22 * size + rng.normal(0, 3),
        density=float(rng.beta(1.6, 1.8)),
        muscle=float(rng.uniform(0, 1)),
    )


def _cc_skin(rng: np.random.Generator, woman: _Woman, y: Image, height: float) -> tuple[Image, float]:
    """Distance of the skin from the chest wall in mm at each `y`, negative without breast; and the nipple's y."""
    center = height / 2 + rng.normal(0, 0.015) * height
    reach, half = woman.reach * rng.uniform(0.95, 1.05), woman.half_height * rng.uniform(0.97, 1.03)
    nipple_y = center + rng.normal(0, 0.06) * half
    t = np.where(y < nipple_y, (nipple_y - y) / (nipple_y - center + half), (y - nipple_y) / (center + half - nipple_y))
    power = rng.uniform(1.9, 2.3)
    skin = reach * np.power(np.clip(1 - np.power(t, power), 0, 1), rng.uniform(0.52, 0.66))
    skin = skin * (1 + 0.018 * curve(rng, y, 45.0))
    skin = np.where(t < 1, skin + _bump(rng, y, nipple_y), -1.0)
    return skin.astype(np.float32), float(nipple_y)


def _mlo_skin(rng: np.random.Generator, woman: _Woman, y: Image, height: float) -> tuple[Image, float]:
    reach = woman.reach * rng.uniform(1.0, 1.1)
    nipple_y = height * rng.uniform(0.52, 0.60)
    bottom = min(nipple_y + woman.half_height * rng.uniform(0.85, 1.0), 0.96 * height)
    top = reach * rng.uniform(0.58, 0.72)
    above = np.clip((nipple_y - y) / nipple_y, 0, 1)
    # From the nipple upwards the skin is first convex, then concave towards the arm.
    rise = 1 - np.power(np.sin(np.pi / 2 * np.clip(above * rng.uniform(1.12, 1.3), 0, 1)), 1.75)
    upper = top + (reach - top) * rise + 14 * np.clip(above - 0.8, 0, 1) * rng.uniform(0, 2)
    below = np.clip((y - nipple_y) / (bottom - nipple_y), 0, 1)
    lower = reach * np.power(np.clip(1 - np.power(below, rng.uniform(1.9, 2.4)), 0, 1), rng.uniform(0.5, 0.62))
    skin = np.where(y < nipple_y, upper, lower) * (1 + 0.015 * curve(rng, y, 50.0))
    # Below the inframammary fold, a strip of the abdomen may be in the field.
    fold = rng.uniform(0.5, 4) * soft_step((y - bottom + 12) / 14) + 0.12 * np.clip(y - bottom, 0, None)
    fold = np.where(y > bottom - 12, fold + 0.4 * curve(rng, y, 20.0), -1.0)
    skin = np.maximum(skin, fold) if rng.random() < 0.4 else np.where(y < bottom, skin, -1.0)
    return (skin + np.where(y < bottom, _bump(rng, y, nipple_y), 0)).astype(np.float32), float(nipple_y)


def _bump(rng: np.random.Generator, y: Image, nipple_y: float) -> Image:
    """The profile of the nipple in mm."""
    flat = np.power(np.abs(y - nipple_y) / rng.uniform(3.5, 5.5), 2.6)
    return np.asarray(rng.uniform(0.5, 5.5) * np.exp(-flat), dtype=np.float32)


def _depth(is_breast: Mask, spacing: Spacing) -> Image:
    """Distance from the skin in mm, 0 outside. The chest wall and the edges of the image are not skin."""
    rows, columns = is_breast.shape
    # OpenCV's transform needs square pixels.
    square = max(spacing)
    size = (max(1, round(columns * spacing[1] / square)), max(1, round(rows * spacing[0] / square)))
    small = is_breast if size == (columns, rows) else cv2.resize(is_breast, size, interpolation=cv2.INTER_NEAREST)
    reach = round(40 / square)
    padded = cv2.copyMakeBorder(small, reach, reach, reach, 0, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[reach:-reach, reach:]
    distance = np.asarray(distance) * square
    if size != (columns, rows):
        distance = np.asarray(cv2.resize(distance, (columns, rows), interpolation=cv2.INTER_LINEAR))
    return np.where(is_breast > 0, distance, 0).astype(np.float32)


def _thickness(depth: Image, compressed: float) -> Image:
    """The thickness of a slab of `compressed` mm whose free edge is rounded like half a cylinder."""
    radius = compressed * 0.55
    short = np.clip(1 - depth / radius, 0, 1)
    return np.asarray(compressed * np.sqrt(np.clip(1 - short * short, 0, 1)) * (depth > 0), dtype=np.float32)


def _muscle_edge(rng: np.random.Generator, woman: _Woman, view: View, y: Image, skin: Image, nipple_y: float) -> Image:
    """Distance of the muscle's border from the chest wall in mm at each `y`, negative where there is no muscle."""
    if view is View.CC:
        half = rng.uniform(24, 48)
        t = (y - nipple_y - rng.normal(0, 8)) / half
        edge = rng.uniform(5, 13) * (1 - t * t) + 0.4 * curve(rng, y, 12.0)
    else:
        width = min(24 + 34 * woman.muscle + rng.normal(0, 3), max(float(skin[0]) - 14, 10))
        length = nipple_y * rng.uniform(0.72, 1.08)
        t = y / length
        # Convex towards the breast, but sometimes slightly concave.
        edge = width * (1 - t) + rng.uniform(-1, 6.5) * np.sin(np.pi * np.clip(t, 0, 1)) + 0.7 * curve(rng, y, 28.0)
        edge = np.where(t < 1, np.maximum(edge, 0.5 * (1 - t)), -1.0)
    return np.minimum(edge, skin - 6).astype(np.float32)


def _gland(
    rng: np.random.Generator, woman: _Woman, y: Image, x: Image, depth: Image, nipple: tuple[float, float]
) -> Image:
    """Share of fibroglandular tissue, (rows, columns): a lobed cone behind the nipple, with strands towards it."""
    nipple_y, nipple_x = nipple
    down, across = y[:, None] - nipple_y, nipple_x - x[None, :]
    lean = rng.uniform(-0.35, 0.1)
    half = woman.half_height * rng.uniform(0.42, 0.62)
    middle = nipple_x * rng.uniform(0.38, 0.5)
    along = (across - middle) / (nipple_x * rng.uniform(0.42, 0.52))
    side = (down - lean * across) / half
    lobes = fractal(rng, y, x, 38.0, 4)
    envelope = soft_step((0.9 - along * along - side * side + 0.5 * lobes) / 1.1)
    envelope *= soft_step((depth - rng.uniform(5, 10)) / 6)

    tissue = fractal(rng, y, x, 24.0, 6)
    net = ridges(fractal(rng, y, x, 13.0, 5), 0.4) * 0.5 + ridges(fractal(rng, y, x, 6.0, 4), 0.4) * 0.5
    strands = _strands(rng, y, x, nipple)
    parenchyma = 0.14 + 0.42 * woman.density + 0.14 * tissue + (0.22 - 0.1 * woman.density) * net + 0.26 * strands
    inner = soft_step((depth - 2.5) / 5)
    fat = 0.08 + 0.03 * fractal(rng, y, x, 30.0, 6) + inner * (0.11 * strands + 0.015 * net)
    return np.asarray(fat + envelope * np.clip(parenchyma, 0, 1), dtype=np.float32)


def _with_muscle(rng: np.random.Generator, dense: Image, inside: Image, y: Image, x: Image, view: View) -> Image:
    """`dense` with the muscle: a step at its border, then thicker inwards, with faint fibres along the border."""
    step, growth = (0.45, 9.0) if view is View.MLO else (0.55, 3.0)
    share = np.where(inside > 0, step + (1 - step) * (1 - np.exp(-np.maximum(inside, 0) / growth)), 0)
    # The border is a slope of about a millimetre, not a sharp edge.
    share = share * soft_step(inside / 1.0 + 0.5)
    fibres = np.sin(inside / rng.uniform(2.2, 3.4) + 1.5 * fractal(rng, y, x, 30.0, 2))
    level = rng.uniform(0.74, 0.92)
    muscle = level + 0.018 * fibres + 0.03 * fractal(rng, y, x, 26.0, 4)
    return (dense * (1 - 0.75 * share) + share * muscle * 0.95).astype(np.float32)


def _vessels(
    rng: np.random.Generator,
    y: Image,
    x: Image,
    depth: Image,
    nipple: tuple[float, float],
    spacing: Spacing,
) -> Image:
    """Density of a few winding vessels and, sometimes, of a lump or coarse calcifications."""
    drawn = np.zeros((len(y), len(x)), np.float32)
    for _ in range(rng.integers(3, 7)):
        turns = rng.normal(0, 0.09, 60).cumsum() + rng.uniform(-0.9, 0.9)
        start = np.array([nipple[0] + rng.uniform(-55, 55), rng.uniform(0, 0.3) * nipple[1]])
        path = start + np.cumsum(np.stack([np.sin(turns), np.cos(turns)], 1), 0) * 1.6
        points = np.round((path[:, ::-1] / spacing[::-1] - 0.5) * 16).astype(np.int32)
        vessel = np.zeros_like(drawn)
        wide = max(1, round(rng.uniform(0.8, 1.8) / spacing[0]))
        cv2.polylines(vessel, [points[:, None]], False, 1.0, wide, cv2.LINE_AA, 4)
        drawn += vessel * np.float32(rng.uniform(0.06, 0.15))
    blurred = cv2.GaussianBlur(drawn, (0, 0), 0.45 / spacing[1], sigmaY=0.45 / spacing[0])
    drawn = np.asarray(blurred, dtype=np.float32)
    if rng.random() < 0.3:
        drawn += _lump(rng, y, x, nipple)
    if rng.random() < 0.4:
        for _ in range(rng.integers(1, 8)):
            at = (nipple[0] + rng.uniform(-30, 30), nipple[1] * rng.uniform(0.2, 0.8))
            radius = rng.uniform(0.3, 0.9)
            drawn += 0.5 * np.exp(-(((y[:, None] - at[0]) ** 2 + (x[None, :] - at[1]) ** 2) / radius**2))
    return (drawn * soft_step((depth - 3) / 5)).astype(np.float32)


def _lump(rng: np.random.Generator, y: Image, x: Image, nipple: tuple[float, float]) -> Image:
    at = (nipple[0] + rng.uniform(-25, 25), nipple[1] * rng.uniform(0.25, 0.7))
    distance = np.hypot(y[:, None] - at[0], x[None, :] - at[1])
    radius = rng.uniform(3, 9) * (1 + 0.15 * fractal(rng, y, x, 8.0, 2))
    return (rng.uniform(0.2, 0.4) * soft_step((radius - distance) / 2.5 + 0.5)).astype(np.float32)


def _nipple(y: Image, x: Image, nipple_y: float, nipple_x: float) -> Image:
    distance = ((y[:, None] - nipple_y) / 5) ** 2 + ((x[None, :] - nipple_x + 2) / 4.5) ** 2
    return (0.28 * np.exp(-distance)).astype(np.float32)


def _strands(rng: np.random.Generator, y: Image, x: Image, nipple: tuple[float, float]) -> Image:
    """Thin bright lines towards the nipple, 0 to 1: ducts and Cooper's ligaments."""
    behind = 14.0
    down, across = y[:, None] - nipple[0], nipple[1] + behind - x[None, :]
    angle = np.arctan2(down, across) + 0.10 * fractal(rng, y, x, 34.0, 4)
    radius = np.hypot(down, across) + 6 * fractal(rng, y, x, 26.0, 3)
    # Noise on a polar raster, long in the radius and narrow in the angle, which the maps above bend.
    angles = (np.arange(1200, dtype=np.float32) + 0.5) * (FIELD_MM / 1200)
    radii = np.arange(0.375, FIELD_MM, 0.75, dtype=np.float32)
    raster = ridges(fractal(rng, angles, radii, 7.0, 3, stretch=9.0), 0.22)
    raster = raster * soft_step(0.5 + 0.6 * fractal(rng, angles, radii, 12.0, 2, stretch=3.0))
    column = np.clip(radius / 0.75, 0, len(radii) - 1).astype(np.float32)
    row = ((np.clip(angle, -np.pi, np.pi) + np.pi) / (2 * np.pi) * (len(angles) - 1)).astype(np.float32)
    return np.asarray(cv2.remap(raster, column, row, cv2.INTER_LINEAR), dtype=np.float32)
