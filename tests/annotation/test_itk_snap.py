from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import fromstring

from maseg_nnunet.annotation.itk_snap import label_file, workspace


def test_label_descriptions_have_an_index_a_colour_and_a_name() -> None:
    lines = [line.split(maxsplit=7) for line in label_file().splitlines() if not line.startswith("#")]
    assert [(line[0], line[7]) for line in lines] == [
        ("0", '"Clear Label"'),
        ("1", '"breast"'),
        ("2", '"pectoral muscle"'),
    ]
    assert len({tuple(line[1:4]) for line in lines}) == 3


def test_workspace_names_both_files_and_the_labels() -> None:
    registry = fromstring(workspace(Path("/x/a & b_picture.nii.gz"), Path("/x/a & b.nii.gz")))
    entries = {(entry.get("key"), entry.get("value")) for entry in registry.iter("entry")}
    assert ("AbsolutePath", "/x/a & b.nii.gz") in entries
    assert ("Role", "SegmentationRole") in entries
    assert ("Label", "pectoral muscle") in entries
