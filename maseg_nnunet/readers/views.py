"""Read view, side and special views: from codes, else from text, else from words of the file's path.

Codes: PS3.16 CID 4014 (view) and CID 4015 (modifier), in SNOMED RT style (schemes SRT, SNM3) and SNOMED CT. A code
value occurs in only one of the two styles, so the scheme is not checked.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from maseg_nnunet.mammogram import Flag, Side, View
from maseg_nnunet.readers.attributes import code, first_level, items, levels, text

_VIEW_CODES: Final = {
    "R-10242": View.CC,
    "399162004": View.CC,
    "R-10244": View.FB,
    "399196006": View.FB,
    "R-10226": View.MLO,
    "399368009": View.MLO,
    "R-10224": View.ML,
    "399260004": View.ML,
    "R-10228": View.LM,
    "399352003": View.LM,
    "R-10230": View.LMO,
    "399099002": View.LMO,
    "R-1024A": View.XCCL,
    "399192008": View.XCCL,
    "R-1024B": View.XCCM,
    "399101009": View.XCCM,
}
_SPECIMEN_CODES: Final = frozenset({"127457009", "G-8310"})
_MODIFIER_CODES: Final = {
    "R-102D6": Flag.MAGNIFICATION,
    "399163009": Flag.MAGNIFICATION,
    "R-102D7": Flag.SPOT,
    "399055006": Flag.SPOT,
    "R-102D5": Flag.IMPLANT_DISPLACED,
    "399209000": Flag.IMPLANT_DISPLACED,
    "R-102D2": Flag.CLEAVAGE,
    "399161006": Flag.CLEAVAGE,
    "R-102C2": Flag.TANGENTIAL,
    "399110001": Flag.TANGENTIAL,
    "R-102D1": Flag.AXILLARY_TAIL,
    "399011000": Flag.AXILLARY_TAIL,
    "R-102D3": Flag.ROLLED,
    "399197002": Flag.ROLLED,
    "R-102D4": Flag.ROLLED,
    "399226006": Flag.ROLLED,
    "R-102CA": Flag.ROLLED,
    "414493004": Flag.ROLLED,
    "R-102C9": Flag.ROLLED,
    "415670009": Flag.ROLLED,
}
_VIEW_WORDS: Final = {view.value: view for view in View if view.value}
_SIDE_WORDS: Final = {"L": Side.LEFT, "LEFT": Side.LEFT, "R": Side.RIGHT, "RIGHT": Side.RIGHT}
_EVERYDAY: Final = frozenset({View.ML, View.LM, View.FB})
"""Views whose abbreviations have other meanings too: machine learning, a person's initials."""

_SPECIMEN_WORDS: Final = frozenset({"SPECIMEN", "SPECIMENS"})
_TEXTS: Final = ("SeriesDescription", "ProtocolName")
"""Attributes of free text that may name view and side. Their text is searched and never shown."""

_FOLDERS: Final = 3
"""Number of folders above a file whose names may state its view and side."""


def is_specimen(dataset: Dataset) -> bool:
    """Whether the image is of a specimen, tissue removed from the breast.

    ViewCodeSequence (0054,0220) has its code, or ViewPosition (0018,5101) or SeriesDescription (0008,103E) the word.
    """
    for keyword in ("ViewPosition", "SeriesDescription"):
        if _SPECIMEN_WORDS & set(_words(text(dataset, keyword))):
            return True
    return any(text(item, "CodeValue") in _SPECIMEN_CODES for item in items(dataset, "ViewCodeSequence"))


def read_view(dataset: Dataset) -> View:
    """The view of ViewCodeSequence (0054,0220), else of ViewPosition (0018,5101), else UNKNOWN."""
    if (view := read_view_code(dataset)) is not View.UNKNOWN:
        return view
    views = _views(_words(text(dataset, "ViewPosition")))
    return views.pop() if len(views) == 1 else View.UNKNOWN


def read_view_code(dataset: Dataset) -> View:
    """The view of ViewCodeSequence (0054,0220), else UNKNOWN."""
    for item in items(dataset, "ViewCodeSequence"):
        if text(item, "CodeValue") in _VIEW_CODES:
            return _VIEW_CODES[text(item, "CodeValue")]
    return View.UNKNOWN


def read_modifiers(dataset: Dataset) -> tuple[Flag, ...]:
    """The flags of magnification, spot, implant-displaced and other special views.

    They come from ViewModifierCodeSequence (0054,0222) in the item of the view, or beside it.
    """
    places = [*items(dataset, "ViewCodeSequence"), dataset]
    codes = {text(item, "CodeValue") for place in places for item in items(place, "ViewModifierCodeSequence")}
    found = {_MODIFIER_CODES[value] for value in codes if value in _MODIFIER_CODES}
    return tuple(flag for flag in Flag if flag in found)


def read_side(dataset: Dataset) -> Side:
    """The side of ImageLaterality, else Laterality, else FrameLaterality in functional groups, else ViewPosition."""
    for keyword in ("ImageLaterality", "Laterality", "FrameLaterality"):
        side = code(first_level(levels(dataset), keyword), keyword)
        if side in ("L", "R"):
            return Side(side)
    return _first_side([_words(text(dataset, "ViewPosition"))])


def view_from_text(dataset: Dataset) -> View:
    """The view that words of SeriesDescription (0008,103E), else ProtocolName (0018,1030), name; see `_first_view`."""
    return _first_view([_words(text(dataset, keyword)) for keyword in _TEXTS])


def side_from_text(dataset: Dataset) -> Side:
    """The side that words of SeriesDescription (0008,103E), else ProtocolName (0018,1030), name; see `_first_side`."""
    return _first_side([_words(text(dataset, keyword)) for keyword in _TEXTS])


def view_from_path(path: Path) -> View:
    """The view in the file's stem, else in the nearest folder that names one; see `_first_view`."""
    return _first_view(_names(path))


def side_from_path(path: Path) -> Side:
    """The side in the file's stem, else in the nearest folder that names one; see `_first_side`."""
    return _first_side(_names(path))


def _first_view(texts: list[list[str]]) -> View:
    """The view in the first text that names one; UNKNOWN if two are named there.

    ML, LM and FB count only beside a side or another view.
    """
    for words in texts:
        views = _views(words)
        if views <= _EVERYDAY and all(_split(word)[0] is Side.UNKNOWN for word in words):
            continue
        if views:
            return views.pop() if len(views) == 1 else View.UNKNOWN
    return View.UNKNOWN


def _first_side(texts: list[list[str]]) -> Side:
    """The side in the first text that names one; UNKNOWN if both are named there.

    A single letter counts only beside a view, because folders are often named by letters.
    """
    for words in texts:
        has_view = bool(_views(words))
        sides = {_split(word)[0] for word in words if len(word) > 1 or has_view} - {Side.UNKNOWN}
        if sides:
            return sides.pop() if len(sides) == 1 else Side.UNKNOWN
    return Side.UNKNOWN


def _names(path: Path) -> list[list[str]]:
    """The words of the stem and of each of the nearest folders."""
    return [_words(name) for name in (path.stem, *(folder.name for folder in list(path.parents)[:_FOLDERS]))]


def _words(text: str) -> list[str]:
    """The words of a text, in capitals."""
    return re.findall(r"[A-Z0-9]+", text.upper())


def _views(words: list[str]) -> set[View]:
    return {_split(word)[1] for word in words} - {View.UNKNOWN}


def _split(word: str) -> tuple[Side, View]:
    """The side and view that a word names: LCC names both, MLO and LEFT one of them."""
    if word in _VIEW_WORDS or word in _SIDE_WORDS:
        return _SIDE_WORDS.get(word, Side.UNKNOWN), _VIEW_WORDS.get(word, View.UNKNOWN)
    for side in ("LEFT", "RIGHT", "L", "R"):
        if word.startswith(side) and word[len(side) :] in _VIEW_WORDS:
            return _SIDE_WORDS[side], _VIEW_WORDS[word[len(side) :]]
        if word.endswith(side) and word[: -len(side)] in _VIEW_WORDS:
            return _SIDE_WORDS[side], _VIEW_WORDS[word[: -len(side)]]
    return Side.UNKNOWN, View.UNKNOWN
