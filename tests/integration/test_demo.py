"""`maseg demo` as a user runs it: the real commands on synthetic exams, up to the promised Dice."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from maseg_nnunet.errors import ModelError
from maseg_nnunet.experiments.demo import LEAST_BREAST_DICE, LEAST_PECTORAL_DICE, DemoResult

pytestmark = pytest.mark.slow


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "maseg"
    return subprocess.run(
        [str(program), "demo", "-o", str(folder)], capture_output=True, text=True, check=False, cwd=folder.parent
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_the_promised_dice_is_reached(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    with (folder / "report" / "cases.csv").open(newline="") as handle:
        cases = list(csv.DictReader(handle))
    assert len(cases) == 24
    assert {case["vendor"] for case in cases} == {"hologic", "ge", "fuji"}
    assert {case["view"] for case in cases} == {"CC", "MLO"}
    assert np.mean([float(case["dice_breast"]) for case in cases]) > LEAST_BREAST_DICE
    muscles = [float(case["dice_pectoral"]) for case in cases if case["dice_pectoral"]]
    assert len(muscles) >= 12
    assert np.mean(muscles) > LEAST_PECTORAL_DICE


def test_every_stage_is_told_and_the_table_is_shown(finished: tuple[Path, str]) -> None:
    folder, shown = finished
    for stage in ("exams", "Conversion", "Planning", "Training", "Prediction", "Evaluation", "Overlay"):
        assert stage in shown
    assert "hologic" in shown
    assert str(folder / "overlays") in shown.replace("\n", "")


def test_overlays_show_both_edges(finished: tuple[Path, str]) -> None:
    pictures = sorted((finished[0] / "overlays").glob("*.png"))
    assert len(pictures) == 24
    for path in (path for path in pictures if "MLO" in path.name):
        blue, green, red = np.moveaxis(cv2.imread(str(path)).astype(int), -1, 0)
        assert np.count_nonzero((red > 150) & (green < 90) & (blue < 90)) > 100
        assert np.count_nonzero((blue > 150) & (red < 90)) > 30


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = run(tmp_path / "mine")
    assert done.returncode == 2
    assert "thesis" not in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("breast", "pectoral"), [(0.949, 0.9), (0.99, 0.8), (float("nan"), 0.9)])
def test_a_demo_that_falls_short_says_so(breast: float, pectoral: float) -> None:
    result = DemoResult((), breast, pectoral, Path("overlays"), Path("report"))
    with pytest.raises(ModelError, match="should be above"):
        result.check()
