"""Checks and refusals that several readers share. Not for rules about one kind of file: those are in its reader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from maseg_nnunet.errors import Reason, RefusedError

_START: Final = 256


def read_start(path: Path) -> bytes:
    """Read the first 256 bytes of a regular file, which tell the formats apart.

    Raises:
        RefusedError: UNREADABLE, if the file is missing, is not a regular file or can't be read.
    """
    with os_errors_refused():
        if not path.is_file():  # a pipe would block, and a device may never end
            raise RefusedError(Reason.UNREADABLE, "the file is missing or is not a regular file")
        with path.open("rb") as file:
            return file.read(_START)


@contextmanager
def os_errors_refused() -> Iterator[None]:
    """Turn an OSError of the block that the system explains into a RefusedError (UNREADABLE)."""
    try:
        yield
    except OSError as error:
        if not error.strerror:
            raise
        raise RefusedError(Reason.UNREADABLE, f"the file can't be read: {error.strerror}") from error


@contextmanager
def refused_as(reason: Reason) -> Iterator[None]:
    """Give a RefusedError of the block another reason and keep its text."""
    try:
        yield
    except RefusedError as error:
        raise RefusedError(reason, error.detail) from error


def check_megapixels(rows: int, columns: int, max_megapixels: float) -> None:
    """Raise RefusedError (TOO_LARGE) if an image of `rows` x `columns` pixels is above the limit."""
    if rows * columns > max_megapixels * 1e6:
        raise RefusedError(
            Reason.TOO_LARGE, f"{rows} x {columns} pixels are more than the limit of {max_megapixels:g} megapixels"
        )
