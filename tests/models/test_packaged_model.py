"""The model in the package: it is small, names no case, and is right on mammograms that it has not seen."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydicom import dcmread

from maseg_nnunet.chest_wall import extent
from maseg_nnunet.dataset.folders import trainers_folder
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.models.folder import find_model, packaged_models
from maseg_nnunet.models.model import load_model
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.resample import image_to_target
from maseg_nnunet.synthetic.phantom import make_phantom
from maseg_nnunet.training.lut_jitter import WITHOUT_HEADER
from tests.commands import Run


def dice(mask: np.ndarray, reference: np.ndarray, label: Label) -> float:
    """Dice of the muscle as in the paper; of the breast with its muscle, so that only the skin line is judged."""
    a, b = (m >= label if label is Label.BREAST else m == label for m in (mask, reference))
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(packaged_models()[0], "cpu")


def test_it_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASEG_MODEL", raising=False)
    assert find_model() == packaged_models()[0]
    assert load_model(find_model()).target_spacing == (0.4, 0.4)


def test_it_is_small_and_names_no_case() -> None:
    files = [path for path in packaged_models()[0].rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 16 << 20
    names = {path.relative_to(packaged_models()[0]).as_posix() for path in files}
    assert {"MODEL_CARD.md", "LICENSE", "plans.json", "dataset.json", "fold_0/checkpoint_final.pth"} <= names
    for path in files:
        if path.name != "MODEL_CARD.md":
            assert not re.search(rb"mdb\d{3}|\D[235]\d{7}\D", path.read_bytes()), path


def test_a_phantom_which_it_never_saw(segmenter: Segmenter) -> None:
    scores = []
    for seed in range(4):
        phantom = make_phantom(seed, View.MLO, Side.LEFT, rows=720, columns=592, spacing=(0.4, 0.4), muscle=True)
        mask = segmenter.predict(np.asarray(phantom.image), 0.4)
        scores.append([dice(mask, phantom.mask, label) for label in (Label.BREAST, Label.PECTORAL_MUSCLE)])
    assert np.mean(scores, axis=0)[0] > 0.95
    assert np.mean(scores, axis=0)[1] > 0.6


def test_films_of_test_women(segmenter: Segmenter, real_data: Path) -> None:
    scores = []
    for name in ("mdb003", "mdb013", "mdb017", "mdb018"):
        mask = segmenter.predict(real_data / "mini_mias" / f"{name}.pgm", 0.2)
        reference = cv2.imread(str(real_data / "mini_mias_masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        scores.append([dice(mask, reference, label) for label in (Label.BREAST, Label.PECTORAL_MUSCLE)])
    assert np.mean(scores, axis=0)[0] > 0.95
    assert np.mean(scores, axis=0)[1] > 0.85


@pytest.mark.parametrize("white_air", [True, False])
def test_films_made_to_look_raw(segmenter: Segmenter, real_data: Path, white_air: bool) -> None:
    # The image is cropped to the film, so only the network's own padding is above a muscle that is nearly black.
    scores = []
    for name in ("mdb003", "mdb013", "mdb017", "mdb018"):
        film = cv2.imread(str(real_data / "mini_mias" / f"{name}.pgm"), cv2.IMREAD_UNCHANGED) / 255
        reference = cv2.imread(str(real_data / "mini_mias_masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        exposed = extent(film > 0.2)
        dose = np.exp(-2.5 * film)[exposed]
        mask = segmenter.predict(dose if white_air else 1 - dose, 0.2)
        scores.append([dice(mask, reference[exposed], label) for label in (Label.BREAST, Label.PECTORAL_MUSCLE)])
    assert np.mean(scores, axis=0)[0] > 0.93
    assert np.mean(scores, axis=0)[1] > 0.8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_nnunet_gives_the_same_masks_of_films(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    monkeypatch.setenv("nnUNet_extTrainer", str(trainers_folder()))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    predictor = nnUNetPredictor(
        use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(packaged_models()[0]), (0,))
    plain = Segmenter(packaged_models()[0], "cpu", keep_largest=False)
    for name in ("mdb003", "mdb013", "mdb017", "mdb018"):
        film = read_mammogram(real_data / "mini_mias" / f"{name}.pgm", spacing_mm=0.2)
        units = film.luts.to_voi_units(image_to_target(film.pixels, film.spacing, (0.4, 0.4))).astype(np.float32)
        stock = predictor.predict_single_npy_array(units[None, None], {"spacing": (399.6, 0.4, 0.4)})[0]
        converted = replace(film, pixels=units, spacing=(0.4, 0.4), luts=WITHOUT_HEADER)
        ours = plain.predict(converted)
        assert dice(ours, stock, Label.BREAST) > 0.995
        is_large = (stock == Label.PECTORAL_MUSCLE).sum() * 0.16 > 1000  # mm2
        assert dice(ours, stock, Label.PECTORAL_MUSCLE) > (0.995 if is_large else 0.98)


@pytest.mark.parametrize("name", ["GE_SIGMOID_3LUT_RMLO.dcm", "GE_RCC.dcm", "Hologic_Selenia_LCC.dcm"])
def test_real_dicom_files_need_one_command_and_nothing_else(
    name: str, real_dicom: Path, tmp_path: Path, maseg: Run
) -> None:
    path = real_dicom / name
    assert maseg("predict", path, "-o", tmp_path / "out", "--format", "png").status == 0
    mask = cv2.imread(str(tmp_path / "out" / name.replace(".dcm", ".png")), cv2.IMREAD_UNCHANGED)
    header = dcmread(path, stop_before_pixels=True)
    assert mask.shape == (header.Rows, header.Columns)
    breast = (mask > 0).mean()
    assert 0.1 < breast < 0.7
    muscle = (mask == Label.PECTORAL_MUSCLE).sum() / (mask > 0).sum()
    assert (0.02 < muscle < 0.3) if "MLO" in name else muscle < 0.05


def test_a_real_view_with_the_chest_wall_below(segmenter: Segmenter, real_dicom: Path) -> None:
    mask = segmenter.predict(real_dicom / "Siemens_overlays_LCC.dcm")
    # By eye: air and the paddle's arm are above row 220, and below row 420 all is breast except the right edge.
    assert not mask[:200].any()
    assert (mask[420:, :1100] == Label.BREAST).mean() > 0.99
