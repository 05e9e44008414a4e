"""PatientOrientation that the pixels confirm or contradict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from maseg_nnunet.mammogram import Flag, Side, View
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.synthetic.phantom_dicom import write_exam


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A left CC, a left MLO and a raw left MLO, stored upright with the chest wall on the left."""
    folder = tmp_path_factory.mktemp("exams")
    pairs = write_exam(folder, "hologic", 3, scale=0.15, raw=True, sides=(Side.LEFT,))
    found = {}
    for path, _ in pairs:
        mammogram = read_mammogram(path)
        found[f"{mammogram.intent.value} {mammogram.view.value}"] = path
    return found


def turned(path: Path, turns: int, orientation: list[str], target: Path) -> Path:
    """Store an image turned counter-clockwise by `turns`, with this PatientOrientation."""
    dataset: Dataset = dcmread(path)
    pixels = np.ascontiguousarray(np.rot90(dataset.pixel_array, turns))
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.PatientOrientation = orientation
    dataset.save_as(target)
    return target


@pytest.mark.parametrize("kind", ["processed CC", "processed MLO", "raw MLO"])
@pytest.mark.parametrize("wrong", [["F", "A"], ["L", "P"], ["R", "A"], ["F", "P"], ["P", "H"]])
def test_a_wrong_orientation_does_not_turn_an_upright_image(
    exams: dict[str, Path], kind: str, wrong: list[str], tmp_path: Path
) -> None:
    found = read_mammogram(turned(exams[kind], 0, wrong, tmp_path / "image.dcm"))
    assert Flag.ORIENTATION_DOUBTED in found.flags and Flag.TURNED not in found.flags
    assert found.quarter_turns == 0 and found.upright() is found


@pytest.mark.parametrize("kind", ["processed CC", "processed MLO", "raw MLO"])
@pytest.mark.parametrize(
    ("turns", "orientation", "back"),
    [(1, ["F", "P"], 3), (3, ["H", "A"], 1), (2, ["P", "H"], 2)],
)
def test_an_image_that_is_not_upright_is_turned_and_says_so(
    exams: dict[str, Path], kind: str, turns: int, orientation: list[str], back: int, tmp_path: Path
) -> None:
    upright = read_mammogram(exams[kind])
    found = read_mammogram(turned(exams[kind], turns, orientation, tmp_path / "image.dcm"))
    assert Flag.TURNED in found.flags and Flag.ORIENTATION_DOUBTED not in found.flags
    assert found.quarter_turns == back
    np.testing.assert_array_equal(found.upright().pixels, upright.pixels)
    assert upright.view in (View.CC, View.MLO) and not {Flag.TURNED, Flag.ORIENTATION_DOUBTED} & set(upright.flags)
