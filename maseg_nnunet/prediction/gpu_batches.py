"""One forward pass for the images of one size that several threads have ready, because a GPU runs batches faster.

On a CPU each thread runs its own image.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final

import torch

from maseg_nnunet.arrays import Logits
from maseg_nnunet.prediction.preprocessing import Prepared
from maseg_nnunet.prediction.segmenter import Segmenter

LARGEST: Final = 16
"""Images in a batch. Mammograms are so large that larger batches are not faster."""

_Request = tuple[Prepared, "Future[Logits]"]


class Batcher:
    """Runs a segmenter's network in a separate thread, on batches of images. Use it as a context manager.

    Args:
        segmenter: The loaded model.
    """

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

    def logits(self, prepared: Prepared) -> Logits:
        """Run the network on one image, as part of a batch.

        Any number of threads may call this at the same time. It returns when the batch is done.

        Args:
            prepared: The prepared image.

        Returns:
            Its logits, as `Segmenter.logits` describes.
        """
        answer: Future[Logits] = Future()
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
                self._queue.put(None)  # the end, to be found again after the waiting images
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
        """Run a batch. Returns False if its requests have no answer because it needs too much memory.

        The caller then retries them one by one. It can't be done here, because the exception still keeps that memory.
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
