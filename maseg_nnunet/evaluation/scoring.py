"""Score a folder of predicted masks: one row of scores per case, written as cases.csv.

Each prediction is paired with its reference. A prediction that can't be scored is a `Problem`. If there is a problem,
there are no scores at all, because an average over fewer cases looks like an average over all of them. How one mask is
scored is in `metrics.py`, the tables of averages are in `tables.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from maseg_nnunet.dataset.cases import masks_in, read_grid, reference_of
from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest
from maseg_nnunet.errors import DatasetError, Reason, RefusedError, UsageError
from maseg_nnunet.evaluation.metrics import score_case
from maseg_nnunet.files import write_text
from maseg_nnunet.labels import LABELS, Label
from maseg_nnunet.parallel.threads import in_threads
from maseg_nnunet.readers.masks import read_mask

if TYPE_CHECKING:
    import pandas as pd


MUSCLE_SCORES: Final = ("dice_pectoral", "dice_overall", "hd95_pectoral", "msd_pectoral")
"""Scores that need a reference whose muscle was judged (quality not `exclude`)."""

CASE_COLUMNS: Final = (
    "case", "dataset", "view", "side", "intent", "subset", "vendor", "woman", "twin", "quality",
    "muscle_scored", "flags",
)  # fmt: skip

_SPACING_TOLERANCE: Final = 1e-3


class Fault(str, Enum):
    """Why a case can't be scored; the value is the text that users read."""

    MISSING = "prediction missing"
    EXTRA = "prediction of a case that is not in this data set"
    REFERENCE_MISSING = "reference missing"
    UNREADABLE = "mask unreadable"
    OTHER_GRID = "prediction on another grid"
    OTHER_LABELS = "unexpected label"


@dataclass(frozen=True)
class Problem:
    """One case that can't be scored, and why."""

    case: str
    fault: Fault
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.case}: {self.fault.value}" + (f" ({self.detail})" if self.detail else "")


class ProblemsError(DatasetError):
    """Some cases can't be scored, so nothing is averaged.

    Attributes:
        problems: One for each of these cases.
    """

    def __init__(self, problems: list[Problem], cases: int) -> None:
        counts = Counter(problem.fault.value for problem in problems)
        listed = ", ".join(f"{fault}: {count}" for fault, count in counts.items())
        super().__init__(f"{listed}; nothing was averaged over the {cases} cases")
        self.problems = problems


@dataclass(frozen=True)
class Pair:
    """One case with its two masks."""

    row: ManifestRow
    prediction: Path
    reference: Path


def score_folder(
    predictions: Path,
    dataset: Path,
    rows: Collection[ManifestRow],
    *,
    include_excluded: bool = False,
    workers: int = 1,
    merge: Mapping[int, Label] | None = None,
) -> pd.DataFrame:
    """Score the predictions of some cases.

    Args:
        predictions: Folder of predicted masks, named after their cases.
        dataset: Folder of the converted data set.
        rows: Cases to score, from the data set's manifest.
        include_excluded: Also score the muscle if it was not judged in the reference (quality `exclude`). Otherwise
            its scores and the overall Dice of such a case are NaN, its false positives and negatives None.
        workers: Number of threads.
        merge: Label of each value of the predictions, if they are not those of `Label`.

    Returns:
        One row per case, sorted by case, with the columns `CASE_COLUMNS` and the fields of `CaseScore`.

    Raises:
        ProblemsError: A prediction is missing, unreadable, on another grid, or has unexpected labels; a reference is
            missing; or there is a prediction of a case that is not in the data set.
        DatasetError: The folder has no masks, or two masks of one case.
    """
    import pandas as pd

    pairs, problems = pair_up(rows, dataset, predictions)
    # Threads, not processes: reading and the k-d trees release the GIL, and each process would have to import SciPy.
    results = list(in_threads(lambda pair: score_pair(pair, merge), pairs, workers))
    problems += [result for result in results if isinstance(result, Problem)]
    if problems:
        raise ProblemsError(problems, len(rows))
    scored = [result for result in results if not isinstance(result, Problem)]
    if not include_excluded:
        for pair, result in zip(pairs, scored, strict=True):
            if not pair.row.is_scored:
                result.update(_without_muscle())
    cases: pd.DataFrame = pd.DataFrame(scored)
    return cases


def pair_up(rows: Iterable[ManifestRow], dataset: Path, predictions: Path) -> tuple[list[Pair], list[Problem]]:
    """Find the prediction and the reference of each case, and the cases that lack one.

    Predictions of other cases of the data set are ignored, so test cases can be scored in a folder that also has
    training cases.
    """
    masks = masks_in(predictions)
    known = {row.case for row in read_manifest(dataset)}
    pairs, problems = [], []
    for row in sorted(rows):
        prediction, reference = masks.pop(row.case, None), reference_of(dataset, row)
        if prediction is None:
            problems.append(Problem(row.case, Fault.MISSING))
        elif not reference.is_file():
            problems.append(Problem(row.case, Fault.REFERENCE_MISSING))
        else:
            pairs.append(Pair(row, prediction, reference))
    problems.extend(Problem(case, Fault.EXTRA) for case in masks if case not in known)
    return pairs, problems


def score_pair(pair: Pair, merge: Mapping[int, Label] | None = None) -> dict[str, Any] | Problem:
    """Score one case.

    Args:
        pair: The case and its masks. A prediction without a spacing (PNG) is on the reference's grid if it has its
            size.
        merge: Label of each value of the prediction, if they are not those of `Label`.

    Returns:
        The case's row of cases.csv, or why it can't be scored.
    """
    case, what = pair.row.case, "reference"
    try:
        shape, spacing = read_grid(pair.reference)
        reference = read_mask(pair.reference, shape)
        what = "prediction"
        predicted_shape, predicted_spacing = read_grid(pair.prediction)
        if predicted_shape != shape:
            detail = f"{_by(predicted_shape)} pixels, the reference {_by(shape)}"
            return Problem(case, Fault.OTHER_GRID, detail)
        prediction = read_mask(pair.prediction, shape, merge)
    except ValueError as error:
        return Problem(case, Fault.UNREADABLE, f"{what}: {error}")
    except RefusedError as error:
        fault = Fault.OTHER_LABELS if error.reason is Reason.MASK_LABELS else Fault.UNREADABLE
        return Problem(case, fault, f"{what}: {error.detail}")
    spacing = spacing or pair.row.target
    if predicted_spacing and any(
        abs(a - b) > _SPACING_TOLERANCE * b for a, b in zip(predicted_spacing, spacing, strict=True)
    ):
        detail = f"spacing {_by(predicted_spacing)} mm, the reference {_by(spacing)}"
        return Problem(case, Fault.OTHER_GRID, detail)
    described = {name: getattr(pair.row, name, None) for name in CASE_COLUMNS}
    return {**described, "muscle_scored": True, **asdict(score_case(prediction, reference, spacing))}


def _by(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.5g} x {pair[1]:.5g}"


def _without_muscle() -> dict[str, Any]:
    """The muscle's scores of a case whose muscle was not judged."""
    rates = dict.fromkeys(("false_positive", "false_negative", "large_false_positive"))
    return {"muscle_scored": False, **dict.fromkeys(MUSCLE_SCORES, math.nan), **rates}


def parse_merge(text: str) -> dict[int, Label]:
    """Parse `0=background,1=pectoral_muscle,2=breast,3=breast`, the value of the option --labels.

    Raises:
        UsageError: The text has another form, an unknown name, or a value twice.
    """
    table: dict[int, Label] = {}
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value.isdecimal() or name not in LABELS or int(value) in table:
            raise UsageError(f"--labels {part!r}: expected VALUE=NAME once per value, NAME one of {', '.join(LABELS)}")
        table[int(value)] = Label(LABELS[name])
    return table


def write_cases(path: Path, cases: pd.DataFrame) -> bool:
    """Write scored cases as CSV with six decimals; an empty cell means that there is no score.

    Returns:
        Whether the file changed.
    """
    return write_text(path, cases.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
