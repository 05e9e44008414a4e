"""The data sets that --name accepts: the vendors' on DICOM exams of phantoms, real DICOM files, and INbreast."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.dataset_conversion.convert_dataset import Request, convert_dataset
from maseg_nnunet.dataset_conversion.datasets import REGISTRY
from tests.dataset_conversion.helpers import VENDORS, WITH_RAW, converted_mask, exams_request, table


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor_converts(exams: Path, vendor: str, tmp_path: Path, key: Path) -> None:
    report = convert_dataset(exams_request(exams, vendor, tmp_path / "out", key))
    assert report["found"] == {"images": 8, "women": 2, "raw_images": 8 if vendor in WITH_RAW else 0}
    assert report["rejected"] == {}
    rows = read_manifest(tmp_path / "out")
    assert {row.vendor for row in rows} == {vendor}
    assert {(row.view, row.side) for row in rows} == {("CC", "L"), ("CC", "R"), ("MLO", "L"), ("MLO", "R")}
    for row in rows:
        assert re.fullmatch(rf"{vendor}_[0-9a-f]{{16}}_[LR](CC|MLO)_[0-9a-f]{{8}}(_raw)?", row.case)
        assert row.case.endswith("_raw") == (row.intent == "raw")


def test_several_vendors_in_one_folder(exams: Path, tmp_path: Path, key: Path) -> None:
    base = tmp_path / "mixed"
    for vendor in ("fuji", "ge", "planmed"):
        shutil.copytree(exams / vendor / "images", base / "images" / vendor)
        shutil.copytree(exams / vendor / "masks", base / "masks" / vendor)
    (base / "images" / "notes.txt").write_text("no DICOM")
    report = convert_dataset(exams_request(base, "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8
    assert report["other_vendors"] == {"ge": 16, "planmed": 8}
    assert report["not_dicom"] == 1
    everything = convert_dataset(exams_request(base, "dicom", tmp_path / "all", key))
    assert everything["found"] == {"images": 24, "women": 6, "raw_images": 8}


def test_real_files(real_dicom: Path, tmp_path: Path, key: Path) -> None:
    """Each of the seven is converted, or rejected for the reason that its header gives."""
    request = Request(REGISTRY["dicom"], real_dicom, tmp_path / "exams", key_file=key)
    report = convert_dataset(request)
    names = {line["source"]: Path(line["path"]).name for line in table(tmp_path / "exams" / "sources.csv")}
    rejected = {names[line["source"]]: line["reason"] for line in table(tmp_path / "exams" / "rejected.csv")}
    assert rejected == {"MG1_J2KI.dcm": rejected.get("MG1_J2KI.dcm")}
    assert rejected["MG1_J2KI.dcm"] in ("other modality", "no spacing")
    assert report["found"]["images"] == 6
    by_name = {names[str(row.source)]: row for row in read_manifest(tmp_path / "exams")}
    assert {name: (row.vendor, row.side, row.view) for name, row in by_name.items()} == {
        "GE_SIGMOID_3LUT_RMLO.dcm": ("ge", "R", "MLO"),
        "GE_RCC.dcm": ("ge", "R", "CC"),
        "Hologic_Selenia_LCC.dcm": ("hologic", "L", "CC"),
        "Hologic_scout_MONOCHROME1.dcm": ("hologic", "L", "CC"),
        "Siemens_overlays_LCC.dcm": ("siemens", "L", "CC"),
        "MG_Explicit_Little.dcm": ("unknown", "R", "CC"),
    }


def test_inbreast_layout(real_data: Path, tmp_path: Path) -> None:
    """A dozen images of the real set, as PNG with the table of spacings."""
    source = tmp_path / "inbreast"
    (source / "images").mkdir(parents=True)
    shutil.copy(real_data / "inbreast" / "inbreast.csv", source)
    chosen = sorted((real_data / "inbreast" / "images").iterdir())[:12]
    for path in chosen:
        shutil.copy(path, source / "images")
    request = Request(REGISTRY["inbreast"], source, tmp_path / "out", masks=real_data / "inbreast" / "masks")
    report = convert_dataset(request)
    assert report["found"]["images"] == 12
    assert report["published"] == {"images": 410, "women": 108, "raw_images": 0}
    rows = read_manifest(tmp_path / "out")
    assert {row.case for row in rows} == {path.name[:8] for path in chosen}
    assert {row.view for row in rows} == {"CC", "MLO"}
    assert {row.intent for row in rows} == {"processed"}
    assert all(row.woman.startswith("inbreast_") and row.quality for row in rows)
    assert all(0.399 < row.spacing_row < 0.401 and row.target_spacing == 0.4 for row in rows)


def test_inbreast_muscle_annotations_as_masks(real_data: Path, tmp_path: Path) -> None:
    """The muscle comes from the published property lists and the breast from Otsu, as in the paper (2.1.1)."""
    source = tmp_path / "inbreast"
    (source / "images").mkdir(parents=True)
    shutil.copy(real_data / "inbreast" / "inbreast.csv", source)
    annotations = real_data / "inbreast" / "pectoral_xml"
    for file in annotations.iterdir():
        (path,) = (real_data / "inbreast" / "images").glob(f"{file.name[:8]}*")
        shutil.copy(path, source / "images")
    convert_dataset(Request(REGISTRY["inbreast"], source, tmp_path / "xml", masks=annotations))
    convert_dataset(Request(REGISTRY["inbreast"], source, tmp_path / "png", masks=real_data / "inbreast" / "masks"))
    rows = read_manifest(tmp_path / "xml")
    assert len(rows) == 10
    for row in rows:
        mine, theirs = converted_mask(tmp_path / "xml", row), converted_mask(tmp_path / "png", row)
        for value, least in ((2, 0.95), (1, 0.8)):
            both = np.count_nonzero((mine == value) & (theirs == value))
            assert 2 * both / (np.count_nonzero(mine == value) + np.count_nonzero(theirs == value)) > least
