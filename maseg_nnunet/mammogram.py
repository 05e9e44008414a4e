"""One mammogram in memory, as every reader returns it. Not how it is read (`readers/`) and not how it is resampled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maseg_nnunet.arrays import Image, Spacing
from maseg_nnunet.voi import CaseLuts


class View(str, Enum):
    """Projection; the value is what the manifest shows."""

    CC = "CC"
    MLO = "MLO"
    ML = "ML"
    LM = "LM"
    LMO = "LMO"
    XCCL = "XCCL"
    XCCM = "XCCM"
    FB = "FB"
    UNKNOWN = ""

    @property
    def is_mlo_like(self) -> bool:
        """Whether the pectoral muscle is expected to be large: MLO, ML, LM and LMO."""
        return self in (View.MLO, View.ML, View.LM, View.LMO)


class Side(str, Enum):
    """Laterality of the breast."""

    LEFT = "L"
    RIGHT = "R"
    UNKNOWN = ""


class Intent(str, Enum):
    """PresentationIntentType, and film for digitized screen-film mammograms."""

    PROCESSED = "processed"
    RAW = "raw"
    FILM = "film"


class Flag(str, Enum):
    """Something a user should know about a file that was read all the same; shown in the manifest and statistics."""

    DUMMY_PATIENT = "patient id empty or a dummy: the study counts as the woman"
    BURNED_IN = "burned-in annotation"
    MAGNIFICATION = "magnification view"
    SPOT = "spot view"
    IMPLANT_DISPLACED = "implant-displaced view"
    SYNTHETIC = "synthetic 2D from tomosynthesis"
    MAGNIFICATION_BELOW_ONE = "magnification factor below 1 ignored"
    CONTACT_MAGNIFICATION = "spacing at the detector: areas are larger than in the breast"
    SIGMOID_ASSUMED = "VOILUTFunction missing: SIGMOID assumed"
    LINEAR_ASSUMED = "VOILUTFunction missing: LINEAR assumed"
    BASE_NOT_NORMAL = "no usable NORMAL look-up table: the next one is the base"
    VIEW_FROM_PATH = "view from the file's path"
    SIDE_FROM_PATH = "side from the file's path"
    SPACING_GIVEN = "spacing given by the user"
    HIGH_BIT_SHIFTED = "HighBit above BitsStored - 1: shifted"
    CONSTANT = "one constant value"


@dataclass(frozen=True)
class Identity:
    """Who and what an image is of, from the header. Never printed, never written: `repr` shows nothing.

    `acquisition` joins a raw image and its processed twin; empty where the header tells nothing.
    """

    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    instance_uid: str = field(default="", repr=False)
    source_uids: tuple[str, ...] = field(default=(), repr=False)
    acquisition: str = field(default="", repr=False)


@dataclass(frozen=True, eq=False)
class Mammogram:
    """One image, in stored orientation.

    `pixels`: shape (rows, columns), integer or float32, stored values after the modality LUT, padding already set to
    the dark extreme. `spacing`: (row, column) in mm. `spacing_source`: the attribute it came from. `luts`: all usable
    look-up tables, the base among them, and whether MONOCHROME1 turns them over. `vendor`: a key of
    `readers/vendors.py`, or "unknown". `horizontal_flip` is recorded, never acted on;
    `patient_orientation` says which way is up for a network.
    """

    path: Path
    pixels: npt.NDArray[Any]
    spacing: Spacing
    spacing_source: str
    luts: CaseLuts
    intent: Intent
    view: View = View.UNKNOWN
    side: Side = Side.UNKNOWN
    vendor: str = "unknown"
    model: str = ""
    sop_class: str = ""
    identity: Identity = Identity()
    flags: tuple[Flag, ...] = ()
    horizontal_flip: str = ""
    patient_orientation: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.pixels.shape
        return rows, columns

    @property
    def quarter_turns(self) -> int:
        """Turns of 90 degrees, counter-clockwise, after which the chest wall is left or right and no head is down.

        By Patient Orientation (PS3.3 C.7.6.1.1.1): where the rows and the columns of the stored image lead to. 0 where
        it tells nothing. Biopsy views are stored as the table sees them, at times with the chest wall below.
        """
        rightwards, downwards = (*self.patient_orientation, "", "")[:2]
        # The first letter is the main direction. Between head and foot it may come second: an MLO lies aslant.
        if downwards[:1] in ("A", "P") and rightwards[:1] in ("R", "L", "F", "H"):
            return 1 if "H" in rightwards else 3
        return 2 if rightwards[:1] in ("A", "P") and "H" in downwards else 0

    def upright(self) -> Mammogram:
        """The image after its `quarter_turns`; itself where that is none."""
        turns = self.quarter_turns
        if not turns:
            return self
        spacing = self.spacing if turns == 2 else self.spacing[::-1]
        pixels = np.ascontiguousarray(np.rot90(self.pixels, turns))
        return replace(self, pixels=pixels, spacing=spacing, patient_orientation=())

    def displayed(self) -> Image:
        """The image as a viewer shows it by its base look-up table: (rows, columns), float32 in [0, 1]."""
        return self.luts.display(self.pixels).astype(np.float32)
