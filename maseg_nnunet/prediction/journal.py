"""What became of each file of a prediction: a journal while it runs, statistics.csv and the report at its end.

The journal (outcomes.jsonl in the output folder) gets one line a file as the files come, and stays: --resume reads it.
The table and the report are streamed out of it, so memory does not grow with the number of files, but for some
numbers each. Names in all three are the input's own relative paths; nothing of a header is in them but flags.
"""

from __future__ import annotations

import csv
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
STATISTICS: Final = "statistics.csv"


class Status(str, Enum):
    """What became of a file. IGNORED: a folder held it and it is no image; EARLIER: a run before this one did it."""

    DONE = "done"
    EARLIER = "done earlier"
    REFUSED = "refused"
    FAILED = "failed"
    IGNORED = "not an image"

    @property
    def is_bad(self) -> bool:
        """Whether it makes the exit status 1."""
        return self in (Status.REFUSED, Status.FAILED)


@dataclass(frozen=True)
class FileOutcome:
    """One file. `stamp`: see `files.stamp`; `detail`: why not, or ""; `outputs`: names relative to the output folder;
    `statistics`: the cells of its row; `seconds`: by stage.
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
    """Outcomes in a file, appended as they come. Use as a context manager.

    `settings` stands in the first line: results of different settings do not mix, so resuming with others raises
    UsageError. Raises OutputError where the folder or the file can't be written, or another run has it.
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
            self._lock.enter_context(locked(self.path.parent / ".lock"))
            self._stream = self.path.open("a" if self._resume else "w", encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise OutputError(
                f"{self.path.parent} can't be written: {error.strerror}; choose another --output"
            ) from error
        # A run that was killed may have left half a line.
        self._write("\n" if self._resume else json.dumps({"settings": self._settings}) + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def add(self, outcome: FileOutcome) -> None:
        """Append `outcome`; it is with the operating system before this returns."""
        self._write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")

    def is_done(self, file: str, stamp: str, outputs: Iterable[str], *, measured: bool) -> bool:
        """Whether the journal, when it was opened, had `file`, of this `stamp`, as done with all of these `outputs`;
        `measured`: with its statistics, too.
        """
        wanted = [_key(file, stamp, part) for part in (_FILE, *outputs, *([_STATISTICS] if measured else []))]
        # The keys are sorted: a search costs little however many files the journal has.
        found = np.searchsorted(self._done, wanted)
        return bool((found < len(self._done)).all() and (self._done[found] == wanted).all())

    def entries(self) -> Iterator[dict[str, Any]]:
        """The outcomes as dictionaries, the last of each file alone, in the order of the journal."""
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
        """Whether there is a journal with its first line: a full disk may have left less, and so nothing to resume."""
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
                f"{self.path.parent} was predicted with another model or other settings: leave --resume out, "
                "or choose another --output"
            )

    def _write(self, text: str) -> None:
        if self._stream is None:
            raise OutputError(f"{self.path} is not open: it could not be written before")
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self._close()
            raise OutputError(
                f"{self.path}: {error.strerror}; what is finished is kept, --resume goes on with the rest"
            ) from error

    def _close(self) -> None:
        if self._stream is not None:
            with suppress(OSError):  # of what was said before
                self._stream.close()
            self._stream = None
        self._lock.close()


_FILE, _STATISTICS = "", "/"
"""What is done of a file beside its outputs; no relative path is like these."""


def _key(file: str, stamp: str, part: str) -> int:
    return hash((file, stamp, part))


def _done(entry: Mapping[str, Any]) -> Iterator[int]:
    """The keys of what is done of a file."""
    if entry["status"] == Status.DONE.value:
        for part in (_FILE, *entry.get("outputs", ()), *([_STATISTICS] if entry["statistics"] else [])):
            yield _key(entry["file"], entry.get("stamp", ""), part)


def write_statistics(journal: PredictJournal, columns: tuple[str, ...]) -> Path:
    """Write statistics.csv from the journal: the file, then `columns`. Returns its path."""
    path = journal.path.parent / STATISTICS
    with (
        atomic(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("file", *columns))
        writer.writerows((entry["file"], *entry["statistics"]) for entry in journal.entries() if entry["statistics"])
    return path


def write_report(path: Path, journal: PredictJournal, head: Mapping[str, Any]) -> None:
    """Write `head`, then "files": one line each, as one JSON object."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape") as stream:
        text = json.dumps(head, indent=2, ensure_ascii=False)
        stream.write(text.removesuffix("\n}") + ',\n  "files": [')
        for index, entry in enumerate(journal.entries()):
            stream.write((",\n    " if index else "\n    ") + json.dumps(entry, ensure_ascii=False))
        stream.write("\n  ]\n}\n")
