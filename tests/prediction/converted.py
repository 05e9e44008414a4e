"""A converted folder and masks of its cases, as `convert_vendor` and nnUNetv2_predict would leave them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from maseg_nnunet.dataset.manifest import ManifestRow, write_manifest
from maseg_nnunet.mammogram import Side
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.resample import mask_to_target
from maseg_nnunet.synthetic.phantom_dicom import write_exam
from maseg_nnunet.writers.nifti import write_nifti

TARGET = (0.4, 0.4)


def write_left_exam(folder: Path) -> list[Path]:
    """Write a left CC and a left MLO view."""
    pairs = write_exam(folder, "fuji", 5, scale=0.3, raw=False, sides=(Side.LEFT,))
    return [image for image, _ in pairs]


def draw_mask(shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Draw a breast with a muscle."""
    rows, columns = shape
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, (0, int(rows * 0.45)), (int(columns * 0.6), int(rows * 0.3)), 0, 0, 360, 1, -1)
    cv2.fillPoly(mask, [np.array([[0, 0], [columns // 3, 0], [0, int(rows * 0.6)]])], 2)
    return mask


class Converted:
    """Two cases with their masks.

    Attributes:
        folder: The converted folder, without its images.
        masks: The folder of the masks.
        output: A folder for results.
        drawn: The drawing on the source's grid that each case's mask was made from.
        sources: The source file of each case.
    """

    def __init__(self, folder: Path, exam: Sequence[Path]) -> None:
        self.folder, self.masks, self.output = folder / "converted", folder / "masks", folder / "out"
        self.drawn: dict[str, npt.NDArray[np.uint8]] = {}
        rows, lines = [], ["source,path"]
        (folder / "exam").mkdir()
        images = [Path(shutil.copy(image, folder / "exam")) for image in exam]
        for number, image in enumerate(images):
            mammogram = read_mammogram(image)
            case = f"fuji_{number:016x}_L{mammogram.view.value}_0000000{number}"
            self.drawn[case] = draw_mask(mammogram.shape)
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
        """The arguments of `maseg` that export all masks."""
        return ("export", self.masks, "-c", self.folder, "-o", self.output, *options)
