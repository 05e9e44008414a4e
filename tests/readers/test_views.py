from pathlib import Path
from typing import Any

import pytest

from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Side, View
from maseg_nnunet.readers import read_header, read_mammogram
from maseg_nnunet.readers.views import side_from_path, view_from_path
from tests.readers.dicom_factory import code, item, write

# PS3.16 CID 4014: SNOMED RT style code, SNOMED CT code.
VIEWS = {
    View.CC: ("R-10242", "399162004"),
    View.MLO: ("R-10226", "399368009"),
    View.ML: ("R-10224", "399260004"),
    View.LM: ("R-10228", "399352003"),
    View.LMO: ("R-10230", "399099002"),
    View.XCCL: ("R-1024A", "399192008"),
    View.XCCM: ("R-1024B", "399101009"),
    View.FB: ("R-10244", "399196006"),
}
# PS3.16 CID 4015.
MODIFIERS = {
    Flag.MAGNIFICATION: ("R-102D6", "399163009"),
    Flag.SPOT: ("R-102D7", "399055006"),
    Flag.IMPLANT_DISPLACED: ("R-102D5", "399209000"),
    Flag.CLEAVAGE: ("R-102D2", "399161006"),
    Flag.TANGENTIAL: ("R-102C2", "399110001"),
    Flag.AXILLARY_TAIL: ("R-102D1", "399011000"),
    Flag.ROLLED: ("R-102CA", "414493004"),
}


@pytest.mark.parametrize("view", VIEWS)
def test_the_view_code_in_three_schemes(tmp_path: Path, view: View) -> None:
    for scheme, value in zip(("SRT", "SNM3", "SCT"), (VIEWS[view][0], *VIEWS[view]), strict=True):
        other = "CC" if view is View.MLO else "MLO"
        path = write(tmp_path / "image", ViewCodeSequence=[code(value, scheme)], ViewPosition=other)
        assert read_header(path).view is view


@pytest.mark.parametrize("view", VIEWS)
def test_view_position_stands_in(tmp_path: Path, view: View) -> None:
    for sequence in (None, [code("R-FFFFF", "SRT")], [item(CodeMeaning="MLO")]):
        path = write(tmp_path / "image", ViewCodeSequence=sequence, ViewPosition=f"{view.value} ")
        assert read_header(path).view is view
    assert Flag.VIEW_FROM_PATH not in read_header(path).flags


@pytest.mark.parametrize("flag", MODIFIERS)
@pytest.mark.parametrize("style", [0, 1])
def test_modifiers_are_nested_in_the_view(tmp_path: Path, flag: Flag, style: int) -> None:
    modifier = code(MODIFIERS[flag][style], "SRT" if style == 0 else "SCT")
    nested = write(tmp_path / "nested", ViewCodeSequence=[code("399162004", ViewModifierCodeSequence=[modifier])])
    beside = write(tmp_path / "beside", ViewModifierCodeSequence=[modifier])
    for path in (nested, beside):
        assert [f for f in read_mammogram(path).flags if f in MODIFIERS] == [flag]


def test_other_modifiers_are_no_special_view(tmp_path: Path) -> None:
    profile = code("R-40AB3", "SRT")  # nipple in profile
    path = write(tmp_path / "image", ViewCodeSequence=[code("399162004", ViewModifierCodeSequence=[profile])])
    assert read_header(path).flags == ()


@pytest.mark.parametrize("value", ["127457009", "G-8310"])
def test_a_specimen_is_refused(tmp_path: Path, value: str) -> None:
    path = write(tmp_path / "image", ViewCodeSequence=[code(value)])
    for read in (read_header, read_mammogram):
        with pytest.raises(RefusedError) as caught:
            read(path)
        assert caught.value.reason is Reason.SPECIMEN


@pytest.mark.parametrize(
    ("attributes", "side"),
    [
        ({"ImageLaterality": "R", "Laterality": "L"}, Side.RIGHT),
        ({"ImageLaterality": None, "Laterality": "R"}, Side.RIGHT),
        ({"ImageLaterality": "", "Laterality": "r "}, Side.RIGHT),
        ({"ImageLaterality": "B", "Laterality": "R"}, Side.RIGHT),
        ({"ImageLaterality": None}, Side.UNKNOWN),
        (
            {
                "ImageLaterality": None,
                "SharedFunctionalGroupsSequence": [item(FrameAnatomySequence=[item(FrameLaterality="R")])],
            },
            Side.RIGHT,
        ),
    ],
)
def test_side(tmp_path: Path, attributes: dict[str, Any], side: Side) -> None:
    assert read_header(write(tmp_path / "image", **attributes)).side is side


@pytest.mark.parametrize(
    ("path", "view", "side"),
    [
        ("exam/LCC.dcm", View.CC, Side.LEFT),
        ("exam/RMLO", View.MLO, Side.RIGHT),
        ("exam/20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm", View.CC, Side.RIGHT),
        ("P_00001_LEFT_MLO/1.3.6.1/000000.dcm", View.MLO, Side.LEFT),
        ("right/mlo.dcm", View.MLO, Side.RIGHT),
        ("CC/L/x.dcm", View.CC, Side.UNKNOWN),  # a folder L may mean anything
        ("a/b/c/d/LCC/1/2/3.dcm", View.CC, Side.LEFT),
        ("LCC/1/2/3/4.dcm", View.UNKNOWN, Side.UNKNOWN),  # too far away
        ("LCC_RMLO.dcm", View.UNKNOWN, Side.UNKNOWN),
        ("CC/MLO.dcm", View.MLO, Side.UNKNOWN),
        ("mdb001.pgm", View.UNKNOWN, Side.UNKNOWN),
        ("DICOM/ACCURATE.dcm", View.UNKNOWN, Side.UNKNOWN),
        ("mlolleft.dcm", View.UNKNOWN, Side.UNKNOWN),
        ("lxccl.dcm", View.XCCL, Side.LEFT),
        ("ml_left.png", View.ML, Side.LEFT),
        ("ml.png", View.UNKNOWN, Side.UNKNOWN),
        ("MLO/fb.png", View.MLO, Side.UNKNOWN),  # a person's initials
        ("fb_l.png", View.FB, Side.LEFT),
        ("cc_ml.png", View.UNKNOWN, Side.UNKNOWN),
        ("ml/in/mdb001.png", View.UNKNOWN, Side.UNKNOWN),  # machine learning
        ("MLO/ml/1.dcm", View.MLO, Side.UNKNOWN),
        ("left_ml/1.dcm", View.ML, Side.LEFT),
    ],
)
def test_words_of_the_path(path: str, view: View, side: Side) -> None:
    assert (view_from_path(Path(path)), side_from_path(Path(path))) == (view, side)


def test_the_path_is_asked_last_and_named(tmp_path: Path) -> None:
    silent = {"ViewCodeSequence": None, "ViewPosition": None, "ImageLaterality": None}
    read = read_mammogram(write(tmp_path / "RCC.dcm", **silent))
    assert (read.view, read.side) == (View.CC, Side.RIGHT)
    assert {Flag.VIEW_FROM_PATH, Flag.SIDE_FROM_PATH} <= set(read.flags)
    read = read_mammogram(write(tmp_path / "RCC.dcm"))
    assert (read.view, read.side) == (View.MLO, Side.LEFT)
    assert not {Flag.VIEW_FROM_PATH, Flag.SIDE_FROM_PATH} & set(read.flags)


@pytest.mark.parametrize(
    ("position", "view", "side"),
    [
        ("LMLO", View.MLO, Side.LEFT),
        ("RCC", View.CC, Side.RIGHT),
        ("R MLO", View.MLO, Side.RIGHT),
        ("LM", View.LM, Side.UNKNOWN),
        ("CC MLO", View.UNKNOWN, Side.UNKNOWN),
    ],
)
def test_view_position_with_a_side(tmp_path: Path, position: str, view: View, side: Side) -> None:
    header = read_header(write(tmp_path / "image", ViewCodeSequence=None, ViewPosition=position, ImageLaterality=None))
    assert (header.view, header.side, header.flags) == (view, side, ())


@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName"])
@pytest.mark.parametrize(
    ("words", "view", "side"),
    [
        ("Mammo R CC", View.CC, Side.RIGHT),
        ("Left MLO", View.MLO, Side.LEFT),
        ("LMLO QUITTE", View.MLO, Side.LEFT),
        ("ml", View.CC, Side.LEFT),  # initials: the path is asked
        ("CC MLO", View.CC, Side.LEFT),  # a series of both
    ],
)
def test_words_of_the_description_come_before_the_path(
    tmp_path: Path, keyword: str, words: str, view: View, side: Side
) -> None:
    silent = {"ViewCodeSequence": None, "ViewPosition": None, "ImageLaterality": None}
    header = read_header(write(tmp_path / "LCC.dcm", **silent, **{keyword: words}))
    assert (header.view, header.side) == (view, side)
    is_text = "R" in words.upper() or "LMLO" in words or "Left" in words
    assert (Flag.VIEW_FROM_TEXT in header.flags) is is_text
    assert (Flag.VIEW_FROM_PATH in header.flags) is not is_text
    assert "QUITTE" not in str(header)


@pytest.mark.parametrize("attributes", [{"ViewPosition": "SPECIMEN"}, {"SeriesDescription": "Specimen left"}])
def test_a_specimen_named_in_words_is_refused(tmp_path: Path, attributes: dict[str, str]) -> None:
    with pytest.raises(RefusedError) as caught:
        read_header(write(tmp_path / "image", **attributes))
    assert caught.value.reason is Reason.SPECIMEN
