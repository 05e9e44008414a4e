"""Checkpoints, and trainings that are killed and continued, in this process. test_resume.py runs nnU-Net's command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from maseg_nnunet.dataset.folders import SPLITS
from maseg_nnunet.dataset.folds import check_cases
from maseg_nnunet.errors import DatasetError, OutputError, UsageError
from maseg_nnunet.models.folder import RECORD
from maseg_nnunet.trainers.maseg_trainer import FINAL, LATEST
from tests.trainers import tiny
from tests.trainers.scripted import TIMM_WARNS, Scripted, make, same, scripted

pytestmark = TIMM_WARNS


def test_the_same_command_again_does_not_destroy_a_training(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    first = make(tiny_base)
    first.run_training()
    output = Path(first.output_folder)
    (output / "validation").mkdir(exist_ok=True)
    (output / "validation" / "summary.json").write_text("{}")
    before = {path: path.read_bytes() for path in output.rglob("*.*") if "training_log" not in path.name}
    with pytest.raises(OutputError, match=r"fold_0 has a training already: add --c .*, or remove the folder"):
        make(tiny_base).run_training()
    (output / FINAL).rename(output / LATEST)
    with pytest.raises(OutputError, match="has a training already"):
        make(tiny_base).run_training()
    (output / LATEST).rename(output / FINAL)
    assert {path: path.read_bytes() for path in before} == before


def test_a_finished_training_that_is_prolonged_goes_on_as_itself(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    first = make(tiny_base)
    first.run_training()
    output = Path(first.output_folder)
    (output / "validation").mkdir(exist_ok=True)
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0, 0.5, 0.4), dies_in=6)
    monkeypatch.setattr(Scripted, "patience", 9)
    prolonged = make(tiny_base)
    prolonged.load_checkpoint(str(output / FINAL))
    with pytest.raises(KeyboardInterrupt):
        prolonged.run_training()
    # nnU-Net prefers checkpoint_final, and scores every mask that it finds: those of the first training must be gone.
    assert (output / LATEST).is_file() and not (output / FINAL).exists() and not (output / "validation").exists()


def test_a_changed_split_is_noticed_before_predictions(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    first = make(tiny_base)
    first.run_training()
    output, preprocessed = Path(first.output_folder), tiny_base / "nnUNet_preprocessed" / tiny.DATASET
    cases = json.loads((output / "cases.json").read_text())
    (preprocessed / SPLITS).write_text(json.dumps([{"train": cases["train"][2:], "val": cases["val"]}]))
    with pytest.raises(DatasetError, match="trained on other cases"):
        check_cases(output, preprocessed, 0)


@pytest.mark.parametrize("fold", [0, "all"])
def test_a_fold_in_any_order_is_continued_and_validated(
    fold: Any, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = make(tiny_base).do_split()
    splits = tiny_base / "nnUNet_preprocessed" / tiny.DATASET / SPLITS
    splits.write_text(json.dumps([{"train": train[::-1], "val": validation[::-1]}]))
    scripted(monkeypatch, (3.0, 1.0, 2.0), dies_in=1)
    killed = make(tiny_base, fold=fold)
    with pytest.raises(KeyboardInterrupt):
        killed.run_training()
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    resumed = make(tiny_base, fold=fold)
    resumed.load_checkpoint(str(Path(killed.output_folder) / LATEST))
    resumed.run_training()
    assert resumed.trained[0] == 1
    finished = make(tiny_base, fold=fold)
    finished.load_checkpoint(str(Path(killed.output_folder) / FINAL))
    assert len(finished.do_split()[1]) == (12 if fold == "all" else 4)  # as --val asks for it


def test_a_checkpoint_records_how_to_repeat_the_training(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0, 1.0, 2.0, 2.0, 2.0))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    weights = []
    for seed in ("7", "7", "8", None):
        monkeypatch.delenv("MASEG_SEED") if seed is None else monkeypatch.setenv("MASEG_SEED", seed)
        trainer = make(tiny_base)
        trainer.run_training()
        checkpoint = torch.load(Path(trainer.output_folder) / FINAL, weights_only=True)
        record = checkpoint[RECORD]
        assert seed is None or record["seed"] == int(seed)
        weights.append(checkpoint["network_weights"])
        shutil.rmtree(trainer.output_folder)
    assert same(weights[0], weights[1]) and not same(weights[0], weights[2]) and not same(weights[0], weights[3])
    assert record["versions"]["nnunetv2"] and record["recipe"]["rotation"] == 5.0
    assert record["loader"] == ["TrainingPatches"] and record["number_format"] in ("bfloat16", "float32")


def test_debug_json_has_the_record(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (3.0,), dies_in=0)
    monkeypatch.setenv("MASEG_SEED", "4711")
    trainer = make(tiny_base)
    with pytest.raises(KeyboardInterrupt):
        trainer.run_training()
    assert "'seed': 4711" in json.loads((Path(trainer.output_folder) / "debug.json").read_text())["training_record"]


def test_a_seed_that_is_not_a_number_is_an_error(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("x", "-1", "4294967296", ""):
        monkeypatch.setenv("MASEG_SEED", text)
        with pytest.raises(UsageError, match="MASEG_SEED"):
            make(tiny_base).initialize()


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
    assert len(make(tiny_base).do_split()[0]) == 6  # a new training may use them


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
