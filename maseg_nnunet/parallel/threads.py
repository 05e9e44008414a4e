"""A few threads that each take one item from its start to its end: for work that waits, or that frees the lock of
Python's interpreter. Not for work on many machines or in processes (`parallel/tasks.py`).

Items are taken from their iterator one by one, so as many are in memory as there are threads, however long the list.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Final, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_END: Final = object()


class Crew(Generic[T, R]):
    """`workers` threads that call `work` on every item of `items`. `busy` tells how many still have something to do."""

    def __init__(self, items: Iterator[T], work: Callable[[T], R], workers: int) -> None:
        self.busy = workers
        self._items = items
        self._work = work
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._results: Queue[R | BaseException | object] = Queue(maxsize=workers)

    def run(self, sink: Callable[[R], None]) -> None:
        """Call `sink` in this thread with each result, in the order of completion.

        Where `items`, `work` or `sink` raise, and where the user interrupts, no further item is begun; what is under
        way is finished and goes to `sink`; then the exception is raised. A second interrupt does not wait.
        """
        working = self.busy
        for index in range(working):
            threading.Thread(target=self._member, name=f"crew-{index}", daemon=True).start()
        failure: BaseException | None = None
        while working:
            try:
                result = self._results.get()
                if result is _END:
                    working -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    sink(result)  # type: ignore[arg-type]  # neither the mark nor an exception
            except KeyboardInterrupt as interrupt:
                if isinstance(failure, KeyboardInterrupt):
                    raise
                failure = interrupt
                self._stop.set()
            except Exception as error:
                failure = failure or error
                self._stop.set()
        if failure is not None:
            raise failure

    def _member(self) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    item = next(self._items, _END)
                if item is _END:
                    break
                self._results.put(self._work(item))  # type: ignore[arg-type]
        except BaseException as error:
            self._stop.set()
            self._results.put(error)
        finally:
            with self._lock:
                self.busy -= 1
            self._results.put(_END)


def usable_cores() -> int:
    """Cores this process may use; the default of every --workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R]:
    """The results, in the order of the tasks. The first task is done before the others begin.

    ITK makes its singletons at its first use and enters them in a map that is not safe for threads: broken by two at
    once, it keeps the process from ending (itk::SingletonIndex).
    """
    yield from map(function, tasks[:1])
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(function, tasks[1:])
