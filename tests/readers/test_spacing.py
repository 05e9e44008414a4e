from pathlib import Path
from typing import Any

import pytest

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag
from maseg_nnunet.readers import read_header, read_mammogram
from maseg_nnunet.readers.spacing import extent_flags
from tests.readers.dicom_factory import code, item, write

NONE = {"ImagerPixelSpacing": None}
MAGNIFIED = [code("399162004", ViewModifierCodeSequence=[code("399163009")])]


@pytest.mark.parametrize(
    ("attributes", "spacing", "source"),
    [
        ({"PixelSpacing": ["0.2", "0.2"]}, (0.07, 0.07), "ImagerPixelSpacing"),
        ({"ImagerPixelSpacing": ["0.05", "0.1"]}, (0.05, 0.1), "ImagerPixelSpacing"),
        (
            {**NONE, "PixelSpacing": ["0.2", "0.3"], "NominalScannedPixelSpacing": ["0.1", "0.1"]},
            (0.2, 0.3),
            "PixelSpacing",
        ),
        ({**NONE, "NominalScannedPixelSpacing": ["0.1", "0.1"]}, (0.1, 0.1), "NominalScannedPixelSpacing"),
        ({"ImagerPixelSpacing": ["0", "0"], "PixelSpacing": ["0.2", "0.2"]}, (0.2, 0.2), "PixelSpacing"),
        ({"ImagerPixelSpacing": "0.1", "PixelSpacing": ["0.2", "0.2"]}, (0.2, 0.2), "PixelSpacing"),
        (
            {
                **NONE,
                "SharedFunctionalGroupsSequence": [item(PixelMeasuresSequence=[item(PixelSpacing=["0.09", "0.09"])])],
            },
            (0.09, 0.09),
            "PixelSpacing",
        ),
    ],
)
def test_which_attribute_counts(
    tmp_path: Path, attributes: dict[str, Any], spacing: tuple[float, float], source: str
) -> None:
    for read in (read_mammogram, read_header):
        found = read(write(tmp_path / "image", **attributes))
        assert (found.spacing, found.spacing_source) == (spacing, source)


@pytest.mark.parametrize(
    ("factor", "view", "spacing", "flags"),
    [
        ("1", None, 0.09, ()),
        ("1.04", None, 0.09, (Flag.CONTACT_MAGNIFICATION,)),
        ("1.2", None, 0.09, (Flag.CONTACT_MAGNIFICATION,)),
        ("1.8", None, 0.05, (Flag.MAGNIFICATION,)),
        ("1.8", MAGNIFIED, 0.05, (Flag.MAGNIFICATION,)),
        ("1.125", MAGNIFIED, 0.08, (Flag.MAGNIFICATION,)),
        (None, MAGNIFIED, 0.09, (Flag.MAGNIFICATION, Flag.CONTACT_MAGNIFICATION)),
        ("0.10256", None, 0.09, (Flag.MAGNIFICATION_BELOW_ONE,)),
        ("0", None, 0.09, (Flag.MAGNIFICATION_BELOW_ONE,)),
        (
            "0.5",
            MAGNIFIED,
            0.09,
            (Flag.MAGNIFICATION, Flag.MAGNIFICATION_BELOW_ONE, Flag.CONTACT_MAGNIFICATION),
        ),
    ],
)
def test_magnification(tmp_path: Path, factor: str | None, view: Any, spacing: float, flags: tuple[Flag, ...]) -> None:
    change = {"ViewCodeSequence": view} if view else {}
    path = write(
        tmp_path / "image",
        ImagerPixelSpacing=["0.09", "0.09"],
        EstimatedRadiographicMagnificationFactor=factor,
        **change,
    )
    read = read_mammogram(path)
    assert read.spacing == pytest.approx((spacing, spacing))
    assert read.flags == flags


@pytest.mark.parametrize(
    ("detector", "breast", "spacing", "flags"),
    [
        ("660", "330", 0.045, (Flag.MAGNIFICATION,)),
        ("660", "660", 0.09, (Flag.MAGNIFICATION, Flag.CONTACT_MAGNIFICATION)),
        ("660", "0", 0.09, (Flag.MAGNIFICATION, Flag.CONTACT_MAGNIFICATION)),
        ("660", None, 0.09, (Flag.MAGNIFICATION, Flag.CONTACT_MAGNIFICATION)),
    ],
)
def test_distances_stand_in_for_the_factor(
    tmp_path: Path, detector: str, breast: str | None, spacing: float, flags: tuple[Flag, ...]
) -> None:
    distances = {"DistanceSourceToDetector": detector, "DistanceSourceToPatient": breast}
    pixels = {"ImagerPixelSpacing": ["0.09", "0.09"], "EstimatedRadiographicMagnificationFactor": None}
    read = read_mammogram(write(tmp_path / "image", **pixels, **distances, ViewCodeSequence=MAGNIFIED))
    assert read.spacing == pytest.approx((spacing, spacing))
    assert read.flags == flags
    contact = read_mammogram(write(tmp_path / "contact", **pixels, **distances))
    assert (contact.spacing, contact.flags) == ((0.09, 0.09), ())


def test_a_spacing_that_is_not_the_detectors_is_not_divided(tmp_path: Path) -> None:
    path = write(
        tmp_path / "image", **NONE, PixelSpacing=["0.09", "0.09"], EstimatedRadiographicMagnificationFactor="1.8"
    )
    read = read_mammogram(path)
    assert read.spacing == (0.09, 0.09)
    assert read.flags == (Flag.MAGNIFICATION,)


@pytest.mark.parametrize("values", [("0.019", "0.07"), ("0.07", "1.01"), ("70", "70"), ("0.00007", "0.00007")])
def test_spacing_that_no_mammogram_has_is_refused(tmp_path: Path, values: tuple[str, str]) -> None:
    path = write(tmp_path / "image", ImagerPixelSpacing=list(values))
    for read in (read_header, read_mammogram):
        with pytest.raises(RefusedError) as caught:
            read(path)
        assert caught.value.reason is Reason.BAD_SPACING


@pytest.mark.parametrize("values", [("0.02", "1.0"), ("1", "0.02")])
def test_the_limits_belong_to_what_is_accepted(tmp_path: Path, values: tuple[str, str]) -> None:
    assert read_mammogram(write(tmp_path / "image", ImagerPixelSpacing=list(values))).spacing == tuple(
        map(float, values)
    )


def test_no_spacing_is_refused_unless_given(tmp_path: Path) -> None:
    path = write(tmp_path / "image", **NONE)
    assert read_header(path).spacing is None
    with pytest.raises(RefusedError, match="--spacing-mm") as caught:
        read_mammogram(path)
    assert caught.value.reason is Reason.NO_SPACING
    for given, spacing in ((0.05, (0.05, 0.05)), ((0.05, 0.06), (0.05, 0.06))):
        read = read_mammogram(path, spacing_mm=given)
        assert (read.spacing, read.spacing_source) == (spacing, "user")
        assert read.flags == (Flag.SPACING_GIVEN,)
    with pytest.raises(RefusedError) as caught:
        read_mammogram(path, spacing_mm=50)
    assert caught.value.reason is Reason.BAD_SPACING


def test_the_header_goes_before_what_is_given(tmp_path: Path) -> None:
    read = read_mammogram(write(tmp_path / "image"), spacing_mm=0.5)
    assert (read.spacing, read.flags) == ((0.07, 0.07), ())


def test_a_decimal_comma_is_read_and_flagged(tmp_path: Path) -> None:
    path = write(tmp_path / "image", ImagerPixelSpacing=["0.071", "0.073"])
    path.write_bytes(path.read_bytes().replace(b"0.071\\0.073", b"0,071\\0,073"))
    found = read_mammogram(path)
    assert found.spacing == (0.071, 0.073) and Flag.DECIMAL_COMMA in found.flags


@pytest.mark.parametrize(
    ("shape", "spacing", "is_unusual"),
    [
        ((3328, 2560), 0.07, False),
        ((3328, 2560), 0.14, True),  # twice the true spacing
        ((3328, 2560), 0.035, True),
        ((1914, 2294), 0.0941, False),
        ((1024, 1024), 0.2, False),
        ((5355, 4915), 0.05, False),
    ],
)
def test_an_extent_that_no_detector_has_is_flagged(shape: tuple[int, int], spacing: float, is_unusual: bool) -> None:
    assert (extent_flags(shape, (spacing, spacing)) == (Flag.UNUSUAL_EXTENT,)) == is_unusual
    assert extent_flags(shape, (spacing, spacing), {Flag.SPOT}) == ()


def test_the_flag_of_the_extent_is_in_the_header_and_in_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / "image")
    assert Flag.UNUSUAL_EXTENT in read_mammogram(path).flags
    assert Flag.UNUSUAL_EXTENT in read_header(path).flags
    missing = write(tmp_path / "image", ImagerPixelSpacing=None)
    assert Flag.UNUSUAL_EXTENT in read_mammogram(missing, spacing_mm=0.1).flags
