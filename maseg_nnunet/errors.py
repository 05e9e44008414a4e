"""The errors that this project raises on purpose.

::

    MasegError                  one line for the user: what, where, what was expected, what to do
    ├── UsageError              an option is invalid, alone or with another (exit status 2)
    ├── RefusedError            one input file can't be used, for a `Reason`; the run continues without it
    ├── DatasetError            a data set on disk is missing, incomplete or inconsistent
    ├── PlanError               a plan template or a plans file can't be used
    ├── ModelError              a model folder is missing, incomplete, of another kind or unsafe
    └── OutputError             a result can't be written

The command line shows the message and exits with status 1 (2 for `UsageError`).
"""

from __future__ import annotations

import re
import traceback
from enum import Enum
from typing import Final


class MasegError(Exception):
    """Base of all errors here. Its text is one line that a user can act on."""


class UsageError(MasegError):
    """An option is invalid, alone or together with another."""


class DatasetError(MasegError):
    """A data set on disk is missing, incomplete or inconsistent."""


class PlanError(MasegError):
    """A plan template or a plans file can't be used."""


class ModelError(MasegError):
    """A model folder is missing, incomplete, of another kind, or not safe to load."""


class OutputError(MasegError):
    """A result can't be written."""


class Reason(str, Enum):
    """Why a file was refused. rejected.csv and the reports show the value; `meaning` explains it."""

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
    SPECIAL_VIEW = "special view"
    DUPLICATE = "duplicate SOPInstanceUID"
    NO_MASK = "mask missing"
    MASK_SIZE = "mask of another size"
    MASK_LABELS = "mask with another label"
    MASK_UNREADABLE = "mask unreadable"

    @property
    def meaning(self) -> str:
        """What is wrong with the file and what a user can do about it, as one sentence."""
        return _MEANINGS[self]

    @property
    def remedy(self) -> str:
        """What a user can do about it: the part of `meaning` after the colon."""
        return self.meaning.partition(": ")[2].rstrip(".")


_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, also those that change the direction of text, and surrogates."""

_MEANINGS: Final = {
    Reason.UNREADABLE: "The file can't be opened, or its content is damaged: copy or export it again.",
    Reason.NOT_DICOM: "The file is not DICOM, PNG, TIFF, PGM or JPEG, which are read: leave it out, or convert it.",
    Reason.WRONG_MODALITY: "The object is not a mammogram by its SOP class, Modality or body part: leave it out.",
    Reason.MULTI_FRAME: "The object has several frames, as tomosynthesis has: give the synthetic 2D image instead.",
    Reason.NO_PIXELS: "The object has no pixel data, or not of an integer type: export it again with its pixels.",
    Reason.TRUNCATED: "The file ends early: copy it again.",
    Reason.NO_DECODER: "Nothing installed decodes the transfer syntax: do as the message says, or decompress the file.",
    Reason.COLOUR: "The image has colours or transparency: save it as gray, MONOCHROME1 or MONOCHROME2.",
    Reason.NO_SPACING: "The file has no pixel spacing: give it with --spacing-mm.",
    Reason.BAD_SPACING: "The pixel spacing or the size in mm is impossible: correct the header or --spacing-mm.",
    Reason.TOO_LARGE: "The file or image is above the limit of size: check that it is a mammogram.",
    Reason.NO_LUT: "The window, VOI LUT or modality LUT of the header can't be used: ask for the original file.",
    Reason.CONSTANT: "All pixels have the same value, so there is nothing to train on: export the image again.",
    Reason.SPECIMEN: "The image shows tissue removed from the breast: leave it out.",
    Reason.SPECIAL_VIEW: "The image shows only a part of the breast, or is of another kind than a "
    "mammogram: use it with `maseg predict`, not for training.",
    Reason.DUPLICATE: "An image with the same UID or name is kept: remove one, or convert them as separate data sets.",
    Reason.NO_MASK: "No mask, or more than one, fits the image: name masks as images, or list them in a CSV file.",
    Reason.MASK_SIZE: "The mask has other rows and columns than its image: make it on the grid of the image.",
    Reason.MASK_LABELS: "The mask has a value besides background, breast and pectoral muscle: map it with --labels.",
    Reason.MASK_UNREADABLE: "The mask is damaged or in another format: save it as PNG, DICOM SEG, NIfTI, NRRD or MHA.",
}


class RefusedError(MasegError):
    """One input file can't be used.

    Attributes:
        reason: The kind of refusal.
        detail: What was wrong, for the user. It never contains a header's value that could identify a patient, nor a
            path: the caller knows the file.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[RefusedError], tuple[Reason, str]]:
        # By default `args` is pickled, which is one string; a refusal must survive the way back from a worker process.
        return type(self), (self.reason, self.detail)


def reason_of(error: Exception) -> str:
    """What to tell the user about an exception that this project did not raise.

    Its own text may quote a header, so it is not shown.

    Args:
        error: Any exception.

    Returns:
        One line: the operating system's text, that memory ran out, or the name of the exception's class.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # PyTorch and OpenCV do not raise MemoryError: only a class name or the text says that memory ran out.
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "allocate" in str(error):
        return "out of memory: process fewer files at a time, or use a machine with more memory"
    return f"internal error: {type(error).__name__}"


def as_text(name: str) -> str:
    """`name` with bytes that are not UTF-8 and control characters escaped, so that it can be shown and written.

    Two names never become the same text, unless one contains a backslash.
    """
    return _UNPRINTABLE.sub(_escaped, name)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    # Python represents a byte that is not UTF-8 by a surrogate (PEP 383).
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def place_of(error: Exception) -> str:
    """The traceback of `error` for --debug, with the name of its class and without its text."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
