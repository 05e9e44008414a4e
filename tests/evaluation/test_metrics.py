"""Scores against an independent oracle: sets of pixels, and all pairs of boundary pixels instead of a k-d tree."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from maseg_nnunet.evaluation.metrics import CaseScore, boundary_distances, score_case

SPACING = (0.4, 0.25)


def oracle_dice(prediction, reference, label):
    ours = {tuple(p) for p in np.argwhere(prediction == label)}
    theirs = {tuple(p) for p in np.argwhere(reference == label)}
    return 2 * len(ours & theirs) / (len(ours) + len(theirs)) if theirs else math.nan


def oracle_distances(a, b, spacing):
    """Boundaries by SciPy's erosion, distances by the full matrix."""
    if not a.any() and not b.any():
        return 0.0, 0.0
    if not a.any() or not b.any():
        return (math.dist((0, 0), (a.shape[0] * spacing[0], a.shape[1] * spacing[1])),) * 2
    cross = ndimage.generate_binary_structure(2, 1)
    edges = []
    for mask in (a, b):
        padded = np.pad(mask, 3)
        edges.append(np.argwhere(padded ^ ndimage.binary_erosion(padded, cross)) * np.array(spacing))
    matrix = cdist(*edges)
    there, back = matrix.min(axis=1), matrix.min(axis=0)
    return (
        max(np.quantile(there, 0.95), np.quantile(back, 0.95)),
        np.concatenate([there, back]).mean(),
    )


def masks():
    """Random label maps in blocks of pixels, with and without each class."""
    return st.builds(
        lambda seed, size, labels, scale: np.kron(
            np.random.default_rng(seed).choice(labels, size=size), np.ones((scale, scale))
        ).astype(np.uint8),
        st.integers(0, 2**32 - 1),
        st.just((6, 5)),
        st.sampled_from([[0, 1, 2], [0, 1], [0, 2], [1, 2], [0], [1], [2], [0, 0, 0, 1, 2]]),
        st.just(3),
    )


@settings(max_examples=150, deadline=None)
@given(masks(), masks())
def test_every_score_equals_the_oracle(prediction, reference):
    score = score_case(prediction, reference, SPACING)
    counts = [int((reference == label).sum()) for label in (1, 2)]
    dice = [oracle_dice(prediction, reference, label) for label in (1, 2)]
    for ours, theirs in zip((score.dice_breast, score.dice_pectoral), dice, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12, nan_ok=True)
    weighted = sum(n * d for n, d in zip(counts, dice, strict=True) if n)
    overall = weighted / sum(counts) if sum(counts) else math.nan
    assert score.dice_overall == pytest.approx(overall, abs=1e-12, nan_ok=True)
    found = int((prediction == 2).sum())
    assert score.false_positive == (found > 0 and counts[1] == 0)
    assert score.false_negative == (found == 0 and counts[1] > 0)
    assert score.large_false_positive == (counts[1] == 0 and found / max(counts[0], 1e-9) > 0.01)
    for label, ours in ((1, (score.hd95_breast, score.msd_breast)), (2, (score.hd95_pectoral, score.msd_pectoral))):
        assert ours == pytest.approx(oracle_distances(prediction == label, reference == label, SPACING), abs=1e-9)
    assert score.reference_breast_area == pytest.approx(counts[0] * 0.4 * 0.25 / 100)
    assert score.predicted_pectoral_area == pytest.approx(found * 0.4 * 0.25 / 100)


def test_worked_example():
    """20 x 10 pixels of 0.5 mm. Reference: 100 breast, 40 muscle pixels. The predicted muscle lacks one column."""
    reference = np.zeros((20, 10), np.uint8)
    reference[:10] = 1
    reference[10:, :4] = 2
    prediction = reference.copy()
    prediction[10:, 3] = 0
    score = score_case(prediction, reference, (0.5, 0.5))
    assert score.dice_breast == 1
    assert score.dice_pectoral == pytest.approx(2 * 30 / 70)
    assert score.dice_overall == pytest.approx((100 + 40 * 6 / 7) / 140)
    assert score.reference_breast_area == pytest.approx(0.25)
    assert score.reference_pectoral_area == pytest.approx(0.10)
    assert (score.hd95_breast, score.msd_breast) == (0, 0)
    # The boundary of 10 x 4 pixels has 24 pixels, that of 10 x 3 has 22. The right columns are 0.5 mm apart. All 10
    # pixels of the wide one's right column are 0.5 mm away from the narrow boundary. Of the narrow one's right column,
    # only the 8 inner pixels are, because the top and bottom rows are boundary of the wide one too.
    assert score.msd_pectoral == pytest.approx((10 * 0.5 + 8 * 0.5) / (24 + 22))
    assert score.hd95_pectoral == 0.5


FULL = np.ones((30, 40), bool)
NONE = np.zeros((30, 40), bool)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(NONE, NONE, 0.0), (FULL, NONE, 20.0), (NONE, FULL, 20.0), (FULL, FULL, 0.0)],
    ids=["both empty", "reference empty", "prediction empty", "both full"],
)
def test_distance_corners(a, b, expected):
    """If one region is empty: the diagonal of 30 x 0.4 = 12 mm by 40 x 0.4 = 16 mm, 20 mm."""
    assert boundary_distances(a, b, (0.4, 0.4)) == pytest.approx((expected, expected))


def test_two_empty_masks_have_no_dice():
    empty = np.zeros((4, 5), np.uint8)
    score = score_case(empty, empty, SPACING)
    assert math.isnan(score.dice_breast) and math.isnan(score.dice_pectoral) and math.isnan(score.dice_overall)
    assert not (score.false_positive or score.false_negative or score.large_false_positive)


@pytest.mark.parametrize(("pixels", "large"), [(0, False), (1, False), (2, True)])
def test_false_positive_is_large_above_one_per_cent(pixels, large):
    """One of 100 breast pixels is exactly 1%, which is not large."""
    reference = np.zeros((11, 10), np.uint8)
    reference[:10] = 1
    prediction = reference.copy()
    prediction[10, :pixels] = 2
    score = score_case(prediction, reference, SPACING)
    assert (score.false_positive, score.large_false_positive) == (pixels > 0, large)


@pytest.mark.parametrize(("rows", "muscle", "large"), [(5, 1, False), (20, 2, True)])
def test_a_large_false_positive_is_measured_against_the_references_breast(rows, muscle, large):
    """100 pixels of breast in the reference; half or twice as many in the prediction must not matter."""
    reference = np.zeros((21, 10), np.uint8)
    reference[:10] = 1
    prediction = np.zeros_like(reference)
    prediction[:rows] = 1
    prediction[20, :muscle] = 2
    assert score_case(prediction, reference, SPACING).large_false_positive == large


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        score_case(np.zeros((3, 4), np.uint8), np.zeros((4, 3), np.uint8), SPACING)


def test_score_is_frozen():
    score = score_case(np.ones((3, 3), np.uint8), np.ones((3, 3), np.uint8), SPACING)
    assert isinstance(score, CaseScore)
    with pytest.raises(AttributeError):
        score.dice_breast = 0.0  # type: ignore[misc]
