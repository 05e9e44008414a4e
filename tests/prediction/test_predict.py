"""Many files: outcomes, names, resuming, interrupts, bad input, memory. The network is the threshold one."""

from __future__ import annotations

import csv
import errno
import json
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, BreastTomosynthesisImageStorage

from maseg_nnunet.errors import ModelError, OutputError, UsageError
from maseg_nnunet.parallel.tasks import WorkerLostError
from maseg_nnunet.prediction import predict as pipeline
from maseg_nnunet.prediction.journal import JOURNAL, FileOutcome, Status
from maseg_nnunet.prediction.predict import Batch, Summary, predict, predict_batch
from maseg_nnunet.prediction.segment_file import PredictSettings
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.prediction.sources import Source
from maseg_nnunet.readers.masks import read_mask
from maseg_nnunet.writers.results import Format
from tests.commands import Run
from tests.prediction.test_segmenter import agree, gradient, write_dicom
from tests.tiny_models import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "threshold")


@pytest.fixture
def exams(tmp_path: Path) -> Path:
    """Six images in two folders, all good."""
    for number in range(6):
        folder = tmp_path / "exams" / f"woman{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        write_dicom(folder / f"image{number}.dcm", np.roll(gradient(), number, axis=0))
    return tmp_path / "exams"


@pytest.fixture
def settings(model: Path, tmp_path: Path) -> PredictSettings:
    return PredictSettings(model, tmp_path / "out", device="cpu", keep_largest=False)


def journal(settings: PredictSettings) -> list[dict[str, Any]]:
    lines = (settings.output / JOURNAL).read_text().splitlines()
    return [entry for line in lines if line and "file" in (entry := json.loads(line))]


def outcomes(settings: PredictSettings) -> dict[str, tuple[str, str]]:
    return {entry["file"]: (entry["status"], entry["detail"]) for entry in journal(settings)}


def results(settings: PredictSettings) -> set[str]:
    found = {path.relative_to(settings.output).as_posix() for path in settings.output.rglob("*") if path.is_file()}
    return found - {".lock"}


def table(settings: PredictSettings) -> list[dict[str, str]]:
    with (settings.output / "statistics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


# --- what is written -------------------------------------------------------------------------------------------------


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
    assert results(PredictSettings(model, out)) == expected | {"statistics.csv", "run.json", JOURNAL}

    gray = np.roll(gradient(), 3, axis=0) / 4095
    mask = cv2.imread(f"{stem}.png", cv2.IMREAD_UNCHANGED)
    assert agree(mask, gray)
    for ending in (".nii.gz", "_seg.dcm"):
        np.testing.assert_array_equal(read_mask(Path(f"{stem}{ending}"), mask.shape), mask)
    picture = cv2.imread(f"{stem}_preview.png")
    assert picture.shape == (*mask.shape, 3)

    row = next(row for row in table(PredictSettings(model, out)) if row["file"] == "woman1/image3.dcm")
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


def test_a_second_run_writes_the_same_bytes(exams: Path, settings: PredictSettings) -> None:
    predict([exams], settings, workers=2)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in settings.output.rglob("*.nii.gz")}
    predict([exams], settings, workers=1)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in settings.output.rglob("*.nii.gz")} == before


# --- bad input -------------------------------------------------------------------------------------------------------


def _bad_files(folder: Path) -> dict[str, str]:
    """Files that can't be used, and a word of the reason for each."""
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
        "x.png": "another input of that name",
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
    found = outcomes(PredictSettings(model, out))
    for name, word in expected.items():
        status, detail = found[name]
        assert status == "refused" and word in detail, (name, status, detail)
        assert f"refused: {name}: {detail}" in answer.err
    assert found["letter"][0] == "not an image"
    assert found["x.dcm"] == found["black.dcm"] == ("done", "")
    assert not read_mask(out / "black.nii.gz", gradient().shape).any()
    row = next(row for row in table(PredictSettings(model, out)) if row["file"] == "black.dcm")
    assert "one constant value" in row["flags"] and row["pectoral_found"] == "no"
    assert {path.name for path in out.glob("*.nii.gz")} == {"x.nii.gz", "black.nii.gz"}


def test_a_named_file_that_is_no_image_or_is_missing_is_bad(
    settings: PredictSettings, exams: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("hello")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path / 'notes'}\n{tmp_path / 'missing.dcm'}\n{exams / 'woman0' / 'image0.dcm'}\n")
    summary = predict([listed], settings)
    assert summary.counts == {Status.REFUSED: 2, Status.DONE: 1} and summary.bad == 2


def test_the_folder_must_hold_something(settings: PredictSettings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no file"):
        predict([tmp_path / "empty"], settings)


def test_dicom_seg_of_a_picture_fails_and_its_other_results_are_kept(settings: PredictSettings, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), gradient())
    both = PredictSettings(
        settings.model, settings.output, (Format.DICOM_SEG, Format.PNG), device="cpu", spacing_mm=0.1
    )
    assert predict([tmp_path / "x.png"], both).counts == {Status.FAILED: 1}
    assert "no DICOM" in outcomes(both)["x.png"][1]
    assert (settings.output / "x.png").is_file()


def test_a_full_disk_is_named_for_the_file_and_leaves_nothing_half_written(
    settings: PredictSettings, exams: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def failing(path: Path, data: bytes) -> int:
        if path.parent.name == "woman1":
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    summary = predict([exams], settings)
    assert summary.counts == {Status.DONE: 3, Status.FAILED: 3}
    assert outcomes(settings)["woman1/image1.dcm"] == ("failed", "nifti not written: No space left on device")
    assert results(settings) == {JOURNAL, *(f"woman0/image{n}.nii.gz" for n in (0, 2, 4))}


def test_a_journal_that_can_t_be_written_ends_the_run(settings: PredictSettings, exams: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full to write to")
    settings.output.mkdir()
    (settings.output / JOURNAL).symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left"):
        predict([exams], settings)


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
        (("--model", tmp_path), 1, "no model folder"),
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


def test_a_report_is_a_json_file_in_the_output_folder(settings: PredictSettings, exams: Path) -> None:
    for name in (JOURNAL, "statistics.csv", "../run.json", str(exams / "run.json"), "woman0/image0.dcm"):
        with pytest.raises(UsageError, match="json"):
            predict([exams], settings, report=Path(name))
    assert not settings.output.exists()


def test_a_file_that_two_inputs_lead_to_is_one(settings: PredictSettings, exams: Path) -> None:
    settings = replace(settings, statistics=True)
    twice = [exams, exams / "woman0" / "image0.dcm", exams / "woman1"]
    assert predict(twice, settings).counts == {Status.DONE: 6}
    assert len(table(settings)) == 6
    assert predict(twice, settings, resume=True).counts == {Status.EARLIER: 6}


def test_an_output_folder_made_during_the_walk_is_not_read(settings: PredictSettings, exams: Path) -> None:
    (exams / "zz").mkdir()
    inside = replace(settings, output=exams / "zz" / "new" / "out", formats=(Format.PNG,), preview=True, spacing_mm=0.4)
    assert predict([exams], inside, workers=1).counts == {Status.DONE: 6}
    assert predict([exams], inside, workers=1).counts == {Status.DONE: 6}


def test_a_seg_never_takes_the_patient_of_another_file(
    settings: PredictSettings, exams: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exam is replaced while the network runs: its SEG would carry the new patient and the old mask."""
    source = exams / "woman0" / "image0.dcm"
    logits = Segmenter.logits

    def replacing(segmenter: Segmenter, batch: Any) -> Any:
        write_dicom(source, gradient(), PatientName="Second^Woman", PatientID="222")
        return logits(segmenter, batch)

    monkeypatch.setattr(Segmenter, "logits", replacing)
    settings = replace(settings, formats=(Format.DICOM_SEG, Format.PNG))
    assert predict([source], settings).counts == {Status.FAILED: 1}
    assert "was replaced" in outcomes(settings)["image0.dcm"][1]
    assert results(settings) == {JOURNAL, "image0.png"}


# --- stopping and going on -------------------------------------------------------------------------------------------


def interrupt_after(count: int) -> Callable[[FileOutcome], None]:
    seen = 0

    def progress(outcome: FileOutcome) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            signal.raise_signal(signal.SIGINT)

    return progress


def test_an_interrupted_run_leaves_whole_files_and_resumes(settings: PredictSettings, tmp_path: Path) -> None:
    exams = tmp_path / "exams"
    exams.mkdir()
    for number in range(20):
        write_dicom(exams / f"{number:02d}.dcm", np.roll(gradient(), number, axis=0))
    settings = PredictSettings(settings.model, settings.output, statistics=True, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        predict([exams], settings, workers=2, report=Path("run.json"), progress=interrupt_after(5))
    finished = {path.name for path in settings.output.glob("*.nii.gz")}
    assert 5 <= len(finished) < 15
    for name in finished:
        read_mask(settings.output / name, gradient().shape)
    assert not list(settings.output.glob(".tmp*"))
    report = json.loads((settings.output / "run.json").read_text())
    assert not report["complete"] and len(report["files"]) == len(finished) == len(table(settings))

    times = {name: (settings.output / name).stat().st_mtime_ns for name in finished}
    summary = predict([exams], settings, workers=2, resume=True, report=Path("run.json"))
    assert summary.counts == {Status.EARLIER: len(finished), Status.DONE: 20 - len(finished)}
    assert {name: (settings.output / name).stat().st_mtime_ns for name in finished} == times
    names = [f"{number:02d}.dcm" for number in range(20)]
    assert sorted(row["file"] for row in table(settings)) == names
    report = json.loads((settings.output / "run.json").read_text())
    assert report["complete"] and sorted(entry["file"] for entry in report["files"]) == names


def test_resume_goes_by_the_results(settings: PredictSettings, exams: Path) -> None:
    predict([exams], settings)
    (settings.output / "woman0" / "image2.nii.gz").unlink()
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 5, Status.DONE: 1}
    more = PredictSettings(
        settings.model, settings.output, (Format.NIFTI, Format.PNG), device="cpu", keep_largest=False
    )
    assert predict([exams], more, resume=True).counts == {Status.DONE: 6}
    (settings.output / JOURNAL).unlink()
    assert predict([exams], more, resume=True).counts == {Status.DONE: 6}, "nothing tells whose they are"


def test_resume_never_takes_another_womans_result_for_done(
    settings: PredictSettings, exams: Path, tmp_path: Path
) -> None:
    predict([exams], settings)
    before = (settings.output / "woman0" / "image0.nii.gz").read_bytes()
    # The next day's folder, with files of the same names and sizes; one was there the day before.
    write_dicom(exams / "woman0" / "image0.dcm", np.roll(gradient(), 77, axis=0))
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 5, Status.DONE: 1}
    assert (settings.output / "woman0" / "image0.nii.gz").read_bytes() != before
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 6}


def test_an_input_without_files_costs_no_earlier_journal(
    settings: PredictSettings, exams: Path, tmp_path: Path
) -> None:
    settings = replace(settings, statistics=True)
    predict([exams], settings)
    (tmp_path / "empty").mkdir()
    for resume in (False, True):
        with pytest.raises(UsageError, match="no file"):
            predict([tmp_path / "empty"], settings, resume=resume)
    assert len(table(settings)) == len(journal(settings)) == 6


def test_resume_takes_no_result_that_the_journalled_run_did_not_write(settings: PredictSettings, exams: Path) -> None:
    one = exams / "woman1" / "image3.dcm"
    with_previews = replace(settings, preview=True)
    predict([exams], with_previews)
    first = (settings.output / "woman1" / "image3_preview.png").read_bytes()
    write_dicom(one, gradient()[::-1])
    predict([exams], settings)
    # The mask is of the new image, its preview still of the one before.
    assert predict([exams], with_previews, resume=True).counts == {Status.DONE: 6}
    assert (settings.output / "woman1" / "image3_preview.png").read_bytes() != first
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 6}


def test_a_refused_file_keeps_no_result_of_the_one_before_it(settings: PredictSettings, exams: Path) -> None:
    predict([exams], settings)
    one = exams / "woman1" / "image3.dcm"
    whole = one.read_bytes()
    one.write_bytes(whole[:-500])
    predict([exams], settings)
    assert outcomes(settings)["woman1/image3.dcm"][0] == "refused"
    assert "woman1/image3.nii.gz" not in results(settings) and "woman1/image1.nii.gz" in results(settings)


def test_a_result_that_a_file_can_not_have_is_not_left_of_the_one_before_it(
    settings: PredictSettings, exams: Path
) -> None:
    both = replace(settings, formats=(Format.NIFTI, Format.DICOM_SEG))
    predict([exams], both)
    one = exams / "woman1" / "image3.dcm"
    dataset = dcmread(one)
    dataset.StudyInstanceUID = ""  # nothing can refer to it
    dataset.save_as(one, enforce_file_format=True)
    assert predict([exams], both).counts == {Status.DONE: 5, Status.FAILED: 1}
    assert "woman1/image3.nii.gz" in results(both) and "woman1/image3_seg.dcm" not in results(both)


def test_an_empty_file_of_a_folder_is_no_image(settings: PredictSettings, exams: Path) -> None:
    (exams / "empty.txt").write_bytes(b"")
    (exams / "empty.dcm").write_bytes(b"")
    assert predict([exams], settings).counts == {Status.DONE: 6, Status.IGNORED: 1, Status.REFUSED: 1}


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks")
def test_two_runs_do_not_share_an_output_folder(settings: PredictSettings, exams: Path) -> None:
    settings.output.mkdir(parents=True)
    code = f"""if True:
        import sys
        from pathlib import Path
        from maseg_nnunet.files import locked
        with locked(Path({str(settings.output)!r}) / ".lock"):
            print("held", flush=True)
            sys.stdin.read()"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another process is at work"):
            predict([exams], settings)
        assert results(settings) == set()
        other.communicate("")
    assert predict([exams], settings).counts == {Status.DONE: 6}


def test_resume_never_takes_another_models_masks_for_done(settings: PredictSettings, exams: Path) -> None:
    predict([exams], settings)
    other = PredictSettings(settings.model, settings.output, device="cpu", keep_largest=True)
    with pytest.raises(KeyboardInterrupt):
        predict([exams], other, workers=1, progress=interrupt_after(2))
    counts = predict([exams], other, resume=True).counts
    assert counts[Status.EARLIER] + counts[Status.DONE] == 6
    assert 2 <= counts[Status.EARLIER] < 6


def test_an_empty_result_is_none(settings: PredictSettings, exams: Path) -> None:
    predict([exams], settings)
    (settings.output / "woman0" / "image2.nii.gz").write_bytes(b"")
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 5, Status.DONE: 1}


def test_resume_tries_bad_files_again(settings: PredictSettings, exams: Path) -> None:
    bad = exams / "bad.dcm"
    good = bad.with_name("woman0") / "image0.dcm"
    bad.write_bytes(good.read_bytes()[:-200])
    settings = PredictSettings(settings.model, settings.output, statistics=True, device="cpu")
    assert predict([exams], settings).bad == 1
    bad.write_bytes(good.read_bytes())
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 6, Status.DONE: 1}
    assert len(table(settings)) == 7 and len({row["file"] for row in table(settings)}) == 7


def test_a_row_that_a_kill_took_is_measured_again(settings: PredictSettings, exams: Path) -> None:
    settings = PredictSettings(settings.model, settings.output, statistics=True, device="cpu")
    predict([exams], settings, workers=1)
    lines = (settings.output / JOURNAL).read_text().splitlines(keepends=True)
    (settings.output / JOURNAL).write_text("".join(lines[:-1]) + lines[-1][:40])
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 5, Status.DONE: 1}
    assert len(table(settings)) == 6


def test_resuming_with_another_model_or_settings_is_refused(settings: PredictSettings, exams: Path) -> None:
    predict([exams], settings)
    other = PredictSettings(settings.model, settings.output, device="cpu", keep_largest=True)
    with pytest.raises(UsageError, match="other settings"):
        predict([exams], other, resume=True)
    predict([exams], other)


def test_a_journal_that_a_full_disk_left_empty_is_none(settings: PredictSettings, exams: Path) -> None:
    settings.output.mkdir()
    (settings.output / JOURNAL).write_text('{"setti')
    assert predict([exams], settings, resume=True).counts == {Status.DONE: 6}
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 6}


# --- scale -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Callable[[int], Iterator[Path]]:
    """Folders of a hundred tiny films each, the same hundred everywhere."""
    hundred = tmp_path / "hundred"
    hundred.mkdir()
    for number in range(100):
        pixels = np.full((6, 6), number, dtype=np.uint8)
        pixels[0] = 255
        (hundred / f"{number:02d}.pgm").write_bytes(b"P5 6 6 255\n" + pixels.tobytes())

    def make(count: int) -> Path:
        base = tmp_path / f"films{count}"
        base.mkdir()
        for index in range(count // 100):
            (base / f"{index:03d}").symlink_to(hundred)
        return base

    return make  # type: ignore[return-value]


def test_memory_does_not_grow_with_the_number_of_files(
    many: Callable[[int], Path], settings: PredictSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peak(count: int) -> int:
        chosen = replace(settings, output=settings.output / str(count), statistics=True, spacing_mm=0.4)
        base = many(count)
        tracemalloc.start()
        summary = predict([base], chosen, workers=2, report=Path("run.json"))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert summary.counts == {Status.DONE: count}
        assert len(table(chosen)) == count
        return highest

    background = np.zeros((3, 1, 1), dtype=np.float32)
    monkeypatch.setattr(Segmenter, "logits", lambda self, batch: [background] * len(batch))
    peak(100)
    few, more = peak(200), peak(2000)
    # 1,800 outcomes of a kilobyte each would be seen; eight bytes each in the journal's index are not.
    assert more - few < 200_000


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_and_loses_nothing(
    settings: PredictSettings, exams: Path, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    bad = exams / "bad.dcm"
    bad.write_bytes((exams / "woman0" / "image0.dcm").read_bytes()[:-200])
    here = PredictSettings(settings.model, tmp_path / "here", statistics=True, device="cpu")
    there = PredictSettings(settings.model, tmp_path / "there", statistics=True, device="cpu")
    expected = predict([exams], here)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, worker_dashboard_address=None
    ) as cluster:
        found = predict([exams], there, scheduler=cluster.scheduler_address)
        assert found.counts == expected.counts == {Status.DONE: 6, Status.REFUSED: 1}
        again = predict([exams], there, scheduler=cluster.scheduler_address, resume=True)
        assert again.counts == {Status.EARLIER: 6, Status.REFUSED: 1}
    for path in here.output.rglob("*.nii.gz"):
        assert (there.output / path.relative_to(here.output)).read_bytes() == path.read_bytes()
    assert sorted(map(str, table(there))) == sorted(map(str, table(here)))


def test_of_a_batch_that_kills_its_worker_only_the_killer_fails(
    settings: PredictSettings, exams: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tasks(function: Any, batches: Iterator[Batch], *, scheduler: str) -> Iterator[tuple[Batch, Any]]:
        for batch in batches:
            dies = any(source.name.endswith("image3.dcm") for source in batch.sources)
            yield batch, WorkerLostError("the worker died") if dies else function(batch)

    monkeypatch.setattr(pipeline, "run_tasks", tasks)
    assert predict([exams], settings, scheduler="a cluster").counts == {Status.DONE: 5, Status.FAILED: 1}
    assert outcomes(settings)["woman1/image3.dcm"] == ("failed", "the worker died")


def test_a_worker_with_another_model_is_told(settings: PredictSettings, exams: Path) -> None:
    source = Source(exams / "woman0" / "image0.dcm", "image0.dcm", "image0")
    digest = Segmenter(settings.model, "cpu").model.digest
    (outcome,) = predict_batch(Batch(settings, digest, (source,)))
    assert outcome.status is Status.DONE
    with pytest.raises(ModelError, match="another"):
        predict_batch(Batch(settings, "0" * 64, (source,)))


def test_a_folder_without_an_image_is_told(maseg: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "letter.doc").write_bytes(b"Dear colleague")
    answer = maseg("predict", tmp_path / "notes", "-o", tmp_path / "out", "--model", model, "--device", "cpu")
    assert answer.status == 1 and "no image was found" in answer.err


def test_a_summary_counts_what_is_bad() -> None:
    summary = Summary()
    for status in Status:
        summary.add(FileOutcome("x", status, seconds={"read": 0.5}))
    assert summary.bad == 2 and summary.seconds["read"] == 0.5 * len(Status)
