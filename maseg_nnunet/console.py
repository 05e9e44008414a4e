"""How every command of this project starts and ends: logging, one-line errors, exit status. Not what a command does.

Exit status: 0 all was done, 1 something was not (the message says what), 2 the command line makes no sense, 130 the
user interrupted.
"""

from __future__ import annotations

import io
import logging
import sys

import typer

from maseg_nnunet.errors import MasegError, UsageError

DEBUG = "--debug"
INTERRUPTED = 130


def run(app: typer.Typer) -> None:
    """Run `app` on the process's arguments and exit. `--debug`, anywhere, shows tracebacks and debug logging."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path may hold bytes that are no text
            stream.reconfigure(errors="surrogateescape")
    debug = DEBUG in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Libraries log header values (pydicom) and file names: only our own messages pass.
    for name in ("pydicom", "PIL", "matplotlib", "pynetdicom", "highdicom", "distributed"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        app(args=arguments)
    except MasegError as error:
        if debug:
            raise
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer makes an exit of the interrupt.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        _fail(
            "interrupted; what is finished is kept, and the same command goes on (maseg predict: add --resume)",
            INTERRUPTED,
        )
    except OSError as error:
        if debug:
            raise
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)


def _fail(message: str, status: int) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.stderr.flush()
    sys.exit(status)
