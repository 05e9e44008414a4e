"""Short trainings that tell what each part of the variety gains: MasegTrainerVaried's, and that without one part.

`benchmarks/sources_left_out.py` compares them; all are as long, but that for `benchmarks/cross_validation.py`.
"""

# nnU-Net comes without types:
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from dataclasses import replace
from functools import partial

from maseg_nnunet.trainers.maseg_variants import MasegTrainerVaried
from maseg_nnunet.training.varied_patches import VariedPatches, Variety


class MasegTrainerVariedShort(MasegTrainerVaried):
    """800 steps of MasegTrainerVaried."""

    length = (16, 50)
    falling = None
    counted_from = 0
    patience = None
    final_validation_cases = 2


class MasegTrainerVariedMedium(MasegTrainerVariedShort):
    """3,000 steps of MasegTrainerVaried: muscles of CC views take more than 800 to learn."""

    length = (30, 100)


class MasegTrainerVariedNoGamma(MasegTrainerVariedShort):
    """Without gamma."""

    recipe = replace(MasegTrainerVaried.recipe, gamma=(1.0, 1.0))


class MasegTrainerVariedNoJitter(MasegTrainerVariedShort):
    """Without jitter of the look-up tables."""

    recipe = replace(MasegTrainerVaried.recipe, lut_jitter=0.0)


class MasegTrainerVariedNoDisplays(MasegTrainerVariedShort):
    """Without synthetic windows and sigmoids."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(displays=0)))


class MasegTrainerVariedNoRawLike(MasegTrainerVariedShort):
    """Without images that are made to look raw."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(raw_like=0)))


class MasegTrainerVariedNoArtefacts(MasegTrainerVariedShort):
    """Without labels, tape and fog beside the breast."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(artefacts=0)))


class MasegTrainerVariedNoFilmEdges(MasegTrainerVariedShort):
    """Without the edges of films."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(film_edges=0)))


class MasegTrainerVariedNoTissue(MasegTrainerVariedShort):
    """Without rims and muscles of another brightness."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(rims=0, muscles=0)))


class MasegTrainerVariedNoCCMuscles(MasegTrainerVariedShort):
    """Without muscles drawn into CC views."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(cc_muscles=0)))
