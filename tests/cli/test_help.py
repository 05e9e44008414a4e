"""What --help shows: every command has an example, and options that commands share have the same words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer

import maseg_nnunet
from maseg_nnunet.cli import options
from maseg_nnunet.cli.main import SUBCOMMANDS, app
from maseg_nnunet.dataset_conversion import convert_vendor as vendor

HEAVY = ("torch", "nnunetv2", "highdicom", "SimpleITK", "pandas", "matplotlib", "pynetdicom", "distributed")

HOMONYMS = {
    "--dataset": "a data set, or a combined one to create",
    "--device": "where maseg runs the network, or where nnU-Net's commands run",
    "--intent": "what to convert, to combine or to score",
    "--labels": "of masks to convert, or to score",
    "--name": "a data set to convert, or the name of a combined one",
    "--output": "what is in the folder",
    "--overwrite": "masks, or conversions",
    "--preview": "a switch, or the path of inspect's picture",
    "--report": "a file name, or a folder of references",
}
"""Options that have the same name but another meaning in some command, and what differs."""

_COMMANDS: dict[str, Any] = dict(typer.main.get_group(app).commands)

SHARED = {name: value for name, value in vars(options).items() if name.endswith(("Option", "Argument"))}

_ASK = """
import contextlib, io, json, sys
from maseg_nnunet.cli.main import SUBCOMMANDS, app
from maseg_nnunet.dataset_conversion.convert_vendor import app as vendor
def answer(app, *arguments):
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        app(args=[*arguments, "--help"])
    return shown.getvalue()
told = {name: answer(app, name) for name in SUBCOMMANDS} | {"maseg": answer(app), "convert_vendor": answer(vendor)}
print(json.dumps([told, [name for name in sys.argv[1:] if name in sys.modules]]))
"""


def _function(command: str) -> Callable[..., None]:
    name = command.replace("-", "_")
    function: Callable[..., None] = getattr(import_module(f"maseg_nnunet.cli.{name}"), name)
    return function


def _parameters(command: Any) -> dict[str, str]:
    """The help of each option of a command, by the option's longest name."""
    found = {max(p.opts, key=len): p.help for p in command.params if p.param_type_name == "option"}
    return {name: text for name, text in found.items() if name != "--help"}


@pytest.fixture(scope="module")
def asked() -> tuple[dict[str, str], list[str]]:
    """The help of every command, asked of a fresh interpreter, and the heavy modules that it imported for it."""
    command = [sys.executable, "-c", _ASK, *HEAVY]
    told, imported = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told, imported


@pytest.fixture(scope="module")
def options_of() -> dict[str, dict[str, str]]:
    """The options of each command: name and help."""
    found = {name: _parameters(command) for name, command in _COMMANDS.items()}
    return found | {"convert_vendor": _parameters(typer.main.get_command(vendor.app))}


@pytest.mark.parametrize("name", ["maseg", "convert_vendor", *SUBCOMMANDS])
def test_every_command_shows_an_example(name: str, asked: tuple[dict[str, str], list[str]]) -> None:
    told, _ = asked
    assert "Usage" in told[name]
    _, _, example = told[name].partition("Example:")
    words = example.split()
    assert words[0] in ("maseg", "convert_vendor", "eval"), "the example can be copied"
    if name in SUBCOMMANDS:
        assert name in words[:3]


def test_help_imports_nothing_heavy(asked: tuple[dict[str, str], list[str]]) -> None:
    assert asked[1] == []


def test_the_list_of_commands_is_not_cut_off(asked: tuple[dict[str, str], list[str]]) -> None:
    _, _, listed = asked[0]["maseg"].partition("Commands:")
    assert [line.split()[0] for line in listed.splitlines() if line.strip()] == list(SUBCOMMANDS)
    assert "..." not in listed


def test_every_option_has_help(options_of: dict[str, dict[str, str]]) -> None:
    missing = {(command, name) for command, found in options_of.items() for name, text in found.items() if not text}
    assert not missing
    assert all(text.endswith(".") for found in options_of.values() for text in found.values())


def test_an_option_of_several_commands_has_the_same_help(options_of: dict[str, dict[str, str]]) -> None:
    texts: dict[str, set[str]] = defaultdict(set)
    for found in options_of.values():
        for name, text in found.items():
            texts[name].add(text)
    assert {name for name, different in texts.items() if len(different) > 1} == set(HOMONYMS)


def test_an_option_with_the_same_help_is_declared_once() -> None:
    users: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for name, command in _COMMANDS.items():
        hints = get_type_hints(_function(name), include_extras=True)
        for parameter in command.params:
            if parameter.name in hints:
                flag = max(parameter.opts, key=len)
                users[flag, parameter.help].append(hints[parameter.name] in SHARED.values())
    # The default of --workers is a number, or depends on the machine.
    assert {flag for (flag, _), shared in users.items() if len(shared) > 1 and not all(shared)} == {"--workers"}


@pytest.mark.parametrize("name", SHARED)
def test_what_is_declared_as_shared_is_shared(name: str) -> None:
    hints = {command: get_type_hints(_function(command), include_extras=True) for command in SUBCOMMANDS}
    assert sum(SHARED[name] in found.values() for found in hints.values()) > 1


def test_messages_name_the_extra_as_readme_does() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for module, extra in (("cli/serve.py", "pacs"), ("parallel/tasks.py", "cluster")):
        source = (Path(maseg_nnunet.__path__[0]) / module).read_text(encoding="utf-8")
        assert f"pip install -e '.[{extra}]'" in source and "maseg-nnunet[" not in source
    assert "pip install -e '.[pacs]'" in readme
