"""The vendors' data sets, from DICOM exams of phantoms: names, twins, masks, privacy, several vendors in one folder."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from maseg_nnunet.dataset.manifest import ManifestRow, read_manifest
from maseg_nnunet.dataset_conversion.convert_case import ConversionSettings
from maseg_nnunet.dataset_conversion.convert_dataset import Request, convert_dataset
from maseg_nnunet.dataset_conversion.datasets import REGISTRY
from maseg_nnunet.mammogram import Intent
from maseg_nnunet.synthetic.phantom_dicom import PLANTED, write_exam
from maseg_nnunet.voi import CaseLuts
from tests.commands import stumbling

VENDORS = ("hologic", "ims_giotto", "fuji", "ge", "siemens", "planmed")
WITH_RAW = {"hologic", "ims_giotto", "ge", "siemens"}
BOTH = frozenset(Intent)


@pytest.fixture(scope="session")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two women of each of six vendors, four views each, raw twins where the vendor has them."""
    base = tmp_path_factory.mktemp("exams")
    for vendor in VENDORS:
        for seed in (1, 2):
            write_exam(base / vendor, vendor, seed, scale=0.1)
    return base


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "key"
    file.write_bytes(bytes(range(32)))
    return file


def request(exams: Path, vendor: str, folder: Path, key: Path, **options: object) -> Request:
    base = exams / vendor if (exams / vendor).exists() else exams
    options.setdefault("intents", BOTH)
    return Request(REGISTRY[vendor], base / "images", folder, masks=base / "masks", key_file=key, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor_converts(exams: Path, vendor: str, tmp_path: Path, key: Path) -> None:
    report = convert_dataset(request(exams, vendor, tmp_path / "out", key))
    assert report["found"] == {"images": 8, "women": 2, "raw_images": 8 if vendor in WITH_RAW else 0}
    assert report["rejected"] == {}
    rows = read_manifest(tmp_path / "out")
    assert {row.vendor for row in rows} == {vendor}
    assert {(row.view, row.side) for row in rows} == {("CC", "L"), ("CC", "R"), ("MLO", "L"), ("MLO", "R")}
    for row in rows:
        assert re.fullmatch(rf"{vendor}_[0-9a-f]{{16}}_[LR](CC|MLO)_[0-9a-f]{{8}}(_raw)?", row.case)
        assert row.case.endswith("_raw") == (row.intent == "raw")


@pytest.mark.parametrize("vendor", sorted(WITH_RAW))
def test_twins_find_each_other_and_share_mask_and_subset(exams: Path, vendor: str, tmp_path: Path, key: Path) -> None:
    convert_dataset(request(exams, vendor, tmp_path / "out", key))
    rows = {row.case: row for row in read_manifest(tmp_path / "out")}
    for row in rows.values():
        twin = rows[row.twin]
        assert twin.twin == row.case
        assert twin.case.removesuffix("_raw") == row.case.removesuffix("_raw")
        assert (twin.woman, twin.subset, twin.view, twin.side) == (row.woman, row.subset, row.view, row.side)
        np.testing.assert_array_equal(label(tmp_path / "out", row), label(tmp_path / "out", twin))


def label(folder: Path, row: ManifestRow) -> np.ndarray:
    place = "labelsTs" if row.subset == "test" else "labelsTr"
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / place / f"{row.case}.nii.gz")))


def image(folder: Path, row: ManifestRow) -> np.ndarray:
    place = "imagesTs" if row.subset == "test" else "imagesTr"
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / place / f"{row.case}_0000.nii.gz")))


def test_raw_images_follow_their_women(exams: Path, tmp_path: Path, key: Path) -> None:
    subsets = []
    wanted = {"both": BOTH, "processed": frozenset({Intent.PROCESSED}), "raw": frozenset({Intent.RAW})}
    for name, intents in wanted.items():
        convert_dataset(request(exams, "ge", tmp_path / name, key, intents=intents))
        subsets.append({row.woman: row.subset for row in read_manifest(tmp_path / name)})
    assert subsets[0] == subsets[1] == subsets[2]


def test_the_drawing_does_not_depend_on_the_key(exams: Path, tmp_path: Path, key: Path) -> None:
    other = tmp_path / "key"
    other.write_bytes(bytes(32))
    convert_dataset(request(exams, "fuji", tmp_path / "a", key))
    convert_dataset(request(exams, "fuji", tmp_path / "b", other))
    first, second = read_manifest(tmp_path / "a"), read_manifest(tmp_path / "b")
    assert not {row.woman for row in first} & {row.woman for row in second}
    assert sorted((row.source, row.subset) for row in first) == sorted((row.source, row.subset) for row in second)


@pytest.mark.parametrize("vendor", VENDORS)
def test_images_are_voi_units_and_the_stored_values_come_back(
    exams: Path, vendor: str, tmp_path: Path, key: Path
) -> None:
    """Breast brighter than air and muscle than breast in processed images, whatever the polarity."""
    convert_dataset(request(exams, vendor, tmp_path / "out", key))
    luts = json.loads((tmp_path / "out" / "voi_luts.json").read_text())
    for row in read_manifest(tmp_path / "out"):
        units, mask = image(tmp_path / "out", row), label(tmp_path / "out", row)
        case = CaseLuts.from_json(luts[row.case])
        # float32 keeps seven digits of a VOI unit; the window's width turns that into stored values
        base = case.luts[case.base]
        width = base.width if base.values is None else len(base.values)
        back = case.to_voi_units(case.from_voi_units(units))
        np.testing.assert_allclose(back, units, atol=1e-5 * max(1.0, np.abs(units).max()))
        assert np.abs(case.from_voi_units(units)).max() < 1e5 * width
        if row.intent == "processed":
            shown = np.clip(units, 0, 1)
            assert shown[mask == 1].mean() > shown[mask == 0].mean() + 0.1
        if row.intent == "processed" and row.view == "MLO" and (mask == 2).any():
            assert np.clip(units, 0, 1)[mask == 2].mean() > np.clip(units, 0, 1)[mask == 1].mean()


def test_several_vendors_in_one_folder(exams: Path, tmp_path: Path, key: Path) -> None:
    base = tmp_path / "mixed"
    for vendor in ("fuji", "ge", "planmed"):
        shutil.copytree(exams / vendor / "images", base / "images" / vendor)
        shutil.copytree(exams / vendor / "masks", base / "masks" / vendor)
    (base / "images" / "notes.txt").write_text("no DICOM")
    report = convert_dataset(request(base, "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8
    assert report["other_vendors"] == {"ge": 16, "planmed": 8}
    assert report["not_dicom"] == 1
    everything = convert_dataset(request(base, "dicom", tmp_path / "all", key))
    assert everything["found"] == {"images": 24, "women": 6, "raw_images": 8}


def test_duplicates_are_kept_once(exams: Path, tmp_path: Path, key: Path) -> None:
    base = tmp_path / "twice"
    shutil.copytree(exams / "fuji", base)
    first = next((base / "images").rglob("*.dcm"))
    shutil.copy(first, first.with_name("zz_copy.dcm"))
    report = convert_dataset(request(base, "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8
    assert report["rejected"] == {"duplicate SOPInstanceUID": 1}


def test_of_two_copies_the_whole_one_is_kept(exams: Path, tmp_path: Path, key: Path) -> None:
    base = tmp_path / "twice"
    shutil.copytree(exams / "fuji", base)
    first = next((base / "images").rglob("*.dcm"))
    (base / "images" / "zz").mkdir()
    shutil.copy(first, base / "images" / "zz" / first.name)
    first.write_bytes(first.read_bytes()[:-500])
    report = convert_dataset(request(base, "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8
    assert report["rejected"] == {"duplicate SOPInstanceUID": 1}


def test_images_without_an_instance_uid_are_no_duplicates_but_of_copies(exams: Path, tmp_path: Path, key: Path) -> None:
    edited(exams / "fuji", tmp_path / "in", SOPInstanceUID="")
    first = next((tmp_path / "in" / "images").rglob("*.dcm"))
    shutil.copy(first, first.with_name("zz_copy.dcm"))
    report = convert_dataset(request(tmp_path / "in", "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8
    assert report["rejected"] == {"duplicate SOPInstanceUID": 1}


def test_one_mask_is_not_given_to_several_women(exams: Path, tmp_path: Path, key: Path) -> None:
    """File names that repeat from folder to folder, with all masks, and with one mask missing."""
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
    # A CSV may name a mask that lies elsewhere.
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "masks.csv").write_text(f"image,mask\n1-1.dcm,{tmp_path / 'masks' / f'1-1{suffix}'}\n")
    report = convert_dataset(replace(wanted, masks=tmp_path / "csv" / "masks.csv"))
    assert report["rejected"] == {"mask missing": 8}


def test_a_mask_may_bear_the_name_of_the_case(exams: Path, tmp_path: Path, key: Path) -> None:
    wanted = request(exams, "fuji", tmp_path / "out", key)
    convert_dataset(wanted)
    (tmp_path / "masks").mkdir()
    for path in (tmp_path / "out").glob("labels*/*"):
        shutil.copy(path, tmp_path / "masks" / path.name)
    again = replace(wanted, folder=tmp_path / "again", masks=tmp_path / "masks", settings=ConversionSettings(spacing=0))
    report = convert_dataset(again)
    assert report["rejected"] == {"mask of another size": 8}  # found: they have 0.4 mm


def test_images_of_two_views_are_no_twins(exams: Path, tmp_path: Path, key: Path) -> None:
    """De-identified, every acquisition has one time; a woman's one raw image need not be of her one processed one."""
    shutil.copytree(exams / "ge", tmp_path / "in")
    processed, raw = [], []
    for path in sorted((tmp_path / "in" / "images").rglob("*.dcm")):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        view = header.ImageLaterality, header.ViewPosition
        kind = processed if header.PresentationIntentType == "FOR PRESENTATION" else raw
        if view == ("L", "CC") if kind is processed else view == ("R", "MLO"):
            kind.append(path)
        else:
            path.unlink()
    for path in (processed[0], raw[0]):
        dataset = pydicom.dcmread(path)
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20000101", "000000"
        if "SourceImageSequence" in dataset:
            del dataset.SourceImageSequence
        dataset.save_as(path)
    convert_dataset(request(tmp_path / "in", "ge", tmp_path / "out", key))
    rows = {(row.intent, row.view): row for row in read_manifest(tmp_path / "out")}
    assert set(rows) == {("processed", "CC"), ("raw", "MLO")}
    assert all(row.twin == "" for row in rows.values())


def test_a_header_nobody_thought_of_is_rejected_and_not_quoted(exams: Path, tmp_path: Path, key: Path) -> None:
    """PatientID as a sequence, which holds an integer of three bytes."""
    shutil.copytree(exams / "fuji", tmp_path / "in")
    path = next((tmp_path / "in" / "images").rglob("*.dcm"))
    content = path.read_bytes()
    at = content.index(b"\x10\x00\x20\x00LO")
    size = int.from_bytes(content[at + 6 : at + 8], "little")
    item = b"\x28\x00\x10\x00US\x03\x00abc"
    sequence = b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
    header = b"\x10\x00\x20\x00SQ\x00\x00" + len(sequence).to_bytes(4, "little")
    path.write_bytes(content[:at] + header + sequence + content[at + 8 + size :])
    report = convert_dataset(request(tmp_path / "in", "fuji", tmp_path / "out", key))
    # Without a PatientID its study counts as a woman of her own.
    assert report["found"]["images"] == 8


def test_an_error_while_headers_are_read_rejects_one_file(
    exams: Path, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import maseg_nnunet.readers

    first = next((exams / "fuji" / "images").rglob("*.dcm"))
    monkeypatch.setattr(maseg_nnunet.readers, "read_header", stumbling(maseg_nnunet.readers.read_header, first.name))
    assert convert_dataset(request(exams, "fuji", tmp_path / "out", key))["found"]["images"] == 7
    rejected = (tmp_path / "out" / "rejected.csv").read_text()
    assert "unexpected IndexError" in rejected and "secret" not in rejected


def test_files_without_ending_and_links_in_a_loop(exams: Path, tmp_path: Path, key: Path) -> None:
    base = tmp_path / "deep"
    (base / "images" / "a" / "b" / "c").mkdir(parents=True)
    shutil.copytree(exams / "fuji" / "masks", base / "masks")
    for path in (exams / "fuji" / "images").rglob("*.dcm"):
        shutil.copy(path, base / "images" / "a" / "b" / "c" / path.stem)
    (base / "images" / "a" / "b" / "loop").symlink_to(base / "images")
    report = convert_dataset(request(base, "fuji", tmp_path / "out", key))
    assert report["found"]["images"] == 8


def edited(source: Path, target: Path, **attributes: object) -> None:
    """Copy a folder of exams with attributes of every header replaced."""
    shutil.copytree(source, target)
    for path in target.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for name, value in attributes.items():
            setattr(dataset, name, value)
        dataset.save_as(path)


def test_one_exam_is_of_one_woman_though_some_files_lack_the_issuer(exams: Path, tmp_path: Path, key: Path) -> None:
    for name, issuer in (("with", "A hospital"), ("without", "")):
        edited(exams / "ge" / "images", tmp_path / name, IssuerOfPatientID=issuer)
    for number, path in enumerate(sorted((tmp_path / "with").rglob("*.dcm"))):
        if number % 2:
            shutil.copy(tmp_path / "without" / path.relative_to(tmp_path / "with"), path)
    (tmp_path / "in").mkdir()
    (tmp_path / "with").rename(tmp_path / "in" / "images")
    shutil.copytree(exams / "ge" / "masks", tmp_path / "in" / "masks")
    report = convert_dataset(request(tmp_path / "in", "ge", tmp_path / "out", key))
    rows = read_manifest(tmp_path / "out")
    assert report["found"]["women"] == 2 and len(rows) == 16
    assert len({(row.exam, row.woman, row.subset) for row in rows}) == 2


def test_an_exam_of_too_many_images_joins_no_women(
    exams: Path, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(exams / "fuji", tmp_path / "in", StudyInstanceUID="1.2.3")
    convert = request(tmp_path / "in", "fuji", tmp_path / "out", key)
    assert convert_dataset(convert)["found"]["women"] == 1
    monkeypatch.setattr("maseg_nnunet.dataset_conversion.selection.MOST_IMAGES", 7)
    assert convert_dataset(replace(convert, folder=tmp_path / "apart"))["found"]["women"] == 2


@pytest.mark.parametrize("dummy", ["", "0000000000", "ANONYMOUS"])
def test_women_without_a_patient_id_stay_apart(exams: Path, tmp_path: Path, key: Path, dummy: str) -> None:
    edited(exams / "fuji", tmp_path / "in", PatientID=dummy)
    report = convert_dataset(request(tmp_path / "in", "fuji", tmp_path / "out", key))
    assert report["found"]["women"] == 2
    assert all("dummy" in row.flags for row in read_manifest(tmp_path / "out"))


@pytest.mark.parametrize("evil", ["../../x", "/etc/passwd", "x" * 300, "Łucja\u202e", "a\x00b", "-rf", "C:\\x"])
def test_an_identifier_can_not_steer_a_path(exams: Path, tmp_path: Path, key: Path, evil: str) -> None:
    attributes = {"PatientID": evil[:64], "PatientName": evil[:64], "StudyID": evil[:16], "AccessionNumber": evil[:16]}
    edited(exams / "planmed", tmp_path / "in", SpecificCharacterSet="ISO_IR 192", **attributes)
    before = set(tmp_path.parent.iterdir())
    convert_dataset(request(tmp_path / "in", "planmed", tmp_path / "out", key))
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert set(tmp_path.parent.iterdir()) == before
    for row in read_manifest(tmp_path / "out"):
        assert re.fullmatch(r"planmed_[0-9a-f]{16}_[LR](CC|MLO)_[0-9a-f]{8}", row.case)


def planted(exams: Path) -> Iterator[bytes]:
    """Everything in the headers that could identify a woman, an exam or an image."""
    for path in exams.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber"):
            if value := str(header.get(name, "")):
                yield value.encode()
    yield from (word.encode() for word in PLANTED)


def test_nothing_of_a_patient_reaches_an_output(
    exams: Path, tmp_path: Path, key: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    convert_dataset(request(exams, "ge", tmp_path / "out", key, workers=2))
    shown = capfd.readouterr()
    secrets = set(planted(exams / "ge"))
    assert len(secrets) > 30
    texts = {"log": caplog.text.encode(), "out": shown.out.encode(), "err": shown.err.encode()}
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.name != "sources.csv":
            data = path.read_bytes()
            texts[path.name] = gzip.decompress(data) if path.suffix == ".gz" else data
            assert path.name.encode() not in secrets
    for name, text in texts.items():
        found = [secret for secret in secrets if secret in text]
        assert not found, f"{name} holds {found}"
        assert str(exams).encode() not in text, f"{name} holds a path"
    assert (tmp_path / "out" / "sources.csv").stat().st_mode & 0o077 == 0


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
    wanted = request(exams, "fuji", tmp_path / "stem", key)
    convert_dataset(wanted)
    for name, masks in (("uid", by_uid), ("csv", tmp_path / "masks.csv")):
        convert_dataset(replace(wanted, folder=tmp_path / name, masks=masks))
        for row in read_manifest(tmp_path / "stem"):
            np.testing.assert_array_equal(label(tmp_path / name, row), label(tmp_path / "stem", row))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_real_files(real_dicom: Path, tmp_path: Path, key: Path) -> None:
    """Each of the seven is converted, or turned away with the reason that its header gives."""
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
    """The published property lists give the muscle, Otsu the breast, as the paper began."""
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
        mine, theirs = label(tmp_path / "xml", row), label(tmp_path / "png", row)
        for value, least in ((2, 0.95), (1, 0.8)):
            both = np.count_nonzero((mine == value) & (theirs == value))
            assert 2 * both / (np.count_nonzero(mine == value) + np.count_nonzero(theirs == value)) > least
