from __future__ import annotations

from pathlib import Path

import pytest

from maseg_nnunet.dataset_conversion.user_tables import read_table
from maseg_nnunet.errors import DatasetError


def test_a_missing_cell_is_empty_and_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(b"\xef\xbb\xbfimage,mask\na.png,b.png\nc.png\n")
    assert read_table(file) == [{"image": "a.png", "mask": "b.png"}, {"image": "c.png", "mask": ""}]


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(b"image,mask\nM\xe4rz.png,b.png\n")
    with pytest.raises(DatasetError, match="not a CSV in UTF-8"):
        read_table(file)
