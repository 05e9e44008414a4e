"""Draw synthetic mammograms with known masks, for the demo, for tests, and for figures that must not show a patient.

A seed is a woman. Her breasts have the same size, density and thickness, and each view has its own details.
`phantom_breast.py` draws the breast, and this module turns it into an image: processed, raw or film. `artefacts.py`
draws labels, tape and film edges, and `phantom_dicom.py` writes DICOM files.

This is a drawing, not a simulation of X-ray physics: results on phantoms say nothing about accuracy on patients.
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
    """A synthetic mammogram.

    Attributes:
        image: Gray in [0, 1], float32 (rows, columns). Dense tissue is bright if processed or on film. In a raw
            image the breast is dark on a bright background.
        mask: Values of `Label`, uint8 (rows, columns).
        spacing: (row, column) in mm.
        view: CC or MLO.
        side: Left or right.
        intent: Processed, raw or film.
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
    """Draw a mammogram, the same for the same arguments.

    Args:
        seed: The woman.
        view: CC or MLO.
        side: Left or right. The chest wall is at the left edge in a left breast, at the right edge in a right one. In a
            film it is at the film's edge, which is inside the image.
        rows: Rows of the image.
        columns: Columns of the image.
        spacing: (row, column) in mm. The image must be 100 to `FIELD_MM` mm high and wide.
        intent: Processed, raw or film.
        muscle: Whether the pectoral muscle is visible; by default always in MLO and in about a third of CC.

    Returns:
        Image and mask.

    Raises:
        ValueError: If the view, the side or the size in mm is not one of these.
    """
    if intent is Intent.FILM:
        return _film_scan(seed, view, side, rows, columns, spacing, muscle)
    breast = make_breast(seed, view, side, rows=rows, columns=columns, spacing=spacing, muscle=muscle)
    image = raw_gray(breast) if intent is Intent.RAW else processed_gray(breast)
    if intent is Intent.PROCESSED:
        image = with_marker(image, breast)
    return Phantom(image, breast.mask, breast.spacing, breast.view, breast.side, intent)


def processed_gray(breast: Breast) -> Image:
    """The image for presentation, float32 (rows, columns) in [0, 1]: the periphery equalized, air black."""
    rng = np.random.default_rng([breast.seed, 11, *breast.mask.shape])
    relative = breast.thickness / max(float(breast.thickness.max()), 1e-6)
    # Unsharp masking, which every maker's processing has.
    blur = cv2.GaussianBlur(breast.dense, (0, 0), 4.0 / breast.spacing[1], sigmaY=4.0 / breast.spacing[0])
    gray = (0.36 + 0.46 * (1.25 * breast.dense - 0.25 * blur)) * np.power(relative, 0.25)
    grain = rng.standard_normal(gray.shape, dtype=np.float32) * 0.012
    return np.asarray(np.clip(np.where(breast.mask > 0, gray + grain, np.abs(grain) * 0.15), 0, 1), dtype=np.float32)


def raw_gray(breast: Breast) -> Image:
    """The image for processing, float32 (rows, columns) in [0, 1]: the exposure of the detector, almost 1 in air."""
    rng = np.random.default_rng([breast.seed, 13, *breast.mask.shape])
    transmitted = np.exp(-breast.attenuation)
    # The gain of the detector is uneven, and the variance of quantum noise is proportional to the exposure.
    rows, columns = breast.mask.shape
    field = 1 - 0.03 * np.linspace(0, 1, rows, dtype=np.float32)[:, None] - 0.02 * np.linspace(0, 1, columns)[None, :]
    noise = rng.standard_normal(transmitted.shape, dtype=np.float32) * 0.008 * np.sqrt(transmitted)
    return np.clip(0.97 * transmitted * field + noise, 0, 1).astype(np.float32)


def film_gray(breast: Breast) -> Image:
    """A digitized film, float32 (rows, columns) in [0, 1]. It is not equalized, so the skin line fades to black."""
    rng = np.random.default_rng([breast.seed, 17, *breast.mask.shape])
    middle = float(np.quantile(breast.attenuation[breast.mask > 0], 0.45))
    slope = rng.uniform(3.0, 4.2)
    gray = 1 / (1 + np.exp(-slope * (breast.attenuation - middle)))
    fog = rng.uniform(0.0, 0.04)
    grain = rng.standard_normal(gray.shape, dtype=np.float32) * 0.008
    return np.asarray(np.clip(fog + (0.94 - fog) * gray + grain, 0, 1), dtype=np.float32)


def with_marker(image: Image, breast: Breast) -> Image:
    """Draw the lead marker with side and view beside the breast, never over it; float32 (rows, columns) in [0, 1]."""
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
    """(row, column) of a label in the upper corner away from the chest wall, `margin` mm from both edges."""
    row = round(margin / spacing[0])
    column = round(margin / spacing[1])
    return row, (mask.shape[1] - column - round(38 / spacing[1]) if side is Side.LEFT else column)
