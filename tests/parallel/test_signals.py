from __future__ import annotations

import signal
import threading

import pytest

from maseg_nnunet.parallel.signals import interrupted_by_sigterm, on_signals


def test_a_handler_of_signals_goes_with_its_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[int] = []
    with pytest.raises(OSError, match="full"), on_signals(lambda number, _: seen.append(number), signal.SIGTERM):
        signal.raise_signal(signal.SIGTERM)
        raise OSError("full")
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before


def test_off_the_main_thread_signals_stay_as_they_are() -> None:
    def block() -> None:
        with on_signals(lambda *_: None, signal.SIGTERM):
            handlers.append(signal.getsignal(signal.SIGTERM))

    handlers: list[object] = []
    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_sigterm_interrupts_the_block() -> None:
    with pytest.raises(KeyboardInterrupt), interrupted_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
