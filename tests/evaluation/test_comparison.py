"""Comparison of two sets of masks: merged labels of another program, raw images and their processed twins."""

import numpy as np
import pandas as pd
import pytest

from maseg_nnunet.dataset.cases import select_rows
from maseg_nnunet.evaluation.comparison import _names, write_comparison
from maseg_nnunet.evaluation.scoring import ProblemsError, parse_merge
from tests.evaluation.helpers import make_dataset, mask_with, row, write_mask

WOMEN = 6


@pytest.fixture
def dataset(tmp_path):
    references = {}
    for number in range(WOMEN):
        for suffix, twin, intent in (("", "_raw", "processed"), ("_raw", "", "raw")):
            name = f"ge{number}"
            case = row(f"{name}{suffix}", woman=f"w{number}", dataset="ge", intent=intent, twin=f"{name}{twin}")
            references[case] = mask_with(10, 4)
    return make_dataset(tmp_path / "Dataset510_All", references)


@pytest.fixture
def folders(tmp_path, dataset):
    """A: four classes, raw images only, perfect. B: ours, raw and processed, with columns of the muscle missing."""
    four = {0: 0, 2: 1}
    for number in range(WOMEN):
        reference = mask_with(10, 4)
        other = np.vectorize(lambda value: four.get(value, 2))(reference).astype(np.uint8)
        other[:5][other[:5] == 2] = 3
        write_mask(tmp_path / "other" / f"ge{number}_raw.nii.gz", other)
        write_mask(tmp_path / "ours" / f"ge{number}_raw.nii.gz", mask_with(10, 2 - number % 2))
        write_mask(tmp_path / "ours" / f"ge{number}.nii.gz", mask_with(10, 3 - number % 2))
    return tmp_path / "other", tmp_path / "ours"


FOUR = "0=background,1=pectoral_muscle,2=breast,3=breast"


def test_another_program_on_raw_images(dataset, folders, tmp_path):
    rows = select_rows(dataset, ["test"], ["raw"])
    table, short = write_comparison(tmp_path / "report", dataset, rows, folders, merge=parse_merge(FOUR))
    # Reference: 100 breast pixels, 40 muscle pixels. B has two of four columns in half of the cases: muscle Dice
    # 2·20/60 = 2/3, overall (100 + 40·2/3)/140 = .905. In the others it has one: 2·10/50 = .4, (100 + 16)/140 = .829.
    assert table.frame.iloc[0].tolist() == ["GE", "6", "", "1.00 ± 0.00", "", "0.87 ± 0.04"]
    overall = short.frame.set_index("Comparison")
    assert list(overall.index) == ["raw images", "raw images, B on the processed twin"]
    assert overall.loc["raw images", "Difference"] == f"{1 - (0.9047619 + 0.8285714) / 2:.3f}"
    # Three columns of four: muscle Dice 2·30/70 = 6/7, overall .959; two: .905.
    assert overall.loc["raw images, B on the processed twin", "Difference"] == f"{1 - (0.9591837 + 0.9047619) / 2:.3f}"
    numbers = pd.read_csv(tmp_path / "report" / "statistics.csv")
    assert numbers["women"].tolist() == [6] * 6
    assert pd.read_csv(tmp_path / "report" / "cases_a.csv")["dice_overall"].tolist() == [1.0] * 6
    assert (tmp_path / "report" / "comparison.csv").is_file()
    assert "two sets of masks" in (tmp_path / "report" / "tables.md").read_text()


def test_folders_are_named_by_the_parents_that_distinguish_them(tmp_path):
    one, other = (
        tmp_path / trainer / "fold_0" / "validation" for trainer in ("MasegTrainer__p", "MasegTrainerFocal__p")
    )
    assert _names(one, other) == ("MasegTrainer__p/fold_0/validation", "MasegTrainerFocal__p/fold_0/validation")
    assert _names(one, tmp_path / "masks") == ("validation", "masks")
    assert len(set(_names(one, one))) == 2


def test_two_models_on_processed_and_raw(dataset, folders, tmp_path):
    rows = select_rows(dataset)
    ours = folders[1]
    _, short = write_comparison(tmp_path / "report", dataset, rows, (ours, ours))
    assert short.frame["Comparison"].tolist() == ["processed images", "raw images"]
    assert set(short.frame["Difference"]) == {"0.000"}
    assert set(short.frame["p of the paper's test"]) == {""}  # no spread, so the test is undefined


def test_a_case_missing_in_one_folder(dataset, folders, tmp_path):
    (folders[0] / "ge3_raw.nii.gz").unlink()
    with pytest.raises(ProblemsError, match="prediction missing: 1"):
        write_comparison(
            tmp_path / "report", dataset, select_rows(dataset, ["test"], ["raw"]), folders, merge=parse_merge(FOUR)
        )
    assert not (tmp_path / "report").exists()


def test_labels_that_were_not_merged(dataset, folders, tmp_path):
    with pytest.raises(ProblemsError, match="unexpected label: 6"):
        write_comparison(tmp_path / "report", dataset, select_rows(dataset, ["test"], ["raw"]), folders)
