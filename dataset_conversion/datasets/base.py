"""What describes a data set, and the layouts that several share. A data set itself is a module beside this one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from maseg_nnunet.arrays import Spacing
from maseg_nnunet.dataset_conversion.user_tables import read_table
from maseg_nnunet.files import size_of, walk
from maseg_nnunet.mammogram import Intent, Side, View

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """The paper's Table 1: what a complete copy of the data set holds."""

    images: int
    women: int
    raw_images: int = 0


@dataclass(frozen=True)
class Known:
    """What a public data set's file names and tables say of an image, in place of a header.

    `case` and `woman` are published names. `spacing` is (row, column) in mm; None leaves it to the header.
    `annotated_spacing` is that of the pixels in which published annotations count; None where it is the image's own.
    """

    case: str
    woman: str
    view: View
    side: Side
    intent: Intent
    spacing: Spacing | None = None
    quality: str = ""
    background_tissue: str = ""
    abnormality: str = ""
    annotated_spacing: tuple[float, float] | None = None


@dataclass(frozen=True)
class Found:
    """A file that a layout offers for conversion; `known` where the layout knows more than the header."""

    path: Path
    known: Known | None = None


@dataclass(frozen=True)
class Dataset:
    """One data set: `key` is what --name takes, `vendor` a key of maseg_nnunet.readers.vendors or None for any."""

    key: str
    dataset_id: int
    name: str
    title: str
    layout: Callable[[Path], Iterator[Found]]
    vendor: str | None = None
    published: Published | None = None
    licence: str = "as the data set's owner states"
    reference: str = ""

    @property
    def folder(self) -> str:
        """nnU-Net's folder name."""
        return f"Dataset{self.dataset_id:03d}_{self.name}"


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every regular file below `folder`, in the order of `maseg_nnunet.files.walk`.

    A folder below it that can't be listed is named in the log, and the rest continues.

    Raises:
        OSError: `folder` itself can't be listed. An empty list would make the conversion remove all earlier cases.
    """
    for place, names in walk(folder):
        if not isinstance(names, OSError):
            yield from (place / name for name in names if size_of(place / name) is not None)
        elif place == folder:
            raise names
        else:
            logger.warning("%s can't be listed, its files are left out: %s", place, names.strerror)


def table_beside(folder: Path, name: str) -> dict[str, dict[str, str]]:
    """Rows by the column image_id of the CSV `name` in `folder` or beside it; empty where there is none.

    Raises as `read_table`.
    """
    for file in (folder / name, folder.resolve().parent / name):
        if file.is_file():
            return {row["image_id"]: row for row in read_table(file) if row.get("image_id")}
    return {}


def dicom_tree(folder: Path) -> Iterator[Found]:
    """Any tree of files; which of them are DICOM is found by reading them."""
    return (Found(path) for path in files_below(folder))
