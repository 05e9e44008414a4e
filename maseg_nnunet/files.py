"""Files on disk: write them so that nobody sees one half-written, walk folders without loops, recognise changed files.

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
"""Prefix of the names of files that are being written, or were when their process was killed."""


@contextmanager
def atomic(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Write a file so that it appears only when it is complete.

    Args:
        path: The file. Missing folders are created.
        mode: Its permissions; None for those of any new file.

    Yields:
        A temporary path beside `path`. It is renamed to `path` at the end of the block and deleted on any error. It has
        the suffixes of `path`, because libraries choose the format by them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(_USUAL_MODE if mode is None else mode)
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, name):
            error.filename = str(path)  # a full disk names no file, or one that the user does not know
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _usual_mode() -> int:
    """The permissions that `open` gives to a new file; mkstemp gives 0600."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


# Asked once: to read the umask is to set it, and two threads at once could leave the process without one.
_USUAL_MODE = _usual_mode()


def write_bytes(path: Path, data: bytes) -> bool:
    """Write a file as `atomic` does, unless it already has these bytes.

    Returns:
        Whether it was written.
    """
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return False
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    return True


def write_text(path: Path, text: str) -> bool:
    """As `write_bytes`, for text: UTF-8, line ends unchanged."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> bool:
    """As `write_bytes`, for JSON: indented by two spaces, keys in the given order. Raises ValueError for NaN."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock while the block runs.

    The lock belongs to this process and not to processes that it forks, and it ends with the process. It has no effect
    on Windows and on file systems without locks.

    Args:
        path: The file. It is created if it is missing, and stays.

    Raises:
        OutputError: Another process holds the lock.
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


def csv_text(name: str) -> str:
    """A name as a cell of a CSV file. One that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@") else name


def stamp(path: Path) -> str:
    """16 hexadecimal digits that change if the file at `path` is modified or replaced: its size and modification time.

    "" if the file can't be accessed.
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
        folder: The folder to start from.
        skip: A folder that is not entered. It may be created while the walk runs.

    Yields:
        Each folder, with the sorted names of everything in it that is not a folder, or with the error if it could not
        be listed.
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
    """Whether `path` is a folder. False if it can't be accessed, such as a link to itself."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def size_of(path: Path) -> int | None:
    """Bytes of the file `path`; None if it is not a file or can't be accessed, such as a name that is too long."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None


def gzipped(data: bytes, level: int = 2) -> bytes:
    """Compress with gzip (RFC 1952), without a time stamp or a name, so that equal data gives equal bytes.

    zlib-ng does it, which is faster and compresses masks better than zlib; zlib if imagecodecs was built without it.

    Args:
        data: The bytes.
        level: 2 is best for masks; 1 is faster for images and makes them a little larger.
    """
    import imagecodecs

    if not imagecodecs.ZLIBNG.available:
        return gzip.compress(data, compresslevel=level, mtime=0)
    blocks = imagecodecs.zlibng_encode(data, level)[2:-4]  # without the header and checksum of RFC 1950
    header = b"\x1f\x8b\x08" + bytes(5) + b"\x04\xff"  # deflate, fastest, unknown system
    return header + blocks + struct.pack("<II", imagecodecs.zlibng_crc32(data), len(data) & 0xFFFFFFFF)
