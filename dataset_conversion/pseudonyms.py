"""Names without identity: women, exams and images by keyed hashes. Nothing here is reversible without the key.

A woman is the keyed BLAKE2b hash of PatientID and its issuer, each field preceded by its length so that no two pairs
of fields read the same. The key is random, made once in the user's data folder, or given by a file.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from maseg_nnunet.errors import DatasetError

KEY_BYTES: Final = 32


def default_key_file() -> Path:
    """Where the key lies when the user names none."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "maseg-nnunet" / "pseudonym.key"


def load_key(path: Path | None = None) -> bytes:
    """The key in `path`, which must exist, or the user's own, which is made (mode 0600) at its first use.

    Raises DatasetError where a key is missing, unreadable or of another length than 32 bytes.
    """
    file = path or default_key_file()
    if path is None and not file.exists():
        _make_key(file)
    try:
        key = file.read_bytes()
    except OSError as error:
        raise DatasetError(f"the key file {file} can't be read ({error.strerror}): check --key-file") from error
    if len(key) != KEY_BYTES:
        raise DatasetError(f"the key file {file} holds {len(key)} bytes, not {KEY_BYTES}: make one of random bytes")
    return key


def _make_key(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(secrets.token_bytes(KEY_BYTES))
    try:
        os.link(temporary, file)  # unlike rename, fails where another process was first
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


@dataclass(frozen=True)
class KeyFile:
    """Where a key lies, and which it is: a worker with another key would call a woman by another name."""

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path | None = None) -> KeyFile:
        """As `load_key`."""
        key = load_key(path)
        return cls((path or default_key_file()).absolute(), cls._digest(key))

    def load(self) -> bytes:
        """The key. Raises DatasetError where it is missing, or another one lies there, as it may on a cluster."""
        key = load_key(self.path)
        if self._digest(key) != self.digest:
            raise DatasetError(f"the key file {self.path} of a worker holds another key: copy this machine's to it")
        return key

    @staticmethod
    def _digest(key: bytes) -> str:
        return hashlib.blake2b(key, digest_size=8, person=b"key").hexdigest()


@dataclass(frozen=True)
class Pseudonyms:
    """Makes names under one key."""

    key: bytes = field(repr=False)

    def of(self, kind: str, *fields: str, digits: int = 16) -> str:
        """`digits` hexadecimal digits for `fields`; `kind` keeps women, exams and images apart."""
        hasher = hashlib.blake2b(key=self.key, person=kind.encode()[:16])
        hasher.update(_length_prefixed(fields))
        return hasher.hexdigest()[:digits]


def drawing_number(seed: int, *fields: str) -> int:
    """A woman's place in the drawing of the split: it depends on the seed and on her, not on the key.

    It is compared and thrown away, never written.
    """
    return int.from_bytes(hashlib.blake2b(_length_prefixed((str(seed), *fields)), digest_size=8).digest(), "big")


def _length_prefixed(fields: tuple[str, ...]) -> bytes:
    encoded = [text.encode("utf-8", "surrogatepass") for text in fields]
    return b"".join(len(text).to_bytes(4, "big") + text for text in encoded)
