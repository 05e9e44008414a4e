"""How commands end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from maseg_nnunet.console import Problems, run
from maseg_nnunet.errors import ModelError, UsageError, place_of, reason_of


def ended(raised: BaseException, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    app = typer.Typer()

    @app.command()
    def fails() -> None:
        raise raised

    monkeypatch.setattr(sys, "argv", ["maseg", *arguments])
    with pytest.raises(SystemExit) as stop:
        run(app)
    return stop.value.code


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted; finished results are kept"),
        (UsageError("no such\noption"), 2, "error: no such option"),
        (ModelError("no model"), 1, "error: no model"),
        (OSError(28, "No space left on device", "out"), 1, "error: out: No space left on device"),
    ],
)
def test_one_line_and_a_status(
    raised: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(raised, monkeypatch) == status
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_another_exit_is_left_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(typer.Exit(1), monkeypatch) == 1
    assert capsys.readouterr().err == ""


def test_errors_of_others_are_told_without_their_text() -> None:
    def told(error: Exception) -> str:
        try:
            raise error
        except Exception as caught:
            assert "Quitte" not in place_of(caught) and "test_console.py" in place_of(caught)
            return reason_of(caught)

    assert told(ValueError("Quitte^Mirabelle")) == "internal error: ValueError"
    assert told(OSError(28, "No space left on device", "Quitte")) == "No space left on device"
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        assert told(error) == "out of memory: process fewer files at a time, or use a machine with more memory"


def test_a_path_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    """In a process of its own, because pytest replaces the streams of this one."""
    lines = ["import sys, typer", "from maseg_nnunet.console import run", "app = typer.Typer()", "@app.command()",
             "def show() -> None:", "    typer.echo('results in M\\udcfcller')", "run(app)"]  # fmt: skip
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"results in M\xfcller\n"), ended.stderr


def test_problems_are_grouped_by_their_reason() -> None:
    problems = Problems()
    for number in range(3):
        problems.add("refused", f"{number}.png", "no spacing: give it with --spacing-mm")
        problems.add("refused", f"{number}.dcm", f"too large: {number} pixels")
    problems.add("failed", "3.png", "out of memory")
    assert list(problems.lines()) == [
        "refused: 3 files: no spacing: give it with --spacing-mm",
        "refused: 3 files: too large: 0.dcm and others",
        "failed: 3.png: out of memory",
    ]
