"""Measures the Dice of a model on the test women of converted data sets: the tables of the packaged model's card.

    python benchmarks/accuracy.py MODEL -d 505 -d 506 -o accuracy

The images are the converted ones (imagesTs of each data set in nnUNet_raw). They are segmented as `maseg predict` does
it, and scored by `maseg evaluate`; the table is made of its cases.csv. Cases of quality `uncertain` have a row of their
own, and those of quality `exclude` are left out. `--change` makes the images harder: give each change its own output
folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813
from conditions import CONDITIONS, Change, changed
from rich.progress import track

from maseg_nnunet.dataset.folders import RAW, dataset_folder, nnunet_folder
from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest
from maseg_nnunet.mammogram import Intent, Mammogram
from maseg_nnunet.prediction.segmenter import Segmenter
from maseg_nnunet.training.lut_jitter import WITHOUT_HEADER
from maseg_nnunet.writers.nifti import write_nifti

JUDGED = ("ok", "minor", "")
HEAD = "| data set | view | quality | n | breast | muscle (n) | median | overall | missed | where none is |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model folder or ZIP")
    parser.add_argument("-d", "--dataset", type=int, action="append", required=True, help="converted data set")
    parser.add_argument("-o", "--output", type=Path, default=Path("accuracy"))
    parser.add_argument("--split", default="test", help="test, val, or all: every woman, for a set not trained on")
    parser.add_argument("--change", choices=CONDITIONS, default="as it is", help="how the images are made harder")
    parser.add_argument("--tta", action="store_true", help="average with the mirrored image")
    parser.add_argument("--no-keep-largest", action="store_true", help="do not clean up the masks")
    options = parser.parse_args()
    segmenter = Segmenter(options.model, tta=options.tta, keep_largest=not options.no_keep_largest)
    splits = ("train", "val", "test") if options.split == "all" else (options.split,)
    print(HEAD + "\n" + "| --- " * HEAD[1:].count("|") + "|")
    for number in options.dataset:
        folder = dataset_folder(nnunet_folder(RAW), number)
        rows = [row for row in read_manifest(folder) if row.subset in splits]
        masks, report = options.output / folder.name, options.output / f"{folder.name}_report"
        masks.mkdir(parents=True, exist_ok=True)
        for row in track(rows, description=folder.name, disable=not sys.stderr.isatty()):
            segment(segmenter, folder, row, masks, CONDITIONS[options.change])
        command = [str(Path(sys.executable).with_name("maseg")), "evaluate", "-d", str(number), "-p", str(masks)]
        chosen = [word for split in splits for word in ("--split", split)]
        subprocess.run([*command, "-o", str(report), "--no-pictures", *chosen], check=True, stdout=subprocess.DEVNULL)
        print("\n".join(table(pd.read_csv(report / "cases.csv", keep_default_na=False, na_values=[""]))))


def segment(segmenter: Segmenter, folder: Path, row: ManifestRow, masks: Path, change: Change) -> None:
    """Segment one converted image and write the mask, on the image's grid."""
    end = "Ts" if row.subset == "test" else "Tr"
    mammogram = read_converted(folder / f"images{end}" / f"{row.case}_0000.nii.gz", Intent(row.intent))
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"labels{end}" / f"{row.case}.nii.gz")))
    mask = segmenter.predict(changed(mammogram, labels, row.case, change))
    write_nifti(masks / f"{row.case}.nii.gz", mask, mammogram.spacing)


def read_converted(path: Path, intent: Intent) -> Mammogram:
    """Read one converted image. It needs no look-up table: VOI units are windowed from 0 to 1, with polarity."""
    image = sitk.ReadImage(str(path))
    # NIfTI stores spacing as float32. Unrounded, the image would be resampled, and black would not stay exactly black.
    column, row = (round(value, 6) for value in image.GetSpacing())
    return Mammogram(Path(), sitk.GetArrayFromImage(image), (row, column), "", WITHOUT_HEADER, intent)


def table(cases: pd.DataFrame) -> list[str]:
    """Rows of the card, one for each view and kind of quality."""
    cases = cases.assign(quality=cases["quality"].fillna(""))
    lines = []
    for (dataset, view), group in cases.groupby(["dataset", "view"]):
        for name, chosen in (
            ("ok, minor", group[group["quality"].isin(JUDGED)]),
            ("uncertain", group[group["quality"] == "uncertain"]),
        ):
            if not len(chosen):
                continue
            present = chosen[chosen["reference_pectoral_area"] > 0]
            absent = chosen[chosen["reference_pectoral_area"] == 0]
            muscles = present["dice_pectoral"].to_numpy(dtype=float)
            muscle = (
                f"{muscles.mean():.3f} ({muscles.size}) | {np.median(muscles):.3f}" if muscles.size else "- (0) | -"
            )
            missed = f"{int(as_bool(present['false_negative']).sum())} of {len(present)}"
            extra = f"{int(as_bool(absent['large_false_positive']).sum())} of {len(absent)}"
            breast, overall = chosen["dice_breast"].mean(), chosen["dice_overall"].mean()
            lines.append(
                f"| {dataset} | {view} | {name} | {len(chosen)} | {breast:.3f} | {muscle} | {overall:.3f} | {missed} "
                f"| {extra} |"
            )
    return lines


def as_bool(column: pd.Series) -> pd.Series:
    """True and False of a CSV column that also has empty cells."""
    return column.astype(str) == "True"


if __name__ == "__main__":
    main()
