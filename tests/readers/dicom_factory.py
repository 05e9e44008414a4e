"""Make small DICOM mammograms for tests: valid by default, with any attribute changed, in any transfer syntax.

`write(path)` writes a Hologic MLO of 48 x 40 pixels. Keyword arguments are attributes by their DICOM keyword; None
removes one. Pixels are encoded by other code than the code that reads them, if there is any.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence

ROWS, COLUMNS = 48, 40

LOSSLESS = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


def picture(rows: int = ROWS, columns: int = COLUMNS, bits: int = 12) -> npt.NDArray[np.uint16]:
    """A bright half disc at the left edge on a dark background, with some noise; uint16, within `bits`, never 0."""
    row, column = np.mgrid[:rows, :columns]
    distance = np.hypot(row / rows - 0.5, column / columns)
    noise = np.random.default_rng(1).uniform(0, 0.05, distance.shape)
    gray = np.where(distance < 0.45, 0.8 - distance, 0.02) + noise
    return np.round(gray * ((1 << bits) - 1)).astype(np.uint16)


def item(**attributes: Any) -> Dataset:
    """A data set with these attributes, as an item of a sequence."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        _set(dataset, keyword, value)
    return dataset


def code(value: str, scheme: str = "SCT", **attributes: Any) -> Dataset:
    """An item of a code sequence."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning="meaning", **attributes)


def table(values: Any, *, first: int = 0, bits: int = 12, explanation: str = "", vr: str = "OW") -> Dataset:
    """An item of VOILUTSequence or ModalityLUTSequence. `values` are words, or bytes for 8-bit entries."""
    entry = item(LUTExplanation=explanation) if explanation else Dataset()
    count = len(values) % 65536
    entry.add_new("LUTDescriptor", "SS" if first < 0 else "US", [count, first, bits])
    if isinstance(values, bytes):
        entry.add_new("LUTData", "OW", values + b"\0" * (len(values) % 2))
    elif vr == "OW":
        entry.add_new("LUTData", "OW", np.asarray(values, "<u2").tobytes())
    else:
        entry.add_new("LUTData", vr, [int(value) for value in values])
    return entry


def make(
    pixels: npt.NDArray[Any] | None = None,
    *,
    bits: int = 12,
    syntax: str = uid.ExplicitVRLittleEndian,
    **attributes: Any,
) -> Dataset:
    """A data set with its file meta information. `pixels` are in memory as they will be in the file."""
    pixels = picture(bits=bits) if pixels is None else pixels
    signed = np.issubdtype(pixels.dtype, np.signedinteger)
    dataset = item(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=uid.DigitalMammographyXRayImageStorageForPresentation,
        SOPInstanceUID="1.2.826.0.1.3680043.8.498.1",
        StudyDate="20200102",
        AcquisitionDate="20200102",
        AcquisitionTime="101112",
        Modality="MG",
        PresentationIntentType="FOR PRESENTATION",
        Manufacturer="HOLOGIC, Inc.",
        ManufacturerModelName="Selenia Dimensions",
        PatientName="Quitte^Mirabelle",
        PatientID="QUI0001",
        PatientBirthDate="19480229",
        BodyPartExamined="BREAST",
        ImagerPixelSpacing=["0.07", "0.07"],
        StudyInstanceUID="1.2.826.0.1.3680043.8.498.2",
        SeriesInstanceUID="1.2.826.0.1.3680043.8.498.3",
        PatientOrientation=["A", "F"],
        ImageLaterality="L",
        ViewPosition="MLO",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=pixels.shape[0],
        Columns=pixels.shape[1],
        BitsAllocated=pixels.dtype.itemsize * 8,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int(signed),
        WindowCenter="2000",
        WindowWidth="3000",
        ViewCodeSequence=[code("399368009")],
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    _set_pixels(dataset, encode(pixels, syntax, bits))
    for keyword, value in attributes.items():
        _set(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path, *, preamble: bool = True) -> Path:
    """Write a DICOM file, without preamble and file meta information if asked for, as in very old files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    syntax = dataset.file_meta.TransferSyntaxUID
    with _lenient():
        if preamble:
            dataset.preamble = b"\0" * 128
            pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        else:
            meta = dataset.file_meta
            del dataset.file_meta
            implicit, little = syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
            pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
            dataset.file_meta = meta
    return path


def write(
    path: Path,
    pixels: npt.NDArray[Any] | None = None,
    *,
    bits: int = 12,
    syntax: str = uid.ExplicitVRLittleEndian,
    preamble: bool = True,
    **attributes: Any,
) -> Path:
    """`make` and `save`."""
    return save(make(pixels, bits=bits, syntax=syntax, **attributes), path, preamble=preamble)


def encode(pixels: npt.NDArray[Any], syntax: str, bits: int) -> bytes:
    """The value of PixelData in a transfer syntax: native bytes, or one encapsulated frame."""
    if syntax == uid.ExplicitVRBigEndian:
        return _even(pixels.astype(pixels.dtype.newbyteorder(">")).tobytes())
    if not uid.UID(syntax).is_compressed or syntax == uid.DeflatedExplicitVRLittleEndian:
        return _even(pixels.tobytes())
    return bytes(encapsulate([encode_frame(pixels, syntax, bits)]))


def encode_frame(pixels: npt.NDArray[Any], syntax: str, bits: int) -> bytes:
    """One compressed frame."""
    samples = pixels.view(f"u{pixels.dtype.itemsize}")
    if syntax == uid.RLELossless:
        return bytes(
            RLELosslessEncoder.encode(
                pixels,
                rows=pixels.shape[0],
                columns=pixels.shape[1],
                samples_per_pixel=1,
                number_of_frames=1,
                bits_allocated=pixels.dtype.itemsize * 8,
                bits_stored=bits,
                pixel_representation=int(pixels.dtype.kind == "i"),
                photometric_interpretation="MONOCHROME2",
            )
        )
    encoders = {
        uid.JPEGBaseline8Bit: lambda: imagecodecs.jpeg8_encode(samples, 98),
        uid.JPEGExtended12Bit: lambda: imagecodecs.jpeg8_encode(samples, 98, bitspersample=bits),
        uid.JPEGLossless: lambda: imagecodecs.jpeg8_encode(samples, lossless=True, predictor=4, bitspersample=bits),
        uid.JPEGLosslessSV1: lambda: imagecodecs.jpeg8_encode(samples, lossless=True, predictor=1, bitspersample=bits),
        uid.JPEGLSLossless: lambda: imagecodecs.jpegls_encode(samples),
        uid.JPEGLSNearLossless: lambda: imagecodecs.jpegls_encode(samples, level=2),
        uid.JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(
            pixels, codecformat="j2k", reversible=True, bitspersample=bits
        ),
        uid.JPEG2000: lambda: imagecodecs.jpeg2k_encode(
            pixels, level=60, codecformat="j2k", reversible=False, bitspersample=bits
        ),
        uid.HTJ2KLossless: lambda: imagecodecs.htj2k_encode(pixels, reversible=True),
        uid.HTJ2KLosslessRPCL: lambda: imagecodecs.htj2k_encode(pixels, reversible=True),
        uid.HTJ2K: lambda: imagecodecs.htj2k_encode(pixels, level=0.0005, reversible=False),
    }
    return bytes(encoders[uid.UID(syntax)]())


def _set_pixels(dataset: Dataset, data: bytes) -> None:
    compressed = data[:4] == b"\xfe\xff\x00\xe0" and dataset.file_meta.TransferSyntaxUID.is_encapsulated
    dataset.add_new("PixelData", "OB" if compressed or dataset.BitsAllocated == 8 else "OW", data)
    dataset["PixelData"].is_undefined_length = compressed


def _set(dataset: Dataset, keyword: str, value: Any) -> None:
    if value is None:
        if keyword in dataset:
            del dataset[keyword]
        return
    with _lenient():
        is_sequence = isinstance(value, list) and value and isinstance(value[0], Dataset)
        setattr(dataset, keyword, Sequence(value) if is_sequence else value)


@contextmanager
def _lenient() -> Iterator[None]:
    """Let pydicom write illegal values, which some tests need."""
    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        pydicom.config.settings.writing_validation_mode = before


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)
