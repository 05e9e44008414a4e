"""convert_vendor and stock nnUNetv2_predict give the masks that `maseg predict` gives, before any clean-up.

The networks are trained here for a short time on phantoms, so that they have a field of view and make mistakes, as real
networks do. The two routes differ in three ways. nnU-Net cuts the image into tiles and blends them, so the network sees
nothing beyond a tile's border. nnU-Net runs in float32, but `maseg predict` in bfloat16 if the CPU has it.
`maseg predict` interpolates logits from the plan's grid to the source's grid, but nnU-Net to the converted grid.
"""

from __future__ import annotations

import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from torch import nn

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Intent, Mammogram, Side, View
from maseg_nnunet.models.model import build_network
from maseg_nnunet.models.precision import autocast, on_device
from maseg_nnunet.prediction.predict import predict
from maseg_nnunet.prediction.segment_file import PredictSettings
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.readers.masks import read_mask
from maseg_nnunet.synthetic.phantom import make_phantom
from maseg_nnunet.synthetic.phantom_dicom import write_exam
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable
from tests.commands import Run
from tests.tiny_models import plain_unet, write_model
from tests.trainers.tiny import command, full_environment

Mask = npt.NDArray[np.uint8]

LARGE_MUSCLE_CM2 = 10
"""Above this area a muscle's Dice must be as good as the breast's."""

BATCHES = 200

LITE = plain_unet([8, 16, 32, 48, 64])
PAPER: dict[str, Any] = {
    "network_class_name": "maseg_nnunet.network.UNet",
    "arch_kwargs": {"features_per_stage": [8, 16, 32, 48, 64], "strides": [[1, 1]] + [[2, 2]] * 4, "dropout": 0.0},
    "_kw_requires_import": [],
}


def trained(architecture: dict[str, Any], spacing: float, patch: tuple[int, int]) -> nn.Module:
    """Train a network for a short time on phantoms, with patches that lie up to an eighth outside the image.

    MasegTrainer draws such patches too. Without them the network would learn where in an image it is, and predict other
    masks in nnU-Net's tiles.
    """
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    network = on_device(build_network("test", architecture), torch.device("cpu")).train()
    rows, columns = round(236 / spacing), round(177 / spacing)
    images, masks = [], []
    for seed in range(100, 103):
        for view, side in product((View.CC, View.MLO, View.MLO), (Side.LEFT, Side.RIGHT)):
            phantom = make_phantom(
                seed, view, side, rows=rows, columns=columns, spacing=(spacing, spacing), muscle=view is View.MLO
            )
            margin = [(size // 8, max(size // 8, size - n)) for size, n in zip(patch, (rows, columns), strict=True)]
            images.append(np.pad(phantom.image, margin))
            masks.append(np.pad(phantom.mask, margin))
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 4.0]))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, BATCHES)
    for _ in range(BATCHES):
        index = generator.integers(len(images))
        top, left = (generator.integers(n - size + 1) for n, size in zip(images[index].shape, patch, strict=True))
        place = np.s_[top : top + patch[0], left : left + patch[1]]
        optimizer.zero_grad()
        with autocast(torch.device("cpu")):
            logits = network(torch.from_numpy(images[index][place])[None, None])
        loss(logits.float(), torch.from_numpy(masks[index][place])[None].long()).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def dice(one: Mask, other: Mask, label: Label) -> float:
    a, b = one == label, other == label
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def majority(mask: Mask, block: int) -> Mask:
    """The most frequent label of the `block` x `block` native pixels that a converted pixel is made of.

    The nearest pixel's label would move the mask by half a native pixel. Even so, little is left of a muscle of a few
    pixels, so small muscles are only compared on the converted grid.
    """
    rows, columns = (-side % block for side in mask.shape)
    padded = np.pad(mask, ((0, rows), (0, columns)), mode="edge")
    shares = [
        (padded == label).reshape(padded.shape[0] // block, block, -1, block).mean(axis=(1, 3)) for label in Label
    ]
    return np.argmax(shares, axis=0).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "spacing", "patch"), [(LITE, 0.8, (320, 256)), (PAPER, 0.4, (512, 512))], ids=["lite", "paper"]
)
def test_both_routes_give_the_same_masks(
    architecture: dict[str, Any],
    spacing: float,
    patch: tuple[int, int],
    tmp_path: Path,
    convert_vendor: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One thread: on a busy machine several would wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = trained(architecture, spacing, patch)
    torch.set_num_threads(threads)
    base = tmp_path / "nnunet"
    model = write_model(
        base / "nnUNet_results" / "Dataset500_Maseg" / "MasegTrainer__maseg_lite__2d",
        network,
        spacing=spacing,
        patch=patch,
        architecture=architecture,
    )
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        (base / name).mkdir()
    exams = tmp_path / "exams"
    for seed in (1, 2):
        write_exam(exams, "fuji", seed, scale=0.5)

    converted, masks = tmp_path / "fuji_exams", tmp_path / "masks"
    monkeypatch.setenv("HOME", str(tmp_path))  # where the pseudonym key is written
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    answer = convert_vendor("--name", "fuji", "--input", exams / "images", "--output", converted, "--workers", 1)
    assert answer.status == 0, answer.err
    stock = f"-i {converted} -o {masks} -d 500 -c 2d -f 0 -p maseg_lite -tr MasegTrainer -device cpu --disable_tta"
    arguments = [command("nnUNetv2_predict"), *stock.split()]
    subprocess.run(arguments, env=full_environment(base), check=True, capture_output=True)

    settings = PredictSettings(model, tmp_path / "out", keep_largest=False, device="cpu")
    assert predict([exams / "images"], settings).bad == 0
    segmenter = Segmenter(model, device="cpu", keep_largest=False)

    rows = read_manifest(converted)
    assert len(rows) == 8
    sources = _sources(converted)
    muscles = 0
    for row in rows:
        units = sitk.GetArrayFromImage(sitk.ReadImage(str(converted / f"{row.case}_0000.nii.gz")))
        expected = read_mask(masks / f"{row.case}.nii.gz", units.shape)
        area = {label: int((expected == label).sum()) * 0.16 / 100 for label in Label}
        assert area[Label.BREAST] > 50, "the network was trained long enough to find breasts"
        is_large = area[Label.PECTORAL_MUSCLE] > LARGE_MUSCLE_CM2
        muscles += is_large

        found = segmenter.predict(_converted(units))
        assert dice(found, expected, Label.BREAST) >= 0.995
        # nnU-Net computes in float32. How bf16 rounds at the muscle's border depends on the processor.
        assert dice(found, expected, Label.PECTORAL_MUSCLE) >= (0.99 if is_large else 0.98), area

        native = read_mask(settings.output / f"{Path(sources[row.source]).stem}.nii.gz", (row.rows, row.columns))
        native = majority(native, round(row.target_spacing / row.spacing_row))
        assert dice(native, expected, Label.BREAST) >= 0.995
        if is_large:
            assert dice(native, expected, Label.PECTORAL_MUSCLE) >= 0.99, area
    assert muscles >= 2


def _converted(units: npt.NDArray[np.float32]) -> Mammogram:
    """A converted image as a mammogram whose own grid is the converted grid."""
    luts = CaseLuts(False, 0, (LookUpTable("NORMAL", Function.LINEAR_EXACT, center=0.5, width=1),))
    return Mammogram(Path(), units, (0.4, 0.4), "given", luts, Intent.PROCESSED)


def _sources(converted: Path) -> dict[int, str]:
    import csv

    with (converted / "sources.csv").open(newline="") as stream:
        return {int(row["source"]): row["path"] for row in csv.DictReader(stream)}
