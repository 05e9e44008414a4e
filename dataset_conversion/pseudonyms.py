"""Names without identity: women, exams and images are named by keyed hashes, which nobody can reverse without the key.

A woman's name is the keyed BLAKE2b hash of PatientID and its issuer. The length of each field is hashed before the
field, so that no two pairs of fields give the same bytes. The key is random. It is made once in the user's data folder,
or read from a file that the user names.
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
    """The key file that is used if the user names none.

    Raises:
        DatasetError: The user has no home folder, as in a container with an unknown user id.
    """
    try:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise DatasetError("there is no home folder for the key of the pseudonyms: give --key-file") from error
    return Path(base) / "maseg-nnunet" / "pseudonym.key"


def load_key(path: Path | None = None) -> bytes:
    """Read the key from `path`, or from the user's own key file, which is created (mode 0600) on first use.

    Raises:
        DatasetError: The key file is missing or unreadable, can't be created, or does not have `KEY_BYTES` bytes.
    """
    file = path or default_key_file()
    try:
        if path is None and not file.exists():
            _make_key(file)
    except OSError as error:
        raise DatasetError(
            f"the key of the pseudonyms can't be written to {file} ({error.strerror}): give --key-file"
        ) from error
    try:
        key = file.read_bytes()
    except OSError as error:
        raise DatasetError(f"the key file {file} can't be read ({error.strerror}): check --key-file") from error
    if len(key) != KEY_BYTES:
        raise DatasetError(f"the key file {file} has {len(key)} bytes, not {KEY_BYTES}: make one of random bytes")
    return key


def _make_key(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(secrets.token_bytes(KEY_BYTES))
    try:
        os.link(temporary, file)  # unlike a rename, it fails if another process was first
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


@dataclass(frozen=True)
class KeyFile:
    """The path of a key file, and a hash of its key: with another key, a worker would give women other names.

    Attributes:
        path: Absolute path of the file.
        digest: Hash of the key.
    """

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path | None = None) -> KeyFile:
        """Describe the key file at `path`, or the user's own. Creates and raises as `load_key` does."""
        key = load_key(path)
        return cls((path or default_key_file()).absolute(), cls._digest(key))

    def load(self) -> bytes:
        """Read the key.

        Raises:
            DatasetError: The file is missing, or contains another key, as may happen on a cluster.
        """
        key = load_key(self.path)
        if self._digest(key) != self.digest:
            raise DatasetError(f"a worker's key file {self.path} contains another key: copy this machine's file to it")
        return key

    @staticmethod
    def _digest(key: bytes) -> str:
        return hashlib.blake2b(key, digest_size=8, person=b"key").hexdigest()


@dataclass(frozen=True)
class Pseudonyms:
    """Makes names with one key."""

    key: bytes = field(repr=False)

    def of(self, kind: str, *fields: str, digits: int = 16) -> str:
        """The name of whatever `fields` identify.

        Args:
            kind: Keeps women, exams and images apart that have the same fields.
            fields: For example PatientID and its issuer.
            digits: Length of the name, in hexadecimal digits.
        """
        hasher = hashlib.blake2b(key=self.key, person=kind.encode()[:16])
        hasher.update(_length_prefixed(fields))
        return hasher.hexdigest()[:digits]


def drawing_number(seed: int, *fields: str) -> int:
    """A woman's place in the drawing of the split. It depends on the seed and on her identity, not on the key.

    It is only compared with others and never written to disk.
    """
    return int.from_bytes(hashlib.blake2b(_length_prefixed((str(seed), *fields)), digest_size=8).digest(), "big")


def _length_prefixed(fields: tuple[str, ...]) -> bytes:
    encoded = [text.encode("utf-8", "surrogatepass") for text in fields]
    return b"".join(len(text).to_bytes(4, "big") + text for text in encoded)
