"""Threads that take items to their end, and batches that threads gather."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from maseg_nnunet.parallel.threads import Crew
from maseg_nnunet.prediction.gpu_batches import LARGEST, Batcher
from maseg_nnunet.prediction.segmenter import Prepared


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_gives_one_result(workers: int) -> None:
    results: list[int] = []
    Crew(iter(range(100)), lambda n: n * n, workers).run(results.append)
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

    Crew(items(), lambda n: n, 2).run(sink)
    # Two in the threads' hands, two in the queue, and what is counted late: never more, however many there are.
    assert done == 500 and max(ahead) <= 6


def test_an_exception_of_the_work_ends_the_run_after_what_is_under_way() -> None:
    def work(number: int) -> int:
        if number == 5:
            raise OSError("broken")
        return number

    results: list[int] = []
    with pytest.raises(OSError, match="broken"):
        Crew(iter(range(1000)), work, 2).run(results.append)
    assert set(range(5)) <= set(results) and len(results) < 20


def test_an_exception_of_the_list_or_of_the_sink_ends_the_run() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no such folder")

    with pytest.raises(ValueError, match="no such folder"):
        Crew(items(), lambda n: n, 2).run(lambda n: None)

    def sink(number: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Crew(iter(range(1000)), lambda n: n, 2).run(sink)


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
        Crew(iter(range(1000)), work, 3).run(sink)
    assert set(results) == begun and len(begun) < 20


def test_threads_that_have_nothing_left_are_not_counted() -> None:
    crew: Crew[int, int] = Crew(iter([0, 1]), lambda n: n, 4)
    crew.run(lambda n: None)
    assert crew.busy == 0


class Slow:
    """In place of a Segmenter: its first call waits until all the others have asked."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.go = threading.Event()

    def logits(self, batch: list[Prepared]) -> list[np.ndarray]:
        self.batches.append([0.0 if one.image is None else float(one.image[0, 0]) for one in batch])
        if len(self.batches) == 1:
            self.go.wait(timeout=30)
        if any(one.image is not None and one.image[0, 0] == 99 for one in batch):
            raise torch.cuda.OutOfMemoryError if len(batch) > 1 else RuntimeError("too large")
        return [np.zeros(1) if one.image is None else one.image * 2 for one in batch]


def prepared(value: float | None, shape: tuple[int, int] = (2, 2)) -> Prepared:
    image = None if value is None else np.full(shape, value, dtype=np.float32)
    return Prepared(image, shape, (0.1, 0.1), (0.4, 0.4))


def test_images_of_one_size_that_wait_go_in_one_batch() -> None:
    slow = Slow()
    answers: dict[int, object] = {}
    requests = [prepared(0), *(prepared(n) for n in range(1, 6)), prepared(6, (3, 3)), prepared(None), prepared(99)]

    def ask(index: int) -> None:
        try:
            answers[index] = batcher.logits(requests[index])
        except RuntimeError as error:
            answers[index] = error

    with Batcher(slow) as batcher:  # type: ignore[arg-type]
        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(requests))]
        threads[0].start()
        while not slow.batches:
            pass
        for thread in threads[1:]:
            thread.start()
        while batcher._queue.qsize() < len(requests) - 1:
            pass
        slow.go.set()
        for thread in threads:
            thread.join()
    assert slow.batches[0] == [0]
    # Five of one size and the one that is too much for the memory, which are then tried one by one.
    assert [1, 2, 3, 4, 5, 99] in [sorted(batch) for batch in slow.batches]
    for index, request in enumerate(requests[:7]):
        np.testing.assert_array_equal(answers[index], request.image * 2)  # type: ignore[operator]
    assert isinstance(answers[7], np.ndarray) and isinstance(answers[8], RuntimeError)
    assert max(map(len, slow.batches)) <= LARGEST
