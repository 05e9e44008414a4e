"""`maseg predict` as a user calls it. The network is the threshold network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, BreastTomosynthesisImageStorage

from maseg_nnunet.errors import ModelError
from maseg_nnunet.prediction.journal import JOURNAL
from maseg_nnunet.prediction.predict import predict
from maseg_nnunet.prediction.segment_file import PredictSettings
from maseg_nnunet.prediction.statistics import STATISTICS
from maseg_nnunet.readers.masks import read_mask
from tests.commands import Run
from tests.prediction.helpers import (
    agree,
    files_of,
    gradient,
    outcomes_of,
    statistics_of,
    write_dicom,
    write_exams,
)
from tests.tiny_models import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "threshold")


@pytest.fixture
def exams(tmp_path: Path) -> Path:
    return write_exams(tmp_path / "exams")


def test_every_format_of_every_image_at_its_place(maseg: Run, model: Path, exams: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = maseg(
        "predict", exams, "-o", out, "--model", model, "--format", "nifti,png,dicom-seg", "--preview", "--statistics",
        "--report", "run.json", "--device", "cpu", "--no-keep-largest",
    )  # fmt: skip
    assert (answer.status, answer.err) == (0, "")
    assert "6 done" in answer.out
    stem = out / "woman1" / "image3"
    expected = {
        f"woman{n % 2}/image{n}{end}" for n in range(6) for end in (".nii.gz", ".png", "_seg.dcm", "_preview.png")
    }
    assert files_of(out) == expected | {STATISTICS, "run.json", JOURNAL}

    gray = np.roll(gradient(), 3, axis=0) / 4095
    mask = cv2.imread(f"{stem}.png", cv2.IMREAD_UNCHANGED)
    assert agree(mask, gray)
    for ending in (".nii.gz", "_seg.dcm"):
        np.testing.assert_array_equal(read_mask(Path(f"{stem}{ending}"), mask.shape), mask)
    picture = cv2.imread(f"{stem}_preview.png")
    assert picture.shape == (*mask.shape, 3)

    row = next(row for row in statistics_of(out) if row["file"] == "woman1/image3.dcm")
    assert float(row["breast_area_cm2"]) == pytest.approx((mask == 1).sum() * 0.16 / 100, abs=0.006)
    assert float(row["pectoral_area_cm2"]) == pytest.approx((mask == 2).sum() * 0.16 / 100, abs=0.006)

    report = json.loads((out / "run.json").read_text())
    assert report["complete"] and report["counts"]["done"] == 6 and len(report["files"]) == 6
    assert report["model"]["trainer"] == "MasegTrainer" and report["settings"]["formats"] == [
        "nifti",
        "png",
        "dicom-seg",
    ]
    assert report["seconds"]["network"] > 0 and set(report["files"][0]["seconds"]) >= {"read", "network", "write"}
    assert str(tmp_path) not in (out / "run.json").read_text() + (out / JOURNAL).read_text()


def test_masks_are_cleaned_up_unless_switched_off(maseg: Run, model: Path, tmp_path: Path) -> None:
    pixels = np.zeros((60, 50), dtype=np.uint8)
    pixels[10:50, :30] = 128
    pixels[5:9, 42:48] = 128  # a marker
    cv2.imwrite(str(tmp_path / "x.png"), pixels + np.eye(60, 50, k=-59, dtype=np.uint8) * 255)
    masks = {}
    for option in ("--keep-largest", "--no-keep-largest"):
        out = tmp_path / option
        arguments = ("-o", out, "--model", model, "--format", "png", "--spacing-mm", "0.4", "--device", "cpu", option)
        assert maseg("predict", tmp_path / "x.png", *arguments).status == 0
        masks[option] = cv2.imread(str(out / "x.png"), cv2.IMREAD_UNCHANGED)
    assert masks["--no-keep-largest"][6, 45] and not masks["--keep-largest"][6, 45]
    np.testing.assert_array_equal(masks["--keep-largest"][10:50], masks["--no-keep-largest"][10:50])


def _bad_files(folder: Path) -> dict[str, str]:
    """Write files that can't be used, and return a word of the reason for each."""
    folder.mkdir(parents=True)
    pixels = gradient()

    def changed(name: str, change: Callable[[Any], Any], **attributes: Any) -> None:
        dataset = dcmread(write_dicom(folder / name, pixels, **attributes))
        change(dataset)
        dataset.save_as(folder / name, enforce_file_format=True)

    write_dicom(folder / "truncated.dcm", pixels)
    (folder / "truncated.dcm").write_bytes((folder / "truncated.dcm").read_bytes()[:-500])
    changed(
        "tomo.dcm",
        lambda d: (setattr(d, "SOPClassUID", BreastTomosynthesisImageStorage), setattr(d, "NumberOfFrames", 2)),
    )
    changed("ct.dcm", lambda d: setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"))
    changed("nopixels.dcm", lambda d: delattr(d, "PixelData"))
    write_dicom(folder / "zerowidth.dcm", pixels, WindowWidth="0")
    write_dicom(folder / "nospacing.dcm", pixels, ImagerPixelSpacing=None)
    changed("codec.dcm", _as_video)
    changed("huge.dcm", lambda d: (setattr(d, "Rows", 20000), setattr(d, "Columns", 20000)))
    (folder / "text.dcm").write_text("not an image at all")
    (folder / "letter").write_text("nor this")
    write_dicom(folder / "metres.dcm", np.zeros((601, 700), np.uint16), ImagerPixelSpacing=[1, 1])
    cv2.imwrite(str(folder / "x.png"), pixels)
    write_dicom(folder / "x.dcm", pixels)
    return {
        "truncated.dcm": "truncated",
        "text.dcm": "not DICOM",
        "metres.dcm": "601 x 700 mm",
        "tomo.dcm": "multi-frame",
        "ct.dcm": "modality",
        "nopixels.dcm": "no pixel data",
        "zerowidth.dcm": "no usable look-up table",
        "nospacing.dcm": "no spacing",
        "codec.dcm": "no decoder",
        "huge.dcm": "too large",
        "x.png": "another input has the same stem",
    }


def _as_video(dataset: Any) -> None:
    dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    dataset.PixelData = encapsulate([dataset.PixelData])
    dataset["PixelData"].VR = "OB"


def test_bad_files_are_named_and_the_rest_goes_on(maseg: Run, model: Path, tmp_path: Path) -> None:
    expected = _bad_files(tmp_path / "exams")
    write_dicom(tmp_path / "exams" / "black.dcm", np.zeros_like(gradient()))
    out = tmp_path / "out"
    answer = maseg("predict", tmp_path / "exams", "-o", out, "--model", model, "--device", "cpu", "--statistics")
    assert answer.status == 1
    found = outcomes_of(out)
    for name, word in expected.items():
        status, detail = found[name]
        assert status == "refused" and word in detail, (name, status, detail)
        assert f"refused: {name}: {detail}" in answer.err
    assert found["letter"][0] == "not an image"
    assert found["x.dcm"] == found["black.dcm"] == ("done", "")
    assert not read_mask(out / "black.nii.gz", gradient().shape).any()
    row = next(row for row in statistics_of(out) if row["file"] == "black.dcm")
    assert "one constant value" in row["flags"] and row["pectoral_found"] == "no"
    assert {path.name for path in out.glob("*.nii.gz")} == {"x.nii.gz", "black.nii.gz"}


def test_a_folder_without_an_image_is_told(maseg: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "letter.doc").write_bytes(b"Dear colleague")
    answer = maseg("predict", tmp_path / "notes", "-o", tmp_path / "out", "--model", model, "--device", "cpu")
    assert answer.status == 1 and "no image was found" in answer.err


def test_an_output_folder_that_can_t_be_written_is_one_line(
    maseg: Run, model: Path, exams: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    answer = maseg("predict", exams, "-o", tmp_path / "file" / "out", "--model", model, "--device", "cpu")
    assert answer.status == 1 and "can't be written" in answer.err and len(answer.err.splitlines()) == 1


def test_options_that_make_no_sense_are_one_line(maseg: Run, model: Path, exams: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments, status, word in (
        (("--format", "jpeg"), 2, "jpeg"),
        (("--model", tmp_path), 1, "not a model folder"),
        (("--model", model, "--device", "abacus"), 2, "abacus"),
        (("--model", model, "--scheduler", "tcp://127.0.0.1:9"), 2, "127.0.0.1:9"),
    ):
        answer = maseg("predict", exams / "woman0", "-o", out, *arguments)
        assert (answer.status, len(answer.err.splitlines())) == (status, 1) and word in answer.err
    with pytest.raises(ModelError):
        predict([exams], PredictSettings(tmp_path / "nowhere", out))


def test_nothing_of_a_header_is_shown(maseg: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "exams").mkdir()
    planted = {"PatientName": "Quitte^Mirabelle", "PatientID": "QUI123", "AccessionNumber": "ACC-QUITTE"}
    write_dicom(tmp_path / "exams" / "a.dcm", gradient(), **planted)
    write_dicom(tmp_path / "exams" / "b.dcm", gradient(), **planted, WindowWidth="0")
    write_dicom(tmp_path / "exams" / "c.dcm", gradient(), **planted, PatientBirthDate="19480229")
    (tmp_path / "exams" / "c.dcm").write_bytes((tmp_path / "exams" / "c.dcm").read_bytes()[:-100])
    out = tmp_path / "out"
    answer = maseg(
        "predict", tmp_path / "exams", "-o", out, "--model", model, "--report", "run.json", "--statistics", "--preview",
        "--format", "nifti,png", "--device", "cpu",
    )  # fmt: skip
    written = answer.out + answer.err + "".join(p.read_text("latin-1") for p in out.iterdir() if p.suffix != ".png")
    for word in ("Quitte", "QUI123", "ACC-QUITTE", "19480229"):
        assert word not in written


def test_flags_of_image_and_mask_reach_terminal_journal_and_report(maseg: Run, model: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.full((60, 50), 7, np.uint8))
    out = tmp_path / "out"
    answer = maseg(
        "predict", tmp_path / "x.png", "-o", out, "--model", model, "--spacing-mm", 1, "--report", "run.json"
    )
    flags = ("one constant value", "no breast found", "unusual size in mm")
    report = json.loads((out / "run.json").read_text())
    journal = (out / JOURNAL).read_text()
    for flag in flags:
        assert f"flagged: 1 {flag}" in answer.out
        assert report["flags"][flag] == 1 and flag in report["files"][0]["flags"] and flag in journal


def test_files_with_one_reason_are_one_line_and_each_is_in_the_journal(maseg: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    for number in range(5):
        cv2.imwrite(str(tmp_path / "films" / f"{number}.png"), gradient().astype(np.uint8))
    answer = maseg("predict", tmp_path / "films", "-o", tmp_path / "out", "--model", model, "--device", "cpu")
    assert answer.status == 1
    (line,) = [line for line in answer.err.splitlines() if "refused" in line]
    assert line.startswith("refused: 5 files: no spacing: ") and "--spacing-mm" in line
    assert "outcomes.jsonl" in answer.out
    assert [status for status, _ in outcomes_of(tmp_path / "out").values()] == ["refused"] * 5
