from pathlib import Path

import numpy as np

from maseg_nnunet.mammogram import Identity, Intent, Mammogram, View
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
