"""The trainer in this process, on a tiny data set; whole chains through nnU-Net's commands are in test_resume.py."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from maseg_nnunet.dataset.folders import SPLITS, VOI_LUTS
from maseg_nnunet.dataset.folds import check_cases
from maseg_nnunet.dataset.manifest import MANIFEST, read_manifest, write_manifest
from maseg_nnunet.errors import DatasetError, OutputError
from maseg_nnunet.trainers.maseg_trainer import BEST, FINAL, LATEST, MasegTrainer
from maseg_nnunet.trainers.maseg_variants import MasegTrainerVaried
from maseg_nnunet.training.losses import CrossEntropyAndDice, PlainCrossEntropy, WeightedCrossEntropy, WeightedFocal
from maseg_nnunet.training.varied_patches import Variety
from tests.trainers import tiny

# timm, which nnU-Net imports, decorates a class with something that PyTorch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")


class Scripted(MasegTrainer):
    """Trains for real, but its validation losses are those of `script`, and it dies where that says so."""

    script: tuple[float, ...] = ()
    patience = 3
    dies_in: int | None = None

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cpu"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_iterations_per_epoch = 2
        self.trained: list[int] = []
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.current_epoch == self.dies_in:
            raise KeyboardInterrupt
        return super().train_step(batch)

    def on_validation_epoch_end(self, outputs: list[dict[str, Any]]) -> None:
        super().on_validation_epoch_end(outputs)
        self.logger.get_checkpoint()["val_losses"][-1] = np.float64(self.script[self.current_epoch])
        self.trained.append(self.current_epoch)
        self.weights[self.current_epoch] = {k: v.clone() for k, v in self.network.state_dict().items()}


def make(base: Path, kind: type[MasegTrainer] = Scripted, fold: Any = 0, **changes: Any) -> Any:
    folder = base / "nnUNet_preprocessed" / tiny.DATASET
    plans = json.loads((folder / f"{tiny.PLANS}.json").read_text()) | {"continue_training": False}
    plans["configurations"]["2d"] |= changes
    dataset = json.loads((folder / "dataset.json").read_text())
    return kind(plans, "2d", fold, dataset, torch.device("cpu"))


def scripted(monkeypatch: pytest.MonkeyPatch, losses: tuple[float, ...], dies_in: int | None = None) -> None:
    monkeypatch.setattr(Scripted, "script", losses)
    monkeypatch.setattr(Scripted, "dies_in", dies_in)


def log_of(trainer: Any) -> str:
    return Path(trainer.log_file).read_text()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_stops_early_and_keeps_the_best_weights(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, math.nan, 1.0, 0.1))
    trainer = make(tiny_base)
    trainer.run_training()
    assert trainer.trained == [0, 1, 2, 3, 4]
    output = Path(trainer.output_folder)
    assert (output / "progress.png").stat().st_size > 10_000
    assert not (output / LATEST).exists()
    final = torch.load(output / FINAL, weights_only=True)
    best = torch.load(output / BEST, weights_only=True)
    assert same(final["network_weights"], trainer.weights[1]) and same(best["network_weights"], trainer.weights[1])
    assert not same(trainer.weights[1], trainer.weights[4])
    assert final["current_epoch"] == 5
    assert final["inference_allowed_mirroring_axes"] == (1,)
    log = log_of(trainer)
    assert "No better validation loss for 3 epochs (patience: 3); best was epoch 1." in log
    assert "Early stopping after epoch 4." in log
    assert "The weights of epoch 1 are kept." in log
    assert "train_loss" in log and "Pseudo dice" in log

    again = make(tiny_base)
    again.load_checkpoint(str(output / FINAL))
    before = (output / FINAL).read_bytes()
    again.run_training()
    assert again.trained == []
    assert (output / FINAL).read_bytes() == before
    assert "nothing left to train" in log_of(again)


def test_a_new_training_in_an_old_folder_goes_on_as_itself(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    make(tiny_base).run_training()
    scripted(monkeypatch, (3.0, 1.0, 0.5, 0.4), dies_in=2)
    killed = make(tiny_base)
    with pytest.raises(KeyboardInterrupt):
        killed.run_training()
    # nnU-Net goes on from checkpoint_final where there is one, and scores all masks there are: the first training's
    # must be gone.
    output = Path(killed.output_folder)
    assert (output / LATEST).is_file() and not (output / FINAL).exists() and not (output / "validation").exists()


def test_killed_in_its_first_epoch_a_training_has_not_replaced_the_one_before(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    first = make(tiny_base)
    first.run_training()
    output = Path(first.output_folder)
    (output / "validation").mkdir(exist_ok=True)
    (output / "validation" / "summary.json").write_text("{}")
    preprocessed = tiny_base / "nnUNet_preprocessed" / tiny.DATASET
    cases = json.loads((output / "cases.json").read_text())
    before = (output / FINAL).read_bytes()
    (preprocessed / SPLITS).write_text(json.dumps([{"train": cases["train"][2:], "val": cases["val"]}]))
    scripted(monkeypatch, (3.0, 1.0), dies_in=0)
    with pytest.raises(KeyboardInterrupt):
        make(tiny_base).run_training()
    assert (output / FINAL).read_bytes() == before and (output / "validation" / "summary.json").is_file()
    assert json.loads((output / "cases.json").read_text()) == cases
    with pytest.raises(DatasetError, match="trained on other cases"):
        check_cases(output, preprocessed, 0)


def test_two_processes_do_not_train_into_one_folder(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (1.0, 2.0, 2.0, 2.0))
    trainer = make(tiny_base)
    lines = ["import sys", "from pathlib import Path", "from maseg_nnunet.files import locked",
             f"with locked(Path({trainer.output_folder!r}) / '.lock'):", "    print('held', flush=True)",
             "    sys.stdin.read()"]  # fmt: skip
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", "\n".join(lines)], **pipes) as other:
        assert other.stdout.readline().strip() == b"held"
        with pytest.raises(OutputError, match="another process is at work"):
            trainer.run_training()
        assert trainer.trained == []
        other.kill()
    trainer.run_training()
    assert trainer.trained == [0, 1, 2, 3]


def test_without_checkpoints_an_old_best_is_not_this_ones(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    make(tiny_base).run_training()
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    trainer = make(tiny_base)
    trainer.disable_checkpointing = True
    trainer.run_training()
    assert same(trainer.network.state_dict(), trainer.weights[4])
    assert (Path(trainer.output_folder) / FINAL).is_file()


def test_a_training_does_not_go_on_with_other_cases(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0), dies_in=2)
    killed = make(tiny_base)
    with pytest.raises(KeyboardInterrupt):
        killed.run_training()
    cases = json.loads((Path(killed.output_folder) / "cases.json").read_text())
    assert cases["val"] == ["w04_L", "w04_R", "w05_L", "w05_R"] and len(cases["train"]) == 8
    splits = tiny_base / "nnUNet_preprocessed" / tiny.DATASET / SPLITS
    splits.write_text(json.dumps([{"train": cases["train"][2:], "val": cases["val"]}]))
    resumed = make(tiny_base)
    resumed.load_checkpoint(str(Path(killed.output_folder) / LATEST))
    with pytest.raises(DatasetError, match="trained on other cases"):
        resumed.do_split()
    assert len(make(tiny_base).do_split()[0]) == 6  # begun anew it may


def test_killed_in_an_epoch_it_goes_on_with_that_epoch_and_its_patience(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = (3.0, 1.0, 2.0, 2.0, 2.0, 0.1)
    scripted(monkeypatch, losses, dies_in=3)
    killed = make(tiny_base)
    with pytest.raises(KeyboardInterrupt):
        killed.run_training()
    latest = Path(killed.output_folder) / LATEST
    assert killed.trained == [0, 1, 2]

    scripted(monkeypatch, losses)
    resumed = make(tiny_base)
    resumed.load_checkpoint(str(latest))
    assert resumed.progress.stale == 1 and resumed.progress.best == 1
    assert same(resumed.network.state_dict(), killed.weights[2])
    resumed.run_training()
    assert resumed.trained == [3, 4]
    assert same(torch.load(latest.with_name(FINAL), weights_only=True)["network_weights"], killed.weights[1])


def test_killed_between_the_last_epoch_and_the_end_it_only_writes_the_end(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (1.0, 2.0, 2.0, 2.0))
    killed = make(tiny_base)
    monkeypatch.setattr(killed, "on_train_end", lambda: None)
    killed.run_training()
    resumed = make(tiny_base)
    resumed.load_checkpoint(str(Path(killed.output_folder) / LATEST))
    resumed.run_training()
    assert resumed.trained == []
    final = torch.load(Path(killed.output_folder) / FINAL, weights_only=True)
    assert same(final["network_weights"], killed.weights[0])


def test_without_patience_it_trains_to_the_last_epoch(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (1.0, *[2.0] * 9))
    monkeypatch.setattr(Scripted, "patience", None)
    trainer = make(tiny_base)
    trainer.num_epochs = 5
    trainer.run_training()
    assert trainer.trained == [0, 1, 2, 3, 4]


def test_no_loss_counts_while_the_rate_is_high_and_the_last_rate_is_held(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (0.1, 2.0, 2.0, 2.0, 2.0, 1.0, *[2.0] * 9))
    monkeypatch.setattr(Scripted, "falling", 6)
    monkeypatch.setattr(Scripted, "counted_from", 4)
    trainer = make(tiny_base)
    trainer.run_training()
    assert trainer.trained == list(range(9))
    final = torch.load(Path(trainer.output_folder) / FINAL, weights_only=True)
    assert same(final["network_weights"], trainer.weights[5])
    expected = [1e-3 * (1 - min(epoch, 5) / 6) ** 0.9 for epoch in range(9)]
    assert trainer.logger.get_value("lrs", step=None) == pytest.approx(expected)


def test_losses_that_are_never_finite_leave_no_stale_best(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (math.nan,) * 3)
    trainer = make(tiny_base)
    (Path(trainer.output_folder) / BEST).write_bytes(b"of an earlier run")
    trainer.run_training()
    assert trainer.trained == [0, 1, 2]
    assert same(torch.load(Path(trainer.output_folder) / FINAL)["network_weights"], trainer.weights[2])


def test_a_checkpoint_is_never_half_written(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(tiny_base)
    trainer.initialize()
    path = Path(trainer.output_folder) / LATEST
    trainer.save_checkpoint(str(path))
    before = path.read_bytes()

    def full_disk(content: Any, name: str) -> None:
        Path(name).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        trainer.save_checkpoint(str(path))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.glob("*checkpoint*")] == [LATEST]


def test_other_ranks_and_disabled_checkpointing_write_nothing(tiny_base: Path) -> None:
    trainer = make(tiny_base)
    trainer.initialize()
    for attribute, value in (("local_rank", 1), ("disable_checkpointing", True)):
        trainer.local_rank, trainer.disable_checkpointing = 0, False
        setattr(trainer, attribute, value)
        trainer.save_checkpoint(str(Path(trainer.output_folder) / LATEST))
        assert not list(Path(trainer.output_folder).glob("*.pth"))


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
    assert "NORMAL look-up table jittered" in log_of(trainer)


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
    units = torch.randn(1, 1, 96, 80) * 3
    with torch.no_grad():
        assert torch.equal(network(units), network(units.clamp(0, 1)))
    assert set(network.state_dict()) == set(make(tiny_base).build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 3, False
    ).state_dict())  # fmt: skip


def test_training_step_in_bfloat16_is_close_to_float32(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, ())
    results = []
    for bf16 in (True, False):
        monkeypatch.setattr("maseg_nnunet.models.precision.cpu_has_bf16", lambda bf16=bf16: bf16)
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
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


VARIANTS = {
    "MasegTrainer": (WeightedCrossEntropy, (1, 1, 2)),
    "MasegTrainerCE10": (WeightedCrossEntropy, (1, 1, 1)),
    "MasegTrainerCE15": (WeightedCrossEntropy, (1, 1, 1.5)),
    "MasegTrainerCE25": (WeightedCrossEntropy, (1, 1, 2.5)),
    "MasegTrainerFocal": (WeightedFocal, (1, 1, 2)),
    "MasegTrainerFocal10": (WeightedFocal, (1, 1, 1)),
    "MasegTrainerFocal15": (WeightedFocal, (1, 1, 1.5)),
    "MasegTrainerFocal25": (WeightedFocal, (1, 1, 2.5)),
    "MasegTrainerPlainCE": (PlainCrossEntropy, (1, 1, 2)),
    "MasegTrainerNoiseRange": (WeightedCrossEntropy, (1, 1, 2)),
    "MasegTrainerNoEarlyStopping": (WeightedCrossEntropy, (1, 1, 2)),
    "MasegTrainerVaried": (CrossEntropyAndDice, (1, 1, 2)),
    "MasegTrainerDemo": (PlainCrossEntropy, (1, 1, 2)),
}
NOISE_RANGE = ("MasegTrainerNoiseRange", "MasegTrainerVaried")
EPOCHS = {"MasegTrainerDemo": 10, "MasegTrainerVaried": 120}


@pytest.mark.parametrize("name", VARIANTS)
def test_nnunet_finds_every_variant(name: str, tiny_base: Path) -> None:
    trainer = make(tiny_base, recursive_find_trainer_class_by_name(name))
    kind, alpha = VARIANTS[name]
    loss = trainer.make_loss()
    assert type(loss) is kind and loss.alpha.tolist() == list(alpha)
    assert trainer.patience == (None if name == "MasegTrainerNoEarlyStopping" else 10)
    assert trainer.recipe.noise == ((0.0, 0.05) if name in NOISE_RANGE else (0.05, 0.05))
    assert trainer.num_epochs == EPOCHS.get(name, 200)


LEFT_OUT = {
    "MasegTrainerVariedShort": Variety(),
    "MasegTrainerVariedMedium": Variety(),
    "MasegTrainerVariedNoGamma": Variety(),
    "MasegTrainerVariedNoJitter": Variety(),
    "MasegTrainerVariedNoDisplays": Variety(displays=0),
    "MasegTrainerVariedNoRawLike": Variety(raw_like=0),
    "MasegTrainerVariedNoArtefacts": Variety(artefacts=0),
    "MasegTrainerVariedNoFilmEdges": Variety(film_edges=0),
    "MasegTrainerVariedNoTissue": Variety(rims=0, muscles=0),
    "MasegTrainerVariedNoCCMuscles": Variety(cc_muscles=0),
}
OTHER_RECIPES: dict[str, dict[str, Any]] = {
    "MasegTrainerVariedNoGamma": {"gamma": (1.0, 1.0)},
    "MasegTrainerVariedNoJitter": {"lut_jitter": 0.0},
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_short_trainings_differ_in_one_part_alone(name: str, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    trainer = make(tiny_base, recursive_find_trainer_class_by_name(name))
    length = (30, 100) if name == "MasegTrainerVariedMedium" else (16, 50)
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch) == length
    assert (trainer.patience, trainer.falling, trainer.counted_from) == (None, None, 0)
    assert isinstance(trainer.make_loss(), CrossEntropyAndDice)
    trainer.initialize()
    assert trainer.get_dataloaders()[0].data_loader.variety == LEFT_OUT[name]
    assert trainer.recipe == replace(MasegTrainerVaried.recipe, **OTHER_RECIPES.get(name, {}))


@pytest.mark.parametrize("limit", [None, 1])
def test_final_validation_takes_as_many_cases_as_it_is_told(
    limit: int | None, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(tiny_base)
    trainer.final_validation_cases = limit
    everything = trainer.do_split()
    seen: list[tuple[list[str], list[str]]] = []
    monkeypatch.setattr(
        MasegTrainer.__base__, "perform_actual_validation", lambda self, probabilities: seen.append(self.do_split())
    )
    trainer.perform_actual_validation()
    assert seen == [(everything[0], everything[1][:limit])]
    assert trainer.do_split() == everything
