"""Training and validation patches of cases as nnU-Net's preprocessing stores them."""

from __future__ import annotations

import pickle
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from maseg_nnunet.training.augmentation import Recipe
from maseg_nnunet.training.patches import TrainingPatches, ValidationPatches, muscle_pixel, validation_iterations
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable

SHAPE = (90, 70)
PATCH = (64, 48)
STILL = Recipe(lut_jitter=0, flip=0, rotation=0, alpha_affine=0, gamma=(1, 1), noise=(0, 0))
WINDOW = LookUpTable("NORMAL", Function.LINEAR_EXACT, center=100.0, width=200.0)
NARROW = LookUpTable("NARROW", Function.LINEAR_EXACT, center=100.0, width=50.0)


class Cases:
    """As nnU-Net's dataset class, in memory; counts the pixels that are read."""

    def __init__(self, names: list[str], muscle: bool = True) -> None:
        self.identifiers = sorted(names)
        self.muscle = muscle
        self.read = 0

    def load_case(self, name: str) -> tuple[Any, Any, None, dict[str, Any]]:
        row, column = np.indices(SHAPE)
        image = (column / SHAPE[1] + self.identifiers.index(name)).astype(np.float32)
        labels = np.where(row < 12, 2, 1).astype(np.int8) if self.muscle else np.ones(SHAPE, dtype=np.int8)
        labels[:, -5:] = -1
        pixels = np.argwhere(labels[None, None] == 2)
        return Lazy(image, self), Lazy(labels, self), None, {"class_locations": {1: np.ones((1, 4)), 2: pixels}}


class Lazy:
    """(1, 1, rows, columns), read by slicing alone, as Blosc2 arrays are."""

    def __init__(self, array: np.ndarray[Any, Any], cases: Cases) -> None:
        self.array, self.cases = array[None, None], cases
        self.shape = self.array.shape

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        self.cases.read += self.array[key].size
        return self.array[key]


def training(cases: Cases, recipe: Recipe = STILL, **options: Any) -> TrainingPatches:
    defaults: dict[str, Any] = {"batch_size": 4, "voi_luts": {}, "muscle_share": 0.0, "scales": None}
    return TrainingPatches(cases, patch=PATCH, recipe=recipe, **(defaults | options))


def test_a_batch_is_what_nnunets_training_step_takes() -> None:
    batch = next(training(Cases(["a", "b"]), Recipe()))
    assert batch["data"].shape == batch["target"].shape == (4, 1, *PATCH)
    assert (batch["data"].dtype, batch["target"].dtype) == (torch.float32, torch.int16)
    assert batch["data"].min() >= 0 and batch["data"].max() <= 1
    assert set(batch["target"].unique().tolist()) <= {0, 1, 2}
    assert len(batch["keys"]) == 4 and set(batch["keys"]) <= {"a", "b"}


def test_deep_supervision_has_a_target_at_every_scale() -> None:
    target = next(training(Cases(["a"]), scales=[[1.0, 1.0], [0.5, 0.5], [0.25, 0.25]]))["target"]
    assert [tuple(level.shape) for level in target] == [(4, 1, 64, 48), (4, 1, 32, 24), (4, 1, 16, 12)]
    # "nearest-exact": the pixel under the centre, of the four around it the lower right one
    assert torch.equal(target[1], target[0][:, :, 1::2, 1::2])


def test_the_table_is_that_of_the_case() -> None:
    luts = {"a": CaseLuts(False, 0, (WINDOW,)), "b": CaseLuts(True, 1, (NARROW, WINDOW))}
    loader = training(Cases(["a"]), voi_luts=luts)
    units = np.linspace(0, 1, 101, dtype=np.float32)[None]
    assert np.allclose(loader.gray("a", units), units, atol=1e-6)
    assert np.allclose(loader.gray("other", units), units, atol=1e-6)
    drawn = [loader.gray("b", units)[0] for _ in range(40)]
    narrow = [np.allclose(gray, np.clip((units - 0.5) * 4 + 0.5, 0, 1), atol=1e-5) for gray in drawn]
    normal = [np.allclose(gray, units, atol=1e-5) for gray in drawn]
    assert all(a != b for a, b in zip(narrow, normal, strict=True))
    assert 8 < sum(narrow) < 32


def test_only_the_crop_is_read() -> None:
    cases = Cases(["a"])
    loader = TrainingPatches(cases, 1, (16, 16), STILL, {}, 0.0)
    next(loader)
    assert 0 < cases.read <= 2 * 20 * 20


def test_as_many_patches_hold_muscle_as_asked_for() -> None:
    loader = training(Cases(["a"]), batch_size=4, muscle_share=0.5)
    for _ in range(10):
        assert all((target == 2).any() for target in next(loader)["target"][2:])
    assert not (next(training(Cases(["a"], muscle=False), muscle_share=1.0))["target"] == 2).any()


def test_every_copy_draws_other_patches() -> None:
    loader = training(Cases(["a"]), Recipe())
    first = next(loader)["data"]
    np.random.seed(5)  # noqa: NPY002  # as batchgenerators does in a worker
    copy = pickle.loads(pickle.dumps(loader))
    assert not torch.equal(next(copy)["data"], next(loader)["data"])
    assert not torch.equal(first, next(loader)["data"])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
# batchgenerators' own thread may find its queue's socket gone when the workers are ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_workers_give_batches() -> None:
    """Also after OpenCV and PyTorch have made their threads in this process."""
    next(training(Cases(["a"]), Recipe(), scales=[[1.0, 1.0], [0.5, 0.5]]))
    big = np.zeros((2000, 2000), dtype=np.float32)
    cv2.warpAffine(cv2.GaussianBlur(big, (0, 0), 5), np.eye(2, 3), (2000, 2000))
    from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter

    workers = NonDetMultiThreadedAugmenter(training(Cases(["a"]), Recipe()), None, 2, 2, wait_time=0.002)
    try:
        batches = [next(workers)["data"] for _ in range(6)]
    finally:
        workers._finish()
    assert all(not torch.equal(a, b) for i, a in enumerate(batches) for b in batches[:i])


def validation(cases: Cases, **options: Any) -> ValidationPatches:
    defaults: dict[str, Any] = {"batch_size": 2, "muscle_share": 0.5, "iterations": 3}
    return ValidationPatches(cases, patch=PATCH, **(defaults | options))


def test_validation_is_the_same_in_every_epoch_and_run() -> None:
    names = ["a", "b", "c", "d", "e"]
    loader, other = validation(Cases(names)), validation(Cases(names))
    epochs = [[next(loader) for _ in range(3)] for _ in range(2)]
    again = [next(other) for _ in range(3)]
    for first, second, third in zip(*epochs, again, strict=True):
        assert first["keys"] == second["keys"] == third["keys"]
        assert torch.equal(first["data"], second["data"]) and torch.equal(first["data"], third["data"])
        assert torch.equal(first["target"], second["target"])
    assert [key for batch in again for key in batch["keys"]] == [*names, "a"]


def test_validation_clamps_the_normal_units_and_nothing_else() -> None:
    cases = Cases(["a", "b"])
    image, labels = validation(cases).cut("a")
    whole, classes, _, _ = cases.load_case("a")
    offset = next(
        (row, column)
        for row in range(SHAPE[0] - PATCH[0] + 1)
        for column in range(SHAPE[1] - PATCH[1] + 1)
        if np.allclose(whole.array[0, 0, row : row + 64, column : column + 48], image)
        and np.array_equal(classes.array[0, 0, row : row + 64, column : column + 48].clip(0), labels)
    )
    assert offset >= (0, 0)
    assert validation(cases).cut("b")[0].max() == 1


@pytest.mark.parametrize(("cases", "batch", "world"), [(5, 2, 1), (7, 4, 2), (1, 4, 2), (645, 12, 4), (6, 5, 2)])
def test_all_ranks_together_see_every_case(cases: int, batch: int, world: int) -> None:
    names = [f"{number:03d}" for number in range(cases)]
    iterations = validation_iterations(cases, batch, world)
    shares = [batch // world + (rank < batch % world) for rank in range(world)]
    seen = set()
    for rank in range(world):
        loader = validation(Cases(names), batch_size=shares[rank], iterations=iterations, rank=rank, world=world)
        assert len(loader.batches) == iterations
        seen |= {key for batch in loader.batches for key in batch}
    assert seen == set(names)
    if world == 1:
        assert iterations == -(-cases // batch)


def test_muscle_pixels_are_rows_and_columns() -> None:
    properties = {"class_locations": {2: np.array([[0, 0, 7, 3]])}}
    assert muscle_pixel(properties, np.random.default_rng()) == (7, 3)
    assert muscle_pixel({"class_locations": {2: []}}, np.random.default_rng()) is None
    assert muscle_pixel({"class_locations": {}}, np.random.default_rng()) is None
