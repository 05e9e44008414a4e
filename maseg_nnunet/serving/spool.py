"""Files on their way through `maseg serve`: on disk at every step, so that a restart goes on where the last run ended.

::

    received/   acknowledged to the sender, waiting for the network
    working/    being segmented; what is found here at a start was being segmented when the last run died
    ready/      the results, waiting to be sent
    failed/     what could not be segmented, and results (NAME_seg.dcm) that were refused, each beside a text file with
                the reason; moved back to received and ready they are tried again at the next start

A file is in one of them at a time, moved by renaming. Names are made here from the time and chance, never from a
header, so that they may be logged. Not for deciding what is done with a file (`serving/server.py`).
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Final

from maseg_nnunet.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two servers from one folder there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

FOLDERS: Final = ("received", "working", "ready", "failed")
_TEMPORARY: Final = ".tmp-"
_RESULT: Final = "_seg"
_AGAIN: Final = ".again"
"""In the name of a file whose segmentation did not end; if the next one does not either, the file is to blame."""


class SpoolFullError(Exception):
    """No room for another file: too many wait, or the disk is nearly full."""


class Spool:
    """The four folders below `folder`, for one process at a time. A context manager.

    `limit`: files that may wait, in received, working and ready together. `reserve`: bytes of the disk left free.
    `received` and `ready` hold the names to work on, in order; None in either tells its reader to end. Raises
    OutputError where the folder can't be made or another process holds it.
    """

    def __init__(self, folder: Path, limit: int = 1000, reserve: int = 1 << 30) -> None:
        self.folder = folder
        self.limit = limit
        self.reserve = reserve
        self.received: SimpleQueue[str | None] = SimpleQueue()
        self.ready: SimpleQueue[str | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._arriving = 0
        self._held: IO[str] | None = None

    def __enter__(self) -> Spool:
        try:
            for name in FOLDERS:
                (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
            self._held = (self.folder / "lock").open("w")
            if fcntl is not None:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._close()
            raise OutputError(f"{self.folder} is used by another maseg serve: give this one its own folder") from error
        except OSError as error:
            self._close()
            raise OutputError(f"{self.folder} can't be used: {error.strerror}") from error
        self._recover()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def waiting(self) -> int:
        """How many files are on their way."""
        return sum(len(self._names(folder)) for folder in ("received", "working", "ready"))

    def store(self, data: bytes) -> str:
        """Keep `data` as a received file and return its name; it is safely on the disk before this returns.

        Raises SpoolFullError where there is no room, OSError where the disk refuses.
        """
        with self._lock:
            if self.waiting() + self._arriving >= self.limit:
                raise SpoolFullError(f"{self.limit} files are waiting")
            if shutil.disk_usage(self.folder).free < self.reserve + len(data):
                raise SpoolFullError("the disk is nearly full")
            self._arriving += 1
        try:
            name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.dcm"
            temporary = self.folder / "received" / (_TEMPORARY + name)
            try:
                temporary.write_bytes(data)
                self._move(temporary, self.folder / "received" / name)
            finally:
                temporary.unlink(missing_ok=True)
        finally:
            with self._lock:
                self._arriving -= 1
        self.received.put(name)
        return name

    def begin(self, name: str) -> tuple[Path, Path]:
        """Take a received file to work on: where it is now, and where its result is to be written."""
        working = self.folder / "working" / name
        (self.folder / "received" / name).replace(working)
        return working, working.with_name(f"{_TEMPORARY}{name}")

    def finish(self, name: str) -> None:
        """Its result is written: make it ready to be sent, and let go of the received file."""
        working = self.folder / "working" / name
        self._move(working.with_name(f"{_TEMPORARY}{name}"), self.folder / "ready" / name)
        working.unlink()
        self.ready.put(name)

    def result(self, name: str) -> Path:
        """Where a result lies that is ready to be sent."""
        return self.folder / "ready" / name

    def sent(self, name: str) -> None:
        """The result has been sent: let go of it."""
        self.result(name).unlink()

    def put_back(self, name: str) -> None:
        """Its segmentation failed for no fault of its own: it is received once more."""
        (self.folder / "working" / name).replace(self.folder / "received" / name)

    def drop(self, name: str) -> None:
        """Let go of a file that is being worked on."""
        (self.folder / "working" / name).unlink()

    def fail(self, folder: str, name: str, reason: str) -> None:
        """Move a file of `folder` (working or ready) to failed, with the reason beside it."""
        kept = self.folder / "failed" / name.replace(_AGAIN, "")
        if folder == "ready":
            kept = kept.with_stem(kept.stem.removesuffix(_RESULT) + _RESULT)
        with suppress(FileNotFoundError):  # somebody took it away: the reason is worth keeping all the same
            (self.folder / folder / name).replace(kept)
        (self.folder / "working" / f"{_TEMPORARY}{name}").unlink(missing_ok=True)
        try:
            kept.with_suffix(".txt").write_text(reason + "\n", encoding="utf-8")
        except OSError as error:
            logger.error("%s: the reason could not be written: %s", name, error.strerror)

    def _recover(self) -> None:
        """Sort out what the last run left, and queue it."""
        for folder in FOLDERS:
            for leftover in (self.folder / folder).glob(f"{_TEMPORARY}*"):
                leftover.unlink()
        for name in self._names("working"):
            if _AGAIN in name:
                self.fail("working", name, "the server died twice while this file was segmented")
                logger.error("%s: the server died twice while it was segmented; see failed", name)
            else:
                again = name.replace(".dcm", f"{_AGAIN}.dcm")
                (self.folder / "working" / name).replace(self.folder / "received" / again)
        for queue, folder in ((self.received, "received"), (self.ready, "ready")):
            for name in self._names(folder):
                queue.put(name)

    def _names(self, folder: str) -> list[str]:
        names = (path.name for path in (self.folder / folder).iterdir())
        return sorted(name for name in names if not name.startswith(_TEMPORARY))

    def _move(self, written: Path, path: Path) -> None:
        """Rename `written` to `path`, both durably: the bytes are on the disk, then the name, before this returns."""
        with written.open("rb+") as stream:
            os.fsync(stream.fileno())
        written.replace(path)
        if os.name == "posix":
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def _close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
