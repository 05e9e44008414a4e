from pathlib import Path

import numpy as np
import pytest

from maseg_nnunet.errors import Reason
from maseg_nnunet.mammogram import Flag, Identity, Intent, Mammogram, View
from maseg_nnunet.voi import CaseLuts, full_range


def test_mlo_like_views_expect_a_large_muscle() -> None:
    assert [view.value for view in View if view.is_mlo_like] == ["MLO", "ML", "LM", "LMO"]


def test_shape_and_display() -> None:
    pixels = np.array([[100, 150, 200], [300, 100, 300]], np.uint16)
    for inverted in (False, True):
        luts = CaseLuts(inverted, 0, (full_range(100, 300),))
        found = Mammogram(Path("x"), pixels, (0.1, 0.1), "user", luts, Intent.FILM)
        assert found.shape == (2, 3)
        shown = found.displayed()
        assert shown.dtype == np.float32
        expected = np.array([[0, 0.25, 0.5], [1, 0, 1]])
        np.testing.assert_allclose(shown, 1 - expected if inverted else expected)


def test_an_identity_is_never_shown() -> None:
    found = Identity("QUI0001", "issuer", "1.2", "1.2.3", ("1.2.4",), "1.2.5")
    assert repr(found) == "Identity()"


# Of a left breast: where the stored rows and columns lead to, and where they lead to once it stands upright.
@pytest.mark.parametrize(
    ("stored", "turns", "upright"),
    [
        (("A", "R"), 0, ("A", "R")),
        (("A", "FR"), 0, ("A", "FR")),
        (("R", "P"), 3, ("A", "R")),
        (("L", "A"), 3, ("P", "L")),
        (("FR", "P"), 3, ("A", "FR")),
        (("HL", "P"), 1, ("P", "FR")),
        (("HL", "A"), 1, ("A", "FR")),
        (("LH", "P"), 1, ("P", "RF")),
        (("LF", "A"), 3, ("P", "LF")),
        (("P", "HL"), 2, ("A", "FR")),
        (("P", "LH"), 2, ("A", "RF")),
        (("", "P"), 0, None),
        (("A", "P"), 0, None),
        (("L", "H"), 0, None),
        (("A",), 0, None),
        ((), 0, None),
    ],
)
def test_patient_orientation_tells_which_way_is_up(
    stored: tuple[str, ...], turns: int, upright: tuple[str, str] | None
) -> None:
    # A pixel's value says how far it lies towards each end of the patient; turned, it has to say the same.
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3)
    luts = CaseLuts(False, 0, (full_range(0, 5),))
    found = Mammogram(Path("x"), pixels, (0.1, 0.2), "user", luts, Intent.FILM, patient_orientation=stored)
    turned = found.upright()
    assert found.quarter_turns == turns and turned.quarter_turns == 0
    if turns == 0:
        assert turned is found
        return
    assert turned.spacing == ((0.1, 0.2) if turns == 2 else (0.2, 0.1))
    assert upright is not None
    steps = {stored[0]: 1, _opposite(stored[0]): -1, stored[1]: 3, _opposite(stored[1]): -3}
    right, down = turned.pixels[0, 1], turned.pixels[1, 0]
    first = int(turned.pixels[0, 0])
    assert (int(right) - first, int(down) - first) == (steps[upright[0]], steps[upright[1]])


def _opposite(direction: str) -> str:
    return direction.translate(str.maketrans("APRLFH", "PALRHF"))


@pytest.mark.parametrize("member", [*View, *Flag, *Reason], ids=repr)
def test_every_view_flag_and_reason_is_explained(member: View | Flag | Reason) -> None:
    assert len(member.meaning) > 3
    if not isinstance(member, View):
        assert member.meaning[0].isupper() and member.meaning.endswith(".")
        assert member.meaning != member.value
