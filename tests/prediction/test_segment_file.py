"""The outcome of one file: bad input, results that can't be written, results of an earlier file."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from maseg_nnunet.prediction.journal import JOURNAL, Status
from maseg_nnunet.prediction.predict import predict
from maseg_nnunet.prediction.segment_file import PredictSettings
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.writers.results import Format
from tests.prediction.helpers import (
    files_of,
    gradient,
    outcomes_of,
    write_dicom,
)


def test_a_named_file_that_is_no_image_or_is_missing_is_bad(
    settings: PredictSettings, exams: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("hello")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path / 'notes'}\n{tmp_path / 'missing.dcm'}\n{exams / 'woman0' / 'image0.dcm'}\n")
    summary = predict([listed], settings)
    assert summary.counts == {Status.REFUSED: 2, Status.DONE: 1} and summary.bad == 2


def test_an_empty_file_of_a_folder_is_no_image(settings: PredictSettings, exams: Path) -> None:
    (exams / "empty.txt").write_bytes(b"")
    (exams / "empty.dcm").write_bytes(b"")
    assert predict([exams], settings).counts == {Status.DONE: 6, Status.IGNORED: 1, Status.REFUSED: 1}


def test_dicom_seg_of_a_picture_fails_and_its_other_results_are_kept(settings: PredictSettings, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), gradient())
    both = PredictSettings(
        settings.model, settings.output, (Format.DICOM_SEG, Format.PNG), device="cpu", spacing_mm=0.1
    )
    assert predict([tmp_path / "x.png"], both).counts == {Status.FAILED: 1}
    assert "no DICOM" in outcomes_of(both.output)["x.png"][1]
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
    assert outcomes_of(settings.output)["woman1/image1.dcm"] == ("failed", "nifti not written: No space left on device")
    assert files_of(settings.output) == {JOURNAL, *(f"woman0/image{n}.nii.gz" for n in (0, 2, 4))}


def test_a_seg_never_takes_the_patient_of_another_file(
    settings: PredictSettings, exams: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the exam is replaced while the network runs, its SEG would have the new patient and the old mask."""
    source = exams / "woman0" / "image0.dcm"
    logits = Segmenter.logits

    def replacing(segmenter: Segmenter, batch: Any) -> Any:
        write_dicom(source, gradient(), PatientName="Second^Woman", PatientID="222")
        return logits(segmenter, batch)

    monkeypatch.setattr(Segmenter, "logits", replacing)
    settings = replace(settings, formats=(Format.DICOM_SEG, Format.PNG))
    assert predict([source], settings).counts == {Status.FAILED: 1}
    assert "was replaced" in outcomes_of(settings.output)["image0.dcm"][1]
    assert files_of(settings.output) == {JOURNAL, "image0.png"}


def test_a_refused_file_keeps_no_result_of_the_one_before_it(settings: PredictSettings, exams: Path) -> None:
    predict([exams], settings)
    one = exams / "woman1" / "image3.dcm"
    whole = one.read_bytes()
    one.write_bytes(whole[:-500])
    predict([exams], settings)
    assert outcomes_of(settings.output)["woman1/image3.dcm"][0] == "refused"
    assert "woman1/image3.nii.gz" not in files_of(settings.output) and "woman1/image1.nii.gz" in files_of(
        settings.output
    )


def test_a_result_that_a_file_can_not_have_is_not_left_of_the_one_before_it(
    settings: PredictSettings, exams: Path
) -> None:
    both = replace(settings, formats=(Format.NIFTI, Format.DICOM_SEG))
    predict([exams], both)
    one = exams / "woman1" / "image3.dcm"
    dataset = dcmread(one)
    dataset.StudyInstanceUID = ""  # so that a SEG can't refer to it
    dataset.save_as(one, enforce_file_format=True)
    assert predict([exams], both).counts == {Status.DONE: 5, Status.FAILED: 1}
    assert "woman1/image3.nii.gz" in files_of(both.output) and "woman1/image3_seg.dcm" not in files_of(both.output)


def test_logits_that_are_not_finite_fail_the_file(
    settings: PredictSettings, exams: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Segmenter.logits, []

    def once_not_finite(self: Segmenter, batch: Any) -> Any:
        calls.append(1)
        found = real(self, batch)
        return [one * (np.nan if len(calls) == 1 else 1) for one in found]

    monkeypatch.setattr(Segmenter, "logits", once_not_finite)
    assert predict([exams], settings, workers=1).counts == {Status.FAILED: 1, Status.DONE: 5}
    assert "the network's output is not finite" in "".join(str(o) for o in outcomes_of(settings.output).values())
