"""Many files: inputs, reports, interrupts, memory, a cluster."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maseg_nnunet.errors import ModelError, UsageError
from maseg_nnunet.parallel.tasks import WorkerLostError
from maseg_nnunet.prediction import predict as pipeline
from maseg_nnunet.prediction.journal import JOURNAL, FileOutcome, Status
from maseg_nnunet.prediction.predict import Batch, Summary, predict, predict_batch
from maseg_nnunet.prediction.segment_file import PredictSettings
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.prediction.sources import Source
from maseg_nnunet.prediction.statistics import STATISTICS
from maseg_nnunet.readers.masks import read_mask
from maseg_nnunet.writers.results import Format
from tests.prediction.helpers import (
    gradient,
    interrupt_after,
    outcomes_of,
    statistics_of,
    write_dicom,
)


def test_a_second_run_writes_the_same_bytes(exams: Path, settings: PredictSettings) -> None:
    predict([exams], settings, workers=2)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in settings.output.rglob("*.nii.gz")}
    predict([exams], settings, workers=1)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in settings.output.rglob("*.nii.gz")} == before


def test_the_folder_must_hold_something(settings: PredictSettings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no file"):
        predict([tmp_path / "empty"], settings)


def test_a_report_is_a_json_file_in_the_output_folder(settings: PredictSettings, exams: Path) -> None:
    for name in (JOURNAL, STATISTICS, "../run.json", str(exams / "run.json"), "woman0/image0.dcm"):
        with pytest.raises(UsageError, match="json"):
            predict([exams], settings, report=Path(name))
    assert not settings.output.exists()


def test_a_file_that_two_inputs_lead_to_is_one(settings: PredictSettings, exams: Path) -> None:
    settings = replace(settings, statistics=True)
    twice = [exams, exams / "woman0" / "image0.dcm", exams / "woman1"]
    assert predict(twice, settings).counts == {Status.DONE: 6}
    assert len(statistics_of(settings.output)) == 6
    assert predict(twice, settings, resume=True).counts == {Status.EARLIER: 6}


def test_an_output_folder_made_during_the_walk_is_not_read(settings: PredictSettings, exams: Path) -> None:
    (exams / "zz").mkdir()
    inside = replace(settings, output=exams / "zz" / "new" / "out", formats=(Format.PNG,), preview=True, spacing_mm=0.4)
    assert predict([exams], inside, workers=1).counts == {Status.DONE: 6}
    assert predict([exams], inside, workers=1).counts == {Status.DONE: 6}


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
    assert not report["complete"] and len(report["files"]) == len(finished) == len(statistics_of(settings.output))

    times = {name: (settings.output / name).stat().st_mtime_ns for name in finished}
    summary = predict([exams], settings, workers=2, resume=True, report=Path("run.json"))
    assert summary.counts == {Status.EARLIER: len(finished), Status.DONE: 20 - len(finished)}
    assert {name: (settings.output / name).stat().st_mtime_ns for name in finished} == times
    names = [f"{number:02d}.dcm" for number in range(20)]
    assert sorted(row["file"] for row in statistics_of(settings.output)) == names
    report = json.loads((settings.output / "run.json").read_text())
    assert report["complete"] and sorted(entry["file"] for entry in report["files"]) == names


@pytest.fixture
def many(tmp_path: Path) -> Callable[[int], Iterator[Path]]:
    """Makes a tree of folders that are links to the same hundred tiny films."""
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
        assert len(statistics_of(chosen.output)) == count
        return highest

    background = np.zeros((3, 1, 1), dtype=np.float32)
    monkeypatch.setattr(Segmenter, "logits", lambda self, batch: [background] * len(batch))
    peak(100)
    few, more = peak(200), peak(2000)
    # This would detect 1,800 outcomes in memory, but not their eight bytes each in the journal's index.
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
    assert sorted(map(str, statistics_of(there.output))) == sorted(map(str, statistics_of(here.output)))


def test_of_a_batch_that_kills_its_worker_only_the_killer_fails(
    settings: PredictSettings, exams: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tasks(function: Any, batches: Iterator[Batch], *, scheduler: str) -> Iterator[tuple[Batch, Any]]:
        for batch in batches:
            dies = any(source.name.endswith("image3.dcm") for source in batch.sources)
            yield batch, WorkerLostError("the worker died") if dies else function(batch)

    monkeypatch.setattr(pipeline, "run_tasks", tasks)
    assert predict([exams], settings, scheduler="a cluster").counts == {Status.DONE: 5, Status.FAILED: 1}
    assert outcomes_of(settings.output)["woman1/image3.dcm"] == ("failed", "the worker died")


def test_a_worker_with_another_model_is_told(settings: PredictSettings, exams: Path) -> None:
    source = Source(exams / "woman0" / "image0.dcm", "image0.dcm", "image0")
    digest = Segmenter(settings.model, "cpu").model.digest
    (outcome,) = predict_batch(Batch(settings, digest, (source,)))
    assert outcome.status is Status.DONE
    with pytest.raises(ModelError, match="another"):
        predict_batch(Batch(settings, "0" * 64, (source,)))


def test_a_summary_counts_what_is_bad() -> None:
    summary = Summary()
    for status in Status:
        summary.add(FileOutcome("x", status, seconds={"read": 0.5}))
    assert summary.bad == 2 and summary.seconds["read"] == 0.5 * len(Status)
