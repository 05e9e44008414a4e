"""Patches, split, network and step of the trainer, in this process and on a tiny data set."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from maseg_nnunet.dataset.folders import SPLITS, VOI_LUTS
from maseg_nnunet.dataset.manifest import MANIFEST, read_manifest, write_manifest
from maseg_nnunet.errors import DatasetError, PlanError
from maseg_nnunet.trainers.maseg_trainer import MasegTrainer
from maseg_nnunet.training.losses import WeightedCrossEntropy
from tests.trainers import tiny
from tests.trainers.scripted import TIMM_WARNS, log_of, make, scripted

pytestmark = TIMM_WARNS


def test_loaders_give_what_the_network_takes(tiny_base: Path) -> None:
    trainer = make(tiny_base)
    trainer.initialize()
    train, validation = trainer.get_dataloaders()
    batch = next(train)
    assert batch["data"].shape == (2, 1, 96, 80)
    assert [tuple(t.shape) for t in batch["target"]] == [(2, 1, 96, 80), (2, 1, 48, 40)]
    assert trainer.num_val_iterations_per_epoch == 2
    seen = [key for _ in range(2) for key in next(validation)["keys"]]
    assert seen == ["w04_L", "w04_R", "w05_L", "w05_R"]
    assert not set(batch["keys"]) & set(seen)
    loader = train.data_loader
    assert set(loader.voi_luts) == set(loader.indices)
    assert loader.recipe.alpha_affine == 20 * 0.4 / tiny.SPACING


def test_without_look_up_tables_it_says_so(tiny_base: Path) -> None:
    trainer = make(tiny_base)
    trainer.initialize()
    (tiny_base / "nnUNet_raw" / tiny.DATASET / VOI_LUTS).unlink()
    assert trainer.get_dataloaders()[0].data_loader.voi_luts == {}
    assert "only the NORMAL look-up table" in log_of(trainer)


def test_a_case_without_look_up_tables_is_named(tiny_base: Path) -> None:
    path = tiny_base / "nnUNet_raw" / tiny.DATASET / VOI_LUTS
    luts = json.loads(path.read_text())
    del luts["w01_L"]
    path.write_text(json.dumps(luts))
    trainer = make(tiny_base)
    trainer.initialize()
    with pytest.raises(DatasetError, match=r"no look-up table of w01_L \(1 cases"):
        trainer.get_dataloaders()


def test_a_plan_that_normalizes_is_an_error(tiny_base: Path) -> None:
    with pytest.raises(PlanError, match=r"normalizes images by ZScoreNormalization.*maseg plan"):
        make(tiny_base, normalization_schemes=["ZScoreNormalization"]).initialize()


def test_validation_patches_do_not_follow_the_rank(tiny_base: Path) -> None:
    batches = []
    for share in (0.33, 1.0):
        trainer = make(tiny_base)
        trainer.initialize()
        trainer.oversample_foreground_percent = share  # as nnU-Net sets it for each rank
        train, validation = trainer.get_dataloaders()
        assert train.data_loader.muscle_share == share
        batches.append([next(validation)["data"] for _ in range(2)])
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_split_is_fetched_and_a_woman_on_both_sides_refused(tiny_base: Path) -> None:
    fetched = tiny_base / "nnUNet_preprocessed" / tiny.DATASET / SPLITS
    assert not fetched.exists()
    train, validation = make(tiny_base).do_split()
    assert len(train) == 8 and validation == ["w04_L", "w04_R", "w05_L", "w05_R"]
    with pytest.raises(DatasetError, match="folds 0 to 0, not 3"):
        make(tiny_base, fold=3).do_split()
    fetched.write_text(json.dumps([{"train": [*train, "w04_L"], "val": validation[1:]}]))
    with pytest.raises(DatasetError, match="1 women on both sides"):
        make(tiny_base).do_split()


def test_all_cases_can_be_trained_on(tiny_base: Path) -> None:
    train, validation = make(tiny_base, fold="all").do_split()
    assert sorted(train) == sorted(validation) and len(train) == 12
    for folder in (tiny_base / "nnUNet_raw" / tiny.DATASET, tiny_base / "nnUNet_preprocessed" / tiny.DATASET):
        rows = [replace(row, quality="exclude" if row.case == train[0] else "ok") for row in read_manifest(folder)]
        write_manifest(folder / MANIFEST, rows)
    assert set(make(tiny_base, fold="all").do_split()[0]) == set(train) - {train[0]}


def test_a_training_keeps_its_memory(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []
    monkeypatch.setitem(MasegTrainer.initialize.__globals__, "keep_memory", asked.append)
    make(tiny_base).initialize()
    assert asked == [torch.device("cpu")]


def test_deep_supervision_follows_the_network(tiny_base: Path) -> None:
    assert make(tiny_base).enable_deep_supervision
    paper = {"network_class_name": "maseg_nnunet.network.UNet", "arch_kwargs": {"features_per_stage": [4, 8]}}
    trainer = make(tiny_base, architecture={**paper, "_kw_requires_import": []})
    assert not trainer.enable_deep_supervision
    trainer.initialize()
    batch = next(trainer.get_dataloaders()[0])
    assert isinstance(trainer.loss, WeightedCrossEntropy)
    assert math.isfinite(trainer.train_step(batch)["loss"])


def test_a_foreign_network_is_made_to_clamp(tiny_base: Path) -> None:
    architecture = tiny.plans()["configurations"]["2d"]["architecture"]
    foreign = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    trainer = make(tiny_base, architecture={**architecture, "network_class_name": foreign})
    network = MasegTrainer.build_network_architecture(trainer.plans_manager, trainer.configuration_manager, 1, 3, False)
    network.eval()
    units = torch.randn(1, 1, 96, 80) * 0.8
    with torch.no_grad():
        assert torch.equal(network(units), network(units.clamp(0, 1)))
    assert set(network.state_dict()) == set(make(tiny_base).build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 3, False
    ).state_dict())  # fmt: skip


def test_training_step_in_bfloat16_is_close_to_float32(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, ())
    results = []
    monkeypatch.setenv("MASEG_SEED", "0")
    for bf16 in (True, False):
        monkeypatch.setattr("maseg_nnunet.models.precision.cpu_has_bf16", lambda bf16=bf16: bf16)
        trainer = make(tiny_base)
        trainer.initialize()
        batch = next(trainer.get_dataloaders()[0])
        loss = trainer.train_step(batch)["loss"]
        gradient = torch.cat([p.grad.flatten() for p in trainer.network.parameters() if p.grad is not None])
        results.append((loss, gradient))
    (loss16, gradient16), (loss32, gradient32) = results
    assert gradient16.dtype == torch.float32
    assert loss16 != loss32 and loss16 == pytest.approx(loss32, rel=0.02)
    assert torch.nn.functional.cosine_similarity(gradient16, gradient32, dim=0) > 0.98


@pytest.mark.parametrize("limit", [None, 1])
def test_final_validation_takes_as_many_cases_as_it_is_told(
    limit: int | None, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(tiny_base)
    trainer.final_validation_cases = limit
    everything = trainer.do_split()
    seen: list[Any] = []
    monkeypatch.setattr(
        MasegTrainer.__base__,
        "perform_actual_validation",
        lambda self, probabilities: seen.append((*self.do_split(), self.inference_allowed_mirroring_axes)),
    )
    trainer.perform_actual_validation()
    assert seen == [(everything[0], everything[1][:limit], None)]  # without mirroring
    assert trainer.inference_allowed_mirroring_axes == (1,)
    assert trainer.do_split() == everything
