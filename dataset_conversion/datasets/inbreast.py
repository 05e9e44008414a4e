"""INbreast (Moreira et al. 2012): 410 Siemens images of 108 women, as DICOM, or as PNG with a table of spacings.

The published DICOM files are named `<id>_<patient>_MG_<side>_<view>_ANON.dcm`. The view ML means MLO, and FB stays FB.
A copy as PNG needs inbreast.csv beside the images (columns image_id, file, patient, side, view, spacing_mm_row,
spacing_mm_col, quality). The paper's section 2.1 says that all images are MLO, but the data set has both views.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import Dataset, Found, Known, Published, files_below, table_beside
from maseg_nnunet.errors import DatasetError
from maseg_nnunet.mammogram import Intent, Side, View

TABLE: Final = "inbreast.csv"
ANNOTATED_SPACING: Final = (0.07, 0.07)
"""(row, column) in mm of the published images; the muscle's borders are given in their pixels."""
_NAME = re.compile(r"(\d{8})_([0-9a-z]+)_MG_([LR])_([A-Z]+)_ANON", re.IGNORECASE)
_VIEWS: Final = {"CC": View.CC, "ML": View.MLO, "MLO": View.MLO, "FB": View.FB}


def images(folder: Path) -> Iterator[Found]:
    """Yield every .dcm that is named as published, and every .png that the table lists."""
    table = table_beside(folder, TABLE)
    for path in files_below(folder):
        name = _NAME.fullmatch(path.stem)
        suffix = path.suffix.lower()
        if not name or suffix not in (".dcm", ".png") or path.parent.name.lower() == "masks":
            continue
        image_id = name[1]
        row = table.get(image_id)
        if suffix == ".png" and row is None:
            raise DatasetError(
                f"{TABLE} was not found in {folder}, or has no line for image {image_id}: a PNG has no spacing "
                "of its own; put the table beside the images"
            )
        yield Found(
            path,
            Known(
                case=image_id,
                woman=f"inbreast_{name[2].lower()}",
                view=_VIEWS.get(name[4].upper(), View.UNKNOWN),
                side=Side(name[3].upper()),
                intent=Intent.PROCESSED,
                spacing=_spacing(row) if row is not None and suffix == ".png" else None,
                quality=row.get("quality", "") if row else "",
                annotated_spacing=ANNOTATED_SPACING if suffix == ".png" else None,
            ),
        )


def _spacing(row: dict[str, str]) -> tuple[float, float]:
    try:
        return float(row["spacing_mm_row"]), float(row["spacing_mm_col"])
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{TABLE}: columns spacing_mm_row and spacing_mm_col must be numbers in mm") from error


DATASET: Final = Dataset(
    key="inbreast",
    dataset_id=505,
    name="INbreast",
    title="INbreast, digital mammograms of a Siemens system",
    layout=images,
    vendor="siemens",
    published=Published(images=410, women=108),
    licence="research only, on request to the authors",
    reference="Moreira et al. 2012, Academic Radiology 19(2): 236-248",
)
