"""The Segmenter: grids, look-up tables, polarity, probabilities, and each mistake of the published program once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pydicom import Dataset
from pydicom.sequence import Sequence

from maseg_nnunet.errors import ModelError, RefusedError, UsageError
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Flag, Intent, Mammogram, View
from maseg_nnunet.prediction.cleanup import keep_largest
from maseg_nnunet.prediction.segmenter import Segmenter, softmax
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.synthetic.phantom import make_phantom
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable, full_range
from tests.prediction.helpers import SPACING, agree, gradient, mammogram_of, write_dicom
from tests.tiny_models import write_model

# --- the position of a mask ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan_spacing", [0.4, 0.8])
@pytest.mark.parametrize("spacing", [(0.065, 0.065), (0.05, 0.1)])
def test_the_edge_of_an_off_centre_shape_is_exact_to_half_a_native_pixel(
    plan_spacing: float, spacing: tuple[float, float], tmp_path: Path
) -> None:
    segmenter = Segmenter(write_model(tmp_path / "model", spacing=plan_spacing), device="cpu")
    radius, centre = 14.2, (31.3, 17.9)
    y = (np.arange(round(61 / spacing[0])) + 0.5) * spacing[0]
    x = (np.arange(round(43 / spacing[1])) + 0.5) * spacing[1]
    away = np.hypot(y[:, None] - centre[0], x[None, :] - centre[1]) - radius
    image = (1000 * np.clip(0.3 - away / 4, 0, 1)).astype(np.uint16)  # a slope of 4 mm keeps the edge in any sampling
    image[0, 0], image[0, 1] = 0, 1000
    mask = segmenter.predict(image, spacing_mm=spacing)
    wrong = (mask > 0) != (away < 0)
    assert mask.shape == image.shape
    assert np.abs(away[wrong]).max(initial=0) < min(spacing) / 2
    # The centre of mass would show a shift of the whole mask by a fraction of a pixel.
    rows, columns = np.nonzero(mask)
    assert y[rows].mean() == pytest.approx(centre[0], abs=0.005)
    assert x[columns].mean() == pytest.approx(centre[1], abs=0.005)


def test_every_grid_gets_its_own_mask_back(segmenter: Segmenter) -> None:
    for shape in ((1, 1), (3, 200), (117, 64), (63, 65)):
        image = np.linspace(0, 1, shape[0] * shape[1]).reshape(shape)
        assert segmenter.predict(image, spacing_mm=0.1).shape == shape


# --- what the network sees -------------------------------------------------------------------------------------------


def test_a_file_in_memory_and_an_array_give_the_same_mask(segmenter: Segmenter, tmp_path: Path) -> None:
    pixels = gradient()
    path = write_dicom(tmp_path / "a.dcm", pixels)
    mask = segmenter.predict(path)
    assert agree(mask, pixels / 4095)
    np.testing.assert_array_equal(segmenter.predict(str(path)), mask)
    np.testing.assert_array_equal(segmenter.predict(read_mammogram(path)), mask)


def test_the_window_of_the_header_is_applied(segmenter: Segmenter, tmp_path: Path) -> None:
    pixels = gradient()
    mask = segmenter.predict(write_dicom(tmp_path / "a.dcm", pixels, WindowCenter="1000.5", WindowWidth="1001"))
    assert agree(mask, np.clip((pixels.astype(float) - 500) / 1000, 0, 1))


def test_an_image_in_which_nothing_can_be_seen_gives_an_empty_mask(segmenter: Segmenter) -> None:
    for pixels, luts in (
        (np.zeros((30, 20), np.uint16), full_range(0, 0)),
        (np.arange(600, dtype=np.uint16).reshape(30, 20), LookUpTable("NORMAL", Function.LINEAR, 3000, 100)),
    ):
        flags = (Flag.CONSTANT,) if pixels.max() == 0 else ()
        mammogram = Mammogram(
            Path(), pixels, SPACING, "given", CaseLuts(False, 0, (luts,)), Intent.PROCESSED, View.MLO, flags=flags
        )
        mask, probabilities = segmenter.predict(mammogram, probabilities=True)
        assert not mask.any() and mask.shape == (30, 20)
        np.testing.assert_array_equal(probabilities[0], 1)
        np.testing.assert_array_equal(probabilities[1:], 0)


def test_mirroring_averages_with_the_mirrored_image_alone(model: Path) -> None:
    mirrored = Segmenter(model, device="cpu", tta=True, keep_largest=False)
    # The network is made asymmetric: it looks one pixel to the left.
    for segmenter in (mirrored, plain := Segmenter(model, device="cpu", keep_largest=False)):
        with torch.no_grad():
            kernel = segmenter._network.get_parameter("encoder.0.0.weight")
            kernel[0, 0, 1] = torch.tensor([1.0, 0.0, 0.0])
    image = gradient(40, 41)[:, :40]
    prepared = plain.prepare(mammogram_of(image))
    other = plain.prepare(mammogram_of(np.ascontiguousarray(image[:, ::-1])))
    expected_logits = (plain.logits([prepared])[0] + plain.logits([other])[0][:, :, ::-1]) / 2
    found = mirrored.logits([mirrored.prepare(mammogram_of(image))])[0]
    np.testing.assert_allclose(found, expected_logits, atol=0.05)
    assert np.abs(found - plain.logits([prepared])[0]).max() > 0.1
    upside_down = plain.logits([plain.prepare(mammogram_of(np.ascontiguousarray(image[::-1])))])[0][:, ::-1]
    assert np.abs(found - (expected_logits + upside_down) / 2).max() > 0.05


@pytest.mark.parametrize(("orientation", "turns"), [(("R", "P"), 3), (("H", "P"), 1), (("P", "H"), 2)])
def test_an_image_stored_sideways_gets_the_mask_of_the_upright_one(
    model: Path, segmenter: Segmenter, orientation: tuple[str, str], turns: int
) -> None:
    # Black margins, so that the network sees only a part of the image, and pixels that are not square.
    image = np.pad(gradient(41, 52)[:, ::-1], ((3, 0), (0, 7)))
    upright = replace(mammogram_of(image), spacing=(0.3, 0.4))
    stored = replace(
        upright,
        pixels=np.rot90(image, -turns),
        spacing=(0.3, 0.4) if turns == 2 else (0.4, 0.3),
        patient_orientation=orientation,
    )
    # The network must see the upright image. Its labels depend on single pixels, so they would not show a turned one.
    seen = segmenter.prepare(upright).image
    assert seen is not None
    np.testing.assert_array_equal(segmenter.prepare(stored).image, seen)
    mask, probabilities = segmenter.predict(upright, probabilities=True)
    found, likewise = segmenter.predict(stored, probabilities=True)
    assert len(np.unique(mask)) == 3 and found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, np.rot90(mask, -turns))
    np.testing.assert_array_equal(likewise, np.rot90(probabilities, -turns, axes=(1, 2)))
    # The mask is cleaned up while it is upright, because only the left and the right are searched for a chest wall.
    cleaning = Segmenter(model, device="cpu")
    clean = cleaning.predict(upright)
    assert (clean == Label.PECTORAL_MUSCLE).any()
    np.testing.assert_array_equal(cleaning.predict(stored), np.rot90(clean, -turns))
    empty = replace(stored, pixels=np.zeros_like(stored.pixels))
    blank, certain = segmenter.predict(empty, probabilities=True)
    assert blank.shape == certain.shape[1:] == stored.shape and not blank.any()


def test_folding_batch_norms_changes_nothing_that_is_seen(tmp_path: Path) -> None:
    from maseg_nnunet.models.model import load_model
    from maseg_nnunet.network import UNet

    torch.manual_seed(0)
    network = UNet(1, 3, features_per_stage=(4, 8), dropout=0.0)
    with torch.no_grad():
        for _ in range(5):
            network.train()(torch.rand(2, 1, 64, 48))  # so that the statistics are not those of a new network
    architecture = {
        "network_class_name": "maseg_nnunet.network.UNet",
        "arch_kwargs": {"features_per_stage": [4, 8], "strides": [[1, 1], [2, 2]]},
        "_kw_requires_import": [],
    }
    folder = write_model(tmp_path / "model", network.eval(), patch=(48, 40), architecture=architecture)
    segmenter = Segmenter(folder, device="cpu")
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in segmenter._network.modules())
    prepared = segmenter.prepare(mammogram_of(gradient()))
    with torch.inference_mode():
        plain = load_model(folder).network(torch.from_numpy(prepared.image)[None, None])[0]
        exact = segmenter._network(torch.from_numpy(prepared.image)[None, None])[0]
    np.testing.assert_allclose(exact, plain, atol=1e-5)
    np.testing.assert_allclose(segmenter.logits([prepared])[0], plain, atol=0.02 * float(plain.abs().max()))


def test_a_batch_gives_what_each_image_gives_alone(segmenter: Segmenter) -> None:
    batch = [segmenter.prepare(mammogram_of(np.roll(gradient(), shift, axis=1))) for shift in (0, 7, 20)]
    empty = segmenter.prepare(mammogram_of(np.zeros_like(gradient())))
    together = segmenter.logits([batch[0], empty, *batch[1:]])
    for prepared, logits in zip(batch, [together[0], *together[2:]], strict=True):
        np.testing.assert_allclose(logits, segmenter.logits([prepared])[0], atol=1e-3)
    assert not segmenter.mask(empty, together[1]).any()


def test_an_array_must_be_an_image_with_a_spacing(segmenter: Segmenter) -> None:
    image = np.zeros((4, 4))
    bad: list[tuple[Any, Any]] = [
        (image, None),
        (image, 4.0),
        (image[0], 0.1),
        (image > 0, 0.1),
        (image * np.nan, 0.1),
        (image[:0], 0.1),
    ]
    for array, spacing in bad:
        with pytest.raises((UsageError, RefusedError)):
            segmenter.predict(array, spacing_mm=spacing)
    with pytest.raises(UsageError, match="cuda:77"):
        Segmenter(device="cuda:77")


# --- the mistakes of the published program ---------------------------------------------------------------------------


def test_the_mask_of_a_flipped_image_fits_the_image(segmenter: Segmenter, tmp_path: Path) -> None:
    pixels = gradient()
    for flip, orientation in (("YES", ["P", "F"]), ("NO", ["A", "F"])):
        path = write_dicom(
            tmp_path / f"{flip}.dcm", pixels, FieldOfViewHorizontalFlip=flip, PatientOrientation=orientation
        )
        assert agree(segmenter.predict(path), pixels / 4095)


@pytest.mark.parametrize("maker", ["SIEMENS", "Maker of no list"])
def test_monochrome1_is_turned_over_whoever_made_it(segmenter: Segmenter, tmp_path: Path, maker: str) -> None:
    pixels = gradient()
    path = write_dicom(tmp_path / "a.dcm", pixels, PhotometricInterpretation="MONOCHROME1", Manufacturer=maker)
    assert agree(segmenter.predict(path), 1 - pixels / 4095)


def test_the_header_counts_whatever_the_file_is_called(segmenter: Segmenter, tmp_path: Path) -> None:
    pixels = gradient()
    window = {"WindowCenter": "1000.5", "WindowWidth": "1001"}
    for name in ("exam", "exam.img", "1.2.840.7", "exam.DCM"):
        mask = segmenter.predict(write_dicom(tmp_path / name, pixels, **window))
        assert agree(mask, np.clip((pixels.astype(float) - 500) / 1000, 0, 1))


def test_a_table_is_indexed_by_value_and_not_by_rank(segmenter: Segmenter, tmp_path: Path) -> None:
    pixels = (gradient() // 16) * 16  # few values, so that rank and value are far apart
    item = Dataset()
    item.LUTDescriptor = [2048, 1024, 12]
    item.LUTExplanation = "NORMAL"
    item.add_new("LUTData", "OW", (np.arange(2048) * 4095 / 2047).astype("<u2").tobytes())
    path = write_dicom(
        tmp_path / "a.dcm",
        pixels,
        VOILUTSequence=Sequence([item]),
        WindowCenter=None,
        WindowWidth=None,
        VOILUTFunction=None,
    )
    assert agree(segmenter.predict(path), np.clip((pixels.astype(float) - 1024) / 2047, 0, 1))


def test_probabilities_are_probabilities(segmenter: Segmenter) -> None:
    mask, probabilities = segmenter.predict(gradient(), spacing_mm=0.1, probabilities=True)
    assert probabilities.shape == (3, *mask.shape) and probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(axis=0), mask)


def test_filling_holes_leaves_the_muscle_alone() -> None:
    mask = make_phantom(3, View.MLO, rows=150, columns=120, spacing=(1.6, 1.6)).mask
    muscle = mask == Label.PECTORAL_MUSCLE
    assert muscle.any()
    mask[:, 0][muscle[:, 0]] = Label.BREAST
    mask[0][muscle[0]] = Label.BREAST  # now the breast surrounds its muscle, which is a hole in label 1
    enclosed = mask == Label.PECTORAL_MUSCLE
    y, x = np.argwhere(mask == Label.BREAST).mean(axis=0).astype(int)
    broken = mask.copy()
    broken[y - 2 : y + 2, x - 2 : x + 2] = 0
    np.testing.assert_array_equal(keep_largest(broken), mask)
    assert enclosed.sum() > 100


def test_one_scaling_for_every_kind_of_input(segmenter: Segmenter, tmp_path: Path) -> None:
    """The same image, with values far from zero, as an array, as a PNG and as DICOM without a look-up table."""
    import cv2

    pixels = 1000 + gradient() // 2
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    path = write_dicom(tmp_path / "a.dcm", pixels, WindowCenter=None, WindowWidth=None, VOILUTFunction=None)
    mask = segmenter.predict(path)
    assert agree(mask, (pixels - pixels.min()) / np.ptp(pixels))
    np.testing.assert_array_equal(segmenter.predict(tmp_path / "a.png", spacing_mm=0.4), mask)
    for dtype in (np.uint16, np.int32, np.float32, np.float64):
        np.testing.assert_array_equal(segmenter.predict(pixels.astype(dtype), spacing_mm=0.4), mask)


def test_a_file_that_can_t_be_used_is_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", gradient())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RefusedError):
        segmenter.predict(path)


def test_black_margins_are_cut_off_and_are_background(model: Path) -> None:
    """Margins that are exactly black do not change the mask of the image within them."""
    segmenter = Segmenter(model, "cpu", keep_largest=False)
    rng = np.random.default_rng(5)
    inner = cv2.GaussianBlur(rng.uniform(0.2, 1, (400, 300)).astype(np.float32), (0, 0), 9)
    inner = (inner - inner.min()) / (inner.max() - inner.min()) * 0.9 + 0.1
    inner[0, 0] = 1.0  # both images have the range 0 to 1
    inner[-1, -1] = 0.0
    # 32 and 16 pixels of 0.1 mm are 8 and 4 of the converted grid, so the network sees the same pixels.
    framed = np.pad(inner, ((32, 48), (16, 64)))
    (small, p_small), (large, p_large) = (
        segmenter.predict(image, 0.1, probabilities=True) for image in (inner, framed)
    )
    place = slice(32, 32 + 400), slice(16, 16 + 300)
    outside = np.ones(framed.shape, dtype=bool)
    outside[place] = False
    assert not large[outside].any()
    assert (p_large[0][outside] == 1).all()
    # Interpolation with the padding changes the converted pixels at the border.
    core = slice(8, -8), slice(8, -8)
    assert (large[place][core] == small[core]).mean() > 0.999
    for one, other in zip(p_large, p_small, strict=True):
        assert np.abs(one[place][core] - other[core]).max() < 0.05


def test_probabilities_lie_where_the_mask_does_if_margins_were_cut_off(model: Path) -> None:
    segmenter = Segmenter(model, "cpu", keep_largest=False)
    image = np.zeros((600, 500), np.float32)
    cv2.circle(image, (250, 280), 150, 0.8, -1)
    image = cv2.GaussianBlur(image, (0, 0), 5)
    image[image < 0.01] = 0
    image = np.pad(image, ((33, 0), (18, 0)))  # not a multiple of the converted grid's 4 pixels
    mask, probabilities = segmenter.predict(image, 0.1, probabilities=True)
    assert 0.1 < (mask > 0).mean() < 0.4
    np.testing.assert_array_equal(probabilities.argmax(axis=0), mask)


def test_logits_that_are_not_finite_are_no_mask(segmenter: Segmenter) -> None:
    prepared = segmenter.prepare(mammogram_of(gradient()))
    logits = segmenter.logits([prepared])[0]
    logits[1, 3, 3] = np.nan
    for step in (segmenter.mask, softmax):
        with pytest.raises(ModelError, match="not finite"):
            step(prepared, logits)


@pytest.mark.parametrize(
    "image", [[[0, 1], [2, 3]], Dataset(), torch.zeros(4, 4), 7, None], ids=lambda image: type(image).__name__
)
def test_what_can_t_be_segmented_is_named_with_what_can(segmenter: Segmenter, image: Any) -> None:
    with pytest.raises(UsageError, match=rf"{type(image).__name__} can't be segmented: give .* NumPy array"):
        segmenter.predict(image, spacing_mm=0.1)
    with pytest.raises(UsageError, match=f"takes the path of a file, not {type(image).__name__}"):
        read_mammogram(image)
