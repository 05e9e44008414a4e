"""From a plan template to what `nnUNetv2_train` needs: nnU-Net's plans file and the preprocessed data.

A template (a JSON file of `maseg_nnunet.plans`) has what the paper or a measurement fixes: spacing, patch size, batch
size, network. The rest depends on the data set and comes from nnU-Net's own fingerprint and preprocessing; this project
does no resampling and no normalization here. nnU-Net's own planner can be used on the same data set.

These files are added to nnU-Net's own in nnUNet_preprocessed/DatasetNNN_Name: the plans file NAME.json; copies of
dataset.json, splits_final.json, manifest.csv and voi_luts.json, so that training does not need nnUNet_raw; and
.NAME_2d.json. That file is written last and records the settings for which the folder NAME_2d is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from maseg_nnunet.dataset.folders import (
    DATASET_JSON,
    FINGERPRINT,
    IMAGES_TRAIN,
    LABELS_TRAIN,
    PREPROCESSED,
    RAW,
    RESULTS,
    SPLITS,
    VOI_LUTS,
    dataset_folder,
    finished_marker,
    nnunet_folder,
)
from maseg_nnunet.dataset.manifest import MANIFEST
from maseg_nnunet.errors import DatasetError, PlanError
from maseg_nnunet.files import locked, write_bytes, write_json

logger = logging.getLogger(__name__)

CONFIGURATION: Final = "2d"

DEMO_PLANS: Final = "maseg_demo"
"""The template for the demo, whose network only MasegTrainerDemo trains well."""

_SAMPLES: Final = 1_000_000
"""Gray values that nnU-Net's fingerprint samples. nnU-Net's default needs much memory for statistics that go unused."""

_LINEAR: Final = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}


def template_names() -> list[str]:
    """The names of the templates in the package, sorted."""
    names = (entry.name for entry in files("maseg_nnunet.plans").iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def load_template(name: str) -> dict[str, Any]:
    """Read a plan template.

    Returns:
        Its keys description, spacing (mm), patch_size, batch_size and architecture.

    Raises:
        PlanError: There is no template of that name.
    """
    if name not in template_names():
        raise PlanError(f"no plan template {name!r}: there are {', '.join(template_names())}")
    template: dict[str, Any] = json.loads((files("maseg_nnunet.plans") / f"{name}.json").read_text(encoding="utf-8"))
    return template


def plan(
    dataset_id: int, template: str, *, preprocess: bool = True, workers: int = 2, overwrite_splits: bool = False
) -> Path:
    """Plan a data set of nnUNet_raw, and preprocess it.

    A second run does only what is missing or out of date: a file is newer than what was made from it, the template is
    another one, or preprocessing was interrupted. The fingerprint and preprocessing run in spawned processes, so a
    script that calls this needs `if __name__ == "__main__":`.

    Args:
        dataset_id: Number of the data set.
        template: Name of the plan template.
        preprocess: Whether to preprocess as well.
        workers: Number of processes.
        overwrite_splits: Whether to replace a user's own splits_final.json in nnUNet_preprocessed.

    Returns:
        The path of the plans file.

    Raises:
        PlanError: There is no such template.
        UsageError: nnU-Net's folders are not set.
        DatasetError: There is no such data set, it has no splits, it is not in VOI units, or its files are missing or
            unreadable.
    """
    settings = load_template(template)
    raw = dataset_folder(nnunet_folder(RAW), dataset_id)
    _refuse_second_name(raw.name, dataset_id)
    target = nnunet_folder(PREPROCESSED) / raw.name
    dataset = _read_dataset(raw)
    cases = _training_files(raw, dataset)
    _check_splits(raw, cases)
    for name in (DATASET_JSON, MANIFEST, VOI_LUTS):
        if (raw / name).is_file():
            write_bytes(target / name, (raw / name).read_bytes())
    _copy_splits(raw / SPLITS, target / SPLITS, overwrite_splits)

    newest = max(path.stat().st_mtime for path in (raw / DATASET_JSON, *_flat(cases)))
    fingerprint = _fingerprint(raw.name, target / FINGERPRINT, cases, newest, workers)
    plans = fill(settings, template, raw.name, dataset, fingerprint)
    path = target / f"{template}.json"
    write_json(path, plans)
    if preprocess:
        _preprocess(dataset_id, path, cases, newest, workers)
    return path


def fill(
    template: Mapping[str, Any],
    name: str,
    dataset_name: str,
    dataset: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
) -> dict[str, Any]:
    """Fill a template in to make nnU-Net's plans.

    Images are resampled linearly, and labels by nnU-Net's linear vote. Images are not normalized, because VOI units are
    normalized already and the network clamps them.

    Args:
        template: A template's content.
        name: Name of the plans.
        dataset_name: Name of the data set, with nnU-Net's number.
        dataset: The content of dataset.json.
        fingerprint: nnU-Net's fingerprint of the data set.

    Returns:
        The content of the plans file.
    """
    spacings = np.asarray(fingerprint["spacings"], dtype=float)
    shapes = np.asarray(fingerprint["shapes_after_crop"], dtype=float)
    spacing = np.asarray(template["spacing"], dtype=float)
    resampled = np.round(shapes[:, 1:] * spacings[:, 1:] / spacing)
    channels = len(dataset["channel_names"])
    configuration = {
        "data_identifier": f"{name}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": template["batch_size"],
        "patch_size": list(template["patch_size"]),
        "median_image_size_in_voxels": np.median(resampled, axis=0).tolist(),
        "spacing": spacing.tolist(),
        "normalization_schemes": ["NoNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": _LINEAR,
        "resampling_fn_seg_kwargs": {**_LINEAR, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": _LINEAR,
        "architecture": template["architecture"],
        "batch_dice": True,
    }
    return {
        "dataset_name": dataset_name,
        "plans_name": name,
        "original_median_spacing_after_transp": np.median(spacings, axis=0).tolist(),
        "original_median_shape_after_transp": [round(n) for n in np.median(shapes, axis=0).tolist()],
        "image_reader_writer": dataset.get("overwrite_image_reader_writer", "SimpleITKIO"),
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": fingerprint["foreground_intensity_properties_per_channel"],
    }


def _refuse_second_name(name: str, dataset_id: int) -> None:
    """Raise DatasetError if another data set has the same number in any of nnU-Net's folders; nnU-Net would fail."""
    for variable in (PREPROCESSED, RESULTS):
        if base := os.environ.get(variable):
            for other in sorted(Path(base).glob(f"Dataset{dataset_id:03d}_*")):
                if other.is_dir() and other.name != name:
                    raise DatasetError(f"{other} has the id of {name} in {RAW}: rename or remove one of them")


def _read_dataset(raw: Path) -> dict[str, Any]:
    try:
        dataset: dict[str, Any] = json.loads((raw / DATASET_JSON).read_text(encoding="utf-8"))
        channels = dict(dataset["channel_names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{raw / DATASET_JSON} is missing or broken: convert the data set again") from error
    if set(channels.values()) != {"noNorm"}:
        raise DatasetError(
            f"{raw.name} is not in VOI units (its channels are {', '.join(map(str, channels.values()))}, not noNorm): "
            "convert it with convert_vendor, or plan it with nnUNetv2_plan_and_preprocess"
        )
    return dataset


Cases = Mapping[str, Sequence[Path]]


def _training_files(raw: Path, dataset: Mapping[str, Any]) -> Cases:
    """Image and label files of each training case, as nnU-Net finds them. Raises DatasetError if one is missing."""
    ending = dataset["file_ending"]
    if "dataset" in dataset:
        entries = dataset["dataset"].items()
        cases = {case: [raw / os.path.expandvars(p) for p in (*e["images"], e["label"])] for case, e in entries}
    else:
        first = f"_0000{ending}"
        names = sorted(path.name.removesuffix(first) for path in (raw / IMAGES_TRAIN).glob(f"*{first}"))
        channels = range(len(dataset["channel_names"]))
        cases = {
            name: [
                *(raw / IMAGES_TRAIN / f"{name}_{channel:04d}{ending}" for channel in channels),
                raw / LABELS_TRAIN / f"{name}{ending}",
            ]
            for name in names
        }
    if not cases:
        raise DatasetError(f"{raw} has no training cases: convert the data set again")
    if missing := [path for path in _flat(cases) if not path.is_file()]:
        raise DatasetError(f"{missing[0]} is missing ({len(missing)} files in all): convert the data set again")
    return cases


def _flat(cases: Cases) -> Iterator[Path]:
    return (path for paths in cases.values() for path in paths)


def _check_splits(raw: Path, cases: Cases) -> None:
    """Raise DatasetError for a split that is missing or has unknown cases; nnU-Net would make its own, by image."""
    path = raw / SPLITS
    if not path.is_file():
        raise DatasetError(f"{path} is missing, and nnU-Net would split by image, not by woman: convert the set again")
    try:
        named: set[str] = {case for fold in json.loads(path.read_bytes()) for case in (*fold["train"], *fold["val"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a list of folds with train and val: convert the set again") from error
    if unknown := sorted(named - set(cases)):
        raise DatasetError(f"{path} names {len(unknown)} cases that are not in imagesTr, {unknown[0]} for example")


def _copy_splits(source: Path, copy: Path, overwrite: bool) -> None:
    """Copy the split, but keep a user's own: one that differs from the source and from the last copy of it."""
    note = copy.with_name(f".{copy.name}.sha256")
    wanted, present = (
        hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in (source, copy)
    )
    is_own = present not in ("", wanted, note.read_text() if note.is_file() else "")
    if is_own and not overwrite:
        logger.warning(
            "%s is your own and was kept: --overwrite-splits replaces it with that of %s", copy, source.parent
        )
        return
    write_bytes(copy, source.read_bytes())
    write_bytes(note, wanted.encode())


def _fingerprint(name: str, path: Path, cases: Cases, newest: float, workers: int) -> dict[str, Any]:
    """nnU-Net's fingerprint, extracted if it is missing, older than the data, or has another number of cases."""
    if path.is_file() and path.stat().st_mtime >= newest:
        with contextlib.suppress(ValueError, KeyError):
            fingerprint: dict[str, Any] = json.loads(path.read_bytes())
            if len(fingerprint["shapes_after_crop"]) == len(cases):
                return fingerprint
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    with _nnunet("extract the fingerprint of", name):
        extractor = DatasetFingerprintExtractor(name, workers)
        extractor.num_foreground_voxels_for_intensitystats = _SAMPLES
        extractor.run(overwrite_existing=True)
    fresh: dict[str, Any] = json.loads(path.read_bytes())
    return fresh


def _preprocess(dataset_id: int, plans: Path, cases: Cases, newest: float, workers: int) -> None:
    """Run nnU-Net's preprocessing, unless it is already complete for these settings and these files."""
    configuration = json.loads(plans.read_bytes())["configurations"][CONFIGURATION]
    folder = plans.parent / configuration["data_identifier"]
    done = finished_marker(plans.parent, folder.name)
    # The stored arrays depend on these settings; network and batch size may change.
    wanted = {key: value for key, value in configuration.items() if key not in ("architecture", "batch_size")}
    if done.is_file() and done.stat().st_mtime >= newest and json.loads(done.read_bytes()) == wanted:
        stored = {path.name for path in folder.glob("*")}
        if stored == {f"{case}{end}" for case in cases for end in (".b2nd", "_seg.b2nd", ".pkl")}:
            logger.info("%s is up to date", folder)
            return
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset

    # nnU-Net first removes the folder, which another run may be writing to.
    with locked(plans.parent / ".lock"), _nnunet("preprocess", plans.parent.name):
        done.unlink(missing_ok=True)
        preprocess_dataset(dataset_id, plans.stem, (CONFIGURATION,), (workers,))
        write_json(done, wanted)


@contextlib.contextmanager
def _nnunet(what: str, name: str) -> Iterator[None]:
    """Send nnU-Net's prints to the log and turn its exceptions into DatasetError; progress bars stay on stderr."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # nnU-Net copies files with distutils
            yield
    except Exception as error:
        raise DatasetError(f"nnU-Net could not {what} {name}: {error}") from error
    finally:
        _log(output.getvalue().splitlines())


def _log(lines: Iterable[str]) -> None:
    for line in lines:
        logger.debug("nnU-Net: %s", line)
