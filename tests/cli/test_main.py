"""The command `maseg` itself: its version, and `python -m maseg_nnunet`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.commands import Run


def _module(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "maseg_nnunet", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_version(maseg: Run) -> None:
    answer = maseg("--version")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == f"maseg-nnunet {version('maseg-nnunet')}\n"


def test_the_module_answers_like_the_command(maseg: Run, tmp_path: Path) -> None:
    for arguments in (("--version",), ("env", "--base", "/data")):
        answer, module = maseg(*arguments), _module(*arguments, folder=tmp_path)
        assert (module.returncode, module.stdout, module.stderr) == (answer.status, answer.out, answer.err)


def test_the_module_ends_like_the_command(tmp_path: Path) -> None:
    """Errors are one line, and --debug shows the traceback."""
    arguments = ("combine", "501", "--name", "not a name")
    module = _module(*arguments, folder=tmp_path)
    assert module.returncode == 2 and module.stderr.startswith("error: ") and module.stderr.count("\n") == 1
    assert "Traceback" in _module(*arguments, "--debug", folder=tmp_path).stderr
    assert _module("predict", "--no-such-option", folder=tmp_path).returncode == 2


def test_the_program_is_named_as_it_was_called(tmp_path: Path) -> None:
    assert "Usage: python -m maseg_nnunet predict " in _module("predict", "--help", folder=tmp_path).stdout
