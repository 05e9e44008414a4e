"""Reading the headers of the input: unexpected files, folders and errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset
from tests.commands import stumbling
from tests.dataset_conversion.helpers import exams_request


def test_a_header_nobody_thought_of_is_rejected_and_not_quoted(exams: Path, tmp_path: Path, key: Path) -> None:
    """The PatientID is a sequence that contains an integer of three bytes."""
    shutil.copytree(exams / "fuji", tmp_path / "in")
    path = next((tmp_path / "in" / "images").rglob("*.dcm"))
    content = path.read_bytes()
    at = content.index(b"\x10\x00\x20\x00LO")
    size = int.from_bytes(content[at + 6 : at + 8], "little")
    item = b"\x28\x00\x10\x00US\x03\x00abc"
    sequence = b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
    header = b"\x10\x00\x20\x00SQ\x00\x00" + len(sequence).to_bytes(4, "little")
    path.write_bytes(content[:at] + header + sequence + content[at + 8 + size :])
    report = convert_dataset(exams_request(tmp_path / "in", "fuji", tmp_path / "out", key))
    # Without a PatientID, its study counts as a separate woman.
    assert report["found"]["images"] == 8


def test_an_error_while_headers_are_read_rejects_one_file(
    exams: Path, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import maseg_nnunet.readers

    first = next((exams / "fuji" / "images").rglob("*.dcm"))
    monkeypatch.setattr(maseg_nnunet.readers, "read_header", stumbling(maseg_nnunet.readers.read_header, first.name))
    assert convert_dataset(exams_request(exams, "fuji", tmp_path / "out", key))["found"]["images"] == 7
    rejected = (tmp_path / "out" / "rejected.csv").read_text()
    assert "unexpected IndexError" in rejected and "secret" not in rejected


def test_files_without_ending_and_links_in_a_loop(exams: Path, tmp_path: Path, key: Path) -> None:
    base = tmp_path / "deep"
    (base / "images" / "a" / "b" / "c").mkdir(parents=True)
    shutil.copytree(exams / "fuji" / "masks", base / "masks")
    for path in (exams / "fuji" / "images").rglob("*.dcm"):
        shutil.copy(path, base / "images" / "a" / "b" / "c" / path.stem)
    (base / "images" / "a" / "b" / "loop").symlink_to(base / "images")
    report = convert_dataset(exams_request(base, "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8
