"""Which mask is found for which image."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom

from maseg_nnunet.dataset.manifest import read_manifest
from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings
from maseg_nnunet.dataset_conversion.convert_dataset import Request, convert_dataset
from maseg_nnunet.dataset_conversion.datasets import REGISTRY
from tests.dataset_conversion.helpers import converted_mask, exams_request, table


def test_masks_named_by_instance_uid_and_by_csv(exams: Path, tmp_path: Path, key: Path) -> None:
    by_uid, lines = tmp_path / "by_uid", ["image,mask"]
    by_uid.mkdir()
    for path in (exams / "fuji" / "images").rglob("*.dcm"):
        uid = pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
        mask = next((exams / "fuji" / "masks").rglob(f"{path.stem}.*"))
        suffix = "".join(mask.suffixes)
        shutil.copy(mask, by_uid / f"{uid}{suffix}")
        lines.append(f"{path.name},by_uid/{uid}{suffix}")
    (tmp_path / "masks.csv").write_text("\n".join(lines) + "\n")
    wanted = exams_request(exams, "fuji", tmp_path / "stem", key)
    convert_dataset(wanted)
    for name, masks in (("uid", by_uid), ("csv", tmp_path / "masks.csv")):
        convert_dataset(replace(wanted, folder=tmp_path / name, masks=masks))
        for row in read_manifest(tmp_path / "stem"):
            np.testing.assert_array_equal(converted_mask(tmp_path / name, row), converted_mask(tmp_path / "stem", row))


def test_a_mask_may_bear_the_name_of_the_case(exams: Path, tmp_path: Path, key: Path) -> None:
    wanted = exams_request(exams, "fuji", tmp_path / "out", key)
    convert_dataset(wanted)
    (tmp_path / "masks").mkdir()
    for path in (tmp_path / "out").glob("labels*/*"):
        shutil.copy(path, tmp_path / "masks" / path.name)
    again = replace(wanted, folder=tmp_path / "again", masks=tmp_path / "masks", settings=ConversionSettings(spacing=0))
    report = convert_dataset(again)
    assert report["rejected"] == {"mask of another size": 8}  # the masks are found, but have 0.4 mm


def test_one_mask_is_not_given_to_several_women(exams: Path, tmp_path: Path, key: Path) -> None:
    """File names repeat from folder to folder; first all masks are present, then only one."""
    masks = {path.name.split(".")[0]: path for path in (exams / "fuji" / "masks").rglob("*") if path.is_file()}
    sources = sorted((exams / "fuji" / "images").rglob("*.dcm"))
    suffix = "".join(masks[sources[0].stem].suffixes)
    for number, source in enumerate(sources):
        for kind, file, ending in (("images", source, ".dcm"), ("masks", masks[source.stem], suffix)):
            place = tmp_path / kind / f"p{number}"
            place.mkdir(parents=True)
            shutil.copy(file, place / f"1-1{ending}")
    wanted = Request(REGISTRY["fuji"], tmp_path / "images", tmp_path / "out", masks=tmp_path / "masks", key_file=key)
    assert convert_dataset(wanted)["found"]["images"] == 8
    for number in range(1, 8):
        shutil.rmtree(tmp_path / "masks" / f"p{number}")
    report = convert_dataset(wanted)
    assert report["found"]["images"] == 1 and report["rejected"] == {"mask missing": 7}
    assert table(tmp_path / "out" / "sources.csv")[0]["path"].endswith("p0/1-1.dcm")
    (tmp_path / "masks" / "p0" / f"1-1{suffix}").rename(tmp_path / "masks" / f"1-1{suffix}")
    assert convert_dataset(wanted)["rejected"] == {"mask missing": 8}
    assert "as the images'" in (tmp_path / "out" / "rejected.csv").read_text()
    # A CSV may name a mask in another folder.
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "masks.csv").write_text(f"image,mask\n1-1.dcm,{tmp_path / 'masks' / f'1-1{suffix}'}\n")
    report = convert_dataset(replace(wanted, masks=tmp_path / "csv" / "masks.csv"))
    assert report["rejected"] == {"mask missing": 8}
