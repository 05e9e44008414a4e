"""The paper's layout and rounding, on a small made-up data set with numbers calculated by hand."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from maseg_nnunet.evaluation import published, tables
from maseg_nnunet.evaluation.tables import LeftOut, ReportTable, beside_published, markdown

NAN = math.nan
MADE_UP = pd.DataFrame(
    [
        # case, data set, view, intent, breast, pectoral, overall, reference areas, false negative, positive, large
        ("a", "fuji", "MLO", "processed", 0.90, 0.80, 0.88, 100, 20, False, False, False),
        ("b", "fuji", "ML", "processed", 0.96, 0.60, 0.92, 100, 10, False, False, False),
        ("c", "fuji", "CC", "processed", 0.98, NAN, 0.98, 100, 0, False, False, False),
        ("d", "fuji", "CC", "processed", 0.96, 0.00, 0.94, 100, 4, True, False, False),
        ("g", "fuji", "XCCL", "processed", 0.94, NAN, 0.94, 100, 0, False, True, True),
        ("e", "mini_mias", "MLO", "film", 0.90, 0.52, 0.80, 100, 30, False, False, False),
        ("f", "mini_mias", "MLO", "film", 0.88, NAN, 0.88, 100, 0, False, True, False),
    ],
    columns=["case", "dataset", "view", "intent", "dice_breast", "dice_pectoral", "dice_overall",
             "reference_breast_area", "reference_pectoral_area", "false_negative", "false_positive",
             "large_false_positive"],
).assign(muscle_scored=True, quality="ok", vendor="x")  # fmt: skip


def rows(table: ReportTable) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in table.frame.itertuples(index=False)}


def test_table5():
    """MLO (a, b, e, f). Breast: sum 3.64, mean 0.91; deviations -.01 .05 -.01 -.03, squares sum .0036, /3 = .0012, root
    .0346. Pectoral (a, b, e): mean .64; .16 -.04 -.12, .0416 / 2 = .0208, root .144. Overall: sum 3.48, mean .87;
    .01 .05 -.07 .01, .0076 / 3 = .00253, root .0503.
    CC (c, d, g). Breast .96; .02 0 -.02, .0008 / 2, root .02. Pectoral (d): one image, no deviation. Overall: 2.86 / 3
    = .9533; .0267 -.0133 -.0133, .001067 / 2, root .0231.
    All. Breast: 6.52 / 7 = .9314; squares 6.0816 - 7 · .9314² = .00869, / 6, root .0380. Pectoral: 1.92 / 4 = .48;
    .3488 / 3 = .1163, root .341. Overall: 6.34 / 7 = .9057; 5.7628 - 7 · .9057² = .02057, / 6, root .0586.
    """
    table = tables.table5(MADE_UP)
    assert list(table.frame.columns) == ["View", "n", "Breast", "Pectoral (n)", "Overall"]
    assert rows(table) == {
        "MLO": ["4", "0.91 ± 0.03", "0.64 ± 0.14 (3)", "0.87 ± 0.05"],
        "CC": ["3", "0.96 ± 0.02", "0.00 ± – (1)", "0.95 ± 0.02"],
        "All": ["7", "0.93 ± 0.04", "0.48 ± 0.34 (4)", "0.91 ± 0.06"],
    }
    assert list(rows(table)) == ["MLO", "CC", "All"]


def test_table6_and_the_figures_of_section_31():
    """MLO: a, b and e have a muscle (20, 10, 30% of the breast: 20 ± 10), none is missed. f has a false positive.
    CC: only d has a muscle (4%), it is missed. c and g have none; g has a large false positive."""
    table = tables.table6(MADE_UP)
    assert list(table.frame.columns) == [
        "View", "n", "Pectoral present", "Pectoral size", "False negatives", "False positives"
    ]  # fmt: skip
    assert rows(table) == {
        "MLO": ["4", "75.0% (3/4)", "20.0% ± 10.0%", "0.0% (0/3)", "100.0% (1/1)"],
        "CC": ["3", "33.3% (1/3)", "4.0% ± –", "100.0% (1/1)", "50.0% (1/2)"],
    }
    assert rows(tables.section31(MADE_UP)) == {
        "MLO": ["0.64 ± 0.14 (3)", "0.0% (0/1)"],
        "CC": ["(0)", "50.0% (1/2)"],
    }


def test_table7():
    """Fuji (a, b, c, d, g). Breast: 4.74 / 5 = .948; .00368 / 4, root .0303. Pectoral (a, b, d): 1.4 / 3 = .4667;
    .34667 / 2, root .416. Overall: 4.66 / 5 = .932; .00528 / 4, root .0363.
    Mini-MIAS (e, f). Breast: .89, root of .0002 = .0141. Overall: .84, root of .0032 = .0566."""
    table = tables.table7(MADE_UP)
    fuji = ["5", "0.95 ± 0.03", "0.47 ± 0.42 (3)", "0.93 ± 0.04"]
    assert rows(table) == {
        "Fuji": fuji,
        "Mini-MIAS": ["2", "0.89 ± 0.01", "0.52 ± – (1)", "0.84 ± 0.06"],
        "All": ["7", "0.93 ± 0.04", "0.48 ± 0.34 (4)", "0.91 ± 0.06"],
        "All DM": fuji,
    }
    digital = tables.table7(MADE_UP[MADE_UP["intent"] == "processed"])
    assert list(rows(digital)) == ["Fuji", "All"]


def model(displayed, raw):
    """Fuji with two processed images, GE with two processed and two raw ones."""
    names = [("fuji", "processed"), ("fuji", "processed"), ("ge", "processed"), ("ge", "processed"), ("ge", "raw")]
    cases = [(*name, score) for name, score in zip([*names, ("ge", "raw")], [*displayed, *raw], strict=True)]
    frame = pd.DataFrame(cases, columns=["dataset", "intent", "dice_overall"])
    return frame.assign(case=[f"c{i}" for i in range(6)], view="CC", vendor="x", muscle_scored=True)


def test_table8():
    """First model: Fuji .92, root of .0008 = .0283; GE .98, the same; raw .50, root of .02 = .141; all processed: .95,
    deviations -.05 -.01 .01 .05, .0052 / 3, root .0416. Second: .90 and .70 throughout, no spread."""
    first, second = model([0.90, 0.94, 0.96, 1.00], [0.40, 0.60]), model([0.9] * 4, [0.7] * 2)
    table = tables.table8({"one": first, "two": second})
    assert list(table.frame.columns) == [
        "Dataset", "n", "one: processed", "one: raw", "two: processed", "two: raw"
    ]  # fmt: skip
    ge = ["2", "0.98 ± 0.03", "0.50 ± 0.14", "0.90 ± 0.00", "0.70 ± 0.00"]
    assert rows(table) == {
        "Fuji": ["2", "0.92 ± 0.03", "", "0.90 ± 0.00", ""],
        "GE": ge,
        "All": ["4", "0.95 ± 0.04", "", "0.90 ± 0.00", ""],
        "Datasets containing processed and raw": ge,
    }
    assert table.key == "table8"
    assert tables.table8({"Dice": first}).key == "intents"


def test_table9():
    """Included: .90 .94, mean .92, root of .0008. Excluded: .80 .90, mean .85, root of .005; difference -.07."""
    included = pd.DataFrame({"dice_overall": [0.90, 0.94]})
    excluded = pd.DataFrame({"dice_overall": [0.80, 0.90, NAN]})
    table = tables.table9(
        [
            LeftOut("ims_giotto", 2478, included, excluded, 0.0004),
            LeftOut("ge", 2576, included, included, 0.0251),
        ]
    )
    assert "0.05/2 = 0.025" in table.notes[-1]
    assert rows(table) == {
        "IMS Giotto": ["2478", "0.92 ± 0.03", "2", "0.85 ± 0.07", "2", "−0.07*", "<0.001"],
        "GE": ["2576", "0.92 ± 0.03", "2", "0.92 ± 0.03", "2", "+0.00", "0.025"],
    }
    eight = tables.table9([LeftOut("ge", 1, included, included, p) for p in (0.0062, 0.0063, *[1.0] * 6)])
    assert eight.frame["Difference"].tolist()[:3] == ["+0.00*", "+0.00", "+0.00"], "the paper's level is 0.00625"


@pytest.mark.parametrize(("value", "text"), [(-0.004, "+0.00"), (0.0, "+0.00"), (-0.066, "−0.07"), (0.016, "+0.02")])
def test_signs(value, text):
    assert tables.signed(value) == text


@pytest.mark.parametrize(("p", "text"), [(0.0009, "<0.001"), (0.001, "0.001"), (0.2016, "0.202"), (NAN, "")])
def test_p_values(p, text):
    assert tables.p_text(p) == text


def test_excluded_cases_count_for_the_breast_but_not_for_the_muscle():
    excluded = MADE_UP.assign(muscle_scored=MADE_UP["case"] != "a")
    excluded.loc[excluded["case"] == "a", ["dice_pectoral", "dice_overall"]] = NAN
    for column in ("false_positive", "false_negative", "large_false_positive"):
        excluded[column] = excluded[column].astype(object)
        excluded.loc[excluded["case"] == "a", column] = None
    assert rows(tables.table5(excluded))["MLO"][:3] == ["4", "0.91 ± 0.03", "0.56 ± 0.06 (2)"]
    assert rows(tables.table6(excluded))["MLO"][:2] == ["3", "66.7% (2/3)"]
    assert "not judged (quality exclude): 1." in " ".join(tables.table5(excluded).notes)


def test_the_papers_rows_fit_our_columns():
    """Each published row has as many cells as our table has columns, so they can be shown side by side."""
    built = {
        "table5": tables.table5(MADE_UP),
        "table6": tables.table6(MADE_UP),
        "section31": tables.section31(MADE_UP),
        "table7": tables.table7(MADE_UP),
        "table8": tables.table8({"one": model([0.9] * 4, [0.7] * 2), "two": model([0.9] * 4, [0.7] * 2)}),
        "table9": tables.table9([LeftOut("ge", 1, MADE_UP, MADE_UP, 1.0)]),
    }
    assert set(built) == set(published.TABLES)
    for key, table in built.items():
        assert {len(cells) for cells in published.TABLES[key].values()} == {len(table.frame.columns) - 1}
        assert beside_published(table) is not None


def test_published_numbers_agree_with_each_other():
    """The counts of images and muscles of the data sets add up to the row `All` in Tables 7 and 9."""
    table7 = published.TABLES["table7"]
    sets = list(table7)[:8]
    assert sets == list(tables.DATASETS.values())
    assert sum(int(table7[name][0]) for name in sets) == int(table7["All"][0]) == 812
    muscles = {name: int(cells[2].split("(")[1].rstrip(")")) for name, cells in table7.items()}
    assert sum(muscles[name] for name in sets) == muscles["All"] == 544
    for name, (training, _, included, *_rest) in published.TABLES["table9"].items():
        assert int(included) == 812 - int(table7[name][0])
        assert int(training) < 3116


def test_ours_beside_the_papers():
    both = beside_published(tables.table7(MADE_UP))
    assert both is not None
    fuji = both.frame.iloc[0]
    assert (fuji["Overall"], fuji["Overall, paper"]) == ("0.93 ± 0.04", "0.98 ± 0.03")
    assert beside_published(tables.distances(MADE_UP.assign(**dict.fromkeys(
        ("hd95_breast", "msd_breast", "hd95_pectoral", "msd_pectoral"), 1.0)))) is None  # fmt: skip


def test_distances_only_where_the_reference_has_the_class():
    cases = MADE_UP.assign(hd95_breast=2.0, msd_breast=1.0, hd95_pectoral=range(7), msd_pectoral=0.0)
    # In Fuji, a, b and d have a muscle: 0, 1 and 3 mm.
    assert rows(tables.distances(cases))["Fuji"] == ["2.00 ± 0.00", "1.00 ± 0.00", "1.33 ± 1.53", "0.00 ± 0.00"]


def test_markdown():
    table = ReportTable("k", "A title", pd.DataFrame([["x|y", "1"]], columns=["Name", "n"]), ("A note.",))
    assert markdown(table) == "**A title**\n\n| Name | n |\n| --- | ---: |\n| x\\|y | 1 |\n\nA note.\n"


def test_every_published_figure_is_in_the_paper():
    paper = Path(__file__).parents[3] / "shared" / "paper.txt"
    if not paper.is_file():
        pytest.skip("the paper's text is missing: it was expected in ../shared/paper.txt")
    text = paper.read_text(encoding="utf-8", errors="replace")
    printed = f" {' '.join(figures(text))} "
    for key, rows_of_table in published.TABLES.items():
        for name, cells in rows_of_table.items():
            # Section 3.1 has its two cells in two sentences, the last of them the other way round.
            for part in cells if key == "section31" else (" ".join(cells),):
                found = figures(part)
                if part.startswith("10.6%"):
                    found = [*found[1:], found[0]]
                assert f" {' '.join(found)} " in printed, (key, name, part)
    for p_value in set(published.TESTS.values()):
        assert figures(p_value)[0] in figures(text)


def figures(text: str) -> list[str]:
    """The numbers of a text in order, with their signs and without commas between thousands."""
    return re.findall(r"[−+]?\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3}\b)", "", text))
