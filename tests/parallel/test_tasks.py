from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from maseg_nnunet.parallel.tasks import WorkerLostError, run_tasks


def double(number: int) -> int:
    return 2 * number


def die_once(task: tuple[int, str]) -> int:
    number, marker = task
    if number == 3 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_gives_one_result(workers: int) -> None:
    assert sorted(run_tasks(double, range(50), workers=workers)) == [(n, 2 * n) for n in range(50)]


def test_tasks_are_drawn_as_they_are_needed() -> None:
    drawn = []

    def numbers():
        for number in range(1000):
            drawn.append(number)
            yield number

    results = run_tasks(double, numbers(), workers=2)
    next(results)
    assert len(drawn) < 50
    results.close()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_worker_costs_only_a_retry(tmp_path: Path) -> None:
    tasks = [(n, str(tmp_path / "marker")) for n in range(20)]
    assert sorted(result for _, result in run_tasks(die_once, tasks, workers=2)) == list(range(20))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_task_that_kills_its_worker_twice_is_named_and_the_rest_goes_on() -> None:
    results = dict(run_tasks(die_always, range(20), workers=2))
    assert isinstance(results.pop(3), WorkerLostError)
    assert results == {n: n for n in range(20) if n != 3}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_task_ends_the_run(workers: int) -> None:
    with pytest.raises(OSError, match="No space"):
        list(run_tasks(fail, range(10), workers=workers))
