"""Short trainings of MasegTrainerVaried, complete and without one part of its variety.

`benchmarks/sources_left_out.py` and `benchmarks/cross_validation.py` train with them. nnU-Net finds them if
nnUNet_extTrainer names this folder and that of MasegTrainer.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from maseg_nnunet.trainers.maseg_variants import MasegTrainerVaried
from maseg_nnunet.training.varied_patches import VariedPatches, Variety


class MasegTrainerVariedShort(MasegTrainerVaried):
    """800 steps of MasegTrainerVaried. The ablations are as long."""

    length = (16, 50)
    falling = None
    counted_from = 0
    patience = None
    final_validation_cases = 2


class MasegTrainerVariedMedium(MasegTrainerVariedShort):
    """3,000 steps of MasegTrainerVaried: the muscles of CC views take longer to learn than the short training lasts."""

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
    """Without changes of the brightness of rims and muscles."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(rims=0, muscles=0)))


class MasegTrainerVariedNoCCMuscles(MasegTrainerVariedShort):
    """Without muscles drawn into CC views."""

    loader = staticmethod(partial(VariedPatches, variety=Variety(cc_muscles=0)))
