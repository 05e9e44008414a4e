"""Which women train, validate and test (the paper, section 2.1.2 and Table 2): by woman, never by image."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

TEST_IMAGES: Final = 100
VALIDATION_IMAGES: Final = 80
SMALL_SET: Final = 260
"""A set with fewer images than this gives `SMALL_TEST` and `SMALL_VALIDATION` of them instead."""
SMALL_TEST: Final = 0.25
SMALL_VALIDATION: Final = 0.20

Fold = dict[str, list[str]]


@dataclass(frozen=True)
class Woman:
    """What the drawing needs of a woman: her name, her place in it, and how many images of hers count."""

    name: str
    drawn: int
    images: int


def draw(women: Iterable[Woman]) -> dict[str, str]:
    """Name of each woman to "test", "val" or "train".

    Women are drawn in the order of `drawn` into test until it has TEST_IMAGES images, into validation until
    VALIDATION_IMAGES; the rest train.
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
    """`women` in `count` shares of as equal size as can be, always the same ones."""
    order = sorted(women, key=lambda woman: hashlib.blake2b(woman.encode()).digest())
    return [set(order[number::count]) for number in range(count)]
