"""Which women train, validate and test (the paper, section 2.1.2 and Table 2): by woman, never by image."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

TEST_IMAGES: Final = 100
VALIDATION_IMAGES: Final = 80
SMALL_SET: Final = 260
"""A data set with fewer images than this uses the shares `SMALL_TEST` and `SMALL_VALIDATION` instead."""
SMALL_TEST: Final = 0.25
SMALL_VALIDATION: Final = 0.20

Fold = dict[str, list[str]]
"""One entry of splits_final.json: the cases of "train" and of "val"."""


@dataclass(frozen=True)
class Woman:
    """What the drawing needs to know about a woman.

    Attributes:
        name: Her name in the manifest.
        drawn: Her place in the drawing, from `pseudonyms.drawing_number`.
        images: Number of her images that count towards the size of a subset.
    """

    name: str
    drawn: int
    images: int


def draw(women: Iterable[Woman]) -> dict[str, str]:
    """Draw each woman into a subset.

    In the order of `drawn`, women go into test until it has `TEST_IMAGES` images, then into validation until it has
    `VALIDATION_IMAGES`. The rest train.

    Returns:
        Name of each woman to "test", "val" or "train".
    """
    order = sorted(women, key=lambda woman: (woman.drawn, woman.name))
    total = sum(woman.images for woman in order)
    small = total < SMALL_SET
    wanted = {
        "test": SMALL_TEST * total if small else TEST_IMAGES,
        "val": SMALL_VALIDATION * total if small else VALIDATION_IMAGES,
    }
    subsets: dict[str, str] = {}
    filled = {"test": 0, "val": 0}
    for woman in order:
        subset = next((s for s in ("test", "val") if filled[s] < wanted[s]), "train")
        subsets[woman.name] = subset
        if subset != "train":
            filled[subset] += woman.images
    return subsets


def fold(cases: Mapping[str, str]) -> Fold:
    """One entry of splits_final.json from each case's subset; test cases are in neither list."""
    return {s: sorted(case for case, subset in cases.items() if subset == s) for s in ("train", "val")}


def shares(women: Collection[str], count: int) -> list[set[str]]:
    """Divide `women` into `count` shares of nearly equal size; the same women always give the same shares."""
    order = sorted(women, key=lambda woman: hashlib.blake2b(woman.encode()).digest())
    return [set(order[number::count]) for number in range(count)]
