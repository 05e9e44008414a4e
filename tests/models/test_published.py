from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maseg_nnunet.errors import ModelError, OutputError
from maseg_nnunet.mammogram import Intent, Mammogram
from maseg_nnunet.models.model import load_model
from maseg_nnunet.models.published import import_weights
from maseg_nnunet.network import UNet
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable
from tests.published_unet import PublishedUNet, valid_input


@pytest.fixture(scope="module")
def published() -> PublishedUNet:
    """Random weights with batch norm statistics of a few steps, under the names of the published checkpoint."""
    torch.manual_seed(0)
    network = PublishedUNet(4)
    with torch.no_grad():
        for _ in range(20):
            network.train()(torch.rand(2, 1, 64, 48))
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(published: PublishedUNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "segmentation_weights.ckpt"
    torch.save({"epoch": 41, "pytorch-lightning_version": "1.4.9", "state_dict": published.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return import_weights(checkpoint, tmp_path_factory.mktemp("imported") / "model")


def image(rows: int, columns: int) -> torch.Tensor:
    return torch.rand((1, 1, rows, columns), generator=torch.Generator().manual_seed(rows))


def test_the_reference_has_the_published_names_and_size() -> None:
    keys = set(PublishedUNet(4).state_dict())
    for key in ("layers.0.net.3.weight", "layers.4.net.1.net.4.running_var", "layers.9.0.bias"):
        assert key in keys
    assert {"layers.5.upsample.1.weight", "layers.8.conv.net.0.weight"} <= keys
    assert len(keys) == 18 * 7 + 5 * 2
    with torch.device("meta"):
        size = sum(t.numel() * t.element_size() for t in PublishedUNet(64).state_dict().values())
    # The size of the published file is that of these tensors plus names and headers.
    assert 0 < 115_914_202 - size < 100_000
    assert (valid_input(720), valid_input(592)) == (908, 780)


@pytest.mark.parametrize("size", [(64, 48), (70, 61)])
def test_the_imported_network_is_the_published_one(
    folder: Path, published: PublishedUNet, size: tuple[int, int]
) -> None:
    with torch.inference_mode():
        expected = published.padded(image(*size))
        torch.testing.assert_close(load_model(folder).network(image(*size)), expected, atol=1e-5, rtol=1e-5)
        assert expected.std() > 0.01


@pytest.mark.parametrize("size", [(64, 48), (70, 61)])
def test_the_weights_give_the_published_logits_in_the_plain_network_too(
    folder: Path, published: PublishedUNet, size: tuple[int, int]
) -> None:
    network = UNet(1, 3, features_per_stage=[4 << n for n in range(5)]).eval()
    network.load_state_dict(load_model(folder).network.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(network(image(*size)), published(image(*size)), atol=1e-5, rtol=1e-5)


def test_nnunet_runs_the_folder(folder: Path, published: PublishedUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    cpu = torch.device("cpu")
    predictor = nnUNetPredictor(device=cpu, perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), (0,))
    picture = image(480, 512)
    properties = {"spacing": (399.6, 0.4, 0.4)}
    mask = predictor.predict_single_npy_array(picture.numpy(), properties)
    # nnU-Net centres the image in its tile of 512 x 512 and pads with black.
    tile = torch.nn.functional.pad(picture, (0, 0, 16, 16))
    with torch.inference_mode():
        expected = published.padded(tile).argmax(1)[:, 16:-16]
    # nnU-Net adds up tiles in half precision, in which random weights cause ties.
    assert np.mean(mask == expected.numpy()) > 0.995
    assert len(np.unique(mask)) > 1


def mammogram(inverted: bool) -> Mammogram:
    rng = np.random.default_rng(0)
    pixels = rng.integers(300, 700, (96, 80)).astype(np.uint16)
    window = LookUpTable("NORMAL", Function.LINEAR_EXACT, center=500, width=1000)
    luts = CaseLuts(inverted=inverted, base=0, luts=(window,))
    return Mammogram(Path(), pixels, (0.4, 0.4), "given", luts, Intent.PROCESSED)


@pytest.mark.parametrize("inverted", [False, True])
def test_prediction_neither_inverts_nor_leaves_the_range(folder: Path, inverted: bool) -> None:
    picture = mammogram(inverted)
    seen = Segmenter(folder, "cpu").prepare(picture).image
    assert seen is not None
    stored = picture.pixels.astype(np.float64)
    np.testing.assert_allclose(seen, (stored - stored.min()) / (stored.max() - stored.min()), atol=1e-6)


def test_maseg_predicts_what_the_published_pass_does_up_to_the_edge(folder: Path, published: PublishedUNet) -> None:
    segmenter = Segmenter(folder, "cpu", keep_largest=False)
    picture = mammogram(False)
    prepared = segmenter.prepare(replace(picture, pixels=picture.pixels[:-3, :-9]))
    assert prepared.image is not None and prepared.image.shape == (93, 71)
    seen = torch.from_numpy(prepared.image)[None, None]
    with torch.inference_mode():
        exact = published.padded(seen)[0].numpy()
        unpadded = published(seen)[0].numpy()
        np.testing.assert_allclose(segmenter.model.network(seen)[0].numpy(), exact, atol=1e-5)
    ours = segmenter.logits([prepared])[0]  # in bfloat16 if the CPU has it
    np.testing.assert_allclose(ours, exact, atol=0.02 * np.ptp(exact))
    assert np.abs(unpadded - exact).max() > 0.1 * np.ptp(
        exact
    )  # the black margin matters, so the comparison above is meaningful


class Harmful:
    """An object whose unpickling creates a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "w.ckpt", tmp_path / "trace"
    torch.save({"state_dict": {"layers.0.net.0.weight": torch.zeros(1)}, "callbacks": Harmful(trace)}, path)
    with pytest.raises(ModelError, match="contains more than weights: not loaded"):
        import_weights(path, tmp_path / "model")
    assert not trace.exists() and not (tmp_path / "model").exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the file would have run code


def altered(published: PublishedUNet, change: str) -> object:
    state = dict(published.state_dict())
    match change:
        case "no dictionary":
            return [state]
        case "no state_dict":
            return {"weights": state}
        case "missing":
            del state["layers.6.conv.net.3.bias"]
        case "shape":
            state["layers.9.0.weight"] = torch.zeros(4, 4, 1, 1)
        case "surplus":
            state["layers.2.net.1.net.7.weight"] = torch.zeros(1)
        case "not finite":
            state["layers.1.net.1.net.0.weight"] = torch.full((8, 4, 3, 3), torch.nan)
        case "other network":
            state = {"encoder.weight": torch.zeros(3)}
    return {"state_dict": state}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no dictionary", "no dictionary 'state_dict'"),
        ("no state_dict", "no dictionary 'state_dict'"),
        ("missing", "decoder.stages.1.3.bias is missing"),
        ("shape", r"decoder.head.0.weight is \(4, 4, 1, 1\), not \(3, 4, 1, 1\)"),
        ("surplus", "has no encoder.2.7.weight"),
        ("not finite", "encoder.1.0.weight contains values that are not finite"),
        ("other network", "the number of stages can't be read"),
    ],
)
def test_other_checkpoints_are_refused(published: PublishedUNet, tmp_path: Path, change: str, message: str) -> None:
    torch.save(altered(published, change), tmp_path / "w.ckpt")
    with pytest.raises(ModelError, match=message):
        import_weights(tmp_path / "w.ckpt", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04" + b"\0" * 99])
def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.ckpt").write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.ckpt is damaged, not a PyTorch checkpoint"):
        import_weights(tmp_path / "w.ckpt", tmp_path / "model")


def test_a_missing_file_and_an_existing_folder_are_named(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.ckpt is missing"):
        import_weights(tmp_path / "nothing.ckpt", tmp_path / "model")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(OutputError, match="not an empty folder"):
        import_weights(checkpoint, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_what_is_not_the_network_s_is_left_out_and_step_counts_may_be_missing(
    published: PublishedUNet, tmp_path: Path
) -> None:
    state = {key: value for key, value in published.state_dict().items() if "num_batches" not in key}
    torch.save({"state_dict": {**state, "loss.alpha": torch.ones(3)}}, tmp_path / "w.ckpt")
    model = load_model(import_weights(tmp_path / "w.ckpt", tmp_path / "model"))
    with torch.inference_mode():
        torch.testing.assert_close(model.network(image(32, 32)), published.padded(image(32, 32)))
