from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maseg_nnunet.dataset_conversion.splits import Woman, draw, fold

women = st.lists(st.integers(1, 12), min_size=1, max_size=150).map(
    lambda counts: [Woman(f"w{i}", (i * 7919) % 1009, count) for i, count in enumerate(counts)]
)


def images(subsets: dict[str, str], drawn: list[Woman], subset: str) -> int:
    return sum(woman.images for woman in drawn if subsets[woman.name] == subset)


@given(women)
def test_the_targets_are_met_and_not_overshot_by_more_than_one_woman(drawn: list[Woman]) -> None:
    subsets = draw(drawn)
    total = sum(woman.images for woman in drawn)
    wanted = {"test": 100, "val": 80} if total >= 260 else {"test": 0.25 * total, "val": 0.2 * total}
    largest = max(woman.images for woman in drawn)
    for subset, target in wanted.items():
        got = images(subsets, drawn, subset)
        assert got < target + largest
        if subset == "test" or got:
            assert got >= min(target, total - (images(subsets, drawn, "test") if subset == "val" else 0))


@given(women, st.randoms())
def test_the_order_in_which_women_come_does_not_matter(drawn: list[Woman], random: object) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert draw(shuffled) == draw(drawn)


def test_raw_images_follow_their_woman_and_do_not_count() -> None:
    drawn = [Woman(f"w{i}", i, 4) for i in range(100)]
    with_raw_only = [*drawn, Woman("raw", 0, 0)]
    both = draw(with_raw_only)
    assert {name: subset for name, subset in both.items() if name != "raw"} == draw(drawn)


def test_worked_example() -> None:
    # 75 women with four images each: 25 of them make 100 test images, and 20 make 80 for validation.
    subsets = draw(Woman(f"w{i:02d}", i, 4) for i in range(75))
    assert [subsets[f"w{i:02d}"] for i in (0, 24, 25, 44, 45, 74)] == ["test", "test", "val", "val", "train", "train"]


def test_fold_leaves_the_test_cases_out() -> None:
    assert fold({"b": "train", "a": "train", "c": "val", "d": "test"}) == {"train": ["a", "b"], "val": ["c"]}
