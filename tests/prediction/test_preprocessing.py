"""Images on the plans' grid: the same as nnU-Net's preprocessing makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maseg_nnunet.prediction.preprocessing import plan_grid, resize
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.readers import read_mammogram
from tests.prediction.helpers import gradient, write_dicom
from tests.tiny_models import write_model


def test_padding_and_stretching_do_not_move_the_image() -> None:
    assert plan_grid((666, 541), (0.4, 0.4), (0.4, 0.4)) == ((666, 541), (0.4, 0.4))
    size, pitch = plan_grid((666, 541), (0.4, 0.4), (0.8, 0.8))
    # nnU-Net reads 0.4 from a float32, so 270.5 is rounded up and not to even.
    assert size == (333, 271)
    assert pitch[0] * size[0] == pytest.approx(666 * 0.4) and pitch[1] * size[1] == pytest.approx(541 * 0.4)


def test_nnunet_resamples_to_the_same_grid() -> None:
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    image = np.random.default_rng(0).random((37, 23), dtype=np.float32)
    for order, size in ((1, (19, 12)), (1, (74, 46)), (3, (19, 12))):
        theirs = resample_data_or_seg_to_shape(image[None, None], (1, *size), (1, 1, 1), (1, 1, 1), order=order)
        np.testing.assert_allclose(resize(image, size, order), theirs[0, 0], atol=2e-6)


def test_an_imported_model_sees_what_it_was_trained_on(tmp_path: Path) -> None:
    imported = Segmenter(
        write_model(tmp_path / "model", maseg={"inversion": False, "scaling": "min-max"}), device="cpu"
    )
    pixels = 1000 + gradient() // 4
    image = imported.prepare(read_mammogram(write_dicom(tmp_path / "a.dcm", pixels))).image
    assert image is not None and (image.min(), image.max()) == (0, 1)
    inverted = imported.prepare(
        read_mammogram(write_dicom(tmp_path / "b.dcm", pixels, PhotometricInterpretation="MONOCHROME1"))
    )
    np.testing.assert_array_equal(inverted.image, image)
