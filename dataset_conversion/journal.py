"""The journal of a conversion: one line per finished case, so that a killed run resumes where it stopped.

Each line is the outcome of one case, under the case's signature: a hash of everything that its files and its row of the
manifest depend on. The files that describe the data set are written from these outcomes. The journal is kept
afterwards, sorted, so that a second run sees that nothing has changed.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from maseg_nnunet.dataset.manifest import ManifestRow
from maseg_nnunet.dataset_conversion.convert_case import Converted
from maseg_nnunet.dataset_conversion.scan import Rejected
from maseg_nnunet.errors import Reason
from maseg_nnunet.files import write_text

JOURNAL: Final = ".journal.jsonl"

CaseOutcome = Converted | Rejected


class ConversionJournal:
    """The outcome of each case by its signature, appended as cases finish. Use it as a context manager to add to it.

    Attributes:
        outcomes: What the file contains, and what was added since.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._stream: IO[str] | None = None
        self.outcomes = self._read()

    def _read(self) -> dict[str, CaseOutcome]:
        outcomes: dict[str, CaseOutcome] = {}
        if not self._path.is_file():
            return outcomes
        for line in self._path.read_bytes().splitlines():
            try:
                entry = json.loads(line.decode("utf-8"))
                outcomes[entry["signature"]] = _outcome(entry)
            except (ValueError, KeyError, TypeError):
                continue  # cut off by a kill, damaged, or of another version: the case is converted again
        return outcomes

    def __enter__(self) -> ConversionJournal:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished_line = self._path.is_file() and not self._path.read_bytes().endswith(b"\n")
        self._stream = self._path.open("a", encoding="utf-8")
        if unfinished_line:
            self._stream.write("\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def add(self, signature: str, outcome: CaseOutcome) -> None:
        """Append one outcome. It is flushed to the operating system before this returns, so a kill loses nothing."""
        if self._stream is None:
            raise RuntimeError("the journal is not open")
        self.outcomes[signature] = outcome
        self._stream.write(_line(signature, outcome))
        self._stream.flush()

    def sync(self) -> None:
        """Force what was appended to the disk."""
        if self._stream is not None:
            os.fsync(self._stream.fileno())

    def keep(self, signatures: set[str]) -> None:
        """Rewrite the journal with only the entries of `signatures`, sorted."""
        kept = [_line(signature, self.outcomes[signature]) for signature in sorted(signatures)]
        write_text(self._path, "".join(kept))


def _line(signature: str, outcome: CaseOutcome) -> str:
    if isinstance(outcome, Converted):
        entry: dict[str, Any] = {"signature": signature, "row": asdict(outcome.row), "luts": outcome.luts}
    else:
        entry = {
            "signature": signature,
            "number": outcome.number,
            "reason": outcome.reason.name,
            "detail": outcome.detail,
            "case": outcome.case,
        }
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _outcome(entry: dict[str, Any]) -> CaseOutcome:
    if "row" in entry:
        return Converted(ManifestRow(**entry["row"]), entry["luts"])
    return Rejected(entry["number"], Reason[entry["reason"]], entry["detail"], entry["case"])
