"""The journal: resuming, other settings, damaged journals, two runs in one folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maseg_nnunet.errors import OutputError, UsageError
from maseg_nnunet.prediction.journal import JOURNAL, Status
from maseg_nnunet.prediction.predict import predict
from maseg_nnunet.prediction.segment_file import PredictSettings
from maseg_nnunet.writers.results import Format
from tests.prediction.helpers import (
    files_of,
    gradient,
    interrupt_after,
    journal_of,
    statistics_of,
    write_dicom,
)


def test_a_journal_that_can_t_be_written_ends_the_run(settings: PredictSettings, exams: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full to write to")
    settings.output.mkdir()
    (settings.output / JOURNAL).symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left"):
        predict([exams], settings)


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
        assert files_of(settings.output) == set()
        other.communicate("")
    assert predict([exams], settings).counts == {Status.DONE: 6}


def test_a_journal_that_a_full_disk_left_without_a_line_is_overwritten(settings: PredictSettings, exams: Path) -> None:
    settings.output.mkdir()
    (settings.output / JOURNAL).write_text('{"setti')
    assert predict([exams], settings, resume=True).counts == {Status.DONE: 6}
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 6}


def test_resume_goes_by_the_results(settings: PredictSettings, exams: Path) -> None:
    predict([exams], settings)
    (settings.output / "woman0" / "image2.nii.gz").unlink()
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 5, Status.DONE: 1}
    more = PredictSettings(
        settings.model, settings.output, (Format.NIFTI, Format.PNG), device="cpu", keep_largest=False
    )
    assert predict([exams], more, resume=True).counts == {Status.DONE: 6}
    (settings.output / JOURNAL).unlink()
    assert predict([exams], more, resume=True).counts == {Status.DONE: 6}, (
        "without a journal, results may be of another file"
    )


def test_an_empty_result_is_made_again(settings: PredictSettings, exams: Path) -> None:
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
    assert (
        len(statistics_of(settings.output)) == 7 and len({row["file"] for row in statistics_of(settings.output)}) == 7
    )


def test_a_row_that_a_kill_took_is_measured_again(settings: PredictSettings, exams: Path) -> None:
    settings = PredictSettings(settings.model, settings.output, statistics=True, device="cpu")
    predict([exams], settings, workers=1)
    lines = (settings.output / JOURNAL).read_text().splitlines(keepends=True)
    (settings.output / JOURNAL).write_text("".join(lines[:-1]) + lines[-1][:40])
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 5, Status.DONE: 1}
    assert len(statistics_of(settings.output)) == 6


def test_resume_never_takes_another_womans_result_for_done(
    settings: PredictSettings, exams: Path, tmp_path: Path
) -> None:
    predict([exams], settings)
    before = (settings.output / "woman0" / "image0.nii.gz").read_bytes()
    # A new file has the name and the size of one of the day before.
    write_dicom(exams / "woman0" / "image0.dcm", np.roll(gradient(), 77, axis=0))
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 5, Status.DONE: 1}
    assert (settings.output / "woman0" / "image0.nii.gz").read_bytes() != before
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 6}


def test_resume_takes_no_result_that_the_journalled_run_did_not_write(settings: PredictSettings, exams: Path) -> None:
    one = exams / "woman1" / "image3.dcm"
    with_previews = replace(settings, preview=True)
    predict([exams], with_previews)
    first = (settings.output / "woman1" / "image3_preview.png").read_bytes()
    write_dicom(one, gradient()[::-1])
    predict([exams], settings)
    # The mask is of the new image, but its preview is still of the old one.
    assert predict([exams], with_previews, resume=True).counts == {Status.DONE: 6}
    assert (settings.output / "woman1" / "image3_preview.png").read_bytes() != first
    assert predict([exams], settings, resume=True).counts == {Status.EARLIER: 6}


def test_resuming_with_another_model_or_settings_is_refused(settings: PredictSettings, exams: Path) -> None:
    predict([exams], settings)
    other = PredictSettings(settings.model, settings.output, device="cpu", keep_largest=True)
    with pytest.raises(UsageError, match="other settings"):
        predict([exams], other, resume=True)
    predict([exams], other)


def test_resume_never_takes_another_models_masks_for_done(settings: PredictSettings, exams: Path) -> None:
    predict([exams], settings)
    other = PredictSettings(settings.model, settings.output, device="cpu", keep_largest=True)
    with pytest.raises(KeyboardInterrupt):
        predict([exams], other, workers=1, progress=interrupt_after(2))
    counts = predict([exams], other, resume=True).counts
    assert counts[Status.EARLIER] + counts[Status.DONE] == 6
    assert 2 <= counts[Status.EARLIER] < 6


def test_an_input_without_files_costs_no_earlier_journal(
    settings: PredictSettings, exams: Path, tmp_path: Path
) -> None:
    settings = replace(settings, statistics=True)
    predict([exams], settings)
    (tmp_path / "empty").mkdir()
    for resume in (False, True):
        with pytest.raises(UsageError, match="no file"):
            predict([tmp_path / "empty"], settings, resume=resume)
    assert len(statistics_of(settings.output)) == len(journal_of(settings.output)) == 6
