"""Many independent tasks over threads, local processes or a Dask cluster, surviving the loss of a worker.

Not for pipelines within one process (`prediction/predict.py`), and not for what a task does.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Final, TypeVar

from maseg_nnunet.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")

_AHEAD: Final = 4
"""Tasks submitted per worker beyond the running one: enough to keep it busy, few enough to bound memory."""


class WorkerLostError(Exception):
    """The worker that held a task died, and died again when the task ran alone."""


def run_tasks(
    function: Callable[[T], R], tasks: Iterable[T], *, workers: int = 1, scheduler: str | None = None
) -> Iterator[tuple[T, R | WorkerLostError]]:
    """Yield (task, result) in the order of completion.

    `function` must be importable by name, idempotent, and must not raise for bad input; an exception it does raise
    ends the run. One worker without a scheduler means this very process. A worker that dies costs a retry of the tasks
    it held. `scheduler` is the address of a Dask scheduler, whose workers need the same files and package.
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
        # One of these killed its worker, and nothing says which: each runs alone once more.
        for task in lost:
            yield task, _run_alone(function, task)


def _until_broken(
    function: Callable[[T], R], remaining: Iterator[T], workers: int, lost: list[T]
) -> Iterator[tuple[T, R]]:
    """Run until the tasks are used up or a worker dies; `lost` then holds what was submitted and has no result."""
    with _pool(workers) as pool:
        running: dict[Future[R], T] = {}
        try:
            _submit(pool, function, islice(remaining, workers * _AHEAD), running)
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
        except BrokenProcessPool:  # from submitting to a pool that broke meanwhile
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
            # The task has left the iterator already: keep it among the running ones, which are retried.
            failed: Future[R] = Future()
            failed.set_exception(error)
            running[failed] = task
            raise


def _run_alone(function: Callable[[T], R], task: T) -> R | WorkerLostError:
    with _pool(1) as pool:
        try:
            return pool.submit(function, task).result()
        except BrokenProcessPool:
            return WorkerLostError("the process that handled this file died twice, out of memory perhaps")


def _pool(workers: int) -> ProcessPoolExecutor:
    # spawn: a forked worker would inherit locks held by the progress bar's thread.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _run_on_cluster(
    function: Callable[[T], R], tasks: Iterable[T], scheduler: str
) -> Iterator[tuple[T, R | WorkerLostError]]:
    try:
        from distributed import Client, as_completed
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'maseg-nnunet[cluster]'") from error
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(f"no Dask scheduler answers at {scheduler}: start one, or leave --scheduler out") from error
    with client:
        remaining = iter(tasks)
        ahead = max(1, len(client.scheduler_info(n_workers=-1)["workers"])) * _AHEAD
        running: dict[str, T] = {}

        def submit(some: Iterable[T]) -> Sequence[Any]:
            futures = [(client.submit(function, task, pure=False), task) for task in some]
            running.update({future.key: task for future, task in futures})
            return [future for future, _ in futures]

        pending = as_completed(submit(islice(remaining, ahead)))
        for future in pending:
            task = running.pop(future.key)
            if isinstance(future.exception(), KilledWorker):
                yield task, WorkerLostError("the workers that handled this file died, out of memory perhaps")
            else:
                yield task, future.result()
            pending.update(submit(islice(remaining, 1)))
