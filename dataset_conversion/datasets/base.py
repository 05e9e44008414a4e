"""How a data set is described, and the folder layouts that several share. Each data set is a module beside this one."""

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
    """What a complete copy of the data set contains (the paper, Table 1)."""

    images: int
    women: int
    raw_images: int = 0


@dataclass(frozen=True)
class Known:
    """What a public data set's file names and tables say about an image, in place of a header.

    Attributes:
        case: Published name of the image.
        woman: Published name of the woman.
        view: Projection.
        side: Laterality.
        intent: Processed, raw or film.
        spacing: (row, column) in mm; None leaves it to the header.
        quality: Quality of the reference mask: ok, minor, uncertain, exclude, or empty.
        background_tissue: As mini-MIAS publishes it.
        abnormality: As mini-MIAS publishes it.
        annotated_spacing: (row, column) in mm of the pixels that published annotations count in; None if it is the
            image's own.
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
    """A file that a layout offers for conversion; `known` is None if the header has to be read."""

    path: Path
    known: Known | None = None


@dataclass(frozen=True)
class Dataset:
    """One data set.

    Attributes:
        key: Its name for --name, and in the manifest.
        dataset_id: nnU-Net's default number.
        name: nnU-Net's name, after the number.
        title: One line that describes it.
        layout: Yields the files of an input folder.
        vendor: A key of `maseg_nnunet.readers.vendors`; None accepts any vendor.
        published: What a complete copy contains, None if unknown.
        licence: For dataset.json.
        reference: For dataset.json.
    """

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
        """nnU-Net's name of the converted data set's folder."""
        return f"Dataset{self.dataset_id:03d}_{self.name}"


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every regular file below `folder`, in the order of `maseg_nnunet.files.walk`.

    If a folder below it can't be listed, that is logged and the other folders are still listed.

    Raises:
        OSError: `folder` itself can't be listed. With an empty list, the conversion would remove all earlier cases.
    """
    for place, names in walk(folder):
        if not isinstance(names, OSError):
            yield from (place / name for name in names if size_of(place / name) is not None)
        elif place == folder:
            raise names
        else:
            logger.warning("%s can't be listed, its files are left out: %s", place, names.strerror)


def table_beside(folder: Path, name: str) -> dict[str, dict[str, str]]:
    """Read the CSV `name` in `folder` or beside it.

    Returns:
        Rows by their column image_id; empty if there is no such file.

    Raises:
        DatasetError: As `read_table`.
    """
    for file in (folder / name, folder.resolve().parent / name):
        if file.is_file():
            return {row["image_id"]: row for row in read_table(file) if row.get("image_id")}
    return {}


def dicom_tree(folder: Path) -> Iterator[Found]:
    """Every file in a tree of any depth; whether a file is DICOM is found by reading it."""
    return (Found(path) for path in files_below(folder))
