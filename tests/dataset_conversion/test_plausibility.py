"""Reference masks that do not belong to their images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset
from maseg_nnunet.dataset_conversion.plausibility import MaskDoubt, mask_doubts
from maseg_nnunet.mammogram import Intent, Side, View
from maseg_nnunet.synthetic.phantom import make_phantom
from tests.dataset_conversion.helpers import films_request


@pytest.mark.parametrize("intent", [Intent.PROCESSED, Intent.RAW])
@pytest.mark.parametrize("view", [View.MLO, View.CC])
@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
def test_a_mask_of_its_image_is_plausible_and_others_are_not(intent: Intent, view: View, side: Side) -> None:
    phantom = make_phantom(
        5, view, side, rows=300, columns=240, spacing=(0.8, 0.8), intent=intent, muscle=view is View.MLO
    )
    assert mask_doubts(phantom.image, phantom.mask) == ()
    assert MaskDoubt.MIRRORED in mask_doubts(phantom.image, np.ascontiguousarray(phantom.mask[:, ::-1]))
    exchanged = np.array([0, 2, 1], np.uint8)[phantom.mask]
    assert MaskDoubt.EXCHANGED in mask_doubts(phantom.image, exchanged)
    assert mask_doubts(phantom.image, np.zeros_like(phantom.mask)) == ()


def test_a_mask_on_black() -> None:
    image = np.zeros((200, 160), np.float32)
    image[40:160, :60] = 0.5
    mask = np.zeros(image.shape, np.uint8)
    mask[40:160, :90] = 1
    assert MaskDoubt.ON_BLACK in mask_doubts(image, mask)


def test_doubts_reach_manifest_and_report(films: Path, tmp_path: Path) -> None:
    path = films / "masks" / "mdb003.png"
    whole = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    try:
        cv2.imwrite(str(path), np.ascontiguousarray(whole[:, ::-1]))
        report = convert_dataset(films_request(films, tmp_path / "out"))
    finally:
        cv2.imwrite(str(path), whole)
    assert report["implausible_masks"][MaskDoubt.MIRRORED.value] == 1
    flagged = [row.case for row in read_manifest(tmp_path / "out") if MaskDoubt.MIRRORED.value in row.flags]
    assert flagged == ["mdb003"]
