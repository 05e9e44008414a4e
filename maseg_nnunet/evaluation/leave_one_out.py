"""Table 9 (section 2.3.3): models trained without one data set, scored on the others and on the one left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maseg_nnunet.dataset.manifest import ManifestRow
from maseg_nnunet.evaluation.output import write_tables
from maseg_nnunet.evaluation.report import write_report
from maseg_nnunet.evaluation.scoring import score_folder
from maseg_nnunet.evaluation.significance import Comparison, compare_groups
from maseg_nnunet.evaluation.significance_tables import short_table, statistics_table
from maseg_nnunet.evaluation.tables import LeftOut, ReportTable, dataset_name, table7, table9

if TYPE_CHECKING:
    import pandas as pd

Folders = tuple[Path, Path]
"""Predictions of one model: for the test images of the combined set, for the training images of the set left out."""


def write_left_out(
    report: Path, dataset: Path, rows: Collection[ManifestRow], folders: Mapping[str, Folders], *, workers: int = 1
) -> list[ReportTable]:
    """Score each model, and write Table 9, its statistical tests, the cases and an HTML report without pictures.

    Args:
        report: Folder to write to.
        dataset: Folder of the combined data set.
        rows: Its manifest.
        folders: Key of a data set to the predictions of the model that was trained without it.
        workers: Number of threads.

    Returns:
        The tables to show in the terminal.

    Raises:
        ProblemsError: A case can't be scored, see `score_folder`.
    """
    import pandas as pd

    models, comparisons, left_out, cases = [], [], [], {}
    for key, of_model in folders.items():
        included, excluded = _score(dataset, rows, key, of_model, workers)
        compared = _compare(included, excluded, key)
        women = {row.woman for row in rows if row.dataset == key}
        training = [row for row in rows if row.subset == "train" and row.woman not in women and row.is_scored]
        p = next((c.p for c in compared if c.score == "overall"), float("nan"))
        models.append(LeftOut(key, len(training), included, excluded, p))
        comparisons += compared
        left_out.append(excluded)
        cases[f"cases_without_{key}"] = pd.concat([included, excluded], ignore_index=True)
    unseen = pd.concat(left_out, ignore_index=True)
    tables = [
        table9(models),
        replace(table7(unseen), key="unseen", title="Dice by dataset, each by the model trained without it"),
    ]
    tested = statistics_table(comparisons)
    write_tables(report, cases, tables, comparisons)
    about = f"{dataset.name}, {len(unseen)} cases. Each dataset was segmented by the model trained without it."
    write_report(report / "report.html", unseen, tables, tested, {}, title="One vendor left out", subtitle=about)
    return [tables[0], short_table(comparisons)]


def _score(
    dataset: Path, rows: Collection[ManifestRow], key: str, folders: Folders, workers: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score one model on the test images of the other data sets, and on all images of the data set `key`."""
    import pandas as pd

    test = score_folder(folders[0], dataset, [row for row in rows if row.subset == "test"], workers=workers)
    of_key = [row for row in rows if row.subset == "train" and row.dataset == key]
    is_key = test["dataset"] == key
    excluded = [test[is_key]]
    if of_key:
        excluded.append(score_folder(folders[1], dataset, of_key, workers=workers))
    return test[~is_key], pd.concat(excluded, ignore_index=True)


def _compare(included: pd.DataFrame, excluded: pd.DataFrame, key: str) -> list[Comparison]:
    """Compare the data set left out with the others (section 2.3.3)."""
    import pandas as pd

    both = pd.concat([excluded, included], ignore_index=True)
    groups = pd.Series([dataset_name(key)] * len(excluded) + ["the others"] * len(included))
    return compare_groups(both, groups, "")
