from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from scipy.ndimage import map_coordinates

from maseg_nnunet.cli.plan import plan as plan_command
from maseg_nnunet.dataset.planning import fill, load_template, plan, template_names
from maseg_nnunet.errors import DatasetError, PlanError, UsageError

CASES = [f"w{woman}_{side}" for woman in range(3) for side in "LR"]
SHAPE = (120, 90)
SPACING = 0.4


def half_disc(radius: float) -> np.ndarray:
    """A breast of `radius` pixels with a muscle in the upper corner, as uint8 labels."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = ((rows - SHAPE[0] / 2) ** 2 + columns**2 < radius**2).astype(np.uint8)
    mask[(mask == 1) & (rows + columns < SHAPE[0] / 2)] = 2
    return mask


def write(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((SPACING, SPACING))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data set 899 as convert_vendor writes it, and nnU-Net's three folders."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        (tmp_path / variable).mkdir()
    for variable in ("nnUNet_def_n_proc", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(variable, "1")
    folder = tmp_path / "nnUNet_raw" / "Dataset899_Tiny"
    rng = np.random.default_rng(0)
    for number, case in enumerate(CASES):
        mask = half_disc(40 + 2 * number)
        image = np.float32([-0.2, 0.6, 1.1])[mask] + rng.normal(0, 0.02, SHAPE).astype(np.float32)
        write(folder / "imagesTr" / f"{case}_0000.nii.gz", image.astype(np.float32))
        write(folder / "labelsTr" / f"{case}.nii.gz", mask)
    dataset = {
        "channel_names": {"0": "noNorm"},
        "labels": {"background": 0, "breast": 1, "pectoral_muscle": 2},
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "splits_final.json").write_text(json.dumps([{"train": CASES[:4], "val": CASES[4:]}]))
    (folder / "voi_luts.json").write_text("{}")
    (folder / "manifest.csv").write_text("case\n")
    return folder


def preprocessed(raw: Path) -> Path:
    return raw.parents[1] / "nnUNet_preprocessed" / raw.name


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_plan_does_what_is_missing_and_nothing_twice(raw: Path) -> None:
    path = plan(899, "maseg_lite", workers=1)
    target = preprocessed(raw)
    assert path == target / "maseg_lite.json"
    for name in ("dataset.json", "splits_final.json", "voi_luts.json", "manifest.csv"):
        assert (target / name).read_bytes() == (raw / name).read_bytes()
    assert {p.name for p in (target / "gt_segmentations").iterdir()} == {f"{case}.nii.gz" for case in CASES}

    configuration = json.loads(path.read_bytes())["configurations"]["2d"]
    assert configuration["spacing"] == [0.8, 0.8]
    assert configuration["median_image_size_in_voxels"] == [SHAPE[0] / 2, SHAPE[1] / 2]
    check_stored_case(raw, target / "maseg_lite_2d", CASES[0])

    before = snapshot(target)
    assert plan(899, "maseg_lite", workers=1) == path
    assert snapshot(target) == before

    # As if preprocessing had been killed: a case and the file that is written last are missing.
    (target / ".maseg_lite_2d.json").unlink()
    (target / "maseg_lite_2d" / f"{CASES[0]}.b2nd").unlink()
    plan(899, "maseg_lite", workers=1)
    check_stored_case(raw, target / "maseg_lite_2d", CASES[0])
    assert snapshot(target)["dataset_fingerprint.json"] == before["dataset_fingerprint.json"]
    assert snapshot(target)["maseg_lite.json"] == before["maseg_lite.json"]

    # A case has changed since: fingerprint and arrays are made again.
    write(raw / "labelsTr" / f"{CASES[0]}.nii.gz", half_disc(20))
    later = (target / ".maseg_lite_2d.json").stat().st_mtime + 2
    os.utime(raw / "labelsTr" / f"{CASES[0]}.nii.gz", (later, later))
    before = snapshot(target)
    plan(899, "maseg_lite", workers=1)
    check_stored_case(raw, target / "maseg_lite_2d", CASES[0])
    assert snapshot(target)["dataset_fingerprint.json"] != before["dataset_fingerprint.json"]


def check_stored_case(raw: Path, folder: Path, case: str) -> None:
    """nnU-Net's arrays are the raw ones, linearly resampled to twice the spacing with pixel centres in place."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    data, seg, _, properties = nnUNetDatasetBlosc2(str(folder)).load_case(case)
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "imagesTr" / f"{case}_0000.nii.gz")))
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "labelsTr" / f"{case}.nii.gz")))
    assert data.shape == seg.shape == (1, 1, SHAPE[0] // 2, SHAPE[1] // 2)
    centres = np.meshgrid(*[2 * np.arange(n // 2) + 0.5 for n in SHAPE], indexing="ij")
    expected = map_coordinates(image, centres, order=1)
    np.testing.assert_allclose(data[0, 0], expected, atol=1e-5)
    assert expected.min() < 0 and expected.max() > 1  # not clamped on disk
    areas = [np.mean(label == value) for value in (1, 2)]
    assert [np.mean(seg[0, 0] == value) for value in (1, 2)] == pytest.approx(areas, abs=0.01)
    assert len(properties["class_locations"][2]) > 0


def stub_fingerprint(raw: Path) -> None:
    """Write a fingerprint as nnU-Net would, without its process pool."""
    properties = {
        "0": dict.fromkeys(("mean", "median", "std", "min", "max", "percentile_99_5", "percentile_00_5"), 0.5)
    }
    fingerprint = {
        "spacings": [[999 * SPACING, SPACING, SPACING]] * len(CASES),
        "shapes_after_crop": [[1, *SHAPE]] * len(CASES),
        "foreground_intensity_properties_per_channel": properties,
    }
    preprocessed(raw).mkdir(exist_ok=True)
    (preprocessed(raw) / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))


@pytest.mark.parametrize("name", template_names())
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_nnunet_s_trainer_takes_a_step_with_every_template(raw: Path, name: str) -> None:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    stub_fingerprint(raw)
    plans = json.loads(plan(899, name, preprocess=False).read_bytes())
    plans["continue_training"] = False
    folder = preprocessed(raw) / plans["configurations"]["2d"]["data_identifier"]
    folder.mkdir()
    (folder / "case.b2nd").touch()  # nnU-Net recognizes the format of a data set by a file's name
    trainer = nnUNetTrainer(plans, "2d", 0, json.loads((raw / "dataset.json").read_text()), torch.device("cpu"))
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    levels = len(plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["strides"]) - 1
    target = [torch.randint(0, 3, (2, 1, 64 >> n, 64 >> n)).float() for n in range(levels)]
    before = [p.detach().clone() for p in trainer.network.parameters()]
    trainer.network.train()
    result = trainer.train_step({"data": torch.rand(2, 1, 64, 64), "target": target})
    assert np.isfinite(result["loss"])
    after = list(trainer.network.parameters())
    # The weights of deep supervision's coarsest level get no gradient; all others change.
    assert np.mean([not torch.equal(a, b) for a, b in zip(before, after, strict=True)]) > 0.8
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    with torch.no_grad():
        assert trainer.network(torch.rand(1, 1, 64, 64)).shape == (1, 3, 64, 64)


def test_templates_fix_what_the_paper_and_the_measurements_do() -> None:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    assert template_names() == ["maseg_demo", "maseg_lite", "maseg_paper"]
    paper, lite = load_template("maseg_paper"), load_template("maseg_lite")
    assert (paper["spacing"], paper["patch_size"]) == ([0.4, 0.4], [512, 512])
    assert paper["architecture"]["arch_kwargs"]["features_per_stage"] == [64, 128, 256, 512, 1024]
    assert (lite["spacing"], lite["patch_size"]) == ([0.8, 0.8], [320, 256])
    assert [f(lite["architecture"]["arch_kwargs"]["features_per_stage"]) for f in (min, max)] == [16, 256]
    for name, most in (("maseg_demo", 0.5e6), ("maseg_lite", 4e6)):
        template = load_template(name)
        architecture = template["architecture"]
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            1,
            3,
            deep_supervision=False,
        )
        assert sum(p.numel() for p in network.parameters()) <= most
        # The result must not depend on the tile's extent.
        assert not any(isinstance(m, torch.nn.InstanceNorm2d) for m in network.modules())
        assert all(n % 2 ** (len(architecture["arch_kwargs"]["strides"]) - 1) == 0 for n in template["patch_size"])


def test_medians_are_taken_over_images_of_different_spacing() -> None:
    fingerprint = {
        "spacings": [[999, 0.4, 0.4], [999, 0.8, 0.4], [999, 0.4, 0.4]],
        "shapes_after_crop": [[1, 100, 60], [1, 60, 70], [1, 140, 80]],
        "foreground_intensity_properties_per_channel": {},
    }
    filled = fill(
        load_template("maseg_lite"), "maseg_lite", "Dataset899_Tiny", {"channel_names": {"0": "noNorm"}}, fingerprint
    )
    assert filled["configurations"]["2d"]["median_image_size_in_voxels"] == [60, 35]
    assert filled["original_median_shape_after_transp"] == [1, 100, 70]
    assert filled["original_median_spacing_after_transp"] == [999, 0.4, 0.4]


def test_an_unknown_template_lists_the_valid_ones(raw: Path) -> None:
    with pytest.raises(
        PlanError, match=r"no plan template 'maseg_light': there are maseg_demo, maseg_lite, maseg_paper"
    ):
        plan(899, "maseg_light")


def test_a_missing_data_set_and_a_missing_variable_are_named(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="no Dataset898_"):
        plan(898, "maseg_lite")
    monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(UsageError, match="nnUNet_raw is not set"):
        plan(899, "maseg_lite")


def test_two_names_for_one_id_are_refused(raw: Path) -> None:
    other = raw.parents[1] / "nnUNet_results" / "Dataset899_Other"
    other.mkdir()
    with pytest.raises(DatasetError, match=r"Dataset899_Other has the id of Dataset899_Tiny"):
        plan(899, "maseg_lite")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("splits_final.json", None, "split by image, not by woman"),
        ("splits_final.json", "[{}]", "not a list of folds"),
        ("splits_final.json", '[{"train": ["w9_L"], "val": []}]', "names 1 cases that are not in imagesTr, w9_L"),
        ("dataset.json", None, "missing or broken"),
        (
            "dataset.json",
            '{"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}',
            r"not in VOI units \(its channels are CT",
        ),
        ("labelsTr/w0_L.nii.gz", None, r"w0_L.nii.gz is missing \(1 files"),
    ],
)
def test_data_sets_that_can_t_be_planned_are_refused(raw: Path, name: str, content: str | None, message: str) -> None:
    if content is None:
        (raw / name).unlink()
    else:
        (raw / name).write_text(content)
    with pytest.raises(DatasetError, match=message):
        plan(899, "maseg_lite")
    assert not (preprocessed(raw) / "maseg_lite.json").exists()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_unreadable_image_is_one_error_and_not_taken_for_done(raw: Path) -> None:
    stub_fingerprint(raw)
    (raw / "imagesTr" / "w0_L_0000.nii.gz").write_bytes(b"no image")
    later = (preprocessed(raw) / "dataset_fingerprint.json").stat().st_mtime - 1
    os.utime(raw / "imagesTr" / "w0_L_0000.nii.gz", (later, later))
    with pytest.raises(DatasetError, match="nnU-Net could not preprocess Dataset899_Tiny"):
        plan(899, "maseg_demo", workers=1)
    assert not (preprocessed(raw) / ".maseg_demo_2d.json").exists()


def test_cases_that_dataset_json_names_are_planned_and_missed(raw: Path) -> None:
    stub_fingerprint(raw)
    dataset = json.loads((raw / "dataset.json").read_text())
    part = raw.parent / "Dataset898_Part"
    part.mkdir()
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).rename(part / folder)
    entry = {
        case: {
            "images": [f"../Dataset898_Part/imagesTr/{case}_0000.nii.gz"],
            "label": f"../Dataset898_Part/labelsTr/{case}.nii.gz",
        }
        for case in CASES
    }
    (raw / "dataset.json").write_text(json.dumps({**dataset, "dataset": entry}))
    fingerprint = preprocessed(raw) / "dataset_fingerprint.json"
    os.utime(fingerprint, (fingerprint.stat().st_mtime + 2,) * 2)
    assert plan(899, "maseg_lite", preprocess=False).is_file()
    (part / "imagesTr" / f"{CASES[1]}_0000.nii.gz").unlink()
    with pytest.raises(DatasetError, match=rf"{CASES[1]}_0000.nii.gz is missing \(1 files"):
        plan(899, "maseg_lite", preprocess=False)


def test_a_users_own_split_is_kept(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    stub_fingerprint(raw)
    target = preprocessed(raw) / "splits_final.json"
    plan(899, "maseg_lite", preprocess=False)
    changed = json.dumps([{"train": CASES[:2], "val": CASES[2:]}])
    (raw / "splits_final.json").write_text(changed)  # converted again: the copy follows
    plan(899, "maseg_lite", preprocess=False)
    assert target.read_text() == changed and not caplog.records
    own = json.dumps([{"train": CASES[2:], "val": CASES[:2]}])
    target.write_text(own)
    plan(899, "maseg_lite", preprocess=False)
    assert target.read_text() == own and "--overwrite-splits" in caplog.text
    plan(899, "maseg_lite", preprocess=False, overwrite_splits=True)
    assert target.read_text() == changed


def test_the_demos_plan_is_trained_by_the_demos_trainer(
    raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("maseg_nnunet.dataset.planning.plan", lambda *unused, **options: Path("plans.json"))
    for name, trainer in (("maseg_demo", "MasegTrainerDemo"), ("maseg_lite", "MasegTrainer")):
        plan_command(899, name)
        assert f"-p {name} -tr {trainer} -device" in capsys.readouterr().out
