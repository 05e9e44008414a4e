"""Small data sets in nnU-Net's raw format, and scored cases without a data set."""

import math

import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813

from maseg_nnunet.dataset.manifest import ManifestRow, write_manifest


def row(case, woman="w1", view="MLO", dataset="fuji", subset="test", **more):
    cells = {
        "exam": "1", "side": "L", "intent": "processed", "vendor": dataset, "model": "", "source": 1, "sop_class": "",
        "twin": "", "spacing_row": 0.1, "spacing_column": 0.1, "spacing_source": "ImagerPixelSpacing",
        "rows": 80, "columns": 40, "target_spacing": 0.4,
    }  # fmt: skip
    return ManifestRow(case=case, woman=woman, view=view, dataset=dataset, subset=subset, **{**cells, **more})


def write_mask(path, mask, spacing=(0.4, 0.4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.asarray(mask))
    image.SetSpacing(tuple(reversed(spacing)))
    sitk.WriteImage(image, str(path), useCompression=True)


def mask_with(breast_rows, muscle_columns, shape=(20, 10)):
    """Breast in the first rows, muscle in the first columns of the other rows."""
    mask = np.zeros(shape, np.uint8)
    mask[:breast_rows] = 1
    mask[breast_rows:, :muscle_columns] = 2
    return mask


def make_dataset(folder, references):
    """Write the references ({ManifestRow: mask}) and the manifest of a converted data set."""
    for case, mask in references.items():
        write_mask(folder / ("labelsTs" if case.subset == "test" else "labelsTr") / f"{case.case}.nii.gz", mask)
    write_manifest(folder / "manifest.csv", references)
    return folder


def cases_of(scores, women, dataset="fuji", view="MLO"):
    """Scored cases without muscles, so that overall and breast Dice are the same."""
    frame = pd.DataFrame({"dice_overall": scores, "woman": women})
    return frame.assign(
        case=[f"{dataset}{view}{i}" for i in range(len(frame))], dataset=dataset, view=view, vendor="x",
        intent="processed", dice_breast=frame["dice_overall"], dice_pectoral=math.nan, muscle_scored=True, twin="",
    )  # fmt: skip
