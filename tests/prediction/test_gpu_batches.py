from __future__ import annotations

import threading

import numpy as np
import torch

from maseg_nnunet.prediction.gpu_batches import LARGEST, Batcher
from maseg_nnunet.prediction.preprocessing import Prepared


class Slow:
    """A stand-in for a Segmenter. Its first call waits until all other threads have asked."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.go = threading.Event()

    def logits(self, batch: list[Prepared]) -> list[np.ndarray]:
        self.batches.append([0.0 if one.image is None else float(one.image[0, 0]) for one in batch])
        if len(self.batches) == 1:
            self.go.wait(timeout=30)
        if any(one.image is not None and one.image[0, 0] == 99 for one in batch):
            raise torch.cuda.OutOfMemoryError if len(batch) > 1 else RuntimeError("too large")
        return [np.zeros(1) if one.image is None else one.image * 2 for one in batch]


def prepared(value: float | None, shape: tuple[int, int] = (2, 2)) -> Prepared:
    image = None if value is None else np.full(shape, value, dtype=np.float32)
    return Prepared(image, shape, (0.1, 0.1), (0.4, 0.4))


def test_images_of_one_size_that_wait_go_in_one_batch() -> None:
    slow = Slow()
    answers: dict[int, object] = {}
    requests = [prepared(0), *(prepared(n) for n in range(1, 6)), prepared(6, (3, 3)), prepared(None), prepared(99)]

    def ask(index: int) -> None:
        try:
            answers[index] = batcher.logits(requests[index])
        except RuntimeError as error:
            answers[index] = error

    with Batcher(slow) as batcher:  # type: ignore[arg-type]
        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(requests))]
        threads[0].start()
        while not slow.batches:
            pass
        for thread in threads[1:]:
            thread.start()
        while batcher._queue.qsize() < len(requests) - 1:
            pass
        slow.go.set()
        for thread in threads:
            thread.join()
    assert slow.batches[0] == [0]
    # Five of one size and one that does not fit into memory; after the error they go one by one.
    assert [1, 2, 3, 4, 5, 99] in [sorted(batch) for batch in slow.batches]
    for index, request in enumerate(requests[:7]):
        np.testing.assert_array_equal(answers[index], request.image * 2)  # type: ignore[operator]
    assert isinstance(answers[7], np.ndarray) and isinstance(answers[8], RuntimeError)
    assert max(map(len, slow.batches)) <= LARGEST
