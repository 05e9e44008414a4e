"""What MkDocs adds to the pages: tables made from the code, and the model's card.

A line `<!-- table: NAME -->` in a page becomes the table of the function NAME below. An unknown name fails the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

MODEL = Path(__file__).parent.parent / "maseg_nnunet" / "models" / "maseg_lite"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the packaged model's card, which lies beside the model, and its picture."""
    card = (MODEL / "MODEL_CARD.md").read_text(encoding="utf-8")
    licence = (MODEL / "LICENSE").read_text(encoding="utf-8")
    card = card.replace("[LICENSE](LICENSE)", "[LICENSE](#licence)").replace(
        "docs/experiments.md in the repository", "[Experiments](experiments.md)"
    )
    card += "\n```text\n" + licence + "```\n"
    files.append(File.generated(config, "card.md", content=card))
    files.append(File.generated(config, "worst.jpg", abs_src_path=str(MODEL / "worst.jpg")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks by their tables."""
    return re.sub(r"<!-- table: (\w+) -->", lambda mark: TABLES[mark.group(1)](), markdown)


def vendors() -> str:
    """The makers that are recognised."""
    from maseg_nnunet.readers.vendors import VENDORS

    rows = ((v.title, f"`{v.key}`", ", ".join(v.names), v.unsaid) for v in VENDORS.values())
    return _table(("maker", "key", "names in headers", "what its headers leave unsaid"), rows)


def datasets() -> str:
    """The data sets of `convert_vendor --name`."""
    from maseg_nnunet.dataset_conversion.datasets import REGISTRY

    rows = ((f"`{d.key}`", d.title, f"`{d.folder}`") for d in REGISTRY.values())
    return _table(("`--name`", "data set", "folder"), rows)


def transfer_syntaxes() -> str:
    """The transfer syntaxes that are decoded, native and compressed."""
    from pydicom import uid

    from maseg_nnunet.readers.decoders import SYNTAXES

    native = (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    )
    rows = [(syntax.name, f"`{syntax}`", "native") for syntax in native]
    rows += [(syntax.name, f"`{syntax}`", "imagecodecs") for syntax in SYNTAXES]
    return _table(("transfer syntax", "UID", "decoded by"), rows)


def sop_classes() -> str:
    """What `maseg serve` accepts and sends."""
    from pydicom.uid import SegmentationStorage
    from pynetdicom.sop_class import Verification

    from maseg_nnunet.serving.server import ACCEPTED

    rows = [("Verification", f"`{Verification}`", "SCP")]
    rows += [(sop_class.name, f"`{sop_class}`", "SCP (accepted)") for sop_class in ACCEPTED]
    rows.append((SegmentationStorage.name, f"`{SegmentationStorage}`", "SCU (sent)"))
    return _table(("SOP class", "UID", "role"), rows)


def views() -> str:
    """The views that are told apart."""
    from maseg_nnunet.mammogram import View

    rows = ((f"`{view.value}`", view.meaning, "yes" if view.is_mlo_like else "") for view in View if view.value)
    return _table(("view", "name", "a large muscle is expected"), rows)


def flags() -> str:
    """The flags of images and of masks."""
    from maseg_nnunet.dataset_conversion.plausibility import MaskDoubt
    from maseg_nnunet.mammogram import Flag
    from maseg_nnunet.writers.measures import MaskFlag

    rows = [(f"`{flag.value}`", flag.meaning) for flag in Flag]
    rows += [(f"`{flag.value}`", "Look at the preview: the mask, or the image, is unusual.") for flag in MaskFlag]
    rows += [
        (f"`{doubt.value}`", "Look at the reference mask beside its image before you train on it.")
        for doubt in MaskDoubt
    ]
    return _table(("flag", "meaning"), rows)


def reasons() -> str:
    """The reasons for rejecting a file."""
    from maseg_nnunet.errors import Reason

    return _table(("reason", "meaning"), ((f"`{reason.value}`", reason.meaning) for reason in Reason))


def statistics() -> str:
    """The columns of statistics.csv, from the docstring of ImageStatistics."""
    from inspect import cleandoc

    from maseg_nnunet.writers.measures import STATISTICS_COLUMNS, ImageStatistics

    section = cleandoc(ImageStatistics.__doc__ or "").partition("Attributes:\n")[2]
    found = dict(re.findall(r"^    (\w+): ((?:.*\n?)(?: {8}.*\n?)*)", section, re.MULTILINE))
    rows = [("`file` or `case`", "Path of the input relative to what was given, or the case's name (`maseg export`).")]
    rows += [(f"`{column}`", " ".join(found[column].split())) for column in STATISTICS_COLUMNS]
    return _table(("column", "what it is"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


TABLES = {
    function.__name__: function
    for function in (vendors, datasets, transfer_syntaxes, sop_classes, views, flags, reasons, statistics)
}
