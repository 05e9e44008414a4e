"""Synthetic mammograms whose masks are known: for the demo, the tests and figures that may show no patient.

A seed is a woman: her breasts share size, density and thickness, every view has its own details. `phantom_breast.py`
draws the breast, here it becomes a picture: processed, raw or film. This is a drawing of a mammogram, not a simulation
of X-ray physics: nothing about accuracy on patients follows from results on phantoms. DICOM files of phantoms are made
by `phantom_dicom.py`, labels, tape and film edges by `artefacts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from maseg_nnunet.arrays import Image, Mask, Spacing
from maseg_nnunet.mammogram import Intent, Side, View
from maseg_nnunet.synthetic import artefacts
from maseg_nnunet.synthetic.phantom_breast import Breast, make_breast


@dataclass(frozen=True, eq=False)
class Phantom:
    """A finished picture: `image` (rows, columns) float32 gray in [0, 1] and its `mask` (rows, columns) uint8.

    `spacing` is (row, column) in mm. A processed or film image is bright where the breast is dense; in a raw one the
    breast is dark on a bright background.
    """

    image: Image
    mask: Mask
    spacing: Spacing
    view: View
    side: Side
    intent: Intent


def make_phantom(
    seed: int,
    view: View = View.MLO,
    side: Side = Side.LEFT,
    *,
    rows: int = 600,
    columns: int = 480,
    spacing: Spacing = (0.4, 0.4),
    intent: Intent = Intent.PROCESSED,
    muscle: bool | None = None,
) -> Phantom:
    """A mammogram of `rows` x `columns` pixels of `spacing` (row, column) mm, the same for the same arguments.

    `muscle`: whether a pectoral muscle is seen; by default always in MLO and in about a third of CC. A film's breast
    does not touch the image's edge but the film's.
    """
    if intent is Intent.FILM:
        return _film_scan(seed, view, side, rows, columns, spacing, muscle)
    breast = make_breast(seed, view, side, rows=rows, columns=columns, spacing=spacing, muscle=muscle)
    image = raw_gray(breast) if intent is Intent.RAW else processed_gray(breast)
    if intent is Intent.PROCESSED:
        image = with_marker(image, breast)
    return Phantom(image, breast.mask, breast.spacing, breast.view, breast.side, intent)


def processed_gray(breast: Breast) -> Image:
    """The image for presentation, (rows, columns) float32 in [0, 1]: periphery equalized, air black."""
    rng = np.random.default_rng([breast.seed, 11, *breast.mask.shape])
    relative = breast.thickness / max(float(breast.thickness.max()), 1e-6)
    # Unsharp masking, as every maker's processing has it.
    blur = cv2.GaussianBlur(breast.dense, (0, 0), 4.0 / breast.spacing[1], sigmaY=4.0 / breast.spacing[0])
    gray = (0.36 + 0.46 * (1.25 * breast.dense - 0.25 * blur)) * np.power(relative, 0.25)
    grain = rng.standard_normal(gray.shape, dtype=np.float32) * 0.012
    return np.asarray(np.clip(np.where(breast.mask > 0, gray + grain, np.abs(grain) * 0.15), 0, 1), dtype=np.float32)


def raw_gray(breast: Breast) -> Image:
    """The image for processing, (rows, columns) float32 in [0, 1]: the detector's exposure, 1 in air."""
    rng = np.random.default_rng([breast.seed, 13, *breast.mask.shape])
    transmitted = np.exp(-breast.attenuation)
    # The detector's gain field, and quantum noise: its variance follows the exposure.
    rows, columns = breast.mask.shape
    field = 1 - 0.03 * np.linspace(0, 1, rows, dtype=np.float32)[:, None] - 0.02 * np.linspace(0, 1, columns)[None, :]
    noise = rng.standard_normal(transmitted.shape, dtype=np.float32) * 0.008 * np.sqrt(transmitted)
    return np.clip(0.97 * transmitted * field + noise, 0, 1).astype(np.float32)


def film_gray(breast: Breast) -> Image:
    """A digitized screen film, (rows, columns) float32 in [0, 1]: no equalization, so the skin line fades to black."""
    rng = np.random.default_rng([breast.seed, 17, *breast.mask.shape])
    middle = float(np.quantile(breast.attenuation[breast.mask > 0], 0.45))
    slope = rng.uniform(3.0, 4.2)
    gray = 1 / (1 + np.exp(-slope * (breast.attenuation - middle)))
    fog = rng.uniform(0.0, 0.04)
    grain = rng.standard_normal(gray.shape, dtype=np.float32) * 0.008
    return np.asarray(np.clip(fog + (0.94 - fog) * gray + grain, 0, 1), dtype=np.float32)


def with_marker(image: Image, breast: Breast) -> Image:
    """`image` with the lead marker (side and view) that lies beside the breast; never drawn over it."""
    rng = np.random.default_rng([breast.seed, 19])
    text = f"{breast.side.value} {breast.view.value}"
    height_mm = rng.uniform(7, 11)
    corner = _free_corner(breast.mask, breast.spacing, breast.side, float(rng.uniform(8, 22)))
    return artefacts.paste_text(
        image, text, corner, height=height_mm / breast.spacing[0], gray=float(rng.uniform(0.8, 1)), keep=breast.mask > 0
    )


def _film_scan(
    seed: int,
    view: View,
    side: Side,
    rows: int,
    columns: int,
    spacing: Spacing,
    muscle: bool | None,
) -> Phantom:
    rng = np.random.default_rng([seed, 23, view is View.MLO, side is Side.LEFT])
    wall, outer = (int(rng.uniform(0.01, 0.07) * columns) for _ in range(2))
    width = columns - wall - outer
    breast = make_breast(seed, view, side, rows=rows, columns=width, spacing=spacing, muscle=muscle)
    keep = breast.mask > 0
    image = artefacts.fog_background(film_gray(breast), keep, strength=float(rng.uniform(0.02, 0.10)), rng=rng)
    corner = _free_corner(breast.mask, spacing, side, float(rng.uniform(0, 12)))
    if rng.random() < 0.6:
        text = f"{side.value} {view.value}"
        height = rng.uniform(8, 12) / spacing[0]
        angle = float(rng.uniform(-12, 12))
        image = artefacts.paste_label(image, text, corner, height=height, angle=angle, keep=keep)
    if rng.random() < 0.4:
        at_left = side is Side.RIGHT
        image = artefacts.paste_tape(image, at_left=at_left, width=rng.uniform(4, 10) / spacing[1], rng=rng, keep=keep)
    before, after = (wall, outer) if side is Side.LEFT else (outer, wall)
    image = artefacts.paste_film_edge(image, before, after, rng=rng)
    mask = np.pad(breast.mask, ((0, 0), (before, after)))
    return Phantom(image, mask, spacing, view, side, Intent.FILM)


def _free_corner(mask: Mask, spacing: Spacing, side: Side, margin: float) -> tuple[int, int]:
    """(row, column) of the upper corner away from the chest wall, `margin` mm from both edges, where a label goes."""
    row = round(margin / spacing[0])
    column = round(margin / spacing[1])
    return row, (mask.shape[1] - column - round(38 / spacing[1]) if side is Side.LEFT else column)
