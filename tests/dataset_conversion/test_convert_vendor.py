"""The command `convert_vendor`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Run
from tests.dataset_conversion.helpers import contents, table


def test_command(films: Path, tmp_path: Path, convert_vendor: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(films)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    done = convert_vendor("--name", "mini_mias", "--input", "films", "--masks", "masks", "--workers", 1)
    assert done.status == 0, done.err
    assert "322" in done.out  # the number of images in a complete copy
    assert (tmp_path / "raw" / "Dataset506_MiniMias" / "dataset.json").is_file()
    sources = [Path(line["path"]) for line in table(tmp_path / "raw" / "Dataset506_MiniMias" / "sources.csv")]
    assert all(path.is_absolute() and path.is_file() for path in sources)


def test_rejected_files_are_counted_by_their_reason(films: Path, tmp_path: Path, convert_vendor: Run) -> None:
    (tmp_path / "masks").mkdir()
    one, *others = sorted((films / "masks").iterdir())
    (tmp_path / "masks" / one.name).write_bytes(one.read_bytes())
    options = "--name", "mini_mias", "--masks", tmp_path / "masks", "--output", tmp_path / "out", "--workers", 1
    done = convert_vendor("--input", films / "films", *options)
    (line,) = [line for line in done.out.splitlines() if line.startswith("rejected")]
    assert line == f"rejected: {len(others)} files: mask missing: name masks as images, or list them in a CSV file"
    (listed,) = (tmp_path / "out").rglob("rejected.csv")
    assert len(table(listed)) == len(others)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--name", "mini_mias", "--input", "nowhere", "--masks", "m", "--output", "o"), 1, "nowhere does not exist"),
        (("--name", "mamografo", "--input", "films"), 2, "ims_giotto"),
        (("--name", "mini_mias", "--input", "films"), 2, "--output"),
        (("--name", "mini_mias", "--input", "films", "--masks", "none", "--output", "o"), 1, "neither a folder"),
        (("--name", "fuji", "--input", "films", "--masks", "masks", "--output", "o"), 1, "not DICOM"),
        (("--name", "mini_mias", "--input", "films", "--output", "o", "--labels", "breast=x"), 2, "breast=VALUE"),
        (("--name", "mini_mias", "--input", "films", "--output", "o", "--labels", "breast=²"), 2, "breast=VALUE"),
        (("--name", "mini_mias", "--input", "films", "--output", "o", "--labels", "breast=1,pectoral=1"), 2, "twice"),
        (("--name", "mini_mias", "--input", "films", "--output", "o", "--key-file", "k", "--dataset-id", 0), 2, "999"),
    ],
)
def test_bad_commands_get_one_line(
    films: Path,
    tmp_path: Path,
    convert_vendor: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(films)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    before = contents(films)
    answer = convert_vendor(*arguments)
    assert answer.status == status
    said = [line for line in answer.err.splitlines() if line.lower().startswith("error: ")]
    assert len(said) == 1
    assert message in said[0]
    assert "Traceback" not in answer.err
    assert contents(films) == before
