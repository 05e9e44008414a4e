"""The ablations in benchmarks/trainers: the package does not have them, and the benchmarks' trainings find them."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from maseg_nnunet.dataset.folders import EXTERNAL_TRAINER, SPLITS
from maseg_nnunet.trainers.maseg_variants import MasegTrainerVaried
from maseg_nnunet.training.losses import CrossEntropyAndDice
from maseg_nnunet.training.varied_patches import Variety
from tests.conftest import ROOT
from tests.trainers import tiny
from tests.trainers.scripted import TIMM_WARNS, make

pytestmark = TIMM_WARNS

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


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script benchmarks/sources_left_out.py."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("sources_left_out")


@pytest.mark.parametrize("name", LEFT_OUT)
def test_short_trainings_differ_in_one_part_alone(
    name: str, tiny_base: Path, benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv(EXTERNAL_TRAINER, benchmark.training_environment()[EXTERNAL_TRAINER])
    trainer = make(tiny_base, recursive_find_trainer_class_by_name(name))
    length = (30, 100) if name == "MasegTrainerVariedMedium" else (16, 50)
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch) == length
    assert (trainer.patience, trainer.falling, trainer.counted_from) == (None, None, 0)
    assert isinstance(trainer.make_loss(), CrossEntropyAndDice)
    trainer.initialize()
    assert trainer.get_dataloaders()[0].data_loader.variety == LEFT_OUT[name]
    assert trainer.recipe == replace(MasegTrainerVaried.recipe, **OTHER_RECIPES.get(name, {}))


def test_the_package_has_no_ablations(tiny_base: Path) -> None:
    with pytest.raises(RuntimeError, match="Could not find requested nnunet trainer"):
        recursive_find_trainer_class_by_name("MasegTrainerVariedShort")


def test_a_benchmark_trains_where_nnunet_finds_them(
    tiny_base: Path, benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, preprocessed = (tiny_base / name / tiny.DATASET for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    shutil.copyfile(raw / SPLITS, preprocessed / SPLITS)
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(benchmark.subprocess, "run", lambda command, *, env, **more: calls.append((command, env)))
    benchmark.train_once(raw, 0, tiny.PLANS, "MasegTrainerVariedNoGamma", "cpu")
    ((command, environment),) = calls
    assert command[command.index("-tr") + 1] == "MasegTrainerVariedNoGamma"
    monkeypatch.setenv(EXTERNAL_TRAINER, environment[EXTERNAL_TRAINER])
    for name in ("MasegTrainerVariedNoGamma", "MasegTrainerVaried"):
        assert recursive_find_trainer_class_by_name(name).__name__ == name
