"""Many independent tasks over threads, local processes or a Dask cluster, surviving the loss of a worker.

Not for pipelines within one process (`pipeline.py`), and not for what a task does.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures import as_completed as thread_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from maseg_nnunet.command import on_signals
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


def in_threads(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R]:
    """The results, in the order of the tasks. The first task is done before the others begin.

    ITK makes its singletons at its first use and enters them in a map that is not safe for threads: broken by two at
    once, it keeps the process from ending (itk::SingletonIndex).
    """
    yield from map(function, tasks[:1])
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(function, tasks[1:])


_RUNNING: Final[set[subprocess.Popen[bytes]]] = set()


def run_command(words: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
    """The exit status of a command whose output is appended to `log`; for threads, and for workers of a cluster."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream, subprocess.Popen(words, env=environment, stdout=stream, stderr=stream) as process:
        _RUNNING.add(process)
        try:
            return process.wait()
        finally:
            _RUNNING.discard(process)


@contextmanager
def commands_end_with_us() -> Iterator[None]:
    """SIGTERM interrupts the block, and what `run_command` runs; Ctrl-C in a terminal reaches both by itself.

    Left running, a training and the one that the next call of the same command starts would write into one folder.
    """

    def stop(number: int, frame: Any) -> None:
        # At once: what comes after the exception waits for the threads, and those for their commands.
        for process in tuple(_RUNNING):
            process.send_signal(signal.SIGINT)
        signal.default_int_handler(number, frame)

    # A script that starts us in the background has SIGINT ignored, and so would what we start.
    with on_signals(signal.default_int_handler, signal.SIGINT), on_signals(stop, signal.SIGTERM):
        yield


def gpu_numbers(gpus: str, device: str) -> list[str]:
    """`0,1` as numbers of GPUs. Raises UsageError for anything else, and for GPUs or a device that training has not."""
    if device not in ("cuda", "cpu", "mps"):
        raise UsageError(f"--device is cuda, cpu or mps, not {device}")
    numbers = [number.strip() for number in gpus.split(",") if number.strip()]
    if not all(number.isdigit() for number in numbers) or len(set(numbers)) < len(numbers):
        raise UsageError(f"--gpus takes different numbers with commas between them, such as 0,1, not {gpus}")
    if numbers and device != "cuda":
        raise UsageError("--gpus needs --device cuda")
    return numbers


def run_on_gpus(
    function: Callable[[T, str | None], R], tasks: Iterable[T], gpus: Sequence[str] = ()
) -> Iterator[tuple[T, R]]:
    """Yield (task, function(task, gpu)) in the order of completion, one task at a time on each of the GPUs `gpus`.

    Without any, one after the other with None. For functions that start a process: they are called from threads.
    """
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for gpu in gpus or (None,):
        free.put(gpu)

    def on_a_free_gpu(task: T) -> R:
        gpu = free.get()
        try:
            return function(task, gpu)
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(max(1, len(gpus))) as pool:
        running = {pool.submit(on_a_free_gpu, task): task for task in tasks}
        try:
            for future in thread_completed(running):
                yield running[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


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
