"""Compare two sets of masks of the same cases: two models (section 2.3.2) or another program (section 2.3.4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maseg_nnunet.dataset.cases import masks_in
from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest
from maseg_nnunet.evaluation.output import write_tables
from maseg_nnunet.evaluation.pictures import draw_pictures
from maseg_nnunet.evaluation.report import OVERALL_A, write_report
from maseg_nnunet.evaluation.scoring import score_folder
from maseg_nnunet.evaluation.significance import SCORES, compare_models, compare_pairs
from maseg_nnunet.evaluation.significance_tables import short_table, statistics_table
from maseg_nnunet.evaluation.tables import ReportTable, table8
from maseg_nnunet.labels import Label
from maseg_nnunet.mammogram import Intent

if TYPE_CHECKING:
    import pandas as pd


def write_comparison(
    report: Path,
    dataset: Path,
    rows: Collection[ManifestRow],
    folders: tuple[Path, Path],
    *,
    merge: Mapping[int, Label] | None = None,
    include_excluded: bool = False,
    workers: int = 1,
    pictures: bool = True,
    of_paper: bool = False,
) -> list[ReportTable]:
    """Score two folders of masks, and write cases_a.csv, cases_b.csv, tables, statistical tests and the HTML report.

    If all cases are raw images and B also has masks of all their processed twins, then A on the raw image is also
    compared with B on the processed twin (section 2.3.4).

    Args:
        report: Folder to write to.
        dataset: Folder of the converted data set.
        rows: Cases to score, from the data set's manifest.
        folders: Folders of masks, A and B.
        merge: Label of each value of A's masks, if they are not those of `Label`.
        include_excluded: Also score the muscle if it was not judged in the reference.
        workers: Number of threads.
        pictures: Show the cases in the report.
        of_paper: Whether A and B are the paper's two models (section 2.3.2). If so, its numbers are shown beside ours.

    Returns:
        The tables to show in the terminal.

    Raises:
        ProblemsError: A case can't be scored, see `score_folder`.
    """
    a, b = folders
    first = score_folder(a, dataset, rows, include_excluded=include_excluded, workers=workers, merge=merge)
    second = score_folder(b, dataset, rows, include_excluded=include_excluded, workers=workers)
    comparisons = compare_models(first, second)
    twins = _twins(rows, dataset, b)
    if twins:
        processed = score_folder(b, dataset, twins, include_excluded=include_excluded, workers=workers)
        comparisons += compare_pairs(_join_twins(first, processed), "raw images, B on the processed twin")
    name_a, name_b = _names(a, b)
    table = table8({name_a: first, name_b: second})
    if not of_paper:
        table = replace(table, key="comparison", title="Overall Dice of two sets of masks")
    tables, tested = [table], statistics_table(comparisons, of_paper=of_paper)
    write_tables(report, {"cases_a": first, "cases_b": second}, tables, comparisons, of_paper=of_paper)
    both = second.assign(**{OVERALL_A: second["case"].map(first.set_index("case")["dice_overall"])})
    drawn = draw_pictures(rows, dataset, b, workers=workers) if pictures else {}
    about = f"{dataset.name}, {len(both)} cases. A: {name_a}. B: {name_b} (charts and pictures show B)."
    write_report(report / "report.html", both, tables, tested, drawn, title="Comparison", subtitle=about)
    return [*tables, short_table(comparisons)]


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Names of the folders, with as many of their parents as are needed to distinguish them."""
    one, other = a.resolve().parts, b.resolve().parts
    if one == other:
        return f"{a.resolve().name} (A)", f"{b.resolve().name} (B)"
    depth = next(n for n in range(1, max(len(one), len(other)) + 1) if one[-n:] != other[-n:])
    return "/".join(one[-depth:]), "/".join(other[-depth:])


def _twins(rows: Collection[ManifestRow], dataset: Path, predictions: Path) -> list[ManifestRow]:
    """The processed twins of `rows`; none unless all rows are raw and `predictions` has the twin of each."""
    if any(row.intent != Intent.RAW.value for row in rows):
        return []
    known, masks = {row.case: row for row in read_manifest(dataset)}, masks_in(predictions)
    twins = [known[row.twin] for row in rows if row.twin in known and row.twin in masks]
    return twins if len(twins) == len(rows) else []


def _join_twins(raw: pd.DataFrame, processed: pd.DataFrame) -> pd.DataFrame:
    """Scores of each raw image and, with the suffix `_second`, of its processed twin."""
    columns = list(SCORES.values())
    twins = processed[["case", *columns]].rename(columns={"case": "twin"})
    joined: pd.DataFrame = raw.merge(twins, on="twin", suffixes=("", "_second"), validate="1:1")
    return joined
