from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maseg_nnunet.dataset.voi_luts import read_voi_luts, write_voi_luts
from maseg_nnunet.errors import DatasetError
from maseg_nnunet.voi import CaseLuts, Function, LookUpTable

CURVE = (4095 / (1 + np.exp(-(np.arange(4096) - 2000) / 300))).astype(int)
TABLE = LookUpTable("NORMAL", Function.TABLE, first=0, bits=12, values=CURVE)
WINDOW = LookUpTable("HARDER", Function.LINEAR, center=2200.0, width=800.0)


def test_reads_what_conversion_writes_and_refuses_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "voi_luts.json"
    case = CaseLuts(True, 0, (TABLE, WINDOW))
    write_voi_luts(path, {"case": json.dumps(case.to_json())})
    read = read_voi_luts(path)["case"]
    assert read.inverted and read.luts[1].width == 800
    assert np.array_equal(read.luts[0].values, CURVE)
    for broken in ("[]", "{", '{"case": {}}', '{"case": {"inverted": 0, "base": 0, "luts": [{"function": "x"}]}}'):
        path.write_text(broken)
        with pytest.raises(DatasetError, match="voi_luts"):
            read_voi_luts(path)


def test_one_line_per_case_sorted(tmp_path: Path) -> None:
    path = tmp_path / "voi_luts.json"
    write_voi_luts(path, {"b": "{}", 'a"': "[1]"})
    assert path.read_text() == '{\n"a\\"": [1],\n"b": {}\n}\n'
    assert json.loads(path.read_text()) == {'a"': [1], "b": {}}


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="convert again"):
        read_voi_luts(tmp_path / "voi_luts.json")
