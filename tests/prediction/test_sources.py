"""The files that are read, and the names of their results."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from maseg_nnunet.errors import UsageError
from maseg_nnunet.prediction.journal import JOURNAL, Status
from maseg_nnunet.prediction.predict import predict
from maseg_nnunet.prediction.segment_file import PredictSettings
from maseg_nnunet.prediction.sources import Source, find_sources
from tests.prediction.helpers import gradient, write_dicom


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def stems(sources: Iterable[Source]) -> list[str]:
    return [source.stem for source in sources if not source.problem]


def problems(sources: Iterable[Source]) -> dict[str, str]:
    return {source.name: source.problem for source in sources if source.problem}


def test_a_tree_keeps_its_paths_and_stems(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "a/b/x.dcm", "a/y.PNG", "z", "a/.hidden", "DICOMDIR", "a/b/notes.doc")
    touch(exams, "b/dicomdir")
    assert stems(find_sources([exams], tmp_path / "out")) == ["z", "a/y", "a/b/notes.doc", "a/b/x"]


def test_a_name_that_is_a_uid_is_kept_whole(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "1.2.840.5", "1.2.840.6", "1.2.840.6.dcm")
    found = list(find_sources([exams], tmp_path / "out"))
    assert stems(found) == ["1.2.840.5", "1.2.840.6"]
    assert list(problems(found)) == ["1.2.840.6"], "the file with the ending .dcm comes first"


def test_of_two_results_of_one_name_the_second_is_refused(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "x.png", "x.dcm", "x.PGM", "x_preview.png", "sub/x.png")
    found = list(find_sources([exams], tmp_path / "out"))
    assert [source.name for source in found if not source.problem] == ["x.dcm", "sub/x.png"]
    assert set(problems(found)) == {"x.png", "x.PGM", "x_preview.png"}


def test_the_output_folder_in_the_input_folder_is_not_read(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "x.dcm", "out/x.png", "out/deep/y.png", "outside/z.dcm")
    assert stems(find_sources([exams], exams / "out")) == ["x", "outside/z"]
    (tmp_path / "link").symlink_to(exams / "out")
    assert stems(find_sources([exams], tmp_path / "link")) == ["x", "outside/z"]


def test_an_output_folder_that_is_made_during_the_walk_is_not_read(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "x.dcm", "z/y.dcm")
    found = find_sources([exams], exams / "z" / "out")
    first = next(found)
    touch(exams / "z" / "out", "x_preview.png", "deep/x.png")
    assert stems([first, *found]) == ["x", "z/y"]


def test_a_folder_called_dicomdir_is_a_folder(tmp_path: Path) -> None:
    assert stems(find_sources([touch(tmp_path / "cd", "DICOMDIR/z.dcm")], tmp_path / "out")) == ["DICOMDIR/z"]


def test_results_never_go_among_inputs(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "x.png")
    with pytest.raises(UsageError, match="is the input folder"):
        list(find_sources([exams], exams))
    with pytest.raises(UsageError, match="is the input folder"):
        list(find_sources([exams / "x.png"], exams))
    # The result of exams/exams/y.png, predicted into the folder above, would be written to exams/y.png.
    touch(exams, "exams/y.png", "other/z.png")
    found = list(find_sources([exams], tmp_path))
    assert set(problems(found)) == {"exams/y.png"}
    assert stems(found) == ["x", "other/z"]


def test_one_file_is_called_by_its_name(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "a/x.dcm")
    assert stems(find_sources([exams / "a" / "x.dcm"], tmp_path / "out")) == ["x"]


def test_several_inputs_are_relative_to_what_they_share(tmp_path: Path) -> None:
    touch(tmp_path, "one/a/x.dcm", "two/x.dcm", "two/y.dcm")
    inputs = [tmp_path / "one" / "a", tmp_path / "two" / "x.dcm", tmp_path / "two"]
    found = list(find_sources(inputs, tmp_path / "out"))
    assert stems(found) == ["one/a/x", "two/x", "two/y"]
    assert not problems(found), "a file that is named twice is listed once"


def test_a_list_names_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "exams/x.dcm", "more/y.dcm")
    listed = tmp_path / "list.txt"
    listed.write_text(f"exams/x.dcm\n\n{tmp_path / 'more'}\nexams/missing.dcm\n")
    monkeypatch.chdir(tmp_path)
    found = list(find_sources([Path("list.txt")], tmp_path / "out"))
    # Reading reports a missing file, and the run continues.
    assert stems(found) == ["exams/x", "more/y", "exams/missing"]
    assert all(source.path.is_absolute() for source in found)
    listed.write_text("\n")
    with pytest.raises(UsageError, match="empty"):
        list(find_sources([listed], tmp_path / "out"))


def test_a_listed_file_of_the_output_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "x.dcm", "out/x.png")
    found = list(find_sources([tmp_path / "x.dcm", tmp_path / "out" / "x.png"], tmp_path / "out"))
    assert problems(found) == {"out/x.png": "it is in the output folder"}


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "a/x.dcm")
    elsewhere = touch(tmp_path / "elsewhere", "y.dcm")
    (exams / "link").symlink_to(elsewhere)
    (exams / "a" / "circle").symlink_to(exams)
    assert stems(find_sources([exams], tmp_path / "out")) == ["a/x", "link/y"]


def test_a_missing_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        find_sources([tmp_path / "nowhere"], tmp_path / "out")  # before the first file is asked for


def test_a_tree_is_listed_as_it_is_needed(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "a/x.dcm")
    found = find_sources([exams], tmp_path / "out")
    assert next(found).stem == "a/x"
    touch(exams, "a/b/y.dcm")
    assert stems(found) == []  # the names in a were read before
    found = find_sources([exams], tmp_path / "out")
    assert next(found).stem == "a/x"
    touch(exams, "a/b/z.dcm")
    assert stems(found) == ["a/b/y", "a/b/z"], "a folder is read only when its turn comes"


def test_what_can_not_be_asked_about_is_left_to_the_reader(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "x.dcm")
    (exams / "loop").symlink_to(exams / "loop")
    assert stems(find_sources([exams], tmp_path / "out")) == ["loop", "x"]
    listed = tmp_path / "list.txt"
    # PowerShell writes UTF-16, where every second character is a null byte.
    listed.write_bytes(f"{exams / 'x.dcm'}\n{exams / 'loop'}\n".encode() + "a.dcm\n".encode("utf-16"))
    found = list(find_sources([listed], tmp_path / "out"))
    assert len(found) >= 3 and not problems(found[:2])


def test_an_input_folder_is_never_the_output_folder(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "b/x.dcm", "c/y.dcm")
    with pytest.raises(UsageError, match="is the input folder"):
        find_sources([exams / "b", exams / "c"], exams / "b")


def test_a_mask_and_a_preview_never_share_a_name(tmp_path: Path) -> None:
    exams = touch(tmp_path / "exams", "x.dcm", "x_preview.dcm")
    for order in (("x.dcm", "x_preview.dcm"), ("x_preview.dcm", "x.dcm")):
        found = list(find_sources([exams / name for name in order], tmp_path / "out"))
        assert set(problems(found)) == {order[1]}


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not text")
def test_names_that_are_not_text_leave_every_result_readable(settings: PredictSettings, tmp_path: Path) -> None:
    folder = tmp_path / "exams"
    folder.mkdir()
    names = [b"caf\xe9.dcm", b"esc\x1b[2J.dcm", b"=1+1.dcm", b"plain.dcm"]
    for name in names:
        write_dicom(tmp_path / "image", gradient())
        (tmp_path / "image").rename(folder / os.fsdecode(name))
    chosen = replace(settings, statistics=True)
    predict([tmp_path / "exams"], chosen, report=Path("run.json"))
    texts = [(settings.output / name).read_bytes().decode("utf-8") for name in (JOURNAL, "run.json", "statistics.csv")]
    for text in texts:
        assert "\x1b" not in text
    found = {entry["file"] for entry in json.loads(texts[1])["files"]}
    assert found == {r"caf\xe9.dcm", r"esc\u001b[2J.dcm", "=1+1.dcm", "plain.dcm"}
    assert "'=1+1.dcm," in texts[2]
    assert (settings.output / os.fsdecode(b"caf\xe9.nii.gz")).is_file()
    assert predict([tmp_path / "exams"], chosen, resume=True).counts == {Status.EARLIER: 4}


@pytest.mark.parametrize("name", ["x.tif", "x.TIFF", "x.jpg", "x.jpeg", "x.png", "x.pgm"])
def test_scans_of_every_format_are_found_in_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"")
    (source,) = find_sources([tmp_path / "in"], tmp_path / "out")
    assert source.is_named_image and source.stem == "x"
