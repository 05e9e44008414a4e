"""The seed of a training, and what its checkpoints record so that it can be repeated."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import torch

from maseg_nnunet.errors import UsageError
from maseg_nnunet.training.augmentation import Recipe

SEED: Final = "MASEG_SEED"
"""Environment variable with the seed of a training, a number from 0 to 2**32 - 1."""


def start_seed() -> int:
    """Seed Python, NumPy and PyTorch with $MASEG_SEED, or with a random number if it is not set.

    Two trainings with the same seed see the same patches if nnUNet_n_proc_DA is 0 or 1, because several workers deliver
    their patches in no fixed order. A training that was interrupted draws other patches afterwards.

    Returns:
        The seed.

    Raises:
        UsageError: $MASEG_SEED is not a number from 0 to 2**32 - 1.
    """
    text = os.environ.get(SEED)
    if text is not None and not (text.isascii() and text.isdecimal() and int(text) < 2**32):
        raise UsageError(f"${SEED} is {text!r}; a number from 0 to 4294967295 was expected")
    seed = secrets.randbits(32) if text is None else int(text)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # batchgenerators uses this generator
    torch.manual_seed(seed)
    return seed


def worker_seeds(seed: int, epoch: int, rank: int, workers: int) -> list[int]:
    """Seeds of the workers that load patches: different for each of them, and after an interruption.

    Args:
        seed: Seed of the training.
        epoch: The epoch that they start in.
        rank: The GPU that they load for.
        workers: Number of workers.
    """
    return [int(state) for state in np.random.SeedSequence([seed, epoch, rank]).generate_state(workers)]


def training_record(seed: int, recipe: Recipe, loaders: Sequence[Any], number_format: torch.dtype) -> dict[str, Any]:
    """Plain values that say how to repeat a training, beside the plans and the cases.

    Args:
        seed: Seed of the training.
        recipe: Its augmentation.
        loaders: The objects that make its patches; none before the training begins.
        number_format: Format that the network computes in.
    """
    return {
        "clamped": True,
        "versions": {name: version(name) for name in ("maseg-nnunet", "nnunetv2", "torch")},
        "seed": seed,
        "recipe": asdict(recipe),
        "loader": [type(loader).__name__ for loader in loaders],
        "variety": [asdict(loader.variety) for loader in loaders if hasattr(loader, "variety")],
        "number_format": str(number_format).removeprefix("torch."),
    }
