"""`maseg inspect` as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.synthetic.phantom_dicom import PLANTED, write_exam
from tests.commands import Run, stumbling


@pytest.fixture(scope="module")
def ge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A right MLO of GE with SIGMOID windows and tables."""
    folder = tmp_path_factory.mktemp("ge")
    ((image, _),) = write_exam(folder, "ge", 3, scale=0.1, raw=False, views=(View.MLO,), sides=(Side.RIGHT,))
    return image


def test_what_is_known_of_a_file(maseg: Run, ge: Path) -> None:
    answer = maseg("inspect", ge)
    assert answer.status == 0
    lines = {line.split()[0]: line for line in answer.out.splitlines() if line.split()}
    assert "ge (" in lines["vendor"]
    assert lines["view"].split()[1] == "MLO"
    assert lines["side"].split()[1] == "R"
    assert "processed" in lines["intent"]
    assert "ImagerPixelSpacing" in lines["size"]
    assert "MONOCHROME2" in lines["polarity"]
    marked = [line for line in answer.out.splitlines() if line.lstrip().startswith("*")]
    assert len(marked) == 1
    assert "NORMAL" in marked[0] and "SIGMOID" in marked[0] and "width 900" in marked[0]
    assert "TABLE" in answer.out and "entries of 12 bits" in answer.out


def test_json_says_the_same_as_the_reader(maseg: Run, ge: Path) -> None:
    (found,) = json.loads(maseg("inspect", ge, "--json").out)
    mammogram = read_mammogram(ge)
    assert (found["rows"], found["columns"]) == mammogram.shape
    assert tuple(found["spacing"]) == mammogram.spacing
    assert [lut["base"] for lut in found["luts"]].index(True) == mammogram.luts.base
    assert len(found["luts"]) == len(mammogram.luts.luts)
    assert found["inverted"] is mammogram.luts.inverted
    assert found["flags"] == [flag.value for flag in mammogram.flags]
    assert found["refusal"] == ""


def test_nobody_is_named(maseg: Run, ge: Path) -> None:
    header = dcmread(ge, stop_before_pixels=True)
    secrets = (*PLANTED, header.PatientID, header.SOPInstanceUID, header.StudyInstanceUID)
    for options in ([], ["--json"]):
        answer = maseg("inspect", ge, *options)
        assert not any(secret in answer.out + answer.err for secret in secrets)


def test_refused_files_are_explained_and_the_others_shown(maseg: Run, ge: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    bare = tmp_path / "bare.dcm"
    header = dcmread(ge)
    del header.ImagerPixelSpacing
    header.save_as(bare)
    answer = maseg("inspect", text, bare, ge)
    assert answer.status == 1
    assert "not DICOM" in answer.out
    assert "no spacing" in answer.out and "--spacing-mm" in answer.out
    assert sum(line.split() == ["view", "MLO"] for line in answer.out.splitlines()) == 2, (
        "the rest of a file without spacing is shown"
    )
    assert maseg("inspect", bare, "--spacing-mm", "0.1").status == 0
    found = json.loads(maseg("inspect", text, bare, "--json").out)
    assert [entry["reason"] for entry in found] == ["not DICOM", "no spacing"]


def test_preview_is_the_displayed_image(maseg: Run, ge: Path, tmp_path: Path) -> None:
    assert maseg("inspect", ge, "--preview", tmp_path / "p.png").status == 0
    picture = cv2.imread(str(tmp_path / "p.png"), cv2.IMREAD_UNCHANGED)
    displayed = read_mammogram(ge).displayed()
    assert picture.shape == displayed.shape
    np.testing.assert_allclose(picture / 255, displayed, atol=0.5 / 255 + 1e-6)


def test_an_image_with_a_burned_in_name_gets_no_preview(maseg: Run, ge: Path, tmp_path: Path) -> None:
    header = dcmread(ge)
    header.BurnedInAnnotation = "YES"
    header.save_as(tmp_path / "named.dcm")
    answer = maseg("inspect", tmp_path / "named.dcm", ge, "--preview", tmp_path / "out")
    assert answer.status == 0 and "no preview of named.dcm" in answer.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{ge.stem}.png"]


def test_an_error_nobody_thought_of_refuses_one_file(
    maseg: Run, ge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maseg_nnunet.readers import inspection

    for reader in ("read_mammogram", "read_header"):
        monkeypatch.setattr(inspection, reader, stumbling(getattr(inspection, reader), "odd.dcm"))
    (tmp_path / "odd.dcm").write_bytes(ge.read_bytes())
    answer = maseg("inspect", tmp_path / "odd.dcm", ge)
    assert answer.status == 1 and "IndexError" in answer.out and "secret" not in answer.out + answer.err
    assert "MLO" in answer.out


def test_previews_of_several_files_go_to_a_folder_under_different_names(maseg: Run, ge: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    twin = tmp_path / "a" / ge.name
    twin.write_bytes(ge.read_bytes())
    assert maseg("inspect", ge, twin, "--preview", tmp_path / "out").status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{ge.stem}.png", f"{ge.stem}_2.png"]


def test_control_characters_do_not_reach_the_terminal(maseg: Run, ge: Path, tmp_path: Path) -> None:
    header = dcmread(ge)
    header.WindowCenterWidthExplanation = ["NORMAL", "\x1b[31mHARD", "SOFTER"]
    odd = tmp_path / "a\x1bb.dcm"
    header.save_as(odd)
    answer = maseg("inspect", odd)
    assert "\x1b" not in answer.out


def test_torch_is_not_imported(ge: Path) -> None:
    script = (
        "import sys; from maseg_nnunet.cli.main import app\n"
        "try: app(args=['inspect', sys.argv[1]])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'nnunetv2', 'highdicom', 'SimpleITK', 'pandas', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script, str(ge)], check=True, stdout=subprocess.DEVNULL)


def test_a_preview_never_replaces_an_input(maseg: Run, tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    cv2.imwrite(str(film), np.arange(65536, dtype=np.uint16).reshape(256, 256))
    before = film.read_bytes()
    for place in (film, tmp_path):
        answer = maseg("inspect", film, "--spacing-mm", "0.4", "--preview", place)
        assert answer.status == 2 and "would write over" in answer.err
    assert film.read_bytes() == before


def test_a_folder_is_read_as_predict_reads_it(maseg: Run, ge: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "image.dcm").write_bytes(ge.read_bytes())
    (folder / "deep" / "IM1").write_bytes(ge.read_bytes())
    (folder / "notes.csv").write_text("not an image")
    (folder / "DICOMDIR").write_text("an index")
    answer = maseg("inspect", folder, "--json", "--preview", folder / "out")
    assert answer.status == 0 and "1 file is not DICOM, PNG, TIFF, PGM or JPEG: skipped" in answer.err
    assert sorted(Path(entry["file"]).name for entry in json.loads(answer.out)) == ["IM1", "image.dcm"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["IM1.png", "image.png"]
    (folder / "bad.dcm").write_text("not an image")
    answer = maseg("inspect", folder)
    assert answer.status == 1 and "rejected: bad.dcm: not DICOM" in answer.err and "notes.csv" not in answer.out


def test_what_a_folder_has_in_vain_is_counted_by_its_reason(maseg: Run, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    for number in range(5):
        cv2.imwrite(str(tmp_path / "films" / f"{number}.png"), np.arange(64, dtype=np.uint8).reshape(8, 8))
    answer = maseg("inspect", tmp_path / "films")
    assert answer.status == 1 and answer.out == ""
    (line,) = answer.err.splitlines()
    assert line.startswith("rejected: 5 files: no spacing: ") and "--spacing-mm" in line
    assert len(json.loads(maseg("inspect", tmp_path / "films", "--json").out)) == 5
