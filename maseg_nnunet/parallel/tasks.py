"""Many independent tasks in local processes or on a Dask cluster. The loss of a worker does not end the run.

Threads are `threads.py`, commands of other programs `commands.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Final, TypeVar

from maseg_nnunet.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")

_TASKS_PER_WORKER: Final = 4
"""Tasks submitted at a time for each worker: enough to keep it busy, few enough to bound memory."""


class WorkerLostError(Exception):
    """The worker of a task died, and so did the worker of its retry."""


def run_tasks(
    function: Callable[[T], R], tasks: Iterable[T], *, workers: int = 1, scheduler: str | None = None
) -> Iterator[tuple[T, R | WorkerLostError]]:
    """Run `function` on every task.

    Tasks are retried if their worker dies. Only a few tasks for each worker are taken from `tasks` ahead of time.

    Args:
        function: Importable by name and idempotent. It must not raise for bad input: an exception ends the run.
        tasks: The tasks, picklable if they go to another process.
        workers: Number of local processes; 1 means this process itself.
        scheduler: Address of a Dask scheduler. Its workers need the same files and the same package.

    Yields:
        (task, result) in the order of completion. The result is a WorkerLostError if the task's workers kept dying.

    Raises:
        UsageError: Dask is not installed, or no scheduler answers at the address.
    """
    if scheduler:
        yield from _run_on_cluster(function, tasks, scheduler)
    elif workers <= 1:
        for task in tasks:
            yield task, function(task)
    else:
        yield from _run_in_pool(function, tasks, workers)


def _run_in_pool(
    function: Callable[[T], R], tasks: Iterable[T], workers: int
) -> Iterator[tuple[T, R | WorkerLostError]]:
    remaining = iter(tasks)
    while True:
        lost: list[T] = []
        yield from _until_broken(function, remaining, workers, lost)
        if not lost:
            return
        # One of these killed its worker, but nothing says which one, so each is retried alone.
        for task in lost:
            yield task, _run_alone(function, task)


def _until_broken(
    function: Callable[[T], R], remaining: Iterator[T], workers: int, lost: list[T]
) -> Iterator[tuple[T, R]]:
    """Run until no task remains or a worker dies; then `lost` has the tasks that were submitted and have no result."""
    with _pool(workers) as pool:
        running: dict[Future[R], T] = {}
        try:
            _submit(pool, function, islice(remaining, workers * _TASKS_PER_WORKER), running)
            while running and not lost:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    task = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        lost.append(task)
                        continue
                    yield task, future.result()
                    if not lost:
                        _submit(pool, function, islice(remaining, 1), running)
        except BrokenProcessPool:  # the pool broke before a task was submitted to it
            pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        for future, task in running.items():
            if future.done() and future.exception() is None:
                yield task, future.result()
            else:
                lost.append(task)


def _submit(
    pool: ProcessPoolExecutor, function: Callable[[T], R], tasks: Iterable[T], running: dict[Future[R], T]
) -> None:
    for task in tasks:
        try:
            running[pool.submit(function, task)] = task
        except BrokenProcessPool as error:
            # The task is no longer in the iterator: count it as running, so that it is retried.
            failed: Future[R] = Future()
            failed.set_exception(error)
            running[failed] = task
            raise


def _run_alone(function: Callable[[T], R], task: T) -> R | WorkerLostError:
    with _pool(1) as pool:
        try:
            return pool.submit(function, task).result()
        except BrokenProcessPool:
            return WorkerLostError("the process that handled this file died twice; it may have run out of memory")


def _pool(workers: int) -> ProcessPoolExecutor:
    # spawn: a forked worker would inherit locks that the progress bar's thread holds.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this worker when its parent is gone. It would wait for tasks forever if the parent alone was killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_for_its_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_its_end, daemon=True).start()


def _run_on_cluster(
    function: Callable[[T], R], tasks: Iterable[T], scheduler: str
) -> Iterator[tuple[T, R | WorkerLostError]]:
    try:
        from distributed import Client, as_completed
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: in the clone, pip install -e '.[cluster]'") from error
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(f"no Dask scheduler answers at {scheduler}: start one, or leave --scheduler out") from error
    with client:
        remaining = iter(tasks)
        ahead = max(1, len(client.scheduler_info(n_workers=-1)["workers"])) * _TASKS_PER_WORKER
        running: dict[str, T] = {}

        def submit(some: Iterable[T]) -> Sequence[Any]:
            futures = [(client.submit(function, task, pure=False), task) for task in some]
            running.update({future.key: task for future, task in futures})
            return [future for future, _ in futures]

        pending = as_completed(submit(islice(remaining, ahead)))
        for future in pending:
            task = running.pop(future.key)
            if isinstance(future.exception(), KilledWorker):
                yield task, WorkerLostError("the workers that handled this file died; they may have run out of memory")
            else:
                yield task, future.result()
            pending.update(submit(islice(remaining, 1)))
