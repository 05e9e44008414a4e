"""Run the project's commands in this process, as their console scripts do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Answer:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str


Run = Callable[..., Answer]


def stumbling(read: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`read`, but the file called `name` raises an unexpected error, whose text must not be shown."""

    def stumble(path: Path, **options: object) -> Any:
        if path.name == name:
            raise IndexError("secret")
        return read(path, **options)

    return stumble


def _run(
    main: Callable[[], None], name: str, arguments: tuple[str | Path, ...], capture: pytest.CaptureFixture[str]
) -> Answer:
    capture.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
    shown = capture.readouterr()
    code = stop.value.code
    return Answer(code if isinstance(code, int) else 0 if code is None else 1, shown.out, shown.err)


@pytest.fixture
def maseg(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs `maseg` with its arguments."""
    from maseg_nnunet.cli.main import main

    return lambda *arguments: _run(main, "maseg", arguments, capsys)


@pytest.fixture
def convert_vendor(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs `convert_vendor` with its arguments."""
    from maseg_nnunet.dataset_conversion.convert_vendor import main

    return lambda *arguments: _run(main, "convert_vendor", arguments, capsys)
