"""Which mask belongs to which image: by SOPInstanceUID, by file name, by case, or by a CSV.

Masks are read in `maseg_nnunet.readers.masks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from maseg_nnunet.dataset_conversion.datasets.base import files_below
from maseg_nnunet.dataset_conversion.pseudonyms import Pseudonyms
from maseg_nnunet.dataset_conversion.scan import Scanned, uid_name
from maseg_nnunet.dataset_conversion.user_tables import read_table
from maseg_nnunet.errors import DatasetError, Reason, RefusedError

_SUFFIXES: Final = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".dcm", ".xml")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True)
class MaskIndex:
    """The masks of a data set.

    Attributes:
        root: The folder of the masks, or of the CSV that lists them.
        by_uid: Masks by the keyed hash of their image's SOPInstanceUID.
        by_name: Masks by their image's file name without suffix, or by their case.
    """

    root: Path
    by_uid: dict[str, list[Path]] = field(default_factory=dict)
    by_name: dict[str, list[Path]] = field(default_factory=dict)

    def find(self, image: Scanned, case: str, image_root: Path) -> Path:
        """Find the mask of an image.

        Args:
            image: The image, below `image_root`.
            case: The name that the image is converted under.
            image_root: The input folder.

        Raises:
            RefusedError: There is no mask, or more than one (NO_MASK).
        """
        found = list(self.by_uid.get(image.uid, ())) if image.uid else []
        for name in (stem(image.path), case):
            found = found or self.by_name.get(name, [])
        if len(found) > 1:
            # File names may repeat from folder to folder: prefer the mask in the folder that matches the image's.
            found = [path for path in found if self.is_in_place(path, image, image_root)] or found
        if not found:
            raise RefusedError(Reason.NO_MASK, "no file among the masks has its SOPInstanceUID, its name or its case")
        if len(found) > 1:
            raise RefusedError(Reason.NO_MASK, f"{len(found)} masks have its name: keep one, or name it in a CSV")
        return found[0]

    def is_in_place(self, mask: Path, image: Scanned, image_root: Path) -> bool:
        """Whether `mask` has the same folder below `root` as `image` has below `image_root`."""
        return mask.parent == self.root / image.path.parent.relative_to(image_root)


def stem(path: Path) -> str:
    """The file's name without the suffix of an image or mask format. Other dots are part of the name, as in a UID."""
    name = path.name
    for suffix in (*_SUFFIXES, ".dicom", ".ima", ".tif", ".tiff", ".pgm", ".jpg", ".jpeg"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def index_masks(source: Path, names: Pseudonyms | None) -> MaskIndex:
    """Index the masks in a folder or a CSV.

    Args:
        source: A folder of masks, or a CSV with the columns image (SOPInstanceUID, file name or case) and mask (a path
            relative to the CSV).
        names: Makes the hashes of SOPInstanceUIDs. None for a public data set, whose masks are found by name alone.

    Raises:
        DatasetError: `source` is neither a folder nor a CSV, or the CSV names a file that is missing.
    """
    if source.is_dir():
        index = MaskIndex(source)
        pairs = _pairs_of_folder(source)
    elif source.is_file() and source.suffix.lower() == ".csv":
        index = MaskIndex(source.parent)
        pairs = _pairs_of_csv(source)
    else:
        raise DatasetError(f"{source} is neither a folder of masks nor a CSV with the columns image and mask")
    for name, path in pairs:
        if names is not None and _UID.fullmatch(name):
            index.by_uid.setdefault(uid_name(names, name), []).append(path)
        index.by_name.setdefault(name, []).append(path)
    return index


def _pairs_of_folder(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in files_below(folder):
        name = stem(path)
        if not path.name.lower().endswith(_SUFFIXES):
            continue
        if path.suffix.lower() == ".dcm":
            from maseg_nnunet.readers.masks import mask_instance_uid

            try:
                yield mask_instance_uid(path), path
            except Exception:  # an ordinary image among the masks, or not a DICOM file at all
                continue
        else:
            yield name.removesuffix("_muscle") if path.suffix.lower() == ".xml" else name, path


def _pairs_of_csv(file: Path) -> Iterator[tuple[str, Path]]:
    for line, row in enumerate(read_table(file), start=2):
        image, mask = row.get("image", "").strip(), row.get("mask", "").strip()
        if not image or not mask:
            raise DatasetError(f"{file}, line {line}: the columns image and mask must both be filled")
        path = file.parent / mask
        if not path.is_file():
            raise DatasetError(f"{file}, line {line}: there is no file {mask}")
        yield stem(Path(image)), path
