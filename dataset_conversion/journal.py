"""The journal of a conversion: one line per finished file, so that a killed run resumes where it was.

It holds what the final files are made of, by signature: a hash of the source, its mask (path, size, time of change)
and the settings. It is kept afterwards, sorted, and lets a second run see that nothing changed.
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
    """Outcomes by signature, appended as they come. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._stream: IO[str] | None = None
        self.outcomes = self._read()

    def _read(self) -> dict[str, CaseOutcome]:
        outcomes: dict[str, CaseOutcome] = {}
        if not self._path.is_file():
            return outcomes
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                outcomes[entry["signature"]] = _outcome(entry)
            except (ValueError, KeyError, TypeError):
                continue  # the line that a kill cut off, or one of another version: its file is converted again
        return outcomes

    def __enter__(self) -> ConversionJournal:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torn = self._path.is_file() and not self._path.read_bytes().endswith(b"\n")
        self._stream = self._path.open("a", encoding="utf-8")
        if torn:
            self._stream.write("\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def add(self, signature: str, outcome: CaseOutcome) -> None:
        """Append one outcome; it is with the operating system before this returns, so that a kill loses nothing."""
        if self._stream is None:
            raise RuntimeError("the journal is not open")
        self.outcomes[signature] = outcome
        self._stream.write(_line(signature, outcome))
        self._stream.flush()

    def sync(self) -> None:
        """Force what was appended onto the disk."""
        if self._stream is not None:
            os.fsync(self._stream.fileno())

    def keep(self, signatures: set[str]) -> None:
        """Rewrite the journal sorted and with these entries alone."""
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
