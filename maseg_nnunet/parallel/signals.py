"""Signals while a block runs: a handler, and SIGTERM as an interrupt."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def on_signals(handler: Callable[[int, Any], Any], *numbers: int) -> Iterator[None]:
    """`handler` for these signals while the block runs; as they were after it. Without effect off the main thread.

    A handler that stayed would be inherited by whatever is forked later: nnU-Net's pools end their processes by
    SIGTERM, and one that handles it may wait for ever.
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
    """SIGTERM, which is how a cluster or a system ends a job, interrupts the block as Ctrl-C does."""
    with on_signals(signal.default_int_handler, signal.SIGTERM):
        yield
