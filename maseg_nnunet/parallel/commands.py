"""Commands run as processes, one at a time or one on each GPU. They end when this process is told to end."""

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
    """Run a command and wait for it. It can be called from threads and on workers of a cluster.

    Args:
        words: The program and its arguments.
        environment: All environment variables of the command.
        log: File that its stdout and stderr are appended to. Missing folders are created.

    Returns:
        The exit status.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream, subprocess.Popen(words, env=environment, stdout=stream, stderr=stream) as process:
        _RUNNING.add(process)
        try:
            return process.wait()
        finally:
            _RUNNING.discard(process)


@contextmanager
def commands_end_with_us() -> Iterator[None]:
    """SIGTERM interrupts the block and the commands of `run_command`. Ctrl-C in a terminal reaches both by itself.

    A training that kept running would write into the same folder as the one that the next call starts.
    """

    def stop(number: int, frame: Any) -> None:
        # Commands first: after the exception this process waits for its threads, and they wait for their commands.
        for process in tuple(_RUNNING):
            process.send_signal(signal.SIGINT)
        signal.default_int_handler(number, frame)

    # A script that starts us in the background makes us ignore SIGINT, and our commands would inherit that.
    with on_signals(signal.default_int_handler, signal.SIGINT), on_signals(stop, signal.SIGTERM):
        yield


def gpu_numbers(gpus: str, device: str) -> list[str]:
    """The GPU numbers in text such as `0,1`.

    Raises:
        UsageError: `gpus` has another form or a number twice, or it is not empty and `device` is not cuda, or `device`
            is not one that nnU-Net trains on.
    """
    if device not in ("cuda", "cpu", "mps"):
        raise UsageError(f"--device is auto, cuda, cpu or mps, not {device}")
    numbers = [number.strip() for number in gpus.split(",") if number.strip()]
    if not all(number.isdigit() for number in numbers) or len(set(numbers)) < len(numbers):
        raise UsageError(f"--gpus takes different numbers with commas between them, such as 0,1, not {gpus}")
    if numbers and device != "cuda":
        raise UsageError("--gpus needs --device cuda")
    return numbers


def run_on_gpus(
    function: Callable[[T, str | None], R], tasks: Iterable[T], gpus: Sequence[str] = ()
) -> Iterator[tuple[T, R]]:
    """Run one task at a time on each GPU.

    Args:
        function: Called with a task and a GPU, in a thread. It should start a process for the work.
        tasks: The tasks. All are queued at once.
        gpus: The GPUs; if empty, tasks run one after the other and get None as GPU.

    Yields:
        (task, result) in the order of completion. The first exception of `function` is raised and ends the run.
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
