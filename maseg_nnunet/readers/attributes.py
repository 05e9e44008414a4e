"""Values of a data set that may be damaged: each function returns the value or an empty one, and never raises.

Not for rules about what a value means. Multi-frame objects have attributes in functional groups; `levels` lists them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

_MACROS: Final = (
    "PixelMeasuresSequence",
    "FrameVOILUTSequence",
    "PixelValueTransformationSequence",
    "FrameAnatomySequence",
)
"""Functional groups (PS3.3 C.7.6.16.2) with the spacing, look-up tables, rescale and side of a frame."""


def levels(dataset: Dataset) -> tuple[Dataset, ...]:
    """The data set and the first items of its functional groups in `_MACROS`, in order of precedence.

    The top level comes first, then the groups of the first frame, then the shared ones.
    """
    found = [dataset]
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in items(dataset, groups)[:1]:
            found += [item for macro in _MACROS for item in items(group, macro)[:1]]
    return tuple(found)


def value(dataset: Dataset, keyword: str) -> Any:
    """The element's value as pydicom returns it; None if it is absent, empty or can't be converted."""
    try:
        found = dataset.get(keyword)
    except Exception:  # pydicom raises many kinds of error on a malformed element
        return None
    return None if found is None or (isinstance(found, str | bytes | MultiValue) and len(found) == 0) else found


def is_present(dataset: Dataset, keyword: str) -> bool:
    """Whether the element is present and not empty, readable or not."""
    try:
        return keyword in dataset and not dataset[keyword].is_empty
    except Exception:  # as above: present, but not readable
        return True


def text(dataset: Dataset, keyword: str) -> str:
    """The first value as text, stripped; "" if there is none."""
    return next(iter(texts(dataset, keyword)), "")


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values as text, each stripped of blanks and NULs; empty for a sequence."""
    found = _listed(value(dataset, keyword))
    # A damaged text element may be a sequence: its str() would parse the items, which may fail.
    return tuple(str(entry).strip(" \0\t\r\n") for entry in found if not isinstance(entry, Items))


def code(dataset: Dataset, keyword: str) -> str:
    """The first value in capitals, for coded strings (CS); "" if there is none."""
    return text(dataset, keyword).upper()


def decimals(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values of a decimal string (DS), NaN for each that is not a finite number. A decimal comma counts as a point.

    pydicom rejects the whole element if one of its values is illegal.
    """
    return tuple(_decimal(entry.replace(",", ".")) for entry in decimal_texts(dataset, keyword))


def decimal_texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of a decimal string (DS) as the file has them, legal or not, stripped."""
    try:
        element = dataset.get_item(keyword)
        found = None if element is None else element.value
    except Exception:  # pydicom raises many kinds of error on a malformed element
        return ()
    if isinstance(found, bytes):
        found = found.decode("ascii", "replace")
    if isinstance(found, str):
        found = found.split("\\")
    return tuple(str(entry).strip(" \0") for entry in _listed(found))


def _decimal(entry: str) -> float:
    try:
        found = float(entry)
    except ValueError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values as finite numbers; empty if one of them is not a finite number."""
    try:
        found = tuple(float(entry) for entry in _listed(value(dataset, keyword)))
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if all(math.isfinite(entry) for entry in found) else ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """The value as a finite number; None unless there is exactly one."""
    found = numbers(dataset, keyword)
    return found[0] if len(found) == 1 else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The value as an integer; None unless there is exactly one, and it is integer."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found == int(found) else None


def words(dataset: Dataset, keyword: str) -> tuple[int, ...]:
    """16-bit integers of an element that may be US or SS; the sign is the one that pydicom read."""
    found = value(dataset, keyword)
    if isinstance(found, bytes):  # implicit VR, always little endian
        return struct.unpack(f"<{len(found) // 2}H", found[: len(found) // 2 * 2])
    try:
        return tuple(map(int, _listed(found)))
    except (TypeError, ValueError, OverflowError):
        return ()


def items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    """The items of a sequence; empty if it is absent or is not a sequence."""
    found = value(dataset, keyword)
    try:
        return [item for item in found if isinstance(item, Dataset)] if found is not None else []
    except TypeError:
        return []


def first_level(found: Sequence[Dataset], keyword: str) -> Dataset:
    """The first of the levels that has the element; the top level if none has."""
    return next((level for level in found if is_present(level, keyword)), found[0])


def _listed(found: Any) -> Sequence[Any]:
    if found is None:
        return ()
    return found if isinstance(found, MultiValue | list | tuple) else (found,)


def printable(value: str) -> str:
    """The first 64 characters of `value` that are printable ASCII: safe to write to files and logs."""
    return "".join(character for character in value[:64] if " " <= character <= "~")
