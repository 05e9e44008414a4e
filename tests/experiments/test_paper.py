"""The three experiments with stand-ins for nnU-Net's commands, on small data sets that are combined and scored."""

import gzip
import json
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from maseg_nnunet.cli.main import app
from maseg_nnunet.errors import DatasetError, ModelError, UsageError
from maseg_nnunet.experiments import paper as experiments
from maseg_nnunet.experiments import steps as experiment_steps
from maseg_nnunet.experiments.paper import ON_BOTH, ExperimentPart, Setup, phases, write_tables
from maseg_nnunet.experiments.steps import run_phases
from maseg_nnunet.files import write_json
from tests.evaluation.helpers import make_dataset, mask_with, row, write_mask

PARTS = (
    ExperimentPart("fuji", 503, "Dataset503_Fuji"),
    ExperimentPart("ge", 504, "Dataset504_GE"),
    ExperimentPart("mini_mias", 506, "Dataset506_MiniMias"),
)

# Each stand-in adds its command to RUNS. Training leaves scores. Prediction copies every image's reference, but one
# column of four is missing from the muscle, or three in the data set that the fold left out. A model that never saw raw
# images finds no breast in them. In MLO views one pixel of breast is missing too, so that scores vary. A 2D NIfTI file
# of uint8 is a header of 352 bytes and the pixels, so the stand-in needs no imports and starts fast.
COMMAND = """#!{python}
import gzip, json, os, sys
from pathlib import Path
program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
with open(os.environ["RUNS"], "a") as runs:
    runs.write(json.dumps([program, os.environ.get("CUDA_VISIBLE_DEVICES"), *arguments]) + "\\n")
def option(name):
    return arguments[arguments.index(name) + 1]
if program == os.environ.get("FAILS"):
    sys.exit(3)
if program == "maseg" and arguments[0] == "combine":
    from maseg_nnunet.cli.main import main
    main()
if program == "nnUNetv2_train":
    name = next(Path(os.environ["nnUNet_raw"]).glob(f"Dataset{{arguments[0]}}_*")).name
    model = f"{{option('-tr')}}__{{option('-p')}}__2d"
    scores = Path(os.environ["nnUNet_results"], name, model, f"fold_{{arguments[2]}}", "validation", "summary.json")
    scores.parent.mkdir(parents=True, exist_ok=True)
    scores.write_text("{{}}")
if program == "nnUNetv2_predict":
    left_out = ["nothing", "fuji", "ge", "mini"][int(option("-f"))]
    for path in sorted(Path(option("-i")).iterdir()):
        case = path.name.replace("_0000.nii.gz", "")
        target = Path(option("-o")) / f"{{case}}.nii.gz"
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        image = path.resolve()
        labels = image.parent.with_name(image.parent.name.replace("images", "labels")) / f"{{case}}.nii.gz"
        content = bytearray(gzip.decompress(labels.read_bytes()))
        kept = 1 if case.startswith(left_out) else 3
        for at in range(352, len(content)):
            if content[at] == 2 and (at - 352) % 10 >= kept:
                content[at] = 0
            if content[at] == 1 and case.endswith("_raw") and option("-d") == "500":
                content[at] = 0
        if "MLO" in case:
            content[352] = 0
        target.write_bytes(gzip.compress(bytes(content)))
"""


@pytest.fixture
def base(tmp_path, monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    for part in PARTS:
        make_part(tmp_path / "nnUNet_raw" / part.folder, part.key)
    for name in ("maseg", "nnUNetv2_train", "nnUNetv2_predict", "convert_vendor"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(COMMAND.format(python=sys.executable))
        command.chmod(0o755)
    monkeypatch.setattr(experiment_steps, "_program", lambda name: str(tmp_path / "bin" / name))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs.txt"))
    return tmp_path


def make_part(folder, key):
    """Write a data set of two women to train, one to validate and two to test. GE has raw twins."""
    references = {}
    for number, subset in enumerate(("train", "train", "val", "test", "test")):
        for view in ("MLO", "CC"):
            case = f"{key.split('_')[0]}{number}{view}"
            intent = "film" if key == "mini_mias" else "processed"
            twin = f"{case}_raw" if key == "ge" else ""
            one = row(
                case, woman=f"{key}{number}", view=view, dataset=key, subset=subset, intent=intent, twin=twin,
                source=10 * number + len(view),
            )  # fmt: skip
            references[one] = mask_with(10, 4)
            if twin:
                references[replace(one, case=twin, twin=case, intent="raw", source=one.source + 5)] = mask_with(10, 4)
    for one in references:
        place = "imagesTs" if one.subset == "test" else "imagesTr"
        write_mask(folder / place / f"{one.case}_0000.nii.gz", mask_with(10, 4).astype(np.float32) / 2)
    make_dataset(folder, references)
    write_json(folder / "voi_luts.json", {one.case: {"inverted": False, "base": 0, "luts": []} for one in references})
    write_json(folder / "dataset.json", {"maseg": {"target_spacing": 0.4}, "description": key})


def run(base, experiment, **more):
    """Run all steps, and return the setup, the commands that ran, and the problems."""
    setup = Setup(PARTS, base / "out", device="cpu", **more)
    (base / "runs.txt").write_text("")
    problems = [problem for _, problem in run_phases(phases(experiment, setup)) if problem]
    runs = [json.loads(line) for line in (base / "runs.txt").read_text().splitlines()]
    commands = [[program, *arguments] for program, _, *arguments in runs]
    return setup, commands, problems


def programs(commands):
    return [command[0] if command[0] != "maseg" else f"maseg {command[1]}" for command in commands]


def test_experiment_1(base):
    setup, commands, problems = run(base, 1)
    assert problems == []
    assert programs(commands) == ["maseg combine", "maseg plan", "nnUNetv2_train", "nnUNetv2_predict"]
    assert commands[0][1:] == ["combine", "-d", "500", "--intent", "processed", "503", "504", "506"]
    assert commands[2][1:] == [
        "500", "2d", "0", "-p", "maseg_paper", "-tr", "MasegTrainer", "-device", "cpu", "--c"
    ]  # fmt: skip
    assert "--disable_tta" in commands[3] and commands[3][commands[3].index("-f") + 1] == "0"
    write_tables(1, setup)
    report = base / "out" / "experiment1" / "report"
    table7 = (report / "table7.csv").read_text().splitlines()
    # Three columns of four: muscle Dice 2·30/70. Raw images are not in the set.
    assert table7[1].startswith("Fuji,4,") and ",0.86 ± 0.00 (4)," in table7[1]
    assert [line.split(",")[0] for line in table7[1:]] == ["Fuji", "GE", "Mini-MIAS", "All", "All DM"]
    assert "<image" in (report / "report.html").read_text()


def test_what_is_finished_is_not_run_again(base):
    run(base, 1)
    _, commands, _ = run(base, 1)
    assert programs(commands) == ["maseg combine", "maseg plan"]  # these skip finished work by themselves
    prediction = base / "out" / "experiment1" / "predictions" / "ge4CC.nii.gz"
    prediction.unlink()
    _, commands, _ = run(base, 1)
    assert programs(commands)[2:] == ["nnUNetv2_predict"]
    assert prediction.is_file()


def test_a_half_written_prediction_is_made_again(base):
    run(base, 1)
    folder = base / "out" / "experiment1" / "predictions"
    whole = (folder / "fuji3CC.nii.gz").read_bytes()
    (folder / "fuji3CC.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "fuji3MLO.nii.gz").write_bytes(b"")
    setup, commands, _ = run(base, 1)
    assert programs(commands)[2:] == ["nnUNetv2_predict"]
    assert gzip.decompress((folder / "fuji3CC.nii.gz").read_bytes()) == gzip.decompress(whole)
    write_tables(1, setup, pictures=False)


def test_a_model_trained_anew_draws_its_own_masks(base):
    setup, _, _ = run(base, 1)
    old = setup.predictions(1) / "ge4CC.nii.gz"
    (setup.trained(500, 0) / "checkpoint_final.pth").touch()
    for seconds in (1e9, 2e9):  # an older checkpoint too: of other results, or copied with its time
        for mask in old.parent.glob("*.nii.gz"):
            os.utime(mask, (1.5e9, 1.5e9))
        os.utime(setup.trained(500, 0) / "checkpoint_final.pth", (seconds, seconds))
        _, commands, _ = run(base, 1)
        assert old.stat().st_mtime != 1.5e9
        assert programs(commands)[2:] == ["nnUNetv2_predict"]


def test_masks_of_another_results_folder_are_drawn_again(base, monkeypatch):
    setup, _, _ = run(base, 1)
    before = setup.trained(500, 0) / "checkpoint_final.pth"
    before.touch()
    run(base, 1)
    _, commands, _ = run(base, 1)
    assert "nnUNetv2_predict" not in programs(commands)
    monkeypatch.setenv("nnUNet_results", str(base / "elsewhere"))
    after = setup.trained(500, 0) / "checkpoint_final.pth"
    shutil.copytree(before.parent, after.parent)
    shutil.copystat(before, after)
    _, commands, _ = run(base, 1)
    assert programs(commands)[2:] == ["nnUNetv2_predict"]


def test_experiment_2_without_a_raw_image_trains_nothing(base):
    setup = Setup((PARTS[0], PARTS[2]), base / "out", device="cpu")
    with pytest.raises(UsageError, match="no raw image"):
        list(run_phases(phases(2, setup)))
    assert "nnUNetv2_train" not in (base / "runs.txt").read_text()
    with pytest.raises(UsageError, match="a number of its own"):
        phases(2, replace(setup, with_raw=500))


def test_experiment_2(base):
    setup, commands, problems = run(base, 2)
    assert problems == []
    assert [command[2:6] for command in commands if command[1] == "combine"] == [
        ["-d", "500", "--intent", "processed"],
        ["-d", "510", "--intent", "both"],
    ]
    trained = [command[1] for command in commands if command[0] == "nnUNetv2_train"]
    assert trained == ["500", "510"]
    write_tables(2, setup)
    report = base / "out" / "experiment2" / "report"
    header, *lines = (report / "table8.csv").read_text().splitlines()
    assert header == (
        "Dataset,n,trained on processed: processed,trained on processed: raw,"
        "trained on processed and raw: processed,trained on processed and raw: raw"
    )
    # The first model finds no breast in raw images: overall 40·6/7 / 140 = .24; else (100 + 40·6/7)/140 = .96.
    assert lines[1] == "GE,4,0.96 ± 0.00,0.24 ± 0.00,0.96 ± 0.00,0.96 ± 0.00"
    assert lines[-1].startswith("Datasets containing processed and raw,4,")
    assert "raw images" in (report / "statistics.csv").read_text()
    page = (report / "report.html").read_text()
    assert '<span class="paper">0.46' not in page and '<span class="paper">0.90 ± 0.08</span>' in page


def test_experiment_3(base):
    setup, commands, problems = run(base, 3)
    assert problems == []
    folds = [command[3] for command in commands if command[0] == "nnUNetv2_train"]
    assert folds == ["1", "2", "3"]
    predicted = [command[command.index("-i") + 1] for command in commands if command[0] == "nnUNetv2_predict"]
    places = [(("Dataset500_Maseg", "imagesTs"), ("images", part.key)) for part in PARTS]
    assert [tuple(path.split("/")[-2:]) for path in predicted] == [place for pair in places for place in pair]
    # Neither validation images nor raw images.
    images = {path.name for path in (base / "out" / "experiment3" / "images" / "ge").iterdir()}
    assert images == {f"ge{number}{view}_0000.nii.gz" for number in (0, 1) for view in ("MLO", "CC")}
    write_tables(3, setup)
    report = base / "out" / "experiment3" / "report"
    header, fuji, _, mias = (report / "table9.csv").read_text().splitlines()
    assert header.startswith("Excluded dataset,Train n,Included Dice,")
    # Training without Fuji: 4 images each of GE and mini-MIAS; the others' test images: 4 each; Fuji's test and
    # training images: 4 + 4. Muscle three columns of four: .96; one of four, Dice .4: (100 + 16)/140 = .83.
    assert fuji == "Fuji,8,0.96 ± 0.00,8,0.83 ± 0.00,8,−0.13*,<0.001"
    assert mias.startswith("Mini-MIAS,8,0.96 ± 0.00,8,0.83 ± 0.00,8,−0.13*")
    assert '<span class="paper">0.74 ± 0.13</span>' in (report / "report.html").read_text()
    assert len((report / "cases_without_ge.csv").read_text().splitlines()) == 1 + 16


def test_a_failure_stops_after_its_phase_and_names_the_log(base, monkeypatch):
    monkeypatch.setenv("FAILS", "nnUNetv2_train")
    setup = Setup(PARTS, base / "out", device="cpu")
    seen = []
    with pytest.raises(ModelError, match="train 500 fold 1, train 500 fold 2, train 500 fold 3"):
        seen.extend(run_phases(phases(3, setup)))
    commands = (base / "runs.txt").read_text()
    assert "nnUNetv2_predict" not in commands and commands.count("nnUNetv2_train") == 3
    with pytest.raises(DatasetError, match="no folder of masks"):
        write_tables(3, setup)


def test_gpus_are_shared_out(base):
    setup = Setup(PARTS, base / "out")
    problems = [problem for _, problem in run_phases(phases(3, setup), gpus=["0", "1"]) if problem]
    assert problems == []
    runs = [json.loads(line) for line in (base / "runs.txt").read_text().splitlines()]
    used = {program: {gpu for name, gpu, *_ in runs if name == program} for program in ("maseg", "nnUNetv2_train")}
    assert used == {"maseg": {None}, "nnUNetv2_train": {"0", "1"}}


def test_results_of_another_model_or_other_data_are_not_taken_for_these(base):
    base_call = ["-o", base / "out", "--device", "cpu", "--no-pictures"]
    assert call(1, *base_call).exit_code == 0
    assert call(1, *base_call).exit_code == 0
    with pytest.raises(UsageError, match="has results of plans maseg_paper: choose another folder with -o"):
        experiments.check_output(Setup(PARTS, base / "out", plans="maseg_lite"))
    with pytest.raises(UsageError, match="parts"):
        experiments.check_output(Setup(PARTS[:2], base / "out"))


def test_a_training_on_other_cases_is_not_taken_for_this_one(base):
    setup, _, _ = run(base, 3)
    preprocessed = base / "nnUNet_preprocessed" / "Dataset500_Maseg"
    preprocessed.mkdir()
    for name in ("splits_final.json", "manifest.csv"):
        (preprocessed / name).write_bytes((base / "nnUNet_raw" / "Dataset500_Maseg" / name).read_bytes())
    splits = json.loads((preprocessed / "splits_final.json").read_text())
    model = base / "nnUNet_results" / "Dataset500_Maseg" / "MasegTrainer__maseg_paper__2d"
    write_json(model / "fold_1" / "cases.json", splits[1])
    assert not [problem for _, problem in run_phases(phases(3, setup)) if problem]
    # As if a data set had been added since: fold 1 then left out another one.
    write_json(model / "fold_1" / "cases.json", splits[2])
    with pytest.raises(DatasetError, match="fold_1 was trained on other cases"):
        list(run_phases(phases(3, setup)))
    write_json(model / "fold_1" / "cases.json", splits[1])
    # As if a mask had been corrected since.
    marker = preprocessed / ".maseg_paper_2d.json"
    marker.write_text("{}")
    os.utime(marker, (2e9, 2e9))
    with pytest.raises(DatasetError, match="fold_1 was trained before its data were preprocessed again"):
        list(run_phases(phases(3, setup)))


def test_a_cluster_runs_trainings_and_predictions(base):
    """A real scheduler and worker of Dask, in this process, which has the stand-ins."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        setup = Setup(PARTS, base / "out", device="cpu", scheduler=cluster.scheduler_address)
        steps = list(run_phases(phases(3, setup), scheduler=cluster.scheduler_address))
    assert [problem for _, problem in steps if problem] == []
    assert len(steps) == 2 + 3 + 6
    write_tables(3, setup)


def call(*arguments):
    return CliRunner().invoke(app, ["experiments", *map(str, arguments)])


def test_dry_run_runs_nothing(base):
    result = call(3, "--dry-run", "-o", base / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[:2] == ["# combine 500: to do", "maseg combine -d 500 --intent processed 503 504 506"]
    assert sum(line.startswith("nnUNetv2_train 500 2d ") for line in lines) == 3
    assert not (base / "out").exists() and not (base / "runs.txt").exists()


def test_dry_run_says_what_is_done(base):
    run(base, 1)
    result = call(1, "--dry-run", "-o", base / "out", "--device", "cpu")
    assert "# train 500 fold 0: done" in result.output and "# predict experiment1: done" in result.output


def test_sources_to_convert(base, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "data.csv").write_text("name,input,masks\nhologic,images,masks\nfuji,images,masks\n")
    result = call(1, "--dry-run", "--data", tmp_path / "data.csv", "-o", base / "out")
    lines = result.output.splitlines()
    assert lines[0] == "# convert hologic: to do"
    assert lines[1] == (
        f"convert_vendor --name hologic --input {tmp_path}/images --masks {tmp_path}/masks --intent both --workers 2"
    )
    assert lines[2] == "# convert fuji: to do"  # its folder exists; its command finds out whether it is complete
    assert "maseg combine -d 500 --intent processed 501 503" in lines


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "names no data set"),
        ("name,input,masks\n", "names no data set"),
        ("name,input\nfuji,images\n", "line 2"),
        ("name,input,masks\nfuji,images,masks\nfuji,images,masks\n", "line 3"),
        ("name,input,masks\nfuji,nowhere,masks\n", "nowhere does not exist"),
        ("name,input,masks\nkodak,images,masks\n", "kodak is not a data set"),
    ],
)
def test_bad_sources(base, tmp_path, text, complaint):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "data.csv").write_text(text)
    result = call(1, "--dry-run", "--data", tmp_path / "data.csv")
    assert isinstance(result.exception, UsageError) and complaint in str(result.exception)


def test_impossible_experiments(base):
    with pytest.raises(UsageError, match="at least two"):
        phases(3, Setup(PARTS[:1], base / "out"))
    with pytest.raises(UsageError, match="no experiment 4"):
        phases(4, Setup(PARTS, base / "out"))
    assert ON_BOTH in str(Setup(PARTS, base).predictions(2, ON_BOTH))
