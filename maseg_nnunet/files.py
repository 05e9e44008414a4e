"""Files on disk: written so that none is ever seen half-written, listed without loops, recognised when they change.

Not for reading their contents, and not for choosing their names.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from maseg_nnunet.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNFINISHED: Final = ".tmp-"
"""What the names of files begin with that are being written, or were when the process was killed."""


@contextmanager
def atomic(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed to `path`, on any error removed.

    The temporary name keeps the suffixes of `path`, because libraries choose the format by them. `mode` is the file's
    permissions, by default those of any new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(_USUAL_MODE if mode is None else mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _usual_mode() -> int:
    """The permissions an ordinary `open` would give; mkstemp gives 0600."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


# Asked once: reading the mask means setting it, and two threads at that could leave the process without one.
_USUAL_MODE = _usual_mode()


def write_bytes(path: Path, data: bytes) -> bool:
    """Write `data` to `path` unless it is there already, byte for byte; tell whether anything was written."""
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return False
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    return True


def write_text(path: Path, text: str) -> bool:
    """As `write_bytes`, UTF-8 with the line ends as they are."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> bool:
    """As `write_bytes`: two-space indented JSON, keys in the order given, no NaN."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file `path`, made where it is missing, while the block runs.

    The lock is the process's alone, not of what it forks, and ends with it, however that ends. Raises OutputError where
    another process has it. Without effect where files have no locks: on Windows, on some network file systems.
    """
    with path.open("a") as stream:
        if fcntl is not None:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                raise OutputError(f"another process is at work in {path.parent}: wait for it, or end it") from error
            except OSError:
                pass
        yield


def stamp(path: Path) -> str:
    """16 hexadecimal digits of a file's size and time of change: others where another file lies at `path` since.

    "" where it can't be asked.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ""
    return hashlib.blake2b(f"{status.st_size} {status.st_mtime_ns}".encode(), digest_size=8).hexdigest()


def walk(folder: Path, skip: Path | None = None) -> Iterator[tuple[Path, list[str] | OSError]]:
    """Walk a tree of folders, parents before children, in the order of names.

    Symbolic links are followed, but a folder that a link leads back to is not entered again. Hidden files and folders
    are left out. Only the names in one folder are in memory at a time.

    Args:
        folder: the folder to start from.
        skip: a folder that is not entered. It may be created while the walk runs.

    Yields:
        Each folder, with the sorted names of all in it that is not a folder, or with the error that kept it from being
        listed.
    """
    yield from _walk(folder, skip, frozenset())


def _walk(
    folder: Path, skip: Path | None, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[Path, list[str] | OSError]]:
    names: list[str] = []
    folders: list[str] = []
    try:
        identity = _identity(folder)
        if identity in above or (skip is not None and skip.exists() and identity == _identity(skip)):
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if is_folder(entry) else names).append(entry.name)
    except OSError as error:
        yield folder, error
        return
    yield folder, sorted(names)
    for name in sorted(folders):
        yield from _walk(folder / name, skip, above | {identity})


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def is_folder(path: Path | os.DirEntry[str]) -> bool:
    """Whether `path` is known to be a folder; False if the question itself fails, as for a link to itself."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def size_of(path: Path) -> int | None:
    """Bytes of the file `path`; None where it is none, or can't be asked: its name may be too long, for instance."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None


def gzipped(data: bytes, level: int = 2) -> bytes:
    """gzip (RFC 1952) without a time stamp or a name, so that equal data gives equal bytes.

    By zlib-ng, which takes a fifth of zlib's time on a mask at half its size; by zlib where imagecodecs lacks it.
    `level` 2 is the best for masks; 1 takes half its time on an image, at a sixth more bytes.
    """
    import imagecodecs

    if not imagecodecs.ZLIBNG.available:
        return gzip.compress(data, compresslevel=level, mtime=0)
    blocks = imagecodecs.zlibng_encode(data, level)[2:-4]  # what RFC 1950 puts around them goes
    header = b"\x1f\x8b\x08" + bytes(5) + b"\x04\xff"  # deflate, fastest, unknown system
    return header + blocks + struct.pack("<II", imagecodecs.zlibng_crc32(data), len(data) & 0xFFFFFFFF)
