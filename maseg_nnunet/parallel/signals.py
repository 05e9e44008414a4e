"""Signal handlers that are set only while a block runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def on_signals(handler: Callable[[int, Any], Any], *numbers: int) -> Iterator[None]:
    """Handle signals with `handler` while the block runs, and restore the handlers before it afterwards.

    It has no effect outside the main thread. A handler that stayed would be inherited by processes forked later:
    nnU-Net's pools end theirs by SIGTERM, and a process that handles it may wait for ever.

    Args:
        handler: Called with the signal's number and the current stack frame.
        *numbers: The signals.
    """
    before: dict[int, Any] = {}
    try:
        with suppress(ValueError):
            for number in numbers:
                before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM, by which a cluster or an operating system ends a job, interrupts the block as Ctrl-C does."""
    with on_signals(signal.default_int_handler, signal.SIGTERM):
        yield
