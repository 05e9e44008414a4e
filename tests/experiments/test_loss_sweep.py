"""The sweep with a stand-in for nnU-Net's command, which leaves scores as the real one does."""

from __future__ import annotations

import json
import math
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from maseg_nnunet.dataset.folders import external_trainers, trainers_folder
from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, write_manifest
from maseg_nnunet.errors import DatasetError, ModelError, UsageError
from maseg_nnunet.experiments import loss_sweep as sweep
from maseg_nnunet.experiments import steps as experiment_steps
from maseg_nnunet.experiments.steps import CommandStep, run_step, run_steps

DATASET = "Dataset500_Maseg"
DICE = (0.5, 0.6, 0.7, 0.65, 0.2, 0.6, 0.59, 0.4)
PECTORAL = {variant.trainer: dice for variant, dice in zip(sweep.TABLE_4, DICE, strict=True)}

COMMAND = """#!{python}
import json, os, sys, time
from pathlib import Path
arguments = sys.argv[1:]
trainer, plans = arguments[arguments.index("-tr") + 1], arguments[arguments.index("-p") + 1]
output = Path(os.environ["nnUNet_results"], arguments[0], f"{{trainer}}__{{plans}}__2d", "fold_" + arguments[2])
with open(os.environ["RUNS"], "a") as runs:
    runs.write(json.dumps([trainer, os.environ.get("CUDA_VISIBLE_DEVICES"), time.time(), arguments]) + "\\n")
print("training", trainer)
time.sleep(float(os.environ.get("TAKES", 0)))
if trainer == os.environ.get("FAILS"):
    sys.exit(3)
dice = json.loads(os.environ["PECTORAL"])[trainer]
(output / "validation").mkdir(parents=True, exist_ok=True)
nan = float("nan")
cases = [("a", 0.9, dice, 10), ("b", 0.8, dice - 0.1, 10), ("c", 0.7, nan, 0), ("d", 0.8, 0.0, 0), ("e", 0.8, 0.1, 9)]
metric = []
for case, breast, pectoral, n in cases:
    metrics = {{"1": {{"Dice": breast, "n_ref": 9}}, "2": {{"Dice": pectoral, "n_ref": n}}}}
    metric.append({{"reference_file": f"/x/{{case}}.nii.gz", "metrics": metrics}})
(output / "validation" / "summary.json").write_text(json.dumps({{"metric_per_case": metric}}))
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / name / DATASET).mkdir(parents=True)
        monkeypatch.setenv(name, str(tmp_path / name))
    preprocessed = tmp_path / "nnUNet_preprocessed" / DATASET
    (preprocessed / "maseg_paper.json").write_text("{}")
    place = ("e", "val", "w", "", "MLO", "L", "film", "x", "x", "", 0, "", "")
    row = ManifestRow(*place, 0.2, 0.2, "", 9, 9, 0.4, quality="exclude")
    write_manifest(preprocessed / MANIFEST, [row])
    command = tmp_path / "nnUNetv2_train"
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setattr(experiment_steps, "_program", lambda name: str(tmp_path / name))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs.txt"))
    monkeypatch.setenv("PECTORAL", json.dumps(PECTORAL))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def runs(base: Path) -> list[list[object]]:
    path = base / "runs.txt"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trainings() -> list[CommandStep]:
    return sweep.plan_sweep(DATASET, "maseg_paper", 0, "cpu")


def score_all(base: Path) -> list[sweep.SweepScore]:
    return sweep.score_sweep(trainings(), base / "nnUNet_preprocessed" / DATASET)


def test_table_4_has_eight_rows() -> None:
    assert [(variant.loss, variant.alpha) for variant in sweep.TABLE_4] == [
        (loss, alpha) for loss in ("Cross-entropy", "Focal") for alpha in (1.0, 1.5, 2.0, 2.5)
    ]
    assert len({variant.trainer for variant in sweep.TABLE_4}) == 8


def test_runs_all_scores_them_and_names_the_winner(base: Path) -> None:
    outcomes = list(run_steps(trainings()))
    assert [problem for _, problem in outcomes] == [""] * 8
    assert [run[0] for run in runs(base)] == [variant.trainer for variant in sweep.TABLE_4]
    assert runs(base)[0][3] == [
        DATASET, "2d", "0", "-p", "maseg_paper", "-tr", "MasegTrainerCE10", "-device", "cpu", "--c"
    ]  # fmt: skip
    scores = score_all(base)
    first = scores[0]
    assert (first.images, first.visible) == (5, 2)
    assert first.breast == (pytest.approx(0.8), pytest.approx(math.sqrt(0.02 / 4)))
    assert first.pectoral == (pytest.approx(0.45), pytest.approx(0.1 / math.sqrt(2)))
    best = sweep.winner(scores)
    assert best is not None and best.variant.trainer == "MasegTrainer"
    sweep.write_table(base / "table.csv", scores)
    lines = (base / "table.csv").read_text().splitlines()
    assert len(lines) == 9
    assert [line.split(",")[2] for line in lines if line.endswith("yes")] == ["MasegTrainer"]
    assert b"training MasegTrainerCE10" in trainings()[0].log.read_bytes()


def test_finished_trainings_are_not_run_again(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "MasegTrainerFocal")
    problems = {step.title: problem for step, problem in run_steps(trainings())}
    assert "status 3" in problems.pop("MasegTrainerFocal") and not any(problems.values())
    assert [sweep.state(step) for step in trainings()].count("finished") == len(score_all(base)) == 7
    monkeypatch.delenv("FAILS")
    assert [step.title for step, _ in run_steps(trainings())] == ["MasegTrainerFocal"]
    assert len(runs(base)) == 9
    assert list(run_steps(trainings())) == []


def test_a_started_training_is_seen(base: Path) -> None:
    step = trainings()[0]
    assert sweep.state(step) == "to do"
    output = base / "nnUNet_results" / DATASET / "MasegTrainerCE10__maseg_paper__2d" / "fold_0"
    output.mkdir(parents=True)
    (output / "checkpoint_latest.pth").touch()
    assert sweep.state(step) == "started"
    assert step.log == output / "sweep.log"


def test_every_gpu_has_one_training_at_a_time(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKES", "0.2")
    assert len(list(run_steps(trainings(), gpus=["3", "5"]))) == 8
    gpus = [run[1] for run in runs(base)]
    assert set(gpus) == {"3", "5"}
    for gpu in ("3", "5"):
        times = sorted(float(str(run[2])) for run in runs(base) if run[1] == gpu)
        assert all(later - earlier >= 0.2 for earlier, later in pairwise(times))


def test_a_cluster_runs_them_too(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    def cluster(function: object, tasks: list[CommandStep], scheduler: str) -> object:
        import pickle

        for task in tasks:
            sent.append(pickle.loads(pickle.dumps(task)))
            yield task, run_step(sent[-1])

    monkeypatch.setattr(experiment_steps, "run_tasks", cluster)
    assert all(not problem for _, problem in run_steps(trainings(), scheduler="tcp://127.0.0.1:1"))
    assert sent == trainings()
    with pytest.raises(UsageError, match="--gpus"):
        list(run_steps(trainings(), gpus=["0"], scheduler="tcp://127.0.0.1:1"))


def test_says_what_is_missing_or_broken(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="maseg plan -d 500 --plans other"):
        sweep.plan_sweep(DATASET, "other", 0, "cpu")
    summary = trainings()[0].result
    assert summary is not None
    summary.parent.mkdir(parents=True)
    summary.write_text('{"metric_per_case": [{}]}')
    with pytest.raises(DatasetError, match="no scores"):
        score_all(base)
    monkeypatch.delenv("nnUNet_results")
    with pytest.raises(UsageError, match="nnUNet_results"):
        trainings()


def test_no_muscle_no_winner() -> None:
    blind = sweep.SweepScore(sweep.TABLE_4[0], 3, (0.9, 0.1), 0, (math.nan, math.nan))
    assert sweep.winner([blind]) is None
    seen = sweep.SweepScore(sweep.TABLE_4[1], 3, (0.9, 0.1), 2, (0.1, 0.1))
    assert sweep.winner([blind, seen]) is seen


def test_command_line(base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from maseg_nnunet.cli.main import app

    runner = CliRunner()
    dry = runner.invoke(app, ["sweep", "-d", "500", "--dry-run", "--device", "cpu"])
    assert dry.exit_code == 0 and dry.output.count("--c") == 8 and runs(base) == []
    done = runner.invoke(app, ["sweep", "-d", "500", "--device", "cpu"], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "Winner by pectoral Dice: Cross-entropy 2.0, MasegTrainer" in done.output
    assert (base / "nnUNet_results" / DATASET / "sweep_maseg_paper_fold0.csv").is_file()
    missing = runner.invoke(app, ["sweep", "-d", "501"]).exception
    assert isinstance(missing, DatasetError) and "maseg plan -d 501 --plans maseg_paper" in str(missing)
    for wrong in (["--device", "abacus"], ["--gpus", "0,0"], ["--gpus", "x"], ["--gpus", "0", "--device", "cpu"]):
        assert isinstance(runner.invoke(app, ["sweep", "-d", "500", *wrong]).exception, UsageError)


def test_a_failed_training_is_named_after_the_table(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from maseg_nnunet.cli.main import app

    monkeypatch.setenv("FAILS", "MasegTrainerFocal10")
    failed = CliRunner().invoke(app, ["sweep", "-d", "500", "--device", "cpu"], env={"COLUMNS": "160"})
    last = failed.output.splitlines()[-1]
    assert "Winner" in last and " 7 " in last and "by pectoral Dice: Cross-entropy 2.0" in last
    assert isinstance(failed.exception, ModelError) and "1 trainings failed: MasegTrainerFocal10" in str(
        failed.exception
    )


def test_the_users_own_trainers_stay(base, monkeypatch):
    ours = str(trainers_folder())
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(["/my/trainers", ours]))
    assert external_trainers() == os.pathsep.join([ours, "/my/trainers"])
    assert dict(trainings()[0].environment)["nnUNet_extTrainer"] == external_trainers()
    monkeypatch.delenv("nnUNet_extTrainer")
    assert external_trainers() == ours


def test_relative_folders_reach_another_machine_whole(base, monkeypatch):
    monkeypatch.chdir(base)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, os.path.relpath(os.environ[name], base))
    assert all(Path(path).is_absolute() for path in dict(trainings()[0].environment).values())
