from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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


def sleep_in_a_worker(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(300)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_workers_end_when_their_parent_alone_is_killed(tmp_path: Path) -> None:
    lines = [
        "from maseg_nnunet.parallel.tasks import run_tasks",
        "from tests.parallel.test_tasks import sleep_in_a_worker",
        f"if __name__ == '__main__': list(run_tasks(sleep_in_a_worker, [{str(tmp_path)!r}] * 2, workers=2))",
    ]
    script = tmp_path / "script.py"
    script.write_text("\n".join(lines))
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": root})
    wait_until(lambda: len(pids(tmp_path)) == 2)
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(is_running(pid) for pid in pids(tmp_path)))


def pids(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.is_file() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited for a minute")
