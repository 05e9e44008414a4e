"""The `maseg` command: its subcommands, each a module beside this one that makes its heavy imports when it runs."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Annotated, Final

import typer

from maseg_nnunet.console import run

SUBCOMMANDS: Final = (
    "annotate",
    "combine",
    "demo",
    "env",
    "plan",
    "sweep",
    "inspect",
    "predict",
    "export",
    "import-weights",
    "package",
    "evaluate",
    "experiments",
    "serve",
)

app = typer.Typer(
    name="maseg",
    help="Breast and pectoral muscle segmentation of mammograms, an nnU-Net v2 plugin. Data sets are converted by "
    "the command convert_vendor; nnU-Net's own commands plan, train and predict. --debug anywhere shows tracebacks.\n\n"
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
    """Hold the options that stand before a subcommand."""


def main() -> None:
    """Entry point of the console script."""
    run(app)
