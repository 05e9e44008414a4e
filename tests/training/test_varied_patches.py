"""The contrasts and artefacts that training on few sources needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maseg_nnunet.labels import Label
from maseg_nnunet.training.augmentation import Recipe
from maseg_nnunet.training.varied_patches import VariedPatches, Variety, has_full_range_only
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable, full_range
from tests.training.test_patches import PATCH, STILL, Cases

RAMP = np.linspace(0, 1, 256, dtype=np.float32)[None]
FULL = CaseLuts(False, 0, (full_range(0, 255),))
HEADER = CaseLuts(False, 0, (LookUpTable("NORMAL", Function.LINEAR_EXACT, center=100.0, width=200.0),))


def varied(cases: Any, recipe: Recipe = STILL, **options: Any) -> VariedPatches:
    defaults: dict[str, Any] = {"batch_size": 4, "voi_luts": {}, "muscle_share": 0.0, "scales": None}
    return VariedPatches(cases, patch=PATCH, recipe=recipe, **(defaults | options))


def test_air_is_white_up_to_the_edges_of_a_patch_that_is_raw_like() -> None:
    # Cropped to the breast, as INbreast is: all beyond it is what the patch is padded with.
    np.random.seed(5)  # noqa: NPY002  # the loader's own generator starts from this one
    loader = varied(Cases(["a"]), variety=Variety(displays=0, artefacts=0, raw_like=1, cc_muscles=0))
    batches = [next(loader) for _ in range(50)]
    gray, labels = (
        np.concatenate([batch[name].numpy()[:, 0, [0, -1]][..., [0, -1]].ravel() for batch in batches])
        for name in ("data", "target")
    )
    air = gray[labels == Label.BACKGROUND]
    assert len(air) > 100 and 0.1 < (air > 0.7).mean() < 0.2


def test_a_raw_like_patch_is_not_a_film(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def scanned(image: np.ndarray, *rest: Any) -> np.ndarray:
        calls.append(1)
        return image

    monkeypatch.setattr("maseg_nnunet.training.varied_patches.as_scanned", scanned)
    for raw, patches in ((1.0, 0), (0.0, 8)):
        calls.clear()
        loader = varied(Cases(["a"]), batch_size=8, variety=Variety(raw_like=raw, film_edges=1))
        next(loader)
        assert len(calls) == patches


def test_only_an_image_without_look_up_tables_gets_others() -> None:
    assert has_full_range_only(FULL)
    assert not has_full_range_only(HEADER)
    assert not has_full_range_only(CaseLuts(False, 0, FULL.luts * 2))
    loader = varied(Cases(["a", "b"]), voi_luts={"a": FULL, "b": HEADER})
    kinds = {case: {loader.gray(case, RAMP).tobytes() for _ in range(150)} for case in "ab"}
    assert RAMP.tobytes() in kinds["a"]
    assert len(kinds["a"]) > 60
    assert len(kinds["b"]) == 1


def test_images_with_a_small_muscle_are_drawn_more_often() -> None:
    class Some(Cases):
        def load_case(self, name: str) -> tuple[Any, Any, None, dict[str, Any]]:
            image, labels, _, _ = super().load_case(name)
            pixels = {"none": 0, "small": 40, "large": 900}[name]
            return image, labels, None, {"class_locations": {int(Label.PECTORAL_MUSCLE): np.ones((pixels, 4), int)}}

    loader = varied(Some(["none", "small", "large"]))
    assert loader.indices == ["large", "none", "small"]
    weights = np.array([1, 1, Variety().small_muscles])
    assert loader.sampling_probabilities == pytest.approx(weights / weights.sum())


def test_batches_are_gray_and_finite_whatever_is_drawn() -> None:
    loader = varied(Cases(["a", "b"]), Recipe(), voi_luts={"a": FULL})
    for _ in range(60):
        data = next(loader)["data"]
        assert np.isfinite(data.numpy()).all()
        assert data.min() >= 0 and data.max() <= 1


def test_a_muscle_is_drawn_where_there_is_none() -> None:
    for share, most in ((1.0, 61), (0.0, 1)):
        loader = varied(Cases(["a"], muscle=False), batch_size=60, variety=Variety(cc_muscles=share))
        muscles = (next(loader)["target"].numpy() == Label.PECTORAL_MUSCLE).any(axis=(1, 2, 3)).sum()
        assert muscles < most
        assert muscles > 5 or share == 0
