from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from maseg_nnunet.parallel.threads import ThreadTeam, in_threads


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_gives_one_result(workers: int) -> None:
    results: list[int] = []
    ThreadTeam(iter(range(100)), lambda n: n * n, workers).run(results.append)
    assert sorted(results) == [n * n for n in range(100)]


def test_items_are_taken_as_they_are_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(500):
            taken += 1
            yield number

    ahead: list[int] = []
    done = 0

    def sink(number: int) -> None:
        nonlocal done
        done += 1
        ahead.append(taken - done)

    ThreadTeam(items(), lambda n: n, 2).run(sink)
    # Two items are at work, two results are in the queue, and some are counted late.
    assert done == 500 and max(ahead) <= 6


def test_an_exception_of_the_work_ends_the_run_after_what_is_under_way() -> None:
    def work(number: int) -> int:
        if number == 5:
            raise OSError("broken")
        return number

    results: list[int] = []
    with pytest.raises(OSError, match="broken"):
        ThreadTeam(iter(range(1000)), work, 2).run(results.append)
    assert set(range(5)) <= set(results) and len(results) < 20


def test_an_exception_of_the_list_or_of_the_sink_ends_the_run() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no such folder")

    with pytest.raises(ValueError, match="no such folder"):
        ThreadTeam(items(), lambda n: n, 2).run(lambda n: None)

    def sink(number: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ThreadTeam(iter(range(1000)), lambda n: n, 2).run(sink)


def test_an_interrupt_stops_cleanly_and_loses_no_result() -> None:
    begun: set[int] = set()
    results: list[int] = []

    def work(number: int) -> int:
        begun.add(number)
        return number

    def sink(number: int) -> None:
        results.append(number)
        if len(results) == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ThreadTeam(iter(range(1000)), work, 3).run(sink)
    assert set(results) == begun and len(begun) < 20


def test_threads_that_have_nothing_left_are_not_counted() -> None:
    team: ThreadTeam[int, int] = ThreadTeam(iter([0, 1]), lambda n: n, 4)
    team.run(lambda n: None)
    assert team.busy == 0


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
