"""Masks of stock nnU-Net on the sources' grids."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import highdicom
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest, write_manifest
from maseg_nnunet.mammogram import View
from maseg_nnunet.prediction import export
from maseg_nnunet.prediction.export import Exported, ExportSettings, export_masks, write_statistics
from maseg_nnunet.resample import mask_to_target
from maseg_nnunet.writers.nifti import write_nifti
from maseg_nnunet.writers.results import Format
from tests.prediction.converted import TARGET, Converted, draw_mask, write_left_exam


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_left_exam(tmp_path_factory.mktemp("exam"))


@pytest.fixture
def converted(tmp_path: Path, exam: list[Path]) -> Converted:
    return Converted(tmp_path, exam)


def run(converted: Converted, *formats: Format, **settings: bool) -> list[Exported]:
    """Export all masks, by default to NIfTI."""
    chosen = ExportSettings(converted.output, formats or (Format.NIFTI,), **settings)
    return list(export_masks(converted.masks, converted.folder, chosen))


def problems(exported: list[Exported]) -> dict[str, str]:
    return {one.case: one.problem for one in exported if one.problem}


def statistics(converted: Converted, exported: list[Exported]) -> dict[str, dict[str, str]]:
    """The rows of statistics.csv by case."""
    text = write_statistics(converted.output, exported).read_text()
    return {row["case"]: row for row in csv.DictReader(text.splitlines())}


def nifti(path: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def test_masks_come_back_on_the_sources_grid_in_every_format(converted: Converted) -> None:
    exported = run(converted, *Format, preview=True)
    assert not problems(exported)
    table = statistics(converted, exported)
    for case, drawn in converted.drawn.items():
        source = dcmread(converted.sources[case], stop_before_pixels=True)
        image = sitk.ReadImage(str(converted.output / f"{case}.nii.gz"))
        mask = sitk.GetArrayFromImage(image)
        assert mask.shape == (source.Rows, source.Columns)
        assert image.GetSpacing() == pytest.approx([float(s) for s in source.ImagerPixelSpacing][::-1], rel=1e-6)
        # An edge moves by at most half a converted pixel, so all pixels farther from an edge are as drawn.
        reach = round(TARGET[0] / float(source.ImagerPixelSpacing[0]))
        kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        inside = cv2.erode(drawn, kernel) == cv2.dilate(drawn, kernel)
        assert inside.mean() > 0.8
        np.testing.assert_array_equal(mask[inside], drawn[inside])
        assert abs(int((mask == 2).sum()) - int((drawn == 2).sum())) < 0.02 * (drawn == 2).sum()

        np.testing.assert_array_equal(cv2.imread(str(converted.output / f"{case}.png"), cv2.IMREAD_UNCHANGED), mask)
        seg = highdicom.seg.segread(converted.output / f"{case}_seg.dcm")
        labels = seg.get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)[0]
        np.testing.assert_array_equal(labels, mask)
        assert "maseg_lite" in seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
        assert (converted.output / f"{case}_preview.png").is_file()
        area = (mask == 1).sum() * float(source.ImagerPixelSpacing[0]) ** 2 / 100
        assert float(table[case]["breast_area_cm2"]) == pytest.approx(area, abs=0.006)
        assert table[case]["flags"] == "burned-in annotation; spot view"


def test_what_nobody_thought_of_costs_one_case(converted: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = export.image_statistics, []

    def fails_once(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("Quitte^Mirabelle")
        return real(*arguments)

    monkeypatch.setattr(export, "image_statistics", fails_once)
    found = [one.problem for one in run(converted)]
    assert found.count("internal error: ValueError") == 1 and found.count("") == len(found) - 1 > 0


def test_pixels_that_are_not_square_keep_their_axes(converted: Converted) -> None:
    manifest = converted.folder / "manifest.csv"
    row = read_manifest(manifest)[0]
    spacing = (0.1, 0.2)
    drawn = draw_mask((1200, 500))
    changes = {"rows": 1200, "columns": 500, "spacing_row": spacing[0], "spacing_column": spacing[1]}
    write_manifest(manifest, [ManifestRow(**{**vars(row), **changes})])
    for path in converted.masks.glob("*.nii.gz"):
        path.unlink()
    write_nifti(converted.masks / f"{row.case}.nii.gz", mask_to_target(drawn, spacing, TARGET), TARGET)
    exported = run(converted)
    assert not problems(exported)
    image = sitk.ReadImage(str(converted.output / f"{row.case}.nii.gz"))
    assert image.GetSpacing() == pytest.approx((0.2, 0.1))
    mask = sitk.GetArrayFromImage(image)
    assert mask.shape == drawn.shape and (mask == drawn).mean() > 0.99
    statistics = exported[0].statistics
    assert statistics is not None
    assert statistics.breast_area_cm2 == pytest.approx((drawn == 1).sum() * 0.1 * 0.2 / 100, rel=0.02)


def test_sources_grid_kept(converted: Converted) -> None:
    manifest = converted.folder / "manifest.csv"
    row = read_manifest(manifest)[0]
    write_manifest(manifest, [ManifestRow(**{**vars(row), "target_spacing": 0.0})])
    for path in converted.masks.glob("*.nii.gz"):
        path.unlink()
    write_nifti(converted.masks / f"{row.case}.nii.gz", converted.drawn[row.case], row.spacing)
    assert not problems(run(converted))
    np.testing.assert_array_equal(nifti(converted.output / f"{row.case}.nii.gz"), converted.drawn[row.case])


def test_keep_largest_cleans_up(converted: Converted) -> None:
    case = next(iter(converted.drawn))
    path = converted.masks / f"{case}.nii.gz"
    mask = nifti(path)
    mask[-6:-2, -6:-2] = 1
    write_nifti(path, mask, TARGET)
    run(converted)
    as_is = nifti(converted.output / f"{case}.nii.gz")
    run(converted, keep_largest=True)
    cleaned = nifti(converted.output / f"{case}.nii.gz")
    corner = (slice(-20, None), slice(-20, None))
    assert as_is[corner].any() and not cleaned[corner].any()


def _spoil_size(path: Path) -> None:
    write_nifti(path, np.zeros((3, 4), np.uint8), TARGET)


def _spoil_labels(path: Path) -> None:
    mask = nifti(path)
    write_nifti(path, np.where(mask == 2, 7, mask).astype(np.uint8), TARGET)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "no mask"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "unreadable"),
        (lambda path: path.write_bytes(b"junk"), "unreadable"),
        (_spoil_size, "another size"),
        (_spoil_labels, "another label"),
    ],
)
def test_a_bad_mask_is_named_and_the_other_exported(converted: Converted, spoil: Any, said: str) -> None:
    bad, good = converted.drawn
    spoil(converted.masks / f"{bad}.nii.gz")
    exported = run(converted)
    assert set(problems(exported)) == {bad} and said in problems(exported)[bad]
    assert [path.name for path in converted.output.glob("*.nii.gz")] == [f"{good}.nii.gz"]
    assert set(statistics(converted, exported)) == {good}


def test_a_mask_of_no_case_is_named(converted: Converted) -> None:
    write_nifti(converted.masks / "stranger.nii.gz", np.zeros((3, 4), np.uint8), TARGET)
    assert set(problems(run(converted))) == {"stranger"}
    assert len(list(converted.output.glob("*.nii.gz"))) == len(converted.drawn)


def test_a_case_for_training_needs_no_mask(converted: Converted) -> None:
    manifest = converted.folder / "manifest.csv"
    first, second = read_manifest(manifest)
    write_manifest(manifest, [first, ManifestRow(**{**vars(second), "subset": "train"})])
    (converted.masks / f"{second.case}.nii.gz").unlink()
    assert not problems(run(converted))


def test_a_source_that_is_gone_costs_only_what_needs_it(converted: Converted) -> None:
    bad, good = converted.drawn
    converted.sources[bad].unlink()
    (problem,) = problems(run(converted, Format.NIFTI, Format.DICOM_SEG, preview=True)).values()
    assert "dicom-seg not written" in problem and "preview not written" in problem
    assert str(converted.sources[bad].parent) not in problem, "paths may name people"
    assert (converted.output / f"{bad}.nii.gz").is_file()
    assert (converted.output / f"{good}_seg.dcm").is_file()


def test_views_are_flagged(converted: Converted) -> None:
    for case in converted.drawn:
        path = converted.masks / f"{case}.nii.gz"
        write_nifti(path, np.ones_like(nifti(path)), TARGET)
    table = statistics(converted, run(converted))
    flagged = {case.split("_")[2] for case, row in table.items() if "no pectoral muscle" in row["flags"]}
    assert flagged == {f"L{View.MLO.value}"}
