"""One case: its pixels and its mask, and the reasons why it is rejected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings, black_margin
from maseg_nnunet.dataset_conversion.convert_dataset import convert_dataset
from maseg_nnunet.voi import CaseLuts
from tests.commands import stumbling
from tests.dataset_conversion.helpers import (
    VENDORS,
    converted_image,
    converted_mask,
    exams_request,
    films_request,
    table,
)


def test_images_are_resampled_stored_values_in_voi_units(converted: Path, films: Path) -> None:
    path = next((converted / "imagesTr").iterdir())
    image = SimpleITK.ReadImage(str(path))
    assert image.GetSpacing() == pytest.approx((0.4, 0.4))
    assert image.GetPixelID() == SimpleITK.sitkFloat32
    source = cv2.imread(str(films / "films" / f"{path.name[:6]}.pgm"), cv2.IMREAD_UNCHANGED).astype(float)
    # From 0.2 mm to 0.4 mm, each new pixel is centred between four old ones.
    halved = (source[::2, ::2] + source[1::2, ::2] + source[::2, 1::2] + source[1::2, 1::2]) / 4
    expected = (halved - source.min()) / (source.max() - source.min())
    np.testing.assert_allclose(SimpleITK.GetArrayFromImage(image), expected, atol=1e-6)


def test_labels_keep_their_values_and_their_place(converted: Path, films: Path) -> None:
    path = next((converted / "labelsTr").iterdir())
    label = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    mask = cv2.imread(str(films / "masks" / f"{path.name[:6]}.png"), cv2.IMREAD_UNCHANGED)
    assert label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 1, 2}
    # Each pixel covers four of the mask, and has the label that most of them have.
    four = np.stack([mask[row::2, column::2] for row in (0, 1) for column in (0, 1)])
    counts = np.stack([(four == value).sum(axis=0) for value in range(3)])
    assert (np.take_along_axis(counts, label[None].astype(int), 0)[0] == counts.max(axis=0)).all()


@pytest.mark.parametrize("vendor", VENDORS)
def test_images_are_voi_units_and_the_stored_values_come_back(
    exams: Path, vendor: str, tmp_path: Path, key: Path
) -> None:
    """In processed images of either polarity, breast is brighter than air, and muscle brighter than breast."""
    convert_dataset(exams_request(exams, vendor, tmp_path / "out", key))
    luts = json.loads((tmp_path / "out" / "voi_luts.json").read_text())
    for row in read_manifest(tmp_path / "out"):
        units, mask = converted_image(tmp_path / "out", row), converted_mask(tmp_path / "out", row)
        case = CaseLuts.from_json(luts[row.case])
        # float32 keeps seven digits of a VOI unit; the window's width turns that into stored values
        base = case.luts[case.base]
        width = base.width if base.values is None else len(base.values)
        back = case.to_voi_units(case.from_voi_units(units))
        np.testing.assert_allclose(back, units, atol=1e-5 * max(1.0, np.abs(units).max()))
        assert np.abs(case.from_voi_units(units)).max() < 1e5 * width
        if row.intent == "processed":
            shown = np.clip(units, 0, 1)
            assert shown[mask == 1].mean() > shown[mask == 0].mean() + 0.1
        if row.intent == "processed" and row.view == "MLO" and (mask == 2).any():
            assert np.clip(units, 0, 1)[mask == 2].mean() > np.clip(units, 0, 1)[mask == 1].mean()


def test_masks_with_other_values_are_mapped(films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "in")
    for path in (tmp_path / "in" / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.choose(mask, [0, 255, 128]).astype(np.uint8))
    settings = ConversionSettings(labels={0: 0, 255: 1, 128: 2})
    report = convert_dataset(films_request(tmp_path / "in", tmp_path / "out", settings=settings))
    assert report["found"]["images"] == 24


def test_masks_that_spread_beyond_the_film_end_with_it(films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "in")
    for path in (tmp_path / "in" / "films").glob("*.pgm"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        wall = slice(-10, None) if int(path.stem[3:]) % 2 else slice(0, 10)
        image[:, wall] = 0  # the scanner's bed, where the mask has muscle and breast
        image[44:50, 38:42] = 0  # dark within the breast
        cv2.imwrite(str(path), image)
    areas = {}
    for trim in (False, True):
        folder = tmp_path / f"trimmed {trim}"
        report = convert_dataset(films_request(tmp_path / "in", folder, settings=ConversionSettings(trim_masks=trim)))
        assert report["settings"]["trim_masks"] is trim
        label = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(next((folder / "labelsTr").glob("mdb*")))))
        areas[trim] = (
            np.bincount(label.ravel()),
            label[20:27, 17:23],
            (label[:, :5] > 0).any(),
            (label[:, -5:] > 0).any(),
        )
    assert (areas[True][0] < areas[False][0])[1:].all()
    assert (areas[True][1] == 1).all() and areas[True][2:] == (False, False)


def test_the_black_margin_is_what_reaches_the_edge() -> None:
    units = np.full((6, 8), 0.5)
    units[:, :2] = units[0] = units[3, 4] = units[4, 3] = -0.2
    units[2, 2], units[5, 5] = -0.2, -0.1
    margin = np.zeros((6, 8), bool)
    margin[:, :2] = margin[0] = margin[2, 2] = True
    np.testing.assert_array_equal(black_margin(units), margin)
    assert not black_margin(np.array([[1.0, 1, 1], [1, 0, 1], [1, 1, 1]])).any()


@pytest.fixture
def spoiled(films: Path, tmp_path: Path) -> Path:
    """Films and masks that are bad in six ways."""
    base = tmp_path / "spoiled"
    shutil.copytree(films, base)
    mask = cv2.imread(str(base / "masks" / "mdb001.png"), cv2.IMREAD_UNCHANGED)
    mask[5, 5] = 3
    cv2.imwrite(str(base / "masks" / "mdb001.png"), mask)
    cv2.imwrite(str(base / "masks" / "mdb002.png"), mask[:-1] % 3)
    (base / "masks" / "mdb003.png").unlink()
    (base / "films" / "mdb004.pgm").write_bytes(b"P5\n80 96\n255\n" + bytes(100))
    (base / "films" / "mdb005.pgm").write_bytes(b"P5\n80 96\n255\n" + bytes(80 * 96))
    (base / "masks" / "mdb006.png").write_bytes(b"no picture")
    return base


def test_bad_files_are_rejected_each_with_its_reason_and_the_rest_goes_on(spoiled: Path, tmp_path: Path) -> None:
    report = convert_dataset(films_request(spoiled, tmp_path / "out"))
    rejected = {line["case"]: line["reason"] for line in table(tmp_path / "out" / "rejected.csv")}
    assert rejected == {
        "mdb001": "mask with another label",
        "mdb002": "mask of another size",
        "mdb003": "mask missing",
        "mdb004": "truncated",
        "mdb005": "one constant value",
        "mdb006": "mask unreadable",
    }
    assert report["found"]["images"] == 18
    assert len(list((tmp_path / "out").rglob("mdb00[1-6]*"))) == 0
    assert "spoiled" not in (tmp_path / "out" / "rejected.csv").read_text()


def test_a_file_nobody_thought_of_is_named_and_the_rest_goes_on(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import maseg_nnunet.readers

    read = stumbling(maseg_nnunet.readers.read_mammogram, "mdb007.pgm")
    monkeypatch.setattr(maseg_nnunet.readers, "read_mammogram", read)
    report = convert_dataset(films_request(films, tmp_path / "out"))
    assert report["found"]["images"] == 23
    rejected = (tmp_path / "out" / "rejected.csv").read_text()
    assert 'mdb007,unreadable,"unexpected IndexError' in rejected
    assert "secret" not in rejected
    # The next run tries the file again, because the error may have been a lack of memory.
    monkeypatch.undo()
    assert convert_dataset(films_request(films, tmp_path / "out"))["found"]["images"] == 24
