"""Work on threads of this process: for work that waits, or that releases the GIL.

Processes and clusters are `tasks.py`.
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


class ThreadTeam(Generic[T, R]):
    """Threads that call `work` on every item of `items`.

    Each thread takes the next item when it has finished one, so memory does not grow with the number of items.

    Args:
        items: Taken one by one, by one thread at a time.
        work: Called in the threads.
        workers: Number of threads.

    Attributes:
        busy: Number of threads that have not ended.
    """

    def __init__(self, items: Iterator[T], work: Callable[[T], R], workers: int) -> None:
        self.busy = workers
        self._items = items
        self._work = work
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._results: Queue[R | BaseException | object] = Queue(maxsize=workers)

    def run(self, sink: Callable[[R], None]) -> None:
        """Call `sink` in this thread with each result, in the order of completion.

        Raises:
            Exception: The first one that `items`, `work` or `sink` raised. From then on no item is begun; the items at
                work are finished and go to `sink` before the exception is raised.
            KeyboardInterrupt: As the exceptions above; but a second interrupt is raised at once.
        """
        working = self.busy
        for index in range(working):
            threading.Thread(target=self._work_on_items, name=f"team-{index}", daemon=True).start()
        failure: BaseException | None = None
        while working:
            try:
                result = self._results.get()
                if result is _END:
                    working -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    sink(result)  # type: ignore[arg-type]  # neither _END nor an exception
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

    def _work_on_items(self) -> None:
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
    """Number of cores that this process may use; the default of every --workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R]:
    """Yield the results in the order of the tasks. The first task is finished before the others begin.

    ITK creates its singletons at their first use and adds them to a map that is not thread-safe (itk::SingletonIndex).
    Two threads that do so at once corrupt it, and then the process does not end.
    """
    yield from map(function, tasks[:1])
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(function, tasks[1:])
