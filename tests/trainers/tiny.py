"""A tiny nnU-Net data set of synthetic mammograms with a plan that trains in seconds, for tests of trainers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from maseg_nnunet.labels import LABELS
from maseg_nnunet.mammogram import Side, View
from maseg_nnunet.manifest import MANIFEST, ManifestRow, write_manifest
from maseg_nnunet.paths import DATASET_JSON, SPLITS, VOI_LUTS, trainers_folder
from maseg_nnunet.phantom import make_phantom
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable

DATASET = "Dataset999_Tiny"
PLANS = "tiny"
SPACING = 1.6
SHAPE = (150, 120)

WINDOW = LookUpTable("NORMAL", Function.LINEAR_EXACT, center=2000.0, width=3000.0)
HARDER = LookUpTable("HARDER", Function.LINEAR_EXACT, center=2100.0, width=2200.0)
LUTS = CaseLuts(inverted=False, base=0, luts=(WINDOW, HARDER))


def environment(base: Path) -> dict[str, str]:
    """The variables for nnU-Net's commands, its folders below `base` and no process pools."""
    folders = {name: str(base / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    processes = dict.fromkeys(("nnUNet_def_n_proc", "nnUNet_npp", "nnUNet_nps", "nnUNet_n_proc_DA"), "1")
    return os.environ | folders | processes | {"nnUNet_extTrainer": str(trainers_folder())}


def command(base: Path, name: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one of nnU-Net's commands of this environment; raises CalledProcessError with its output in the notes."""
    path = Path(sys.executable).with_name(name)
    return subprocess.run(
        [str(path), *arguments], env=environment(base), check=True, capture_output=True, text=True, **options
    )


def make_raw(base: Path, women: int = 6) -> list[ManifestRow]:
    """Write the raw data set: two images a woman, the last third of the women for validation."""
    folder = base / "nnUNet_raw" / DATASET
    rows = []
    for woman in range(women):
        for side in (Side.LEFT, Side.RIGHT):
            phantom = make_phantom(
                woman, View.MLO, side, rows=SHAPE[0], columns=SHAPE[1], spacing=(SPACING, SPACING), muscle=True
            )
            case = f"w{woman:02d}_{side.value}"
            stored = 500 + 3000 * phantom.image
            _write(folder / "imagesTr" / f"{case}_0000.nii.gz", LUTS.to_voi_units(stored).astype(np.float32))
            _write(folder / "labelsTr" / f"{case}.nii.gz", phantom.mask)
            subset = "val" if woman >= women - women // 3 else "train"
            rows.append(_row(case, subset, f"w{woman:02d}", side))
    splits = {key: [row.case for row in rows if row.subset == key] for key in ("train", "val")}
    (folder / SPLITS).write_text(json.dumps([splits]))
    (folder / VOI_LUTS).write_text(json.dumps({row.case: LUTS.to_json() for row in rows}))
    write_manifest(folder / MANIFEST, rows)
    dataset = {
        "channel_names": {"0": "noNorm"},
        "labels": LABELS,
        "numTraining": len(rows),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
    (folder / DATASET_JSON).write_text(json.dumps(dataset))
    return rows


def preprocess(base: Path, features: tuple[int, ...] = (8, 16, 32), patch: tuple[int, int] = (96, 80)) -> None:
    """nnU-Net's planning, its plan shrunk and saved as `PLANS`, and its preprocessing."""
    command(base, "nnUNetv2_plan_and_preprocess", "-d", "999", "--no_pp", "-c", "2d", "-npfp", "1")
    folder = base / "nnUNet_preprocessed" / DATASET
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    configuration = plans["configurations"]["2d"]
    plans["plans_name"] = PLANS
    configuration |= {"data_identifier": f"{PLANS}_2d", "patch_size": list(patch), "batch_size": 2}
    stages = len(features)
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": stages,
        "features_per_stage": list(features),
        "kernel_sizes": [[3, 3]] * stages,
        "strides": [[1, 1]] + [[2, 2]] * (stages - 1),
        "n_conv_per_stage": [1] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
    }
    plans["configurations"] = {"2d": configuration}
    (folder / f"{PLANS}.json").write_text(json.dumps(plans))
    command(base, "nnUNetv2_preprocess", "-d", "999", "-plans_name", PLANS, "-c", "2d", "-np", "1")


def _write(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((SPACING, SPACING))
    sitk.WriteImage(image, str(path))


def _row(case: str, subset: str, woman: str, side: Side) -> ManifestRow:
    rows, columns = SHAPE
    return ManifestRow(
        case, subset, woman, "", "MLO", side.value, "processed", "tiny", "tiny", "", 0, "", "",
        SPACING, SPACING, "drawn", rows, columns, SPACING,
    )  # fmt: skip
