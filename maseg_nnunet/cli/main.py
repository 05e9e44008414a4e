"""The `maseg` command. Each subcommand is a module beside this one, and makes its heavy imports only when it runs."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Annotated, Final

import typer

from maseg_nnunet.console import run

SUBCOMMANDS: Final = (
    "demo",
    "inspect",
    "predict",
    "serve",
    "annotate",
    "env",
    "combine",
    "plan",
    "export",
    "evaluate",
    "package",
    "import-weights",
    "sweep",
    "experiments",
)
"""In the order in which --help lists them: for new exams first, then for data sets and models, then for the paper."""

app = typer.Typer(
    name="maseg",
    help="Segment breast and pectoral muscle in mammograms, and train models for it with nnU-Net v2.\n\n"
    "The command convert_vendor converts data sets, and nnUNetv2_train trains. Add --debug to any command to see debug "
    "messages and, after an error, the traceback.\n\n"
    "Example: maseg predict exam.dcm -o out --preview",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for _name in SUBCOMMANDS:
    _function = _name.replace("-", "_")
    app.command(_name, no_args_is_help=_name not in ("demo", "env"))(
        getattr(import_module(f"maseg_nnunet.cli.{_function}"), _function)
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maseg-nnunet {metadata.version('maseg-nnunet')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the subcommand."""


def main() -> None:
    """Run `maseg`: the entry point of the console script and of `python -m maseg_nnunet`."""
    run(app)
