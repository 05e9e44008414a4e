"""A packaged model: it is smaller, names no case, and gives the same masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from maseg_nnunet.dataset.folders import trainers_folder
from maseg_nnunet.errors import ModelError, OutputError
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.models.folder import CHECKPOINT
from maseg_nnunet.models.model import build_network, load_model
from maseg_nnunet.models.packaging import halved, package
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.synthetic.phantom import make_phantom
from tests.tiny_models import plain_unet, write_model

CHECKPOINT_PATH = Path("fold_0") / CHECKPOINT


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as training leaves it: arguments and data set name the cases, and tensors have several names."""
    architecture = plain_unet([4, 8, 16])
    network = build_network("test", architecture)
    folder = write_model(tmp_path_factory.mktemp("trained") / "model", network, spacing=0.8, architecture=architecture)
    checkpoint = torch.load(folder / CHECKPOINT_PATH, weights_only=True)
    checkpoint["init_args"]["dataset_json"] = {"dataset": {"woman_17": {}}}
    checkpoint["optimizer_state"] = {"state": torch.zeros(1000)}
    torch.save(checkpoint, folder / CHECKPOINT_PATH)
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(description | {"dataset": {"woman_17": {"images": ["a"]}}}))
    (folder / "fold_0" / "training_log.txt").write_text("woman_17")
    return folder


def test_masks_stay_the_same_and_the_weights_are_halved(trained: Path, tmp_path: Path) -> None:
    small = package(trained, tmp_path / "small")
    before, after = load_model(trained), load_model(small)
    phantom = make_phantom(3, View.MLO, Side.LEFT, rows=300, columns=240, spacing=(0.8, 0.8), muscle=True)
    masks = []
    for folder in (trained, small):
        _, probabilities = Segmenter(folder, "cpu").predict(np.asarray(phantom.image), 0.8, probabilities=True)
        masks.append(probabilities)
    assert np.abs(masks[0] - masks[1]).max() < 5e-3
    parameters = sum(parameter.numel() for parameter in before.network.parameters())
    assert (small / CHECKPOINT_PATH).stat().st_size < 2 * parameters + 40_000
    for one, other in zip(before.network.parameters(), after.network.parameters(), strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(one.half().float(), other)
    assert (after.trainer, after.spacing, after.patch) == (before.trainer, before.spacing, before.patch)


def test_no_case_is_named_and_other_files_stay(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "MODEL_CARD.md").write_text("card")
    small = package(trained, tmp_path / "small")
    files = {path.relative_to(small).as_posix() for path in small.rglob("*") if path.is_file()}
    names = {"MODEL_CARD.md", "dataset.json", "dataset_fingerprint.json", "plans.json", CHECKPOINT_PATH.as_posix()}
    assert files == names
    assert not any(b"woman_17" in (small / name).read_bytes() for name in files)
    assert (small / "MODEL_CARD.md").read_text() == "card"


def test_tensors_that_share_memory_share_it_again() -> None:
    shared = torch.randn(64, 64)
    result = halved({"a": shared, "b": shared, "count": torch.tensor(3)})
    assert result["a"].data_ptr() == result["b"].data_ptr()
    assert result["a"].dtype == torch.float16 and result["count"].dtype == torch.int64


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_what_half_precision_has_not_is_refused(value: float) -> None:
    with pytest.raises(ModelError, match="weights head are not finite, or too large"):
        halved({"head": torch.tensor([0.0, value])})


def test_the_model_itself_is_never_overwritten(trained: Path) -> None:
    before = (trained / CHECKPOINT_PATH).read_bytes()
    with pytest.raises(OutputError, match="is the trained model itself"):
        package(trained, trained)
    with pytest.raises(OutputError, match="is the trained model itself"):
        package(trained.parent, trained)
    other = trained.parent.parent / "other"
    shutil.copytree(trained, other)
    (trained / "fold_0" / "training_log_2026_1_1.txt").write_text("")
    with pytest.raises(OutputError, match="contains another training"):
        package(other, trained)
    assert (trained / CHECKPOINT_PATH).read_bytes() == before
    (trained / "fold_0" / "training_log_2026_1_1.txt").rename(trained / "log")
    (trained / "fold_3").mkdir()
    (trained / "log").rename(trained / "fold_3" / "training_log_2026_1_1.txt")
    with pytest.raises(OutputError, match="contains another training"):
        package(other, trained)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no plans\.json in it"):
        package(tmp_path, tmp_path / "small")
    assert not (tmp_path / "small").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_nnunet_runs_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    monkeypatch.setenv("nnUNet_extTrainer", str(trainers_folder()))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    small = package(write_model(tmp_path / "trained", patch=(272, 256)), tmp_path / "small")
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(small), (0,))
    phantom = make_phantom(3, View.MLO, Side.LEFT, rows=260, columns=256, spacing=(0.4, 0.4), muscle=True)
    image = np.asarray(phantom.image, dtype=np.float32)
    image = (image - image.min()) / (image.max() - image.min())  # an array is displayed over its full range
    mask = predictor.predict_single_npy_array(image[None, None], {"spacing": (399.6, 0.4, 0.4)})
    ours = Segmenter(small, "cpu", keep_largest=False).predict(image, 0.4)
    assert set(np.unique(mask)) == {0, 1, 2}
    assert np.mean(mask[0] == ours) > 0.99


def test_damaged_files_and_a_full_disk_are_named(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(trained, tmp_path / "model"))
    plans = json.loads((model / "plans.json").read_text())
    (model / "plans.json").write_text(json.dumps({k: v for k, v in plans.items() if "median_spacing" not in k}))
    with pytest.raises(ModelError, match=r"plans\.json has no 'original_median_spacing_after_transp'"):
        package(model, tmp_path / "out")
    (model / "plans.json").write_text(json.dumps(plans))
    for damaged in ("[]", "{}", '{"labels": 3}'):
        (model / "dataset.json").write_text(damaged)
        with pytest.raises(ModelError, match=r"dataset\.json|labels"):
            package(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()

    def full(*arguments: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"checkpoint_final\.pth can't be written"):
        package(trained, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.*"))
