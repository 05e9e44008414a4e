from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from maseg_nnunet.dataset_conversion.datasets.inbreast_muscle import muscle_of, read_border
from maseg_nnunet.errors import Reason, RefusedError

REGION = "<plist><dict><key>ROIPoints</key><array>{}</array></dict></plist>"
EXPORT = (
    "<plist><dict><key>Images</key><array><dict><key>ROIs</key><array><dict><key>Point_mm</key><array><string>(0, 0, 0)"
    "</string></array><key>Point_px</key><array>{}</array></dict></array></dict></array></dict></plist>"
)


@pytest.mark.parametrize(("text", "form"), [(REGION, "{{{}, {}}}"), (EXPORT, "({}, {})")])
def test_both_dialects(tmp_path: Path, text: str, form: str) -> None:
    points = [(289.591, 18.2468), (100.5, 400), (-0.8, 1e3)]
    strings = "".join(f"<string>{form.format(x, y)}</string>" for x, y in points)
    (tmp_path / "a.xml").write_text(text.format(strings))
    np.testing.assert_allclose(read_border(tmp_path / "a.xml"), points)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<plist></plist>",
        REGION.format(""),
        REGION.format("<string>{1, 2}</string>"),
        REGION.format("<string>{1, 2}</string><string>{x, 2}</string>"),
        '<!DOCTYPE l [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><plist>&c;</plist>',
    ],
)
def test_bad_annotations(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(RefusedError) as refused:
        read_border(tmp_path / "a.xml")
    assert refused.value.reason is Reason.MASK_UNREADABLE


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_triangle(mirrored: bool, scale: float) -> None:
    border = np.array([[40.0, 0.0], [20.0, 50.0], [0.0, 100.0]])
    rows, columns = np.mgrid[: round(200 * scale), : round(100 * scale)]
    # The pixel centre i of the scaled image is at (i + 0.5) / scale - 0.5 in the annotated one.
    y, x = (rows + 0.5) / scale - 0.5, (columns + 0.5) / scale - 0.5
    expected = x <= 40 * (1 - y / 100)
    if mirrored:
        border[:, 0] = 99 - border[:, 0]
        expected = expected[:, ::-1]
    muscle = muscle_of(border, rows.shape, (scale, scale))
    # Only centres on the line itself may differ.
    assert np.count_nonzero(muscle ^ expected) <= 20
    np.testing.assert_array_equal(muscle_of(border[::-1], rows.shape, (scale, scale)), muscle)


def test_the_ten_published_ones(real_data: Path) -> None:
    """The masks of these ten images were drawn from the same points, so only pixels on the line may differ."""
    base = real_data / "inbreast"
    with (base / "inbreast.csv").open(newline="") as handle:
        table = {row["image_id"]: row for row in csv.DictReader(handle)}
    files = sorted((base / "pectoral_xml").glob("*.xml"))
    assert len(files) == 10
    for file in files:
        row = table[file.name[:8]]
        reference = cv2.imread(str(base / "masks" / f"{row['file']}.png"), cv2.IMREAD_UNCHANGED) == 2
        scale = (0.07 / float(row["spacing_mm_row"]), 0.07 / float(row["spacing_mm_col"]))
        muscle = muscle_of(read_border(file), reference.shape, scale)
        dice = 2 * np.count_nonzero(muscle & reference) / (np.count_nonzero(muscle) + np.count_nonzero(reference))
        assert dice > 0.98, file.name
