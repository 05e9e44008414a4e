import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from maseg_nnunet.errors import Reason, RefusedError, UsageError
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.spacing_table import read_spacing_table
from tests.commands import Run
from tests.readers.dicom_factory import write

TABLE = "file,spacing_mm\na/*.png,0.1\nfilm.png,0.2\n*.dcm,0.3\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Films a/film.png, b/film.png and b/other.png, and a DICOM file without spacing."""
    for name in ("a/film.png", "b/film.png", "b/other.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), np.arange(65536, dtype=np.uint16).reshape(256, 256))
    write(tmp_path / "in" / "b" / "image.dcm", ImagerPixelSpacing=None)
    return tmp_path / "in"


def test_the_first_row_that_fits_counts(maseg: Run, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "spacing.csv"
    table.write_text(TABLE, encoding="utf-8-sig")
    found = json.loads(maseg("inspect", folder, "--json", "--spacing-mm", table).out)
    spacings = {Path(entry["file"]).relative_to(folder).as_posix(): entry["spacing"] for entry in found}
    assert spacings == {
        "a/film.png": [0.1, 0.1],
        "b/film.png": [0.2, 0.2],
        "b/image.dcm": [0.3, 0.3],
        "b/other.png": None,
    }
    given = read_spacing_table(table)
    with pytest.raises(RefusedError) as caught:
        read_mammogram(folder / "b" / "other.png", spacing_mm=given)
    assert caught.value.reason is Reason.NO_SPACING
    write(tmp_path / "own.dcm")
    assert read_mammogram(tmp_path / "own.dcm", spacing_mm=given).spacing == (0.07, 0.07)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("film.png,0.2\n", "expected: file,spacing_mm|no rows"),
        ("name,mm\nfilm.png,0.2\n", "expected: file,spacing_mm"),
        ("file,spacing_mm\nfilm.png,70\n", "line 2"),
        ("file,spacing_mm\na.png,0.1\nfilm.png\n", "line 3"),
        ("file,spacing_mm\n", "no rows"),
    ],
)
def test_a_wrong_table_is_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "spacing.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_spacing_table(tmp_path / "spacing.csv")


@pytest.mark.parametrize("value", ["missing.csv", "2", "0.001", "nan"])
def test_a_wrong_value_ends_the_command(maseg: Run, folder: Path, value: str) -> None:
    answer = maseg("inspect", folder, "--spacing-mm", value)
    assert answer.status == 2 and value in answer.err and "Traceback" not in answer.err
