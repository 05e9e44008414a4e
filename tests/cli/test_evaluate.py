"""`maseg evaluate` as a user calls it."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from maseg_nnunet.cli.main import app
from maseg_nnunet.errors import UsageError
from tests.evaluation.helpers import make_dataset, mask_with, row, write_mask


@pytest.fixture
def dataset(tmp_path):
    rows = [row("a"), row("b", view="CC", woman="w2")]
    for case in rows:
        write_mask(tmp_path / "predictions" / f"{case.case}.nii.gz", mask_with(10, 3))
    return make_dataset(tmp_path / "Dataset503_Fuji", {r: mask_with(10, 4) for r in rows})


def call(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], catch_exceptions=True)


def test_report_and_summary(dataset, tmp_path):
    result = call("-p", tmp_path / "predictions", "-d", dataset, "-o", tmp_path / "report")
    assert result.exit_code == 0, result.output
    # Muscle: 2·30/70 = .857; overall (100 + 40·.857)/140 = .959.
    assert "0.86 ± 0.00 (2)" in result.output and "0.96 ± 0.00" in result.output
    written = {path.name for path in (tmp_path / "report").iterdir()}
    assert written >= {"cases.csv", "table5.csv", "table6.csv", "table7.csv", "distances.csv", "tables.md"}


def test_default_folder_does_not_disturb_a_second_run(dataset, tmp_path):
    for _ in range(2):
        assert call("-p", tmp_path / "predictions", "-d", dataset).exit_code == 0
    assert (tmp_path / "predictions" / "evaluation" / "cases.csv").is_file()


def test_compare(dataset, tmp_path):
    folder = tmp_path / "predictions"
    result = call("--compare", folder, folder, "-d", dataset, "-o", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "report" / "cases_b.csv").is_file()


def test_neither_or_both_inputs(dataset, tmp_path):
    folder = tmp_path / "predictions"
    assert isinstance(call("-d", dataset).exception, UsageError)
    assert isinstance(call("-d", dataset, "-p", folder, "--compare", folder, folder).exception, UsageError)


def test_a_missing_prediction_is_named_and_the_exit_status_is_one(dataset, tmp_path):
    (tmp_path / "predictions" / "b.nii.gz").unlink()
    command = "from maseg_nnunet.cli.main import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", command, "evaluate", "-p", str(tmp_path / "predictions"), "-d", str(dataset)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stdout == ""
    named, error = result.stderr.splitlines()
    assert named == "b: prediction missing"
    assert error == "error: prediction missing: 1; nothing was averaged over the 2 cases"
    assert not (tmp_path / "predictions" / "evaluation").exists()
