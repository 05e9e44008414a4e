"""How every console script starts and ends (logging, one-line errors, exit status), and the options that all share.

Exit status: 0 everything was done, 1 something was not (the message says what), 2 the command line makes no sense, 130
the user interrupted.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from maseg_nnunet.errors import MasegError, UsageError, as_text
from maseg_nnunet.spacing_table import LARGEST, LEAST, read_spacing_table

DEBUG = "--debug"
INTERRUPTED = 130

WORKERS_HELP: Final = "Number of images to process in parallel."
"""Help of --workers. Some commands declare the option themselves, because its default depends on the machine."""


def _spacing(text: str) -> float | dict[str, float]:
    """The number of --spacing-mm, or the table of its CSV file."""
    try:
        spacing = float(text)
    except ValueError:
        return read_spacing_table(Path(text))
    if not LEAST <= spacing <= LARGEST:
        raise typer.BadParameter(f"{text} is not in the range {LEAST:g} to {LARGEST:g} mm")
    return spacing


SpacingOption = Annotated[
    Any,  # GivenSpacing | None, which typer can't take
    typer.Option(
        "--spacing-mm",
        metavar="MM|CSV",
        parser=_spacing,
        help="Pixel spacing, in mm, of images that state none, such as PNG; or a CSV file with the columns file (name "
        "or pattern) and spacing_mm.",
        show_default="reject them",
    ),
]
RawWindowsOption = Annotated[
    bool,
    typer.Option(
        "--raw-windows", help="Use the look-up tables in the headers of raw images, which are ignored by default."
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Address of a Dask scheduler, such as tcp://10.0.0.5:8786. The work runs on its workers.",
        show_default="run on this machine",
    ),
]
WorkersOption = Annotated[int, typer.Option("--workers", metavar="N", min=1, help=WORKERS_HELP)]


class Problems:
    """Files that can't be used, grouped by the reason, for the terminal: a folder may have thousands of them."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], tuple[int, str, set[str]]] = {}

    def add(self, status: str, file: str, detail: str) -> None:
        """Add a file. `detail` is REASON or REASON: TEXT, and the reason makes the group."""
        reason, _, text = detail.partition(": ")
        count, first, texts = self._groups.get((status, reason), (0, file, set()))
        if len(texts) < 2:  # two show that they differ
            texts.add(text)
        self._groups[status, reason] = count + 1, first, texts

    def lines(self) -> Iterator[str]:
        """Yield a line for each group. A single file is named; the text is shown if it is that of all files."""
        for (status, reason), (count, first, texts) in self._groups.items():
            files = first if count == 1 else f"{count} files"
            text = next(iter(texts)) if len(texts) == 1 else f"{first} and others"
            yield as_text(f"{status}: {files}: {reason}{f': {text}' if text else ''}")


def run(app: typer.Typer) -> None:
    """Run `app` on the arguments of this process, and exit.

    An error is shown as one line. `--debug`, anywhere on the command line, shows tracebacks and debug logging.

    Args:
        app: The commands.

    Raises:
        SystemExit: Always, with the exit status.
        MasegError, OSError: With `--debug`, instead of the line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path may contain bytes that are not text
            stream.reconfigure(errors="surrogateescape")
    debug = DEBUG in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # These libraries log header values and file names.
    for name in ("pydicom", "PIL", "matplotlib", "pynetdicom", "highdicom", "distributed"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        app(args=arguments)
    except MasegError as error:
        if debug:
            raise
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer turns an interrupt into an exit.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        _fail(
            "interrupted; finished results are kept, and the same command continues (maseg predict: add --resume)",
            INTERRUPTED,
        )
    except OSError as error:
        if debug:
            raise
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)


def _fail(message: str, status: int) -> None:
    typer.echo(f"error: {as_text(' '.join(message.split()))}", err=True)
    sys.stderr.flush()
    sys.exit(status)
