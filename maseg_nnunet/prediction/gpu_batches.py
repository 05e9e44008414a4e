"""Images of one size that several threads have ready, joined into one forward pass: a GPU wants more than one.

Not for a CPU, where each thread runs its own image.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final

import torch

from maseg_nnunet.arrays import Image
from maseg_nnunet.prediction.segmenter import Prepared, Segmenter

LARGEST: Final = 16
"""Images a batch; more gain nothing at the size of a mammogram."""

_Request = tuple[Prepared, "Future[Image]"]


class Batcher:
    """Runs `segmenter` in a thread of its own, between `with` and its end."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="network", daemon=True)

    def __enter__(self) -> Batcher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    def logits(self, prepared: Prepared) -> Image:
        """As `Segmenter.logits` for one image; returns when the batch that it went into is done."""
        answer: Future[Image] = Future()
        self._queue.put((prepared, answer))
        return answer.result()

    def _serve(self) -> None:
        waiting: list[_Request] = []
        while True:
            if not waiting:
                request = self._queue.get()
                if request is None:
                    return
                waiting.append(request)
            try:
                while (request := self._queue.get_nowait()) is not None:
                    waiting.append(request)
                self._queue.put(None)  # the end, for when what waits is done
            except Empty:
                pass
            size = _size(waiting[0][0])
            batch = [request for request in waiting if _size(request[0]) == size][:LARGEST]
            waiting = [request for request in waiting if request not in batch]
            self._run(batch)

    def _run(self, batch: list[_Request]) -> None:
        if not self._answered(batch):
            for request in batch:
                self._answered([request])

    def _answered(self, batch: list[_Request]) -> bool:
        """Whether every request got its logits or its exception; not where several need more memory than there is.

        They are tried one by one by the caller, when the exception, which holds on to that memory, is gone.
        """
        try:
            found = self._segmenter.logits([prepared for prepared, _ in batch])
        except Exception as error:
            if isinstance(error, torch.cuda.OutOfMemoryError) and len(batch) > 1:
                return False
            for _, answer in batch:
                answer.set_exception(error)
            return True
        for (_, answer), logits in zip(batch, found, strict=True):
            answer.set_result(logits)
        return True


def _size(prepared: Prepared) -> tuple[int, ...] | None:
    return None if prepared.image is None else prepared.image.shape
