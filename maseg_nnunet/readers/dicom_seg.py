"""Read DICOM Segmentation objects as masks: the label of each segment, and the one image that they belong to.

PS3.3 A.51 and C.8.20. BINARY, FRACTIONAL (one half and more counts) and the newer LABELMAP objects are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset

from maseg_nnunet.arrays import Mask
from maseg_nnunet.errors import Reason, RefusedError
from maseg_nnunet.labels import Label
from maseg_nnunet.readers import decoders
from maseg_nnunet.readers.attributes import code, integer, items, text
from maseg_nnunet.readers.dicom import load, transfer_syntax
from maseg_nnunet.readers.refusals import refused_as

_SEG: Final = uid.SegmentationStorage
_LABELMAP_SEG: Final = "1.2.840.10008.5.1.4.1.1.66.7"
_CODES: Final = {
    "76752008": Label.BREAST,
    "T-04000": Label.BREAST,
    "60005003": Label.PECTORAL_MUSCLE,
    "T-14110": Label.PECTORAL_MUSCLE,
}
_MAX_FRAMES: Final = 64
_HEADER_BYTES: Final = 1 << 24


def check_mask_size(found: tuple[int, ...], shape: tuple[int, int]) -> None:
    """Raise RefusedError (MASK_SIZE) with both sizes as rows x columns if they differ."""
    if found == shape:
        return
    sizes = f"the mask has {' x '.join(map(str, found))} pixels, the image has {shape[0]} x {shape[1]}"
    raise RefusedError(Reason.MASK_SIZE, f"{sizes}: rows and columns are exchanged" if found == shape[::-1] else sizes)


def read_instance_uid(path: Path) -> str:
    """The SOPInstanceUID of the one image that the SEG at `path` refers to.

    Raises RefusedError (MASK_UNREADABLE) if the file is not a SEG, or refers to no image or to more than one.
    """
    seg = _load(path, _HEADER_BYTES, pixels=False)
    found = _sources(seg)
    if len(found) != 1:
        raise RefusedError(Reason.MASK_UNREADABLE, f"the DICOM SEG refers to {len(found)} images, expected 1")
    return found.pop()


def read_seg(path: Path, shape: tuple[int, int], labels: Mapping[int, int] | None) -> Mask:
    """Read the mask of a SEG. If segments overlap, the muscle is on top.

    Args:
        path: The DICOM SEG file.
        shape: (rows, columns) of the image.
        labels: Label of each segment number. By default the property types and segment labels decide.

    Returns:
        Labels of `Label`, uint8 of `shape`.

    Raises:
        RefusedError: MASK_UNREADABLE, MASK_SIZE or MASK_LABELS.
    """
    seg = _load(path, _MAX_FRAMES * shape[0] * shape[1] + _HEADER_BYTES, pixels=True)
    check_mask_size((integer(seg, "Rows") or 0, integer(seg, "Columns") or 0), shape)
    if len(_sources(seg)) > 1:
        raise RefusedError(
            Reason.MASK_UNREADABLE, "the DICOM SEG refers to more than one image: make one SEG per image"
        )
    segments = _segments(seg, labels)
    frames = _frames(seg, shape)
    result = np.zeros(shape, np.uint8)
    if code(seg, "SegmentationType") == "LABELMAP":
        for number in np.unique(frames[0]):
            result[frames[0] == number] = _label_of(segments, int(number)) if number else Label.BACKGROUND
        return result
    half = 1 if code(seg, "SegmentationType") == "BINARY" else (integer(seg, "MaximumFractionalValue") or 255) / 2
    numbers = _numbers(seg)
    if len(numbers) != len(frames):
        raise RefusedError(Reason.MASK_UNREADABLE, "the DICOM SEG does not state the segment of each frame")
    drawn = [(_label_of(segments, number), frame) for number, frame in zip(numbers, frames, strict=True)]
    for label, frame in sorted(drawn, key=lambda entry: entry[0]):
        result[frame >= half] = label
    return result


def _load(path: Path, max_bytes: int, *, pixels: bool) -> FileDataset:
    with refused_as(Reason.MASK_UNREADABLE):
        seg = load(path, max_bytes, pixels=pixels)
    if text(seg, "SOPClassUID") not in (_SEG, _LABELMAP_SEG):
        raise RefusedError(Reason.MASK_UNREADABLE, "the DICOM object is not a Segmentation")
    return seg


def _sources(seg: Dataset) -> set[str]:
    """The SOPInstanceUIDs that the frames refer to, else those that the whole object refers to."""
    derivations = [
        derivation
        for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
        for frame in items(seg, groups)
        for derivation in items(frame, "DerivationImageSequence")
    ]
    places = (
        [image for derivation in derivations for image in items(derivation, "SourceImageSequence")],
        [
            image
            for series in items(seg, "ReferencedSeriesSequence")
            for image in items(series, "ReferencedInstanceSequence")
        ],
        items(seg, "SourceImageSequence"),
    )
    for place in places:
        found = {text(image, "ReferencedSOPInstanceUID") for image in place} - {""}
        if found:
            return found
    return set()


def _segments(seg: Dataset, labels: Mapping[int, int] | None) -> dict[int, Label]:
    """The label of each segment number that is breast or muscle."""
    if labels is not None:
        return {number: Label(label) for number, label in labels.items()}
    found = {}
    for segment in items(seg, "SegmentSequence"):
        label = _label_by_meaning(segment)
        if label is not None:
            found[integer(segment, "SegmentNumber") or 0] = label
    return found


def _label_by_meaning(segment: Dataset) -> Label | None:
    types = items(segment, "SegmentedPropertyTypeCodeSequence")
    for item in types:
        if text(item, "CodeValue") in _CODES:
            return _CODES[text(item, "CodeValue")]
    for words in (text(segment, "SegmentLabel").lower(), *(text(item, "CodeMeaning").lower() for item in types)):
        if "pector" in words or "muscle" in words:
            return Label.PECTORAL_MUSCLE
        if "breast" in words:
            return Label.BREAST
    return None


def _label_of(segments: dict[int, Label], number: int) -> Label:
    if number not in segments:
        raise RefusedError(
            Reason.MASK_LABELS, f"segment {number} is neither breast nor pectoral muscle: map it with --labels"
        )
    return segments[number]


def _numbers(seg: Dataset) -> list[int]:
    """The segment number of each frame; 0 if it is missing."""
    frames = items(seg, "PerFrameFunctionalGroupsSequence") or [Dataset()]
    shared = [
        item
        for group in items(seg, "SharedFunctionalGroupsSequence")
        for item in items(group, "SegmentIdentificationSequence")
    ]
    return [
        next((integer(i, "ReferencedSegmentNumber") or 0 for i in _identification(frame) or shared), 0)
        for frame in frames
    ]


def _identification(frame: Dataset) -> list[Dataset]:
    return list(items(frame, "SegmentIdentificationSequence"))


def _frames(seg: FileDataset, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """All frames, shape (frames, rows, columns), unsigned."""
    frames, bits = integer(seg, "NumberOfFrames") or 1, integer(seg, "BitsAllocated")
    syntax = transfer_syntax(seg)
    if not 1 <= frames <= _MAX_FRAMES or bits not in (1, 8, 16) or syntax is None:
        raise RefusedError(Reason.MASK_UNREADABLE, "the DICOM SEG has too many frames or an impossible BitsAllocated")
    if "PixelData" not in seg or not isinstance(seg["PixelData"].value, bytes):
        raise RefusedError(Reason.MASK_UNREADABLE, "the DICOM SEG has no pixels")
    element = seg["PixelData"]
    try:
        decoded = decoders.decode(
            element.value, syntax, element.VR, shape, frames=frames, bits_allocated=bits, bits_stored=bits
        )
    except Exception:  # any error of a decoder on damaged frames
        raise RefusedError(Reason.MASK_UNREADABLE, "the DICOM SEG's pixels can't be decoded") from None
    return decoded.reshape(frames, *shape)
