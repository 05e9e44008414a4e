"""Small data sets in nnU-Net's raw format, for the tests of evaluation."""

import numpy as np
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
    """Breast in the first rows, muscle in the first columns of the rest."""
    mask = np.zeros(shape, np.uint8)
    mask[:breast_rows] = 1
    mask[breast_rows:, :muscle_columns] = 2
    return mask


def make_dataset(folder, references):
    """`references`: {ManifestRow: mask}."""
    for case, mask in references.items():
        write_mask(folder / ("labelsTs" if case.subset == "test" else "labelsTr") / f"{case.case}.nii.gz", mask)
    write_manifest(folder / "manifest.csv", references)
    return folder
