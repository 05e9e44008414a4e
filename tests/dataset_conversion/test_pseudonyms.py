from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maseg_nnunet.dataset_conversion.pseudonyms import (
    KeyFile,
    Pseudonyms,
    default_key_file,
    drawing_number,
    load_key,
)
from maseg_nnunet.errors import DatasetError

KEY = bytes(range(32))


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_different_fields_never_read_the_same(first: tuple[str, str], second: tuple[str, str]) -> None:
    names = Pseudonyms(KEY)
    assert (names.of("woman", *first) == names.of("woman", *second)) == (first == second)


def test_where_one_field_ends_matters() -> None:
    names = Pseudonyms(KEY)
    assert names.of("woman", "12", "3") != names.of("woman", "1", "23")
    assert drawing_number(0, "12", "3") != drawing_number(0, "1", "23")


def test_names_depend_on_the_key_and_the_drawing_does_not() -> None:
    assert Pseudonyms(KEY).of("woman", "4711") != Pseudonyms(KEY[::-1]).of("woman", "4711")
    assert drawing_number(0, "4711") != drawing_number(1, "4711")


def test_the_key_is_not_shown() -> None:
    assert repr(Pseudonyms(KEY)) == "Pseudonyms()"


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    key = load_key()
    assert len(key) == 32
    assert load_key() == key
    assert stat.S_IMODE(default_key_file().stat().st_mode) == 0o600


def test_without_a_home_or_with_an_unwritable_one_the_message_names_key_and_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/proc/nowhere")
    with pytest.raises(DatasetError, match=r"pseudonyms.*/proc/nowhere.*--key-file"):
        load_key()

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(DatasetError, match=r"home folder.*--key-file"):
        load_key()


@pytest.mark.parametrize("content", [None, b"", b"short", bytes(33)])
def test_a_bad_key_file_is_an_error_not_a_new_key(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DatasetError, match="key file"):
        load_key(file)
    assert file.exists() == (content is not None)


def test_another_key_on_a_worker_is_an_error_not_other_names(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY)
    key = KeyFile.of(file)
    assert key.load() == KEY and key.path.is_absolute() and KEY.hex() not in repr(key)
    file.write_bytes(KEY[::-1])
    with pytest.raises(DatasetError, match="another key"):
        key.load()
    file.unlink()
    with pytest.raises(DatasetError, match="key file"):
        key.load()
    assert not file.exists(), "a worker must not make a key"
