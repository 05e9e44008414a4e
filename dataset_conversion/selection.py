"""Which files are converted, and under which names: vendors, duplicates, twins, masks, subsets. No pixels are read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from maseg_nnunet.dataset_conversion import splits
from maseg_nnunet.dataset_conversion.datasets.base import Dataset
from maseg_nnunet.dataset_conversion.mask_index import MaskIndex, stem
from maseg_nnunet.dataset_conversion.scan import Rejected, Scanned
from maseg_nnunet.dataset_conversion.user_tables import read_table
from maseg_nnunet.errors import DatasetError, Reason, RefusedError
from maseg_nnunet.mammogram import Flag, Intent

MOST_IMAGES: Final = 36
"""The most images of one woman in the paper; with more, several women may share a PatientID."""

_SPECIAL: Final = {
    Flag.MAGNIFICATION,
    Flag.SPOT,
    Flag.IMPLANT_DISPLACED,
    Flag.CLEAVAGE,
    Flag.TANGENTIAL,
    Flag.AXILLARY_TAIL,
    Flag.TOMOSYNTHESIS,
    Flag.SUBTRACTION,
    Flag.BIOPSY,
    Flag.QUALITY_CONTROL,
}


@dataclass(frozen=True)
class Selected:
    """One case to convert.

    Attributes:
        scanned: The image.
        case: Its name.
        subset: train, val, test, or predict for an exam without masks.
        mask: Its mask, None for an exam to be predicted.
        twin: The case of its raw or processed partner, empty if it has none.
    """

    scanned: Scanned
    case: str
    subset: str
    mask: Path | None = None
    twin: str = ""


@dataclass
class Selection:
    """What becomes of every file: it is selected, rejected, or only counted.

    Attributes:
        cases: The cases to convert.
        rejected: Files that are not converted, with the reason.
        not_dicom: Number of files that are not DICOM.
        other_vendors: Number of images of each other vendor.
        other_intents: Number of images of intents that were not asked for.
        crowded_women: Number of women with more than `MOST_IMAGES` images.
    """

    cases: list[Selected] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    not_dicom: int = 0
    other_vendors: Counter[str] = field(default_factory=Counter)
    other_intents: int = 0
    crowded_women: int = 0


def select(
    outcomes: Iterable[Scanned | Rejected],
    dataset: Dataset,
    *,
    intents: frozenset[Intent],
    masks: MaskIndex | None,
    root: Path,
    split_file: Path | None = None,
) -> Selection:
    """Decide what becomes of every scanned file.

    Args:
        outcomes: The scanned files, in any order.
        dataset: What is converted; it decides vendor and names.
        intents: The intents to convert; films count as processed.
        masks: The masks. If None, all images are exams to be predicted, and special views are kept.
        root: The input folder.
        split_file: CSV that gives the subsets instead of the drawing.

    Raises:
        DatasetError: The split file can't be read or does not give every woman exactly one subset.
    """
    selection = Selection()
    images = _of_this_vendor(outcomes, dataset, selection)
    images = _without_duplicates(images, selection)
    if masks is not None:
        images = _without_special_views(images, selection)
    twins = _twins(images)
    images = _of_one_woman_each(images, twins)
    named = _named(images, dataset, twins, selection)
    with_masks = named if masks is None else _with_masks(named, masks, root, selection)
    _warn_of_crowds(with_masks, selection)
    subsets = {} if masks is None else _subsets(with_masks, split_file)
    for item in with_masks:
        # The paper treats films as processed images throughout.
        if item.scanned.intent in intents or (item.scanned.intent is Intent.FILM and Intent.PROCESSED in intents):
            selection.cases.append(replace(item, subset=subsets.get(item.scanned.woman, "predict")))
        else:
            selection.other_intents += 1
    return selection


def _of_this_vendor(outcomes: Iterable[Scanned | Rejected], dataset: Dataset, selection: Selection) -> list[Scanned]:
    kept = []
    for outcome in sorted(outcomes, key=lambda o: o.number):
        if isinstance(outcome, Rejected):
            if outcome.reason is Reason.NOT_DICOM:
                selection.not_dicom += 1
            else:
                selection.rejected.append(outcome)
        elif outcome.known is None and dataset.vendor is not None and outcome.vendor != dataset.vendor:
            selection.other_vendors[outcome.vendor] += 1
        else:
            kept.append(outcome)
    return kept


def _without_duplicates(images: list[Scanned], selection: Selection) -> list[Scanned]:
    copies: dict[str, list[Scanned]] = defaultdict(list)
    for image in images:
        copies[image.uid or f"{image.image}{image.intent.value}"].append(image)
    kept = []
    for same in copies.values():
        # Keep the largest file, or the first of equal ones: a header does not show that its file is truncated.
        chosen = same[0] if len(same) == 1 else max(same, key=lambda image: image.path.stat().st_size)
        kept.append(chosen)
        detail = f"the same image as source {chosen.number}, which is kept"
        others = (image.number for image in same if image is not chosen)
        selection.rejected += [Rejected(number, Reason.DUPLICATE, detail) for number in others]
    return sorted(kept, key=lambda image: image.number)


def _without_special_views(images: list[Scanned], selection: Selection) -> list[Scanned]:
    kept = []
    for image in images:
        special = [flag.value for flag in image.flags if flag in _SPECIAL]
        if special:
            detail = f"{', '.join(special)}: not for training"
            selection.rejected.append(Rejected(image.number, Reason.SPECIAL_VIEW, detail))
        else:
            kept.append(image)
    return kept


def _twins(images: Sequence[Scanned]) -> dict[int, int]:
    """Number of each image to the number of its raw or processed partner, which has the same view and side.

    A processed image's partner is the raw image that it was derived from. If no such image is present, it is the raw
    image of the same acquisition, but only if that pair is unambiguous, because de-identification may give all
    acquisitions the same time.
    """
    raw_by_uid = {image.uid: image for image in images if image.intent is Intent.RAW and image.uid}
    by_acquisition: dict[tuple[str, Intent], list[Scanned]] = defaultdict(list)
    for image in images:
        if image.acquisition:
            by_acquisition[image.acquisition, image.intent].append(image)
    partner: dict[int, int] = {}
    for image in images:
        if image.intent is not Intent.PROCESSED:
            continue
        sources = [raw_by_uid[uid] for uid in image.derived_from if uid in raw_by_uid]
        same = by_acquisition.get((image.acquisition, Intent.RAW), []) if image.acquisition else []
        only_one = len(by_acquisition.get((image.acquisition, Intent.PROCESSED), [])) == 1
        candidates = [
            raw for raw in sources or (same if only_one else []) if (raw.view, raw.side) == (image.view, image.side)
        ]
        if len(candidates) == 1 and candidates[0].number not in partner:
            partner[image.number] = candidates[0].number
            partner[candidates[0].number] = image.number
    return partner


def _of_one_woman_each(images: Sequence[Scanned], twins: dict[int, int]) -> list[Scanned]:
    """`images` with one woman for all images of an exam, for a raw image and its twin, and for a PatientID.

    A woman must be in one subset. If the issuer is missing from some images of a PatientID, all of them count as one
    woman's, whatever the other issuers are. An exam with more images than `MOST_IMAGES` is ignored, because
    de-identification may give all exams the same UID.
    """
    by_number = {image.number: image for image in images}
    together: dict[str, list[Scanned]] = defaultdict(list)
    for image in images:
        if image.exam:
            together[image.exam].append(image)
    groups = [group for group in together.values() if len(group) <= MOST_IMAGES]
    groups += [[by_number[one], by_number[other]] for one, other in twins.items()]
    patients: dict[str, list[Scanned]] = defaultdict(list)
    for image in images:
        if image.patient:
            patients[image.patient].append(image)
    groups += [group for group in patients.values() if not all(image.has_issuer for image in group)]
    women = {image.woman: (image.drawn, image.woman) for image in images}
    changed = True
    while changed:
        changed = False
        for group in groups:
            first = min(women[image.woman] for image in group)
            for image in group:
                changed |= women[image.woman] != first
                women[image.woman] = first
    return [replace(image, drawn=women[image.woman][0], woman=women[image.woman][1]) for image in images]


def _named(images: Sequence[Scanned], dataset: Dataset, twins: dict[int, int], selection: Selection) -> list[Selected]:
    by_number = {image.number: image for image in images}
    names = {image.number: _case(image, by_number.get(twins.get(image.number, 0)), dataset) for image in images}
    selected, taken = [], set()
    for image in images:
        name = names[image.number]
        if name in taken:
            detail = "another image has the same name: convert the two as separate data sets"
            selection.rejected.append(Rejected(image.number, Reason.DUPLICATE, detail))
            continue
        taken.add(name)
        selected.append(Selected(image, name, "", twin=names.get(twins.get(image.number, 0), "")))
    return selected


def _case(image: Scanned, twin: Scanned | None, dataset: Dataset) -> str:
    if image.known is not None:
        return image.known.case
    suffix = "_raw" if image.intent is Intent.RAW else ""
    # A raw image is named after its processed twin, so that the two are listed together.
    hashed = (twin if twin is not None and suffix else image).image[:8]
    return f"{dataset.key}_{image.woman}_{image.side.value or 'U'}{image.view.value or 'NA'}_{hashed}{suffix}"


def _with_masks(named: list[Selected], masks: MaskIndex, root: Path, selection: Selection) -> list[Selected]:
    found: dict[str, Path] = {}
    refused: dict[str, RefusedError] = {}
    for item in named:
        try:
            found[item.case] = masks.find(item.scanned, item.case, root)
        except RefusedError as error:
            refused[item.case] = error
    for item in _sharing(named, found, masks, root):
        del found[item.case]
        detail = "other images have the same mask by their names: name masks by SOPInstanceUID, or put them in folders"
        refused[item.case] = RefusedError(Reason.NO_MASK, f"{detail} as the images'")
    kept = []
    by_case = {item.case: item for item in named}
    for item in named:
        mask, of_twin = found.get(item.case), found.get(item.twin)
        if item.scanned.intent is Intent.RAW and of_twin is not None and mask in (None, of_twin):
            # Processing moves no pixels, so the twin's mask fits (section 2.1.1), unless one is stored mirrored.
            mask = of_twin
            if _are_mirrored(item.scanned, by_case[item.twin].scanned):
                mask = None
                detail = "the processed image with the mask is stored mirrored: give the raw image a mask of its own"
                refused[item.case] = RefusedError(Reason.NO_MASK, detail)
        if mask is None:
            why = refused[item.case]
            selection.rejected.append(Rejected(item.scanned.number, why.reason, why.detail, item.case))
        else:
            kept.append(replace(item, mask=mask))
    return kept


def _are_mirrored(one: Scanned, other: Scanned) -> bool:
    """Whether the headers of two images of one exposure say that one is stored as the mirror image of the other."""
    directions = {one.rightwards, other.rightwards}
    flips = {one.is_flipped, other.is_flipped}
    return directions == {"A", "P"} if directions <= {"A", "P"} else flips == {"YES", "NO"}


def _sharing(named: Sequence[Selected], found: dict[str, Path], masks: MaskIndex, root: Path) -> Iterator[Selected]:
    """Yield images that share their mask with another image, except those in the folder that matches the mask's.

    File names may repeat from folder to folder. A raw and a processed image of the same view may share a mask.
    """
    users: dict[Path, list[Selected]] = defaultdict(list)
    for item in named:
        if item.case in found:
            users[found[item.case]].append(item)
    for mask, items in users.items():
        seen = {(item.scanned.woman, item.scanned.view, item.scanned.side, item.scanned.exam) for item in items}
        intents = {item.scanned.intent for item in items}
        if len(items) == 1 or (len(seen) == 1 and len(intents) == len(items)):
            continue
        for item in items:
            if not masks.is_in_place(mask, item.scanned, root):
                yield item


def _warn_of_crowds(items: Sequence[Selected], selection: Selection) -> None:
    images = Counter(item.scanned.woman for item in items if item.scanned.intent is not Intent.RAW)
    selection.crowded_women = sum(count > MOST_IMAGES for count in images.values())


def _subsets(items: Sequence[Selected], split_file: Path | None) -> dict[str, str]:
    """Subset of each woman: from the split file, or drawn."""
    if split_file is not None:
        return _subsets_of_file(items, split_file)
    counted = [item for item in items if item.scanned.intent is not Intent.RAW] or list(items)
    images = Counter(item.scanned.woman for item in counted)
    women = {item.scanned.woman: item.scanned.drawn for item in items}
    return splits.draw(splits.Woman(name, drawn, images[name]) for name, drawn in women.items())


def _subsets_of_file(items: Sequence[Selected], file: Path) -> dict[str, str]:
    """Read a CSV with the columns image (woman, case or file name) and subset (train, val or test)."""
    try:
        lines = [(row.get("image", ""), row.get("subset", "")) for row in read_table(file)]
    except OSError as error:
        raise DatasetError(f"the split file {file} can't be read: {error.strerror}") from error
    wanted: dict[str, str] = {}
    for number, (image, subset) in enumerate(lines, start=1):
        if wanted.setdefault(stem(Path(image.strip())), subset.strip()) != subset.strip():
            raise DatasetError(
                f"{file}, entry {number}: an earlier entry gives the same name another subset; if file names repeat "
                "from folder to folder, name women or cases"
            )
    wrong = sorted(set(wanted.values()) - {"train", "val", "test"})
    if wrong or not wanted:
        raise DatasetError(
            f"{file}: the column subset must contain train, val or test, not {', '.join(wrong) or 'nothing'}"
        )
    chosen: dict[str, set[str]] = defaultdict(set)
    for item in items:
        names = (item.scanned.woman, item.case, stem(item.scanned.path))
        chosen[item.scanned.woman].update(wanted[name] for name in names if name in wanted)
    without = sum(not subsets for subsets in chosen.values())
    several = sum(len(subsets) > 1 for subsets in chosen.values())
    if without or several:
        raise DatasetError(f"{file}: {without} women have no subset and {several} have several; give each exactly one")
    return {woman: subsets.pop() for woman, subsets in chosen.items()}
