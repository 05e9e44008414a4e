import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Mammogram
from maseg_nnunet.readers import read_mammogram
from maseg_nnunet.voi import FULL_RANGE, Function, LookUpTable, apply_lut
from tests.readers.dicom_factory import item, make, picture, save, table, write

RISING = np.arange(4096)
FALLING = RISING[::-1]
NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}


def read(path: Path, **attributes: Any) -> Mammogram:
    return read_mammogram(write(path / "image", **attributes))


def summary(mammogram: Mammogram) -> list[tuple[str, str]]:
    return [(lut.explanation, lut.function.value) for lut in mammogram.luts.luts]


def windows(*explained: tuple[str, float, float], **attributes: Any) -> dict[str, Any]:
    return {
        "WindowCenter": [str(center) for _, center, _ in explained],
        "WindowWidth": [str(width) for _, _, width in explained],
        "WindowCenterWidthExplanation": [name for name, _, _ in explained],
        **attributes,
    }


def test_every_window_and_every_table_is_there(tmp_path: Path) -> None:
    tables = [table(RISING, explanation="NORMAL"), table(RISING[::2], first=-7, explanation="SOFTER")]
    found = read(tmp_path, **windows(("NORMAL", 2000, 900), ("HARDER", 2100, 700), ("", 5, 6)), VOILUTSequence=tables)
    assert summary(found) == [
        ("NORMAL", "LINEAR"),
        ("HARDER", "LINEAR"),
        ("", "LINEAR"),
        ("NORMAL", "TABLE"),
        ("SOFTER", "TABLE"),
    ]
    assert (found.luts.luts[1].center, found.luts.luts[1].width) == (2100, 700)
    assert found.luts.base == 0
    assert found.luts.luts[4].first == -7
    np.testing.assert_array_equal(found.luts.luts[4].values, RISING[::2])


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", "sigmoid ", "NONSENSE", None])
def test_voi_lut_function(tmp_path: Path, function: str | None) -> None:
    found = read(tmp_path, **windows(("NORMAL", 2000, 900)), VOILUTFunction=function)
    expected = {"LINEAR_EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID", "sigmoid ": "SIGMOID"}.get(
        function or "", "LINEAR"
    )
    assert summary(found) == [("NORMAL", expected)]
    assert found.flags == ()


@pytest.mark.parametrize(
    ("luts", "base", "flagged"),
    [
        (windows(("SOFTER", 1, 9), ("normal", 2, 9)), 1, False),
        (windows(("SOFTER", 1, 9), VOILUTSequence=[table(RISING, explanation="Normal")]), 1, False),
        (windows(("NORMAL", 1, 9), VOILUTSequence=[table(RISING, explanation="NORMAL")]), 0, False),
        (windows(("SOFTER", 1, 9), VOILUTSequence=[table(RISING, explanation="OTHER")]), 0, False),
        ({**NO_WINDOW, "VOILUTSequence": [table(RISING), table(RISING // 2)]}, 0, False),
        # skipped: decreasing, threshold, illegal, constant
        (windows(("SOFTER", 1, 9), VOILUTSequence=[table(FALLING, explanation="NORMAL")]), 0, True),
        ({**NO_WINDOW, "VOILUTSequence": [table(FALLING), table(RISING)]}, 1, True),
        (windows(("NORMAL", 1, 1), ("HARDER", 2, 9)), 0, True),
        (windows(("NORMAL", 1, -5), ("HARDER", 2, 9)), 0, True),
        ({**NO_WINDOW, "VOILUTSequence": [table(RISING * 0 + 5), table(RISING)]}, 0, True),
        ({**NO_WINDOW, "VOILUTSequence": [table([0, 9, 8, 20]), table(RISING)]}, 1, True),
    ],
    ids=range(11),
)
def test_the_base(tmp_path: Path, luts: dict[str, Any], base: int, flagged: bool) -> None:
    found = read(tmp_path, **luts)
    assert found.luts.base == base
    assert (Flag.BASE_NOT_NORMAL in found.flags) == flagged


def test_a_falling_table_can_still_be_shown(tmp_path: Path) -> None:
    found = read(tmp_path, **windows(("A", 2000, 900)), VOILUTSequence=[table(FALLING, explanation="B")])
    shown = found.luts.display(found.pixels, found.luts.luts[1])
    np.testing.assert_allclose(shown, (4095 - picture()) / 4095)


@pytest.mark.parametrize(
    "luts",
    [
        windows(("NORMAL", 2000, 0)),
        windows(("NORMAL", 2000, -10)),
        windows(("NORMAL", 2000, 1)),
        windows(("NORMAL", 2000, 0.5)),
        windows(("NORMAL", 2000, 0), VOILUTFunction="LINEAR_EXACT"),
        windows(("NORMAL", 2000, -1), VOILUTFunction="SIGMOID"),
        windows(("NORMAL", 2000, 1e20)),
        {"WindowWidth": None},
        {**NO_WINDOW, "VOILUTSequence": [table(FALLING)]},
        {**NO_WINDOW, "VOILUTSequence": [table(RISING[:1])]},
        {**NO_WINDOW, "VOILUTSequence": [item(LUTExplanation="no data")]},
    ],
)
def test_no_usable_lut_in_a_processed_image_is_refused(tmp_path: Path, luts: dict[str, Any]) -> None:
    with pytest.raises(RefusedError) as caught:
        read(tmp_path, **luts)
    assert caught.value.reason is Reason.NO_LUT


def test_linear_exact_may_be_narrower_than_one(tmp_path: Path) -> None:
    found = read(tmp_path, **windows(("NORMAL", 0.5, 0.5)), VOILUTFunction="LINEAR_EXACT")
    assert found.luts.luts[0].width == 0.5


def test_a_processed_image_without_any_lut_gets_its_full_range(tmp_path: Path) -> None:
    found = read(tmp_path, **NO_WINDOW)
    (lut,) = found.luts.luts
    assert (lut.explanation, lut.function) == (FULL_RANGE, Function.LINEAR_EXACT)
    shown = found.displayed()
    assert (shown.min(), shown.max()) == (0, 1)


def test_a_raw_images_luts_are_ignored_unless_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "image", PresentationIntentType="FOR PROCESSING", VOILUTSequence=[table(RISING)])
    assert summary(read_mammogram(path)) == [(FULL_RANGE, "LINEAR_EXACT")]
    assert summary(read_mammogram(path, raw_windows=True)) == [("", "LINEAR"), ("", "TABLE")]
    illegal = write(tmp_path / "image", PresentationIntentType="FOR PROCESSING", WindowWidth="0")
    assert summary(read_mammogram(illegal, raw_windows=True)) == [(FULL_RANGE, "LINEAR_EXACT")]


GE = {"Manufacturer": "GE MEDICAL SYSTEMS", "ManufacturerModelName": "Senographe Essential"}


def test_ge_without_function_is_a_sigmoid_and_says_so(tmp_path: Path) -> None:
    found = read(tmp_path, **GE, **windows(("NORMAL", 2000, 900), ("HARDER", 2000, 700)))
    assert summary(found) == [("NORMAL", "SIGMOID"), ("HARDER", "SIGMOID")]
    assert found.flags == (Flag.SIGMOID_ASSUMED,)
    stated = read(tmp_path, **GE, **windows(("NORMAL", 2000, 900)), VOILUTFunction="LINEAR")
    assert (summary(stated), stated.flags) == ([("NORMAL", "LINEAR")], ())


@pytest.mark.parametrize("function", [Function.SIGMOID, Function.LINEAR])
def test_ges_table_of_the_same_name_tells_the_function(tmp_path: Path, function: Function) -> None:
    gray = apply_lut(LookUpTable("", function, center=2000, width=900), RISING)
    luts = [table(RISING, explanation="HARDER"), table(np.round(gray * 4095), explanation="NORMAL")]
    found = read(tmp_path, **GE, **windows(("NORMAL", 2000, 900), ("HARDER", 2000, 700)), VOILUTSequence=luts)
    assert summary(found)[:2] == [("NORMAL", function.value), ("HARDER", function.value)]
    assert found.flags == (() if function is Function.SIGMOID else (Flag.LINEAR_ASSUMED,))


def test_ges_own_tables_on_real_files(real_dicom: Path) -> None:
    for name in ("GE_RCC.dcm", "GE_SIGMOID_3LUT_RMLO.dcm"):
        luts = read_mammogram(real_dicom / name).luts.luts
        for window, its_table in zip(luts[:3], luts[3:], strict=True):
            assert window.explanation == its_table.explanation
            assert its_table.values is not None
            stored = its_table.first + np.arange(len(its_table.values))
            assert np.abs(apply_lut(window, stored) - apply_lut(its_table, stored)).max() < 5e-4


@pytest.mark.parametrize(
    ("made", "first", "values"),
    [
        (lambda: table(RISING), 0, RISING),
        (lambda: table(RISING, vr="US"), 0, RISING),
        (lambda: table(np.arange(65536), bits=16), 0, np.arange(65536)),  # 0 entries in the descriptor
        (lambda: table(bytes(range(256)), bits=8), 0, np.arange(256)),
        (lambda: table(bytes(range(255)), bits=8), 0, np.arange(255)),
        (lambda: table(np.arange(256), bits=8), 0, np.arange(256)),  # one word per entry
    ],
)
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_the_forms_of_a_table(tmp_path: Path, made: Any, first: int, values: np.ndarray, syntax: str) -> None:
    found = read(tmp_path, syntax=syntax, **NO_WINDOW, VOILUTSequence=[made()])
    lut = found.luts.luts[0]
    assert lut.first == first
    np.testing.assert_array_equal(lut.values, values)


def test_a_table_in_big_endian(tmp_path: Path) -> None:
    entry = table(RISING)
    entry.LUTData = RISING.astype(">u2").tobytes()
    found = read(tmp_path, syntax=uid.ExplicitVRBigEndian, **NO_WINDOW, VOILUTSequence=[entry])
    np.testing.assert_array_equal(found.luts.luts[0].values, RISING)


@pytest.mark.parametrize(
    ("signed", "written", "vr", "first"),
    [
        (True, -100, "SS", -100),
        (True, 65436, "US", -100),  # the same word, read as unsigned
        (False, 100, "US", 100),
        (False, -25536, "SS", 40000),
        (False, 40000, "US", 40000),
    ],
)
def test_the_first_value_of_a_table_signed_or_not(
    tmp_path: Path, signed: bool, written: int, vr: str, first: int
) -> None:
    pixels, bits = (picture().astype(np.int16) - 2048, 12) if signed else (picture(bits=16), 16)
    entry = table(RISING)
    entry.add_new("LUTDescriptor", vr, [4096, written, 12])
    path = save(make(pixels, bits=bits, **NO_WINDOW, VOILUTSequence=[entry]), tmp_path / "image")
    assert read_mammogram(path).luts.luts[0].first == first


@pytest.mark.parametrize("descriptor", [[4095, 0, 12], [4097, 0, 12], [4096, 0, 0], [4096, 0, 17], [4096, 0]])
def test_a_table_that_its_descriptor_does_not_fit_is_left_out(tmp_path: Path, descriptor: list[int]) -> None:
    broken = table(RISING, explanation="broken")
    broken.LUTDescriptor = descriptor
    found = read(tmp_path, **windows(("USER", 2000, 900)), VOILUTSequence=[broken, table(RISING, explanation="OTHER")])
    assert summary(found) == [("USER", "LINEAR"), ("OTHER", "TABLE")]


def test_a_table_is_indexed_by_value_not_by_rank(tmp_path: Path) -> None:
    # Only two values occur, far apart. By rank they would be the first two entries of the table.
    pixels = np.where(picture() > 2000, 3000, 1000).astype(np.uint16)
    found = read_mammogram(write(tmp_path / "image", pixels, **NO_WINDOW, VOILUTSequence=[table(RISING)]))
    assert set(np.unique(found.displayed())) == {np.float32(1000 / 4095), np.float32(3000 / 4095)}


@pytest.mark.parametrize("manufacturer", ["FUJIFILM Corporation", "Nobody & Sons", ""])
def test_monochrome1_of_any_maker_is_turned_over(tmp_path: Path, manufacturer: str) -> None:
    for shape in ("IDENTITY", "INVERSE"):
        attributes = {"Manufacturer": manufacturer, "ManufacturerModelName": "", "PresentationLUTShape": shape}
        upright = read(tmp_path, **attributes)
        turned = read(tmp_path, **attributes, PhotometricInterpretation="MONOCHROME1")
        assert (upright.luts.inverted, turned.luts.inverted) == (False, True)
        np.testing.assert_array_equal(turned.pixels, upright.pixels)
        np.testing.assert_allclose(turned.displayed(), 1 - upright.displayed(), atol=1e-6)


def test_luts_and_rescale_in_functional_groups(tmp_path: Path) -> None:
    groups = item(
        FrameVOILUTSequence=[item(WindowCenter="900", WindowWidth="800", WindowCenterWidthExplanation="NORMAL")],
        PixelValueTransformationSequence=[item(RescaleSlope="2", RescaleIntercept="-5", RescaleType="US")],
    )
    for place in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        path = write(
            tmp_path / "image",
            **NO_WINDOW,
            **{place: [groups]},
            SOPClassUID=uid.BreastTomosynthesisImageStorage,
            NumberOfFrames=1,
        )
        found = read_mammogram(path)
        (lut,) = found.luts.luts
        assert (lut.explanation, lut.center, lut.width) == ("NORMAL", 900, 800)
        np.testing.assert_array_equal(found.pixels, picture().astype(int) * 2 - 5)


def test_what_a_header_calls_a_lut_is_written_short_and_plain(tmp_path: Path) -> None:
    found = read(tmp_path, **windows(("normal\n\x1b[2J" + " normal" * 20, 2000, 900)))
    assert found.luts.luts[0].explanation == "LUT 1"
    found = read(tmp_path, **windows(("NORMAL " * 20, 2000, 900)))
    assert found.luts.luts[0].explanation == ("NORMAL " * 20)[:64]


def test_an_explanation_that_may_be_a_name_is_replaced_by_a_number(tmp_path: Path) -> None:
    tables = [table(RISING, explanation="Mirabelle"), table(RISING, explanation="Film-like 2")]
    found = read(
        tmp_path,
        **windows(("NORMAL", 2000, 900), ("Quitte^Mirabelle", 2100, 700), ("HIGH CONTRAST", 2, 9)),
        VOILUTSequence=tables,
    )
    assert [name for name, _ in summary(found)] == ["NORMAL", "LUT 2", "HIGH CONTRAST", "LUT 1", "Film-like 2"]


@pytest.mark.parametrize(
    ("center", "width", "pairs"),
    [
        (b"2000\\", b"900\\800 ", [(2000, 900)]),
        (b"2000\\NaN", b"900\\800 ", [(2000, 900)]),
        (b"x\\2100", b"900\\800", [(2100, 800)]),
        (b"2000,5", b"900 ", [(2000.5, 900)]),
    ],
)
def test_one_illegible_value_of_a_window_does_not_cost_the_others(
    tmp_path: Path, center: bytes, width: bytes, pairs: list[tuple[float, float]]
) -> None:
    path = write(tmp_path / "image", WindowCenter="1111111", WindowWidth="2222222")
    data = path.read_bytes()
    assert data.count(b"1111111") == data.count(b"2222222") == 1
    for old, new in ((b"1111111 ", center), (b"2222222 ", width)):
        assert old in data
        data = data.replace(b"\x08\x00" + old, len(new).to_bytes(2, "little") + new)
    path.write_bytes(data)
    found = read_mammogram(path)
    assert [(lut.center, lut.width) for lut in found.luts.luts] == pairs


def test_a_table_of_fewer_bits_than_stated_is_not_black(tmp_path: Path) -> None:
    entry = table(RISING)
    entry.LUTDescriptor = [4096, 0, 16]
    found = read(tmp_path, **NO_WINDOW, VOILUTSequence=[entry])
    assert Flag.TABLE_BITS_OVERSTATED in found.flags
    np.testing.assert_allclose(found.displayed(), picture() / 4095, atol=1e-6)
    assert Flag.TABLE_BITS_OVERSTATED not in read(tmp_path, **NO_WINDOW, VOILUTSequence=[table(RISING)]).flags


def test_a_descriptor_of_raw_bytes(tmp_path: Path) -> None:
    entry = table(RISING)
    entry.add_new("LUTDescriptor", "UN", struct.pack("<3H", 4096, 0, 12))
    found = read(tmp_path, **NO_WINDOW, VOILUTSequence=[entry])
    np.testing.assert_array_equal(found.luts.luts[0].values, RISING)
