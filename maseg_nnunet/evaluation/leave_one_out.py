"""Table 9 (section 2.3.3): models trained without one data set, on the sets they know and on the one they don't."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maseg_nnunet.dataset.manifest import ManifestRow
from maseg_nnunet.evaluation import significance as tests
from maseg_nnunet.evaluation.output import write_tables
from maseg_nnunet.evaluation.report import write_report
from maseg_nnunet.evaluation.scoring import score_folder
from maseg_nnunet.evaluation.tables import LeftOut, ReportTable, dataset_name, table7, table9

if TYPE_CHECKING:
    import pandas as pd

Folders = tuple[Path, Path]
"""Predictions of one model: of the combined set's test images, and of the left-out set's training images."""


def write_left_out(
    report: Path, dataset: Path, rows: Collection[ManifestRow], folders: Mapping[str, Folders], *, workers: int = 1
) -> list[ReportTable]:
    """Score every model, write Table 9, its tests, the cases and a page without pictures to `report`; the tables.

    `rows`: the combined set's manifest. `folders`: key of a data set to the predictions of the model that was trained
    without it. Raises as `score_folder`.
    """
    import pandas as pd

    models, comparisons, unknown, cases = [], [], [], {}
    for key, of_model in folders.items():
        included, excluded = _score(dataset, rows, key, of_model, workers)
        compared = _compare(included, excluded, key)
        women = {row.woman for row in rows if row.dataset == key}
        training = [row for row in rows if row.subset == "train" and row.woman not in women and row.is_scored]
        p = next((c.p for c in compared if c.score == "overall"), float("nan"))
        models.append(LeftOut(key, len(training), included, excluded, p))
        comparisons += compared
        unknown.append(excluded)
        cases[f"cases_without_{key}"] = pd.concat([included, excluded], ignore_index=True)
    unseen = pd.concat(unknown, ignore_index=True)
    tables = [table9(models), replace(table7(unseen), key="unseen", title="Dice of each data set when left out")]
    tested = tests.tests_table(comparisons)
    write_tables(report, cases, tables, comparisons)
    about = f"{dataset.name}: every data set segmented by the model that was trained without it, {len(unseen)} cases."
    write_report(report / "report.html", unseen, tables, tested, {}, title="Vendors left out", subtitle=about)
    return [tables[0], tests.short_table(comparisons)]


def _score(
    dataset: Path, rows: Collection[ManifestRow], key: str, folders: Folders, workers: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scored test images of the other sets, and the scored test and training images of the set `key`."""
    import pandas as pd

    test = score_folder(folders[0], dataset, [row for row in rows if row.subset == "test"], workers=workers)
    of_key = [row for row in rows if row.subset == "train" and row.dataset == key]
    is_key = test["dataset"] == key
    excluded = [test[is_key]]
    if of_key:
        excluded.append(score_folder(folders[1], dataset, of_key, workers=workers))
    return test[~is_key], pd.concat(excluded, ignore_index=True)


def _compare(included: pd.DataFrame, excluded: pd.DataFrame, key: str) -> list[tests.Comparison]:
    """Left out less known: the unpaired t-test of section 2.3.3, and the bootstrap by woman beside it."""
    import pandas as pd

    both = pd.concat([excluded, included], ignore_index=True)
    groups = pd.Series([dataset_name(key)] * len(excluded) + ["the others"] * len(included))
    return tests.compare_groups(both, groups, "")
