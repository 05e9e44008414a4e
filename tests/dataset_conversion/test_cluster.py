"""Conversion on a Dask cluster gives the same bytes as in this process, and a killed worker costs only a retry."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset
from maseg_nnunet.errors import UsageError
from tests.dataset_conversion.helpers import contents, films_request

distributed = pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

# Dask warns about ports, sockets and lost workers; none of that is about this project.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_two_workers_one_killed_on_the_way(films: Path, tmp_path: Path) -> None:
    convert_dataset(films_request(films, tmp_path / "local"))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        victims = [worker.process.process.pid for worker in cluster.workers.values()]  # Nanny, its AsyncProcess
        killed: list[int] = []

        def kill_one(stage: str, done: int, total: int | None) -> None:
            if stage == "converting" and done == 3 and not killed:
                killed.append(victims[0])
                os.kill(victims[0], signal.SIGKILL)

        wanted = films_request(films, tmp_path / "cluster", scheduler=cluster.scheduler_address)
        report = convert_dataset(wanted, kill_one)
    assert killed
    assert report["found"]["images"] == 24
    assert contents(tmp_path / "cluster") == contents(tmp_path / "local")


def test_no_scheduler_there(films: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Dask scheduler"):
        convert_dataset(films_request(films, tmp_path / "out", scheduler="tcp://127.0.0.1:9"))
