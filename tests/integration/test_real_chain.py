"""The whole path on real mammograms with the README's commands: convert, plan, train, predict, evaluate."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from maseg_nnunet.dataset.manifest import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.data]

SINGLE = dict.fromkeys(("nnUNet_n_proc_DA", "nnUNet_def_n_proc", "nnUNet_npp", "nnUNet_nps"), "1")


@pytest.fixture(scope="module")
def base(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with twelve real films of six women, their masks, Info.txt and table."""
    base = tmp_path_factory.mktemp("chain")
    (base / "mini_mias").mkdir()
    (base / "mini_mias_masks").mkdir()
    for number in (*range(7, 17), 19, 20):
        shutil.copy(real_data / "mini_mias" / f"mdb{number:03d}.pgm", base / "mini_mias")
        shutil.copy(real_data / "mini_mias_masks" / f"mdb{number:03d}.png", base / "mini_mias_masks")
    shutil.copy(real_data / "mini_mias" / "Info.txt", base / "mini_mias")
    shutil.copy(real_data / "mini_mias.csv", base)
    return base


@pytest.fixture(scope="module")
def command(base: Path) -> Callable[..., str]:
    """A function that runs a command with the variables of `maseg env` and returns what it prints."""
    programs = Path(sys.executable).parent
    environment = {k: v for k, v in os.environ.items() if not k.startswith("nnUNet_")} | SINGLE

    def run(*words: object) -> str:
        program, *arguments = map(str, words)
        done = subprocess.run(
            [str(programs / program), *arguments],
            cwd=base,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program} {' '.join(arguments)}:\n{done.stdout[-4000:]}"
        return done.stdout

    for line in run("maseg", "env", "--base", "nnunet").splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        environment[name] = value
    return run


def read(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def dice(prediction: np.ndarray, reference: np.ndarray, label: int) -> float:
    both = np.count_nonzero((prediction == label) & (reference == label))
    return 2 * both / (np.count_nonzero(prediction == label) + np.count_nonzero(reference == label))


def test_convert_plan_train_predict_evaluate(base: Path, command: Callable[..., str]) -> None:
    command("convert_vendor", "--name", "mini_mias", "--input", "mini_mias", "--masks", "mini_mias_masks")
    dataset = base / "nnunet" / "nnUNet_raw" / "Dataset506_MiniMias"
    rows = read_manifest(dataset)
    assert {s: sum(row.subset == s for row in rows) for s in ("train", "val", "test")} == {
        "train": 4,
        "val": 4,
        "test": 4,
    }

    command("nnUNetv2_plan_and_preprocess", "-d", 506, "--verify_dataset_integrity", "-np", 1)
    preprocessed = base / "nnunet" / "nnUNet_preprocessed" / dataset.name
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    assert list(plans["configurations"]) == ["2d"]
    assert plans["configurations"]["2d"]["spacing"] == pytest.approx([0.4, 0.4])
    assert plans["configurations"]["2d"]["normalization_schemes"] == ["NoNormalization"]

    command("maseg", "plan", "-d", 506, "--plans", "maseg_demo", "--workers", 1)
    model = ("-p", "maseg_demo", "-tr", "MasegTrainerDemo", "-device", "cpu")
    command("nnUNetv2_train", 506, "2d", 0, *model)
    split = json.loads((preprocessed / "splits_final.json").read_text())[0]
    assert sorted(split["train"]) == sorted(row.case for row in rows if row.subset == "train")

    command("nnUNetv2_predict", "-i", dataset / "imagesTs", "-o", "predictions", "-d", 506, "-c", "2d", "-f", 0, *model)
    command("maseg", "evaluate", "-p", "predictions", "-d", 506, "-o", "report")
    with (base / "report" / "cases.csv").open(newline="") as handle:
        scores = {row["case"]: row for row in csv.DictReader(handle)}
    assert set(scores) == {row.case for row in rows if row.subset == "test"}
    for case, score in scores.items():
        prediction = read(base / "predictions" / f"{case}.nii.gz")
        reference = read(dataset / "labelsTs" / f"{case}.nii.gz")
        assert float(score["dice_breast"]) == pytest.approx(dice(prediction, reference, 1), abs=1e-4)
        assert float(score["dice_pectoral"]) == pytest.approx(dice(prediction, reference, 2), abs=1e-4)
    # A short training on four films is far from a good model, but also far from chance.
    assert np.mean([float(score["dice_breast"]) for score in scores.values()]) > 0.75
