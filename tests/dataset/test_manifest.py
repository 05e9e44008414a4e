from dataclasses import replace
from pathlib import Path

import pytest

from maseg_nnunet.dataset.manifest import (
    MANIFEST,
    MANIFEST_COLUMNS,
    ManifestRow,
    read_manifest,
    row_from_csv,
    row_to_csv,
    write_manifest,
)
from maseg_nnunet.errors import DatasetError

ROW = ManifestRow(
    case="fuji_0123456789abcdef_LMLO_01234567",
    subset="train",
    woman="0123456789abcdef",
    exam="fedcba9876543210",
    view="MLO",
    side="L",
    intent="processed",
    dataset="fuji",
    vendor="fuji",
    model='FDR-3000AWS, "with" commas',
    source=7,
    sop_class="Digital Mammography X-Ray Image Storage - For Presentation",
    twin="",
    spacing_row=0.09409090909091,
    spacing_column=0.05,
    spacing_source="ImagerPixelSpacing",
    rows=4728,
    columns=3540,
    target_spacing=0.4,
    flags="magnification view; spot view",
)


def test_rows_come_back_sorted_and_equal(tmp_path: Path) -> None:
    rows = [replace(ROW, case=name) for name in ("c", "a", "b")]
    assert write_manifest(tmp_path / MANIFEST, rows)
    assert read_manifest(tmp_path) == sorted(rows) == read_manifest(tmp_path / MANIFEST)
    assert not write_manifest(tmp_path / MANIFEST, reversed(rows))
    assert (tmp_path / MANIFEST).read_text().splitlines()[0] == ",".join(MANIFEST_COLUMNS)


def test_one_row_and_its_cells() -> None:
    assert row_from_csv(dict(zip(MANIFEST_COLUMNS, row_to_csv(ROW), strict=True))) == ROW


def test_what_a_row_tells() -> None:
    assert ROW.spacing == (0.09409090909091, 0.05)
    assert ROW.target == (0.4, 0.4)
    assert replace(ROW, target_spacing=0.0).target == ROW.spacing
    assert ROW.is_scored
    assert replace(ROW, quality="uncertain").is_scored
    assert not replace(ROW, quality="exclude").is_scored


def test_a_missing_or_broken_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="convert_vendor"):
        read_manifest(tmp_path / MANIFEST)
    for text in (
        "case,subset\na,b\n",
        ",".join(MANIFEST_COLUMNS) + '\n"' + "x" * 200_000,
        ",".join(MANIFEST_COLUMNS) + "\n" + ",".join("x" for _ in MANIFEST_COLUMNS) + "\n",
    ):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(DatasetError, match="again"):
            read_manifest(tmp_path)


def test_a_manifest_of_no_case(tmp_path: Path) -> None:
    write_manifest(tmp_path / MANIFEST, [])
    assert read_manifest(tmp_path) == []
