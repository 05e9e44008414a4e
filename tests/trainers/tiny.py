"""A tiny nnU-Net data set of synthetic mammograms, raw and preprocessed, with plans of a tiny network."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk  # noqa: N813

from maseg_nnunet.dataset.description import dataset_json
from maseg_nnunet.dataset.folders import DATASET_JSON, FINGERPRINT, SPLITS, VOI_LUTS, trainers_folder
from maseg_nnunet.dataset.manifest import MANIFEST, ManifestRow, write_manifest
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.synthetic.phantom import make_phantom
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable
from tests.tiny_models import plain_unet

NUMBER: Final = "999"
DATASET: Final = f"Dataset{NUMBER}_Tiny"
PLANS: Final = "tiny"
SPACING: Final = 1.6
SHAPE: Final = (150, 120)
LUTS: Final = CaseLuts(
    False,
    0,
    (
        LookUpTable("NORMAL", Function.LINEAR_EXACT, center=2000.0, width=3000.0),
        LookUpTable("HARDER", Function.LINEAR_EXACT, center=2100.0, width=2200.0),
    ),
)
FOLDERS: Final = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def environment(base: Path) -> dict[str, str]:
    """Variables for nnU-Net's commands: folders below `base`, loading in the training process, pools of one process."""
    folders = {name: str(base / name) for name in FOLDERS}
    pools = dict.fromkeys(("nnUNet_def_n_proc", "nnUNet_npp", "nnUNet_nps"), "1")
    return {**folders, **pools, "nnUNet_n_proc_DA": "0", "nnUNet_extTrainer": str(trainers_folder())}


def command(name: str) -> str:
    """The path of a command of this environment."""
    return str(Path(sys.executable).with_name(name))


def full_environment(base: Path) -> dict[str, str]:
    """This process's environment with the variables of `environment`."""
    return os.environ | environment(base)


def make(base: Path, women: int = 6) -> None:
    """Write and preprocess the data set: two images of each woman, and the last third of the women for validation."""
    raw = base / "nnUNet_raw" / DATASET
    rows = [_write_case(raw, woman, side, woman >= women - women // 3) for woman in range(women) for side in "LR"]
    splits = {key: [row.case for row in rows if row.subset == key] for key in ("train", "val")}
    (raw / SPLITS).write_text(json.dumps([splits]))
    (raw / VOI_LUTS).write_text(json.dumps({row.case: LUTS.to_json() for row in rows}))
    write_manifest(raw / MANIFEST, rows)
    dataset = dataset_json(len(rows))
    (raw / DATASET_JSON).write_text(json.dumps(dataset))
    _preprocess(raw, base / "nnUNet_preprocessed" / DATASET, dataset, [row.case for row in rows])
    (base / "nnUNet_results").mkdir()


def plans() -> dict[str, Any]:
    """Plans of a small network on patches of 96 x 80 pixels."""
    linear = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": f"{PLANS}_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [96, 80],
        "median_image_size_in_voxels": list(SHAPE),
        "spacing": [SPACING, SPACING],
        "normalization_schemes": ["NoNormalization"],
        "use_mask_for_norm": [False],
        **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in ("data", "seg", "probabilities")},
        "resampling_fn_data_kwargs": linear,
        "resampling_fn_seg_kwargs": linear | {"is_seg": True},
        "resampling_fn_probabilities_kwargs": linear,
        "architecture": plain_unet([4, 8, 16]),
        "batch_dice": True,
    }
    return {
        "dataset_name": DATASET,
        "plans_name": PLANS,
        "original_median_spacing_after_transp": [999.0, SPACING, SPACING],
        "original_median_shape_after_transp": [1, *SHAPE],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
    }


def _preprocess(raw: Path, target: Path, dataset: dict[str, Any], cases: list[str]) -> None:
    """Run nnU-Net's preprocessing in this process: its command starts pools, which take longer than the work."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    folder = target / f"{PLANS}_2d"
    folder.mkdir(parents=True)
    shutil.copyfile(raw / DATASET_JSON, target / DATASET_JSON)
    shutil.copytree(raw / "labelsTr", target / "gt_segmentations")
    (target / FINGERPRINT).write_text("{}")
    (target / f"{PLANS}.json").write_text(json.dumps(plans()))
    manager, worker = PlansManager(plans()), DefaultPreprocessor(verbose=False)
    for case in cases:
        image, label = raw / "imagesTr" / f"{case}_0000.nii.gz", raw / "labelsTr" / f"{case}.nii.gz"
        worker.run_case_save(
            str(folder / case), [str(image)], str(label), manager, manager.get_configuration("2d"), dataset
        )


def _write_case(raw: Path, woman: int, side: str, validates: bool) -> ManifestRow:
    rows, columns = SHAPE
    spacing = (SPACING, SPACING)
    phantom = make_phantom(woman, View.MLO, Side(side), rows=rows, columns=columns, spacing=spacing, muscle=True)
    case = f"w{woman:02d}_{side}"
    _write(raw / "imagesTr" / f"{case}_0000.nii.gz", LUTS.to_voi_units(500 + 3000 * phantom.image).astype(np.float32))
    _write(raw / "labelsTr" / f"{case}.nii.gz", phantom.mask)
    subset = "val" if validates else "train"
    return ManifestRow(
        case, subset, f"w{woman:02d}", "", "MLO", side, "processed", "tiny", "tiny", "", 0, "", "",
        SPACING, SPACING, "drawn", rows, columns, SPACING,
    )  # fmt: skip


def _write(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((SPACING, SPACING))
    sitk.WriteImage(image, str(path))
