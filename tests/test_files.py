import gzip
import json
import os
import stat
from pathlib import Path

import pytest

from maseg_nnunet.files import atomic, csv_text, gzipped, write_bytes, write_json, write_text


def test_a_file_appears_whole_in_folders_that_were_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "mask.nii.gz"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="disk"), atomic(path) as temporary:
        temporary.write_bytes(b"half")
        raise OSError("disk full")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_is_that_of_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "ours")}
    assert len(modes) == 1


def test_equal_bytes_are_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_bytes(path, b"abc")
    os.utime(path, ns=(1, 1))
    assert not write_bytes(path, b"abc")
    assert path.stat().st_mtime_ns == 1
    assert write_bytes(path, b"abd")
    assert path.read_bytes() == b"abd"


def test_text_and_json(tmp_path: Path) -> None:
    assert write_text(tmp_path / "text", "ü\r\n")
    assert (tmp_path / "text").read_bytes() == "ü\r\n".encode()
    assert write_json(tmp_path / "json", {"b": [1, 2.5], "a": "ü"})
    assert (tmp_path / "json").read_text("utf-8").startswith('{\n  "b"')
    assert json.loads((tmp_path / "json").read_text("utf-8")) == {"b": [1, 2.5], "a": "ü"}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "nan", {"a": float("nan")})
    assert not (tmp_path / "nan").exists()


def test_gzip_without_time_or_name() -> None:
    data = bytes(range(256)) * 40
    assert gzip.decompress(gzipped(data)) == data
    assert gzipped(data) == gzipped(data)
    assert gzipped(data)[4:8] == b"\0\0\0\0"  # RFC 1952: MTIME
    assert gzipped(data)[3] == 0  # no name, no comment


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, atomic(tmp_path / "result.json"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "result.json")


def test_names_are_cells_and_not_formulas() -> None:
    assert [csv_text(name) for name in ("=1+1", "+x", "-x.dcm", "@x", "a=b", "")] == [
        "'=1+1", "'+x", "'-x.dcm", "'@x", "a=b", "",
    ]  # fmt: skip
