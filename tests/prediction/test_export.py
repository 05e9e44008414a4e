from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import highdicom
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest, write_manifest
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.prediction import export
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.resample import mask_to_target
from maseg_nnunet.synthetic.phantom_dicom import write_exam
from maseg_nnunet.writers.nifti import write_nifti
from tests.commands import Run

TARGET = (0.4, 0.4)


def _shape_mask(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = shape
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, (0, int(rows * 0.45)), (int(columns * 0.6), int(rows * 0.3)), 0, 0, 360, 1, -1)
    cv2.fillPoly(mask, [np.array([[0, 0], [columns // 3, 0], [0, int(rows * 0.6)]])], 2)
    return mask


class Converted:
    """A converted folder and the masks that were predicted for it, with the drawings they came from."""

    def __init__(self, folder: Path, exam: list[Path]) -> None:
        self.folder, self.masks, self.output = folder / "converted", folder / "masks", folder / "out"
        self.drawn: dict[str, np.ndarray] = {}
        rows, lines = [], ["source,path"]
        (folder / "exam").mkdir()
        images = [Path(shutil.copy(image, folder / "exam")) for image in exam]
        for number, image in enumerate(images):
            mammogram = read_mammogram(image)
            case = f"fuji_{number:016x}_L{mammogram.view.value}_0000000{number}"
            self.drawn[case] = _shape_mask(mammogram.shape)
            write_nifti(
                self.masks / f"{case}.nii.gz", mask_to_target(self.drawn[case], mammogram.spacing, TARGET), TARGET
            )
            rows.append(
                ManifestRow(
                    case=case,
                    subset="predict",
                    woman="0",
                    exam="0",
                    view=mammogram.view.value,
                    side=mammogram.side.value,
                    intent=mammogram.intent.value,
                    dataset="fuji",
                    vendor=mammogram.vendor,
                    model=mammogram.model,
                    source=number,
                    sop_class=mammogram.sop_class,
                    twin="",
                    spacing_row=mammogram.spacing[0],
                    spacing_column=mammogram.spacing[1],
                    spacing_source=mammogram.spacing_source,
                    rows=mammogram.shape[0],
                    columns=mammogram.shape[1],
                    target_spacing=TARGET[0],
                    flags="burned-in annotation; spot view",
                )
            )
            lines.append(f"{number},{image}")
        write_manifest(self.folder / "manifest.csv", rows)
        (self.folder / "sources.csv").write_text("\n".join(lines) + "\n")
        (self.masks / "plans.json").write_text(json.dumps({"plans_name": "maseg_lite"}))
        self.sources = {row.case: image for row, image in zip(rows, images, strict=True)}

    def arguments(self, *options: str | Path) -> tuple[str | Path, ...]:
        return ("export", self.masks, "-c", self.folder, "-o", self.output, *options)


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A left CC and a left MLO."""
    pairs = write_exam(tmp_path_factory.mktemp("exam"), "fuji", 5, scale=0.3, raw=False, sides=(Side.LEFT,))
    return [image for image, _ in pairs]


@pytest.fixture
def converted(tmp_path: Path, exam: list[Path]) -> Converted:
    return Converted(tmp_path, exam)


def test_masks_come_back_on_the_sources_grid_in_every_format(converted: Converted, maseg: Run) -> None:
    answer = maseg(*converted.arguments("--format", "nifti,png,dicom-seg", "--preview", "--statistics"))
    assert answer.status == 0, answer.err
    table = {row["case"]: row for row in csv.DictReader((converted.output / "statistics.csv").read_text().splitlines())}
    for case, drawn in converted.drawn.items():
        source = dcmread(converted.sources[case], stop_before_pixels=True)
        nifti = sitk.ReadImage(str(converted.output / f"{case}.nii.gz"))
        mask = sitk.GetArrayFromImage(nifti)
        assert mask.shape == (source.Rows, source.Columns)
        assert nifti.GetSpacing() == pytest.approx([float(s) for s in source.ImagerPixelSpacing][::-1], rel=1e-6)
        # Off by half a converted pixel at the most: every pixel farther than that from an edge is the drawn one.
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


def test_what_convert_vendor_wrote_is_exported(
    exam: list[Path], tmp_path: Path, maseg: Run, convert_vendor: Run
) -> None:
    folder, masks, output = tmp_path / "converted", tmp_path / "masks", tmp_path / "out"
    answer = convert_vendor("--name", "fuji", "--input", exam[0].parent, "--output", folder)
    assert answer.status == 0, answer.err
    for image in folder.glob("*_0000.nii.gz"):
        units = sitk.GetArrayFromImage(sitk.ReadImage(str(image)))
        write_nifti(masks / image.name.replace("_0000", ""), (units > 0.1).astype(np.uint8), TARGET)
    assert maseg("export", masks, "-c", folder, "-o", output, "--format", "dicom-seg", "--preview").status == 0
    found = {seg.SourceImageSequence[0].ReferencedSOPInstanceUID for seg in map(dcmread, output.glob("*_seg.dcm"))}
    assert found == {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in exam}


def test_a_second_run_writes_nothing(converted: Converted, maseg: Run) -> None:
    maseg(*converted.arguments("--format", "nifti,png,dicom-seg", "--preview"))
    before = {path: path.stat().st_mtime_ns for path in converted.output.iterdir()}
    assert maseg(*converted.arguments("--format", "nifti,png,dicom-seg", "--preview")).status == 0
    assert {path: path.stat().st_mtime_ns for path in converted.output.iterdir()} == before


def test_the_masks_are_never_written_over(converted: Converted, maseg: Run) -> None:
    before = {path: path.read_bytes() for path in converted.masks.iterdir()}
    answer = maseg("export", converted.masks, "-c", converted.folder, "-o", converted.masks)
    assert answer.status == 2 and "would be lost" in answer.err
    assert {path: path.read_bytes() for path in converted.masks.iterdir()} == before


def test_what_nobody_thought_of_costs_one_case(converted: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = export.image_statistics, []

    def fails_once(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("Quitte^Mirabelle")
        return real(*arguments)

    monkeypatch.setattr(export, "image_statistics", fails_once)
    settings = export.ExportSettings(converted.output)
    problems = [one.problem for one in export.export_masks(converted.masks, converted.folder, settings)]
    assert problems.count("internal error: ValueError") == 1 and problems.count("") == len(problems) - 1 > 0


def test_sources_grid_kept(converted: Converted, maseg: Run) -> None:
    manifest = converted.folder / "manifest.csv"
    row = read_manifest(manifest)[0]
    write_manifest(manifest, [ManifestRow(**{**vars(row), "target_spacing": 0.0})])
    for path in converted.masks.glob("*.nii.gz"):
        path.unlink()
    write_nifti(converted.masks / f"{row.case}.nii.gz", converted.drawn[row.case], row.spacing)
    assert maseg(*converted.arguments()).status == 0
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(converted.output / f"{row.case}.nii.gz")))
    np.testing.assert_array_equal(mask, converted.drawn[row.case])


def test_keep_largest_cleans_up(converted: Converted, maseg: Run) -> None:
    case = next(iter(converted.drawn))
    path = converted.masks / f"{case}.nii.gz"
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    mask[-6:-2, -6:-2] = 1
    write_nifti(path, mask, TARGET)
    maseg(*converted.arguments("--format", "png"))
    as_is = cv2.imread(str(converted.output / f"{case}.png"), cv2.IMREAD_UNCHANGED)
    maseg(*converted.arguments("--format", "png", "--keep-largest"))
    cleaned = cv2.imread(str(converted.output / f"{case}.png"), cv2.IMREAD_UNCHANGED)
    corner = (slice(-20, None), slice(-20, None))
    assert as_is[corner].any() and not cleaned[corner].any()


def _spoil_size(path: Path) -> None:
    write_nifti(path, np.zeros((3, 4), np.uint8), TARGET)


def _spoil_labels(path: Path) -> None:
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
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
def test_a_bad_mask_is_named_and_the_other_exported(converted: Converted, maseg: Run, spoil: object, said: str) -> None:
    bad, good = converted.drawn
    spoil(converted.masks / f"{bad}.nii.gz")
    answer = maseg(*converted.arguments("--statistics"))
    assert answer.status == 1
    assert bad in answer.err and said in answer.err
    assert good not in answer.err
    assert [path.name for path in converted.output.glob("*.nii.gz")] == [f"{good}.nii.gz"]
    assert len((converted.output / "statistics.csv").read_text().splitlines()) == 2


def test_a_mask_of_no_case_is_named(converted: Converted, maseg: Run) -> None:
    write_nifti(converted.masks / "stranger.nii.gz", np.zeros((3, 4), np.uint8), TARGET)
    answer = maseg(*converted.arguments())
    assert answer.status == 1
    assert "stranger" in answer.err
    assert len(list(converted.output.glob("*.nii.gz"))) == len(converted.drawn)


def test_a_case_for_training_needs_no_mask(converted: Converted, maseg: Run) -> None:
    manifest = converted.folder / "manifest.csv"
    first, second = read_manifest(manifest)
    write_manifest(manifest, [first, ManifestRow(**{**vars(second), "subset": "train"})])
    (converted.masks / f"{second.case}.nii.gz").unlink()
    assert maseg(*converted.arguments()).status == 0


def test_a_source_that_is_gone_costs_only_what_needs_it(converted: Converted, maseg: Run) -> None:
    bad, good = converted.drawn
    converted.sources[bad].unlink()
    answer = maseg(*converted.arguments("--format", "nifti,dicom-seg", "--preview"))
    assert answer.status == 1
    assert "dicom-seg not written" in answer.err and "preview not written" in answer.err
    assert str(converted.sources[bad].parent) not in answer.err, "paths may name people"
    assert (converted.output / f"{bad}.nii.gz").is_file()
    assert (converted.output / f"{good}_seg.dcm").is_file()


def test_another_file_in_a_sources_place_gets_no_mask_of_hers(
    exam: list[Path], tmp_path: Path, maseg: Run, convert_vendor: Run
) -> None:
    exams, folder, masks = tmp_path / "exams", tmp_path / "converted", tmp_path / "masks"
    exams.mkdir()
    for image in exam:
        shutil.copy(image, exams)
    answer = convert_vendor("--name", "fuji", "--input", exams, "--output", folder)
    assert answer.status == 0, answer.err
    masks.mkdir()
    for image in folder.glob("*_0000.nii.gz"):
        shape = sitk.ReadImage(str(image)).GetSize()[::-1]
        write_nifti(masks / image.name.replace("_0000", ""), np.ones(shape, np.uint8), TARGET)
    # The import folder is filled again: the same names and sizes, other women.
    first, second = (exams / image.name for image in exam)
    first.rename(tmp_path / "aside")
    shutil.copyfile(second, first)
    answer = maseg("export", masks, "-c", folder, "-o", tmp_path / "out", "--format", "nifti,dicom-seg", "--preview")
    assert answer.status == 1 and answer.err.count("has changed since") == 2, answer.err
    assert len(list((tmp_path / "out").glob("*_seg.dcm"))) == len(list((tmp_path / "out").glob("*_preview.png"))) == 1


def test_folders_that_are_none(converted: Converted, maseg: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no mask" in maseg("export", empty, "-c", converted.folder, "-o", converted.output).err
    assert "manifest" in maseg("export", converted.masks, "-c", empty, "-o", converted.output).err
    (converted.folder / "sources.csv").unlink()
    assert "sources.csv is missing" in maseg(*converted.arguments("--format", "dicom-seg")).err
    assert maseg(*converted.arguments()).status == 0
    answer = maseg(*converted.arguments("--format", "jpeg"))
    assert answer.status == 2 and "jpeg" in answer.err


def test_views_are_flagged(converted: Converted, maseg: Run) -> None:
    for case in converted.drawn:
        shape = sitk.ReadImage(str(converted.masks / f"{case}.nii.gz")).GetSize()[::-1]
        write_nifti(converted.masks / f"{case}.nii.gz", np.ones(shape, np.uint8), TARGET)
    maseg(*converted.arguments("--statistics"))
    table = list(csv.DictReader((converted.output / "statistics.csv").read_text().splitlines()))
    flagged = {row["case"].split("_")[2] for row in table if "no pectoral muscle" in row["flags"]}
    assert flagged == {f"L{View.MLO.value}"}
