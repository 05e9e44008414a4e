"""Commands as processes: one at a time, or one on each GPU. They end when this process is told to end."""

from __future__ import annotations

import queue
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import as_completed as thread_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from maseg_nnunet.errors import UsageError
from maseg_nnunet.parallel.signals import on_signals

T = TypeVar("T")
R = TypeVar("R")

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
