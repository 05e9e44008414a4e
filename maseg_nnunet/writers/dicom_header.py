"""The part of a source's header that a derived object repeats: patient, study and references, each legal or empty.

Nothing is decoded. Text is copied as the bytes of the source, with its character set, and an illegal value never
reaches a library that would quote it in a warning. Not for reading a mammogram (`readers/`).
"""

from __future__ import annotations

import hashlib
import re
import struct
from datetime import datetime
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.charset import convert_encodings, default_encoding, python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag

from maseg_nnunet.errors import OutputError
from maseg_nnunet.readers.quiet import silence_pydicom

# PS3.3 C.7.1.1 (patient) and C.7.2.1 (study). Type 2 is written empty if the source has no legal value.
TYPE_2: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
TYPE_3: Final = ("IssuerOfPatientID", "PatientAge", "StudyDescription")
REFERENCES: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "InstanceNumber",
    "PatientOrientation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)

# PS3.5 section 6.2: the form and the greatest length of a single value of each VR.
_PATTERNS: Final = {
    "AS": r"\d{3}[DWMY]",
    "CS": r"[A-Z0-9_ ]{1,16}",
    "DS": r"(?=.{1,16}$)[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
    "IS": r"[+-]?\d{1,10}",
    "TM": r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?",
    "UI": r"(?=.{1,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))+",
}
_DOUBLE_BYTE: Final = re.compile(rb"\x1b\$(?:[@B]|\(D)[^\x1b]*")
"""Japanese characters of two 7-bit bytes each (PS3.3 table C.12-4); any of these bytes may look like a delimiter."""

_LENGTHS: Final = {"LO": 64, "PN": 64, "SH": 16}
_SEXES: Final = ("M", "F", "O")


def read_source_header(path: Path) -> Dataset:
    """Read the elements of a DICOM file that this module and `dicom_seg` need, undecoded.

    Raises OutputError if the header can't be read.
    """
    silence_pydicom()
    keywords = [*TYPE_2, *TYPE_3, *REFERENCES, "SpecificCharacterSet"]
    try:
        return dcmread(path, stop_before_pixels=True, force=True, specific_tags=[_tag(keyword) for keyword in keywords])
    except (OSError, InvalidDicomError, EOFError, ValueError, struct.error) as error:
        raise OutputError("the source's header can't be read again") from error


def value(source: Dataset, keyword: str) -> str:
    """The value of an element as stripped ASCII text; "" if it is absent or illegal for its VR."""
    text = _bytes(source, keyword).decode("latin-1")
    return text if text.isascii() and _is_legal(text, dictionary_VR(keyword)) else ""


def values(source: Dataset, keyword: str) -> list[str]:
    """The values of a multi-valued element as stripped text; empty if one of them is illegal for its VR."""
    parts = [part.strip(" \0") for part in _bytes(source, keyword).decode("latin-1").split("\\")]
    return parts if all(_is_legal(part, dictionary_VR(keyword)) for part in parts) else []


def uid(source: Dataset, keyword: str) -> str:
    """A UID of `source`. Raises OutputError if it is absent or illegal (PS3.5 section 9.1)."""
    found = value(source, keyword)
    if not found:
        raise OutputError(f"no DICOM SEG: the source's {keyword} is missing or illegal, so no object can refer to it")
    return found


def copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    """Copy the patient's and the study's attributes (PS3.3 C.7.1.1, C.7.2.1) and the character set.

    Args:
        source: What `read_source_header` returned.
        target: The derived object, changed in place. It must be written as Explicit VR Little Endian.
    """
    encoded = _character_set(source, target)
    for keyword in (*TYPE_2, *TYPE_3):
        raw = _bytes(source, keyword)
        vr = dictionary_VR(keyword)
        legal = _is_legal_text(raw, vr, encoded) if vr in _LENGTHS else bool(value(source, keyword))
        if keyword == "PatientSex" and raw.decode("latin-1") not in _SEXES:
            legal = False
        if legal:
            target[_tag(keyword)] = _raw_element(keyword, raw)
        elif keyword in TYPE_2:
            setattr(target, keyword, "")


def fingerprint(source: Dataset) -> str:
    """A hash of everything that an object repeats from `source`; it changes if the patient's data are corrected."""
    digest = hashlib.blake2b(digest_size=16)
    for keyword in (*TYPE_2, *TYPE_3, *REFERENCES, "SpecificCharacterSet"):
        raw = _bytes(source, keyword)
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.hexdigest()


def _character_set(source: Dataset, target: Dataset) -> bool:
    """Copy SpecificCharacterSet if all its terms are known. Return whether they are: if not, only ASCII is copied."""
    raw = _bytes(source, "SpecificCharacterSet")
    names = [name.strip() for name in raw.decode("latin-1").split("\\")]
    known = bool(raw) and all(name in python_encoding for name in names)
    if known and names != ["ISO_IR 6"]:  # the default repertoire, which is not a defined term
        target.SpecificCharacterSet = names if len(names) > 1 else names[0]
    # With this, pydicom writes the copied bytes unchanged. Otherwise it would decode them and warn about its failures.
    target.set_original_encoding(False, True, convert_encodings(names) if known else default_encoding)
    return known


def _is_legal_text(raw: bytes, vr: str, encoded: bool) -> bool:
    if not raw or (not raw.isascii() and not encoded):
        return False
    single = _DOUBLE_BYTE.sub(b"", raw) if encoded else raw
    if raw.isascii() and b"\\" in single:  # two values; with other character sets a backslash may be half a character
        return False
    if vr == "PN" and (single.count(b"=") > 2 or any(group.count(b"^") > 4 for group in single.split(b"="))):
        return False
    # A character may have several bytes and a name three groups, so only text that is certainly too long is illegal.
    limit = _LENGTHS[vr] * (1 if raw.isascii() and single == raw else 4) * (3 if vr == "PN" else 1)
    return len(raw) <= limit and not any(byte < 32 and byte != 27 for byte in raw)


def _is_legal(text: str, vr: str) -> bool:
    if vr == "DA":
        return re.fullmatch(r"\d{8}", text, re.ASCII) is not None and _is_date(text)
    return vr not in _PATTERNS or re.fullmatch(_PATTERNS[vr], text, re.ASCII) is not None


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%d")
    except ValueError:
        return False
    return True


def _bytes(source: Dataset, keyword: str) -> bytes:
    """The value's bytes in the file, without padding."""
    tag = _tag(keyword)
    if tag not in source:
        return b""
    element: DataElement | RawDataElement = source.get_item(tag)
    if isinstance(element, RawDataElement):
        return (element.value or b"").strip(b" \0")
    # pydicom has decoded it already, as it does with the character set. Text outside ASCII is not encoded again.
    text = "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value or "")
    return text.encode() if text.isascii() else b""


def _raw_element(keyword: str, raw: bytes) -> RawDataElement:
    vr = dictionary_VR(keyword)
    padded = raw + b" " * (len(raw) % 2)
    return RawDataElement(_tag(keyword), vr, len(padded), padded, 0, False, True)


def _tag(keyword: str) -> BaseTag:
    number = tag_for_keyword(keyword)
    if number is None:
        raise KeyError(keyword)
    return Tag(number)
