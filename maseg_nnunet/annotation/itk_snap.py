"""Files that ITK-SNAP opens: label descriptions and workspaces. Not the images and masks themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from maseg_nnunet.labels import Label

_COLOURS: Final = {Label.BREAST: (255, 0, 0), Label.PECTORAL_MUSCLE: (0, 0, 255)}


def label_file() -> str:
    """Text of ITK-SNAP's label description: index, red, green, blue, opacity, visible, mesh, name."""
    lines = ['    0     0    0    0        0  0  0    "Clear Label"']
    for label, (red, green, blue) in _COLOURS.items():
        name = label.name.lower().replace("_", " ")
        lines.append(f'    {int(label)}  {red:4d} {green:4d} {blue:4d}        1  1  1    "{name}"')
    return "# ITK-SnAP Label Description File\n" + "\n".join(lines) + "\n"


def workspace(picture: Path, mask: Path) -> str:
    """Text of an ITK-SNAP 3 workspace (.itksnap) that opens an image and its mask with our labels.

    Args:
        picture: The image, opened as the main layer.
        mask: Opened as the segmentation. The workspace is meant to be saved in its folder.
    """
    registry = Element("registry")
    _entry(registry, "SaveLocation", str(mask.absolute().parent))
    _entry(registry, "Version", "20161029")
    layers = SubElement(registry, "folder", key="Layers")
    for number, (path, role) in enumerate(((picture, "MainRole"), (mask, "SegmentationRole"))):
        layer = SubElement(layers, "folder", key=f"Layer[{number:03d}]")
        _entry(layer, "AbsolutePath", str(path.absolute()))
        _entry(layer, "Role", role)
        _entry(layer, "Tags", "")
    table = SubElement(SubElement(registry, "folder", key="IRIS"), "folder", key="LabelTable")
    _entry(table, "NumberOfElements", str(len(_COLOURS)))
    for number, (label, colour) in enumerate(_COLOURS.items()):
        element = SubElement(table, "folder", key=f"Element[{number}]")
        for key, value in (
            ("Alpha", "255"),
            ("Color", " ".join(map(str, colour))),
            ("Flags", "1 1"),
            ("Index", str(int(label))),
            ("Label", label.name.lower().replace("_", " ")),
        ):
            _entry(element, key, value)
    indent(registry)
    body = tostring(registry, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8" ?>\n<!--ITK-SNAP (itksnap.org) Project File-->\n{body}\n'


def _entry(parent: Element, key: str, value: Any) -> None:
    SubElement(parent, "entry", key=key, value=value)
