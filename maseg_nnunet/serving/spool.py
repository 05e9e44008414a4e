"""Files on their way through `maseg serve`. They are on disk at every step, so a restart continues with all of them.

::

    received/   acknowledged to the sender, waiting to be segmented
    working/    being segmented; a file that is here at a start was being segmented when the last run died
    ready/      results, waiting to be sent
    failed/     images that could not be segmented and results (NAME_seg.dcm) that were refused, each with the reason
                in a text file; moved back to received and ready, they are retried at the next start

A file is in one folder at a time and is moved by renaming. Names are made from the time and a random number, never
from a header, so they may be logged. What to do with a file is up to `server.py`.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Final

from maseg_nnunet.errors import OutputError
from maseg_nnunet.files import UNFINISHED, locked

logger = logging.getLogger(__name__)

FOLDERS: Final = ("received", "working", "ready", "failed")
_LOCK: Final = "lock"
_RESULT: Final = "_seg"
_AGAIN: Final = ".again"
"""Part of the name of a file whose segmentation was cut off once. If it happens again, the file is to blame."""


class SpoolFullError(Exception):
    """There is no room for another file: too many wait, or the disk is nearly full."""


class Spool:
    """The four folders below `folder`. Use it as a context manager; only one process can enter it at a time.

    Args:
        folder: The folder of the spool. It is created if it is missing, and only its owner may look in.
        limit: Number of files that may wait in received, working and ready together.
        reserve: Bytes of the disk to leave free.

    Attributes:
        received: Names of received files in the order of arrival. None tells the reader to end.
        ready: Names of results that are ready to be sent. None tells the reader to end.

    Raises:
        OutputError: On entering, if the folder can't be used or another process uses it.
    """

    def __init__(self, folder: Path, limit: int = 1000, reserve: int = 1 << 30) -> None:
        self.folder = folder
        self.limit = limit
        self.reserve = reserve
        self.received: SimpleQueue[str | None] = SimpleQueue()
        self.ready: SimpleQueue[str | None] = SimpleQueue()
        self._held = ExitStack()
        self._counting = threading.Lock()
        self._arriving = 0

    def __enter__(self) -> Spool:
        try:
            for name in FOLDERS:
                (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
            self._held.enter_context(locked(self.folder / _LOCK))
        except OutputError as error:
            raise OutputError(f"{self.folder} is used by another maseg serve: give this one its own folder") from error
        except OSError as error:
            raise OutputError(f"{self.folder} can't be used: {error.strerror}") from error
        self._recover()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def waiting(self) -> int:
        """Number of files that are on their way."""
        return sum(len(self._names(folder)) for folder in ("received", "working", "ready"))

    def store(self, data: bytes) -> str:
        """Write a received file. It is safely on the disk before this returns.

        Args:
            data: The whole DICOM file.

        Returns:
            The name of the file in the spool.

        Raises:
            SpoolFullError: There is no room for it.
            OSError: It could not be written.
        """
        with self._counting:
            if self.waiting() + self._arriving >= self.limit:
                raise SpoolFullError(f"{self.limit} files are waiting")
            if shutil.disk_usage(self.folder).free < self.reserve + len(data):
                raise SpoolFullError("the disk is nearly full")
            self._arriving += 1
        try:
            name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.dcm"
            temporary = self.folder / "received" / (UNFINISHED + name)
            try:
                temporary.write_bytes(data)
                _move_durably(temporary, self.folder / "received" / name)
            finally:
                temporary.unlink(missing_ok=True)
        finally:
            with self._counting:
                self._arriving -= 1
        self.received.put(name)
        return name

    def begin(self, name: str) -> tuple[Path, Path]:
        """Move a received file to working; return its path there and the path to write its result to."""
        working = self.folder / "working" / name
        (self.folder / "received" / name).replace(working)
        return working, working.with_name(f"{UNFINISHED}{name}")

    def finish(self, name: str) -> None:
        """Move the result of a file, which has been written, to ready and delete the file."""
        working = self.folder / "working" / name
        _move_durably(working.with_name(f"{UNFINISHED}{name}"), self.folder / "ready" / name)
        working.unlink()
        self.ready.put(name)

    def result(self, name: str) -> Path:
        """Path of a result that is ready to be sent."""
        return self.folder / "ready" / name

    def sent(self, name: str) -> None:
        """Delete a result that has been sent."""
        self.result(name).unlink()

    def put_back(self, name: str) -> None:
        """Move a file from working back to received: its segmentation failed through no fault of its own."""
        (self.folder / "working" / name).replace(self.folder / "received" / name)

    def drop(self, name: str) -> None:
        """Delete a file that is in working."""
        (self.folder / "working" / name).unlink()

    def fail(self, folder: str, name: str, reason: str) -> None:
        """Move a file from `folder` (working or ready) to failed and write the reason beside it."""
        kept = self.folder / "failed" / name.replace(_AGAIN, "")
        if folder == "ready":
            kept = kept.with_stem(kept.stem.removesuffix(_RESULT) + _RESULT)
        with suppress(FileNotFoundError):  # somebody took it away: the reason is still worth keeping
            (self.folder / folder / name).replace(kept)
        (self.folder / "working" / f"{UNFINISHED}{name}").unlink(missing_ok=True)
        try:
            kept.with_suffix(".txt").write_text(reason + "\n", encoding="utf-8")
        except OSError as error:
            logger.error("%s: the reason could not be written: %s", name, error.strerror)

    def _recover(self) -> None:
        """Delete unfinished files of the last run and queue all others."""
        for folder in FOLDERS:
            for leftover in (self.folder / folder).glob(f"{UNFINISHED}*"):
                leftover.unlink()
        for name in self._names("working"):
            if _AGAIN in name:
                self.fail("working", name, "the server died twice while it segmented this file")
                logger.error("%s: the server died twice while it segmented this file; see failed", name)
            else:
                again = name.replace(".dcm", f"{_AGAIN}.dcm")
                (self.folder / "working" / name).replace(self.folder / "received" / again)
        for queue, folder in ((self.received, "received"), (self.ready, "ready")):
            for name in self._names(folder):
                queue.put(name)

    def _names(self, folder: str) -> list[str]:
        names = (path.name for path in (self.folder / folder).iterdir())
        return sorted(name for name in names if not name.startswith(UNFINISHED))


def _move_durably(written: Path, path: Path) -> None:
    """Rename `written` to `path`. First its bytes and then its name are on the disk before this returns."""
    with written.open("rb+") as stream:
        os.fsync(stream.fileno())
    written.replace(path)
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
