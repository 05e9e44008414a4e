"""Every error this project raises on purpose.

::

    MasegError                  one line for the user: what, where, what was expected, what to do
    ├── UsageError              an option or a combination of options makes no sense (exit status 2)
    ├── RefusedError            one input file can't be used; has a `Reason`; the run goes on without it
    ├── DatasetError            a data set on disk is missing, incomplete or inconsistent
    ├── PlanError               a plan template or a plans file can't be used
    ├── ModelError              a model folder is missing, incomplete, of another kind or unsafe
    └── OutputError             a result can't be written

The command line shows the message and exits with status 1 (2 for `UsageError`).
"""

from __future__ import annotations

import traceback
from enum import Enum


class MasegError(Exception):
    """Base of all; its text is one line that a user can act on."""


class UsageError(MasegError):
    """Options that make no sense, alone or together."""


class DatasetError(MasegError):
    """A data set on disk is missing, incomplete or inconsistent."""


class PlanError(MasegError):
    """A plan template or a plans file can't be used."""


class ModelError(MasegError):
    """A model folder is missing, incomplete, of another kind, or not safe to load."""


class OutputError(MasegError):
    """A result can't be written."""


class Reason(str, Enum):
    """Why a file was refused; the value is what rejected.csv and the reports show."""

    UNREADABLE = "unreadable"
    NOT_DICOM = "not DICOM"
    WRONG_MODALITY = "other modality"
    MULTI_FRAME = "multi-frame"
    NO_PIXELS = "no pixel data"
    TRUNCATED = "truncated"
    NO_DECODER = "no decoder"
    COLOUR = "colour"
    NO_SPACING = "no spacing"
    BAD_SPACING = "impossible spacing"
    TOO_LARGE = "too large"
    NO_LUT = "no usable look-up table"
    CONSTANT = "one constant value"
    SPECIMEN = "specimen"
    SPECIAL_VIEW = "magnification, spot or implant-displaced view"
    DUPLICATE = "duplicate SOPInstanceUID"
    NO_MASK = "mask missing"
    MASK_SIZE = "mask of another size"
    MASK_LABELS = "mask with another label"
    MASK_UNREADABLE = "mask unreadable"


class RefusedError(MasegError):
    """One input file can't be used.

    `reason` is the class of the refusal, `detail` the sentence for the user (never a value of a header that could
    identify a patient, never a path: the caller knows which file it was).
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[RefusedError], tuple[Reason, str]]:
        # The default pickles `args`, which holds one string: a refusal must survive the way back from a worker process.
        return type(self), (self.reason, self.detail)


def reason_of(error: Exception) -> str:
    """What the user is told of an exception that this project did not raise: its own text may quote a header."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # PyTorch and OpenCV have errors of their own, or only words, for memory that can't be had.
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "allocate" in str(error):
        return "out of memory: do fewer at a time, or where there is more"
    return f"internal error: {type(error).__name__}"


def as_text(name: str) -> str:
    """A file's name that can be shown and written: it may hold bytes that are no text."""
    return name.encode("utf-8", "replace").decode("utf-8")


def place_of(error: Exception) -> str:
    """Where `error` was raised, line by line, for --debug; without its text."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
