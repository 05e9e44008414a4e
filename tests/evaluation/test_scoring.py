"""Scores of a folder. Cases that can't be scored are named and counted, and then nothing is averaged."""

import gzip
import json

import numpy as np
import pytest

from maseg_nnunet.dataset.cases import select_rows
from maseg_nnunet.errors import DatasetError, UsageError
from maseg_nnunet.evaluation.scoring import Fault, ProblemsError, parse_merge, score_folder, write_cases
from maseg_nnunet.labels import Label
from tests.evaluation.helpers import make_dataset, mask_with, row, write_mask


@pytest.fixture
def dataset(tmp_path):
    rows = [row("a"), row("b", view="CC"), row("c", woman="w2", quality="exclude"), row("t", subset="train")]
    return make_dataset(tmp_path / "Dataset503_Fuji", {r: mask_with(10, 4) for r in rows})


@pytest.fixture
def predictions(tmp_path):
    folder = tmp_path / "predictions"
    for case, columns in (("a", 4), ("b", 0), ("c", 3)):
        write_mask(folder / f"{case}.nii.gz", mask_with(10, columns))
    (folder / "plans.json").write_text("{}")
    return folder


def problems_of(predictions, dataset):
    with pytest.raises(ProblemsError) as caught:
        score_folder(predictions, dataset, select_rows(dataset))
    assert "nothing was averaged" in str(caught.value)
    return {(problem.case, problem.fault) for problem in caught.value.problems}


def test_scores_one_row_a_case(dataset, predictions):
    cases = score_folder(predictions, dataset, select_rows(dataset), workers=2).set_index("case")
    assert list(cases.index) == ["a", "b", "c"]
    assert cases.loc["a", "dice_overall"] == 1
    assert cases.loc["b", "dice_pectoral"] == 0
    assert cases.loc["b", "false_negative"]
    assert not cases.loc["c", "muscle_scored"]
    assert np.isnan(cases.loc["c", "dice_overall"]) and cases.loc["c", "false_negative"] is None
    assert cases.loc["c", "dice_breast"] == 1


def test_excluded_on_request(dataset, predictions):
    cases = score_folder(predictions, dataset, select_rows(dataset), include_excluded=True).set_index("case")
    assert cases.loc["c", "dice_pectoral"] == pytest.approx(2 * 30 / 70)


def test_training_cases_from_labels_tr(dataset, predictions, tmp_path):
    write_mask(tmp_path / "train" / "t.nii.gz", mask_with(10, 4))
    assert list(score_folder(tmp_path / "train", dataset, select_rows(dataset, ["train"]))["case"]) == ["t"]


def test_combined_set_finds_references_by_dataset_json(dataset, tmp_path):
    combined = tmp_path / "Dataset500_Maseg"
    make_dataset(combined, {row("t", subset="train"): mask_with(10, 4)})
    (combined / "labelsTr" / "t.nii.gz").unlink()
    label = {"images": [], "label": "../Dataset503_Fuji/labelsTr/t.nii.gz"}
    (combined / "dataset.json").write_text(json.dumps({"dataset": {"t": label}}))
    write_mask(tmp_path / "train" / "t.nii.gz", mask_with(10, 4))
    assert score_folder(tmp_path / "train", combined, select_rows(combined, ["train"]))["dice_overall"].tolist() == [
        1.0
    ]


def test_missing_and_extra(dataset, predictions):
    (predictions / "a.nii.gz").rename(predictions / "z.nii.gz")
    assert problems_of(predictions, dataset) == {("a", Fault.MISSING), ("z", Fault.EXTRA)}


def test_reference_missing(dataset, predictions):
    (dataset / "labelsTs" / "b.nii.gz").unlink()
    assert problems_of(predictions, dataset) == {("b", Fault.REFERENCE_MISSING)}


def test_other_grid(dataset, predictions):
    write_mask(predictions / "a.nii.gz", mask_with(10, 4, (21, 10)))
    write_mask(predictions / "b.nii.gz", mask_with(10, 4), (0.4, 0.5))
    assert problems_of(predictions, dataset) == {("a", Fault.OTHER_GRID), ("b", Fault.OTHER_GRID)}


def test_other_labels(dataset, predictions):
    write_mask(predictions / "a.nii.gz", mask_with(10, 4) * 2)
    write_mask(predictions / "b.nii.gz", mask_with(10, 4) * np.float32(0.5))
    assert problems_of(predictions, dataset) == {("a", Fault.OTHER_LABELS), ("b", Fault.OTHER_LABELS)}


def test_unreadable(dataset, predictions):
    (predictions / "a.nii.gz").write_bytes(b"not gzip")
    write_mask(predictions / "b.nii.gz", np.zeros((2, 20, 10), np.uint8), (0.4, 0.4, 0.4))
    complete = (predictions / "c.nii.gz").read_bytes()
    (predictions / "c.nii.gz").write_bytes(gzip.compress(gzip.decompress(complete)[:400]))
    assert problems_of(predictions, dataset) == {(case, Fault.UNREADABLE) for case in "abc"}


def test_empty_folder(dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no mask"):
        score_folder(tmp_path / "empty", dataset, select_rows(dataset))
    with pytest.raises(DatasetError, match="no folder"):
        score_folder(tmp_path / "nowhere", dataset, select_rows(dataset))


def test_predictions_of_another_split_are_ignored(dataset, predictions):
    write_mask(predictions / "t.nii.gz", mask_with(10, 4))
    assert list(score_folder(predictions, dataset, select_rows(dataset))["case"]) == ["a", "b", "c"]


def test_png_takes_the_references_spacing(dataset, predictions):
    (predictions / "a.nii.gz").unlink()
    write_mask(predictions / "a.png", mask_with(10, 4))
    assert score_folder(predictions, dataset, select_rows(dataset))["dice_overall"][0] == 1


def test_merging_four_classes(dataset, predictions):
    """Background, muscle, breast of constant thickness, breast of varying thickness (the paper's section 2.3.4)."""
    merge = parse_merge("0=background, 1=pectoral_muscle,2=breast,3=breast")
    assert merge == {0: Label.BACKGROUND, 1: Label.PECTORAL_MUSCLE, 2: Label.BREAST, 3: Label.BREAST}
    ours = mask_with(10, 4)
    theirs = np.where(ours == 2, 1, np.where(ours == 1, 3, 0)).astype(np.int16)
    theirs[:5] = np.where(theirs[:5] == 3, 2, theirs[:5])
    for case in "abc":
        write_mask(predictions / f"{case}.nii.gz", theirs)
    assert score_folder(predictions, dataset, select_rows(dataset), merge=merge)["dice_breast"].tolist() == [1.0] * 3
    write_mask(predictions / "b.nii.gz", theirs + 1)
    with pytest.raises(ProblemsError) as caught:
        score_folder(predictions, dataset, select_rows(dataset), merge=merge)
    problem = str(caught.value.problems[0])
    assert problem.startswith("b: unexpected label (prediction: ")
    assert "value 4, expected 0, 1, 2, 3" in problem and "--labels" in problem


@pytest.mark.parametrize("text", ["0", "0=skin", "0=breast,0=background", "x=breast", "-1=breast", ""])
def test_bad_label_tables(text):
    with pytest.raises(UsageError, match="--labels"):
        parse_merge(text)


def test_csv_is_stable(dataset, predictions, tmp_path):
    cases = score_folder(predictions, dataset, select_rows(dataset))
    assert write_cases(tmp_path / "cases.csv", cases)
    assert not write_cases(tmp_path / "cases.csv", cases)
    header, first, *_ = (tmp_path / "cases.csv").read_text().splitlines()
    assert header.startswith("case,dataset,view")
    assert first.startswith("a,fuji,MLO")
