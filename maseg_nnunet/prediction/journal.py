"""The outcome of each file of a prediction: a journal while it runs, and a report at its end.

The journal (outcomes.jsonl in the output folder) gets one line for each file as soon as the file is finished. It stays
there, because --resume reads it. The report and statistics.csv are streamed from it, so only a few numbers for each
file are kept in memory. All three name files by their relative paths. Of a header they contain only flags.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np

from maseg_nnunet.errors import OutputError, UsageError
from maseg_nnunet.files import atomic, locked

JOURNAL: Final = "outcomes.jsonl"
LOCK: Final = ".lock"
"""Locked while a run writes into the folder."""


class Status(str, Enum):
    """Outcome of a file; the value is what the journal and the report show.

    EARLIER: an earlier run finished the file. IGNORED: the file was found in a folder and is not an image.
    """

    DONE = "done"
    EARLIER = "done earlier"
    REFUSED = "refused"
    FAILED = "failed"
    IGNORED = "not an image"

    @property
    def is_bad(self) -> bool:
        """Whether the exit status is 1 because of it."""
        return self in (Status.REFUSED, Status.FAILED)


@dataclass(frozen=True)
class FileOutcome:
    """The outcome of one file, a line of the journal.

    Attributes:
        file: Name of the file, its path relative to the inputs.
        status: The outcome.
        detail: What went wrong, or "".
        stamp: `files.stamp` of the file before it was read.
        outputs: The files that were written, relative to the output folder.
        flags: Values of the flags of the image and of its mask, such as that the mask is empty.
        statistics: Cells of its row of statistics.csv, empty if it was not measured.
        seconds: Duration of each stage in seconds.
    """

    file: str
    status: Status
    detail: str = ""
    stamp: str = ""
    outputs: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


class PredictJournal:
    """A file of outcomes to which each is appended as it comes. Use it as a context manager.

    Args:
        folder: The output folder. It is created if it is missing, and locked while the journal is open.
        settings: The settings that all results in the folder must have been made with, as JSON. They are the journal's
            first line.
        resume: Whether to go on with an existing journal instead of overwriting it.

    Attributes:
        path: The journal's path.

    Raises:
        UsageError: On entering, if the journal to resume was written with other settings.
        OutputError: If the journal can't be written, or another run uses the folder.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        self.path = folder / JOURNAL
        self._settings = json.loads(json.dumps(settings))
        self._resume = resume and self._is_begun()
        self._stream: IO[str] | None = None
        self._lock = ExitStack()
        self._done = np.empty(0, dtype=np.int64)

    def __enter__(self) -> PredictJournal:
        if self._resume:
            self._check_settings()
            self._done = np.unique(np.fromiter(chain.from_iterable(map(_done, self.entries())), dtype=np.int64))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.enter_context(locked(self.path.parent / LOCK))
            self._stream = self.path.open("a" if self._resume else "w", encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise OutputError(
                f"{self.path.parent} can't be written: {error.strerror}; choose another --output"
            ) from error
        # A run that was killed may have left an incomplete line, which this newline ends.
        self._write("\n" if self._resume else json.dumps({"settings": self._settings}) + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def add(self, outcome: FileOutcome) -> None:
        """Append `outcome` and pass it to the operating system, so that it survives the end of this process."""
        self._write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")

    def is_done(self, file: str, stamp: str, outputs: Iterable[str], *, measured: bool) -> bool:
        """Whether an earlier run finished a file, according to the journal as it was when it was opened.

        Args:
            file: Name of the file.
            stamp: Its present stamp.
            outputs: The results that it must have, relative to the output folder.
            measured: Whether it must also have statistics.
        """
        wanted = [_key(file, stamp, part) for part in (_FILE, *outputs, *([_STATISTICS] if measured else []))]
        # The keys are sorted, so a search is fast even in a long journal.
        found = np.searchsorted(self._done, wanted)
        return bool((found < len(self._done)).all() and (self._done[found] == wanted).all())

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the last outcome of each file as a dictionary, in the order of the journal."""
        names = np.fromiter((hash(entry["file"]) for entry in self._lines()), dtype=np.int64)
        _, reverse = np.unique(names[::-1], return_index=True)
        is_last = np.zeros(len(names), dtype=bool)
        is_last[len(names) - 1 - reverse] = True
        for entry, wanted in zip(self._lines(), is_last, strict=True):
            if wanted:
                yield entry

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if "file" in entry:
                    yield entry

    def _is_begun(self) -> bool:
        """Whether there is a journal with a complete first line. A full disk may have left less than that."""
        if not self.path.is_file():
            return False
        with self.path.open("rb") as stream:
            return stream.readline().endswith(b"\n")

    def _check_settings(self) -> None:
        with self.path.open(encoding="utf-8", errors="surrogateescape") as stream:
            try:
                before = json.loads(stream.readline())["settings"]
            except (ValueError, KeyError, TypeError):
                before = None
        if before != self._settings:
            raise UsageError(
                f"{self.path.parent} was predicted with another model or other settings: leave out --resume, "
                "or choose another --output"
            )

    def _write(self, text: str) -> None:
        if self._stream is None:
            raise OutputError(f"{self.path} is closed, because writing to it failed before")
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self._close()
            raise OutputError(
                f"{self.path}: {error.strerror}; finished files are kept, and --resume continues with the others"
            ) from error

    def _close(self) -> None:
        if self._stream is not None:
            with suppress(OSError):  # the failed write was reported before
                self._stream.close()
            self._stream = None
        self._lock.close()


_FILE, _STATISTICS = "", "/"
"""Stand for the file itself and its statistics among the names of its outputs; no relative path equals these."""


def _key(file: str, stamp: str, part: str) -> int:
    return hash((file, stamp, part))


def _done(entry: Mapping[str, Any]) -> Iterator[int]:
    """The keys of a finished file, of its outputs and of its statistics."""
    if entry["status"] == Status.DONE.value:
        for part in (_FILE, *entry.get("outputs", ()), *([_STATISTICS] if entry["statistics"] else [])):
            yield _key(entry["file"], entry.get("stamp", ""), part)


def statistics_rows(journal: PredictJournal) -> Iterator[tuple[str, ...]]:
    """Yield the rows of statistics.csv: the name of each measured file, and its cells."""
    for entry in journal.entries():
        if entry["statistics"]:
            yield entry["file"], *entry["statistics"]


def write_report(path: Path, journal: PredictJournal, head: Mapping[str, Any]) -> None:
    """Write the report as one JSON object.

    Args:
        path: The report's path.
        journal: The outcomes, which become the last entry, "files", one line each.
        head: The other entries.
    """
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape") as stream:
        text = json.dumps(head, indent=2, ensure_ascii=False)
        stream.write(text.removesuffix("\n}") + ',\n  "files": [')
        for index, entry in enumerate(journal.entries()):
            stream.write((",\n    " if index else "\n    ") + json.dumps(entry, ensure_ascii=False))
        stream.write("\n  ]\n}\n")
