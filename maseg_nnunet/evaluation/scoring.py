"""From two folders of masks to one row of scores a case. Nothing is averaged here, and no case is left out silently.

A prediction that is missing, that belongs to no case, lies on another grid or holds another label is a `Problem`;
one problem and there are no scores, because an average over fewer cases looks like one over all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from maseg_nnunet.dataset.cases import _grid, masks_in, reference_of
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
"""Scores that a reference without a judged muscle (quality exclude) can't give."""

CASE_COLUMNS: Final = (
    "case", "dataset", "view", "side", "intent", "subset", "vendor", "woman", "twin", "quality",
    "muscle_scored", "flags",
)  # fmt: skip

_SPACING_TOLERANCE: Final = 1e-3


class Fault(str, Enum):
    """What is wrong with a case; the value is what the user reads."""

    MISSING = "prediction missing"
    EXTRA = "prediction of no case of this data set"
    REFERENCE_MISSING = "reference missing"
    UNREADABLE = "mask unreadable"
    OTHER_GRID = "prediction on another grid"
    OTHER_LABELS = "another label"


@dataclass(frozen=True)
class Problem:
    """Why one case can't be scored."""

    case: str
    fault: Fault
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.case}: {self.fault.value}" + (f" ({self.detail})" if self.detail else "")


class ProblemsError(DatasetError):
    """Some cases can't be scored, so nothing is averaged; `problems` names each."""

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


def pair_up(rows: Iterable[ManifestRow], dataset: Path, predictions: Path) -> tuple[list[Pair], list[Problem]]:
    """Each case with its prediction and reference, and whatever has no partner.

    Predictions of the data set's other cases are left aside: scoring the test cases of a folder that also holds
    training cases misses nothing.
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
    """The row of cases.csv for one case. `merge`: what each value of the prediction means, where it is not ours."""
    case, what = pair.row.case, "reference"
    try:
        shape, grid = _grid(pair.reference)
        reference = read_mask(pair.reference, shape)
        what = "prediction"
        size, other = _grid(pair.prediction)
        if size != shape:
            return Problem(case, Fault.OTHER_GRID, f"{_by(size)} pixels, the reference {_by(shape)}")
        prediction = read_mask(pair.prediction, shape, merge)
    except ValueError as error:
        return Problem(case, Fault.UNREADABLE, f"{what}: {error}")
    except RefusedError as error:
        fault = Fault.OTHER_LABELS if error.reason is Reason.MASK_LABELS else Fault.UNREADABLE
        return Problem(case, fault, f"{what}: {error.detail}")
    grid = grid or pair.row.target
    if other and any(abs(a - b) > _SPACING_TOLERANCE * b for a, b in zip(other, grid, strict=True)):
        return Problem(case, Fault.OTHER_GRID, f"spacing {_by(other)} mm, the reference {_by(grid)}")
    described = {name: getattr(pair.row, name, None) for name in CASE_COLUMNS}
    return {**described, "muscle_scored": True, **asdict(score_case(prediction, reference, grid))}


def _by(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.5g} x {pair[1]:.5g}"


def parse_merge(text: str) -> dict[int, Label]:
    """`0=background,1=pectoral_muscle,2=breast,3=breast` as a table. Raises UsageError for anything else."""
    table: dict[int, Label] = {}
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value.isdecimal() or name not in LABELS or int(value) in table:
            raise UsageError(f"--labels {part!r}: expected VALUE=NAME once for each value, NAME of {', '.join(LABELS)}")
        table[int(value)] = Label(LABELS[name])
    return table


def score_folder(
    predictions: Path,
    dataset: Path,
    rows: Collection[ManifestRow],
    *,
    include_excluded: bool = False,
    workers: int = 1,
    merge: Mapping[int, Label] | None = None,
) -> pd.DataFrame:
    """Score the cases `rows` of `dataset`; one row a case, sorted by case, columns CASE_COLUMNS and CaseScore's.

    Where the reference's muscle was not judged (quality exclude) the muscle's scores and the overall Dice are NaN,
    the false positives and negatives None, unless `include_excluded`. Raises ProblemsError that names every case that
    is missing, extra, on another grid or has other labels.
    """
    import pandas as pd

    pairs, problems = pair_up(rows, dataset, predictions)
    # Threads: reading and the k-d trees release the GIL, and a process would first import SciPy.
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


def _without_muscle() -> dict[str, Any]:
    """What replaces the muscle's scores of a case whose muscle was not judged."""
    rates = dict.fromkeys(("false_positive", "false_negative", "large_false_positive"))
    return {"muscle_scored": False, **dict.fromkeys(MUSCLE_SCORES, math.nan), **rates}


def write_cases(path: Path, cases: pd.DataFrame) -> bool:
    """cases.csv, six decimals, an empty cell where there is no score; tell whether the file changed."""
    return write_text(path, cases.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
