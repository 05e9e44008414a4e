from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from maseg_nnunet.parallel.tasks import WorkerLostError, run_tasks
from maseg_nnunet.parallel.threads import in_threads


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


def test_no_thread_begins_before_the_first_task_is_done() -> None:
    done: list[int] = []
    threads = set()

    def task(number: int) -> tuple[int, list[int]]:
        before = list(done)
        if number == 0:
            time.sleep(0.1)
        threads.add(threading.get_ident())
        done.append(number)
        return number, before

    results = list(in_threads(task, range(5), 4))
    assert [number for number, _ in results] == [0, 1, 2, 3, 4]
    assert all(before[0] == 0 for _, before in results[1:]) and len(threads) > 1
    assert list(in_threads(task, [], 4)) == []


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


# A script's job in the background has SIGINT ignored.
@pytest.mark.parametrize("shell", [(), ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")])
def test_a_command_ends_with_the_run_that_started_it(shell: tuple[str, ...], tmp_path: Path) -> None:
    child = "import time; open('began', 'w').close(); time.sleep(60)"
    lines = ["import sys", "from pathlib import Path", "from maseg_nnunet.parallel.tasks import *",
             "def step(task, gpu): return run_command([sys.executable, '-c', task], {}, Path('log'))",
             "with commands_end_with_us():", f"    list(run_on_gpus(step, [{child!r}]))"]  # fmt: skip
    command = [*shell, sys.executable, "-c", "\n".join(lines)]
    run = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    end = time.monotonic() + 30
    while not (tmp_path / "began").exists():
        assert time.monotonic() < end and run.poll() is None
        time.sleep(0.05)
    run.terminate()
    assert "KeyboardInterrupt" in run.communicate(timeout=30)[1].decode(), "it waits for what it has interrupted"
    assert "KeyboardInterrupt" in (tmp_path / "log").read_text()
