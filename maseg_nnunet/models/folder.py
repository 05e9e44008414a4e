"""Finding a model folder, reading its files, and loading its checkpoint without running code from it.

A model folder is what nnU-Net's training leaves: plans.json, dataset.json and fold_N/checkpoint_final.pth, on disk or
in a ZIP. Checkpoints are pickles, which can contain code: only tensors, plain values and the NumPy scalars of nnU-Net's
log are accepted. Building the network from these files is `models/model.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from maseg_nnunet.dataset.folders import DATASET_JSON
from maseg_nnunet.errors import ModelError, OutputError
from maseg_nnunet.files import atomic

if TYPE_CHECKING:
    import torch

ENVIRONMENT: Final = "MASEG_MODEL"
PLANS: Final = "plans.json"
CHECKPOINT: Final = "checkpoint_final.pth"

RECORD: Final = "maseg_nnunet"
"""Key of a checkpoint for what MasegTrainer adds to nnU-Net's: `training.record.training_record`."""

MAX_JSON_BYTES: Final = 64 << 20
MAX_CHECKPOINT_BYTES: Final = 4 << 30
MAX_RATIO: Final = 20
"""Largest compression of a file in a ZIP. Weights hardly compress; plans do, to some tens of kilobytes."""

Folder = Path | zipfile.Path
"""A folder on disk or in a ZIP, or a file in one."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The contents of a model folder's files.

    Attributes:
        name: Name of the folder, for messages.
        plans: plans.json.
        dataset: dataset.json.
        checkpoint: checkpoint_final.pth of the fold that is used.
        digest: SHA-256 of the checkpoint file, in hexadecimal.
    """

    name: str
    plans: dict[str, Any]
    dataset: dict[str, Any]
    checkpoint: dict[str, Any]
    digest: str


def find_model(path: Path | None = None) -> Path:
    """Choose the model: `path` if given, else the one that $MASEG_MODEL names, else the one in the package.

    Args:
        path: A model folder or ZIP that the user named. It is not opened here.

    Returns:
        The path of the model folder or ZIP.

    Raises:
        ModelError: If $MASEG_MODEL names a path that does not exist, or no model is named and the package has none.
    """
    if path is not None:
        return path
    if named := os.environ.get(ENVIRONMENT):
        if not Path(named).exists():
            raise ModelError(f"${ENVIRONMENT} is {named}, which does not exist: correct it, or unset it")
        return Path(named)
    if packaged := packaged_models():
        return packaged[0]
    raise ModelError(
        "no model: this installation comes without one. Give --model a model folder or ZIP (nnUNetv2_train leaves one "
        f"in nnUNet_results/DatasetNNN_NAME/TRAINER__PLANS__2d, maseg import-weights makes one), or set ${ENVIRONMENT}"
    )


def packaged_models() -> list[Path]:
    """The model folders that come with the package, sorted by name."""
    base = Path(str(files("maseg_nnunet"))) / "models"
    return sorted(path.parent for path in base.glob(f"*/{PLANS}"))


def read_parts(path: Path) -> Parts:
    """Read the files of a model folder or ZIP without building the network.

    Args:
        path: The model folder, a ZIP of one, or a folder that contains exactly one model folder.

    Returns:
        The contents of its files. The checkpoint is that of fold_0, or of the only fold.

    Raises:
        ModelError: If the model is missing, incomplete or damaged, or its checkpoint contains more than weights.
    """
    name, folder = open_folder(path)
    plans, dataset = _json(folder, name, PLANS), _json(folder, name, DATASET_JSON)
    data = _checkpoint(folder, name)
    return Parts(name, plans, dataset, _weights(name, data), hashlib.sha256(data).hexdigest())


def checkpoint_of(
    weights: Mapping[str, torch.Tensor],
    *,
    trainer: str,
    mirroring: tuple[int, ...] | None,
    configuration: str = "2d",
    record: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build a checkpoint with only what nnU-Net's predictor, its -pretrained_weights and `load_model` read.

    Args:
        weights: The network's state dict.
        trainer: Class name of the trainer.
        mirroring: Image axes of test-time mirroring, None for no mirroring.
        configuration: Name of the plans' configuration.
        record: What MasegTrainer recorded, None for other trainers.
    """
    return {
        **({} if record is None else {RECORD: dict(record)}),
        "network_weights": dict(weights),
        "trainer_name": trainer,
        "init_args": {"configuration": configuration, "fold": 0},
        "inference_allowed_mirroring_axes": mirroring,
    }


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint, never half.

    Raises:
        OutputError: It can't be written, for example because the disk is full.
    """
    import torch

    with atomic(path) as temporary:
        try:
            torch.save(checkpoint, temporary)
        except RuntimeError as error:  # PyTorch's own, without a file name
            raise OutputError(f"{path} can't be written: is the disk full?") from error


def open_folder(path: Path) -> tuple[str, Folder]:
    """Find the model folder at or below `path`. A ZIP is read in place, nothing is unpacked.

    Returns:
        The name of the model folder and the folder itself.

    Raises:
        ModelError: If there is no model folder, or more than one.
    """
    if path.is_dir():
        root: Folder = path
    elif zipfile.is_zipfile(path):
        try:
            root = zipfile.Path(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            raise ModelError(f"the ZIP {path} is damaged: get it again") from error
    else:
        raise ModelError(f"no model at {path}: a model folder of nnU-Net, or a ZIP of one, was expected")
    found = list(_folders_with_plans(root, depth=4))
    if not found:
        raise ModelError(f"{path} is not a model folder: there is no {PLANS} in it")
    if len(found) > 1:
        names = ", ".join(sorted(folder.name for folder in found))
        raise ModelError(f"{path} contains {len(found)} models ({names}): name one of them")
    return found[0].name or path.name, found[0]


def _folders_with_plans(folder: Folder, depth: int) -> Iterator[Folder]:
    if (folder / PLANS).is_file():
        yield folder
    elif depth:
        for inner in folder.iterdir():
            if inner.is_dir():
                yield from _folders_with_plans(inner, depth - 1)


def _read(file: Folder, model: str, most: int) -> bytes:
    """The contents of a file of at most `most` bytes."""
    if not file.is_file():
        raise ModelError(f"model {model} is incomplete: {file.name} is missing")
    if isinstance(file, zipfile.Path):
        entry = file.root.getinfo(file.at)
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1 << 20):
            raise ModelError(f"model {model}: {file.name} would unpack to {entry.file_size >> 20} MiB: not a model")
    try:
        with file.open("rb") as stream:
            data = bytes(stream.read(most + 1))
    except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise ModelError(f"model {model}: {file.name} can't be read ({error})") from error
    if len(data) > most:
        raise ModelError(f"model {model}: {file.name} is larger than {most >> 20} MiB")
    return data


def _json(folder: Folder, model: str, file: str) -> dict[str, Any]:
    try:
        content = json.loads(_read(folder / file, model, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"model {model}: {file} is not valid JSON") from error
    if not isinstance(content, dict):
        raise ModelError(f"model {model}: {file} is not what nnU-Net 2 writes")
    return content


def _checkpoint(folder: Folder, model: str) -> bytes:
    """The checkpoint of fold_0, else of the only fold. Folds may be different experiments, so none are averaged."""
    folds = sorted(inner.name for inner in folder.iterdir() if inner.name.startswith("fold_") and inner.is_dir())
    trained = [fold for fold in folds if (folder / fold / CHECKPOINT).is_file()]
    if not trained:
        raise ModelError(f"model {model} is incomplete: no fold has a {CHECKPOINT} (training writes it at its end)")
    if "fold_0" not in trained and len(trained) > 1:
        raise ModelError(f"model {model} has {', '.join(trained)} but no fold_0: keep one fold in the folder")
    return _read(folder / ("fold_0" if "fold_0" in trained else trained[0]) / CHECKPOINT, model, MAX_CHECKPOINT_BYTES)


def _check_archive(data: bytes) -> None:
    """Raise BadZipFile if a checkpoint's checksums do not match, which PyTorch does not check, or it is compressed."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return  # torch.load says what is wrong
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        is_stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        if not is_stored or archive.testzip() is not None:
            raise zipfile.BadZipFile


def _weights(model: str, data: bytes) -> dict[str, Any]:
    """Unpickle a checkpoint with a list of allowed types, so that no code in it can run."""
    import torch

    scalar = np.float64(0).__reduce__()[0]
    allowed = [np.dtype, type(np.dtype("f4")), type(np.dtype("f8")), scalar]
    # NumPy 1 and NumPy 2 pickle this function under different names.
    allowed += [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's version
            _check_archive(data)
            checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or malicious file may raise anything
        raise ModelError(
            f"model {model}: {CHECKPOINT} is damaged or contains more than weights: not loaded, as that could run code"
        ) from error
    if not isinstance(checkpoint, dict):
        raise ModelError(f"model {model}: {CHECKPOINT} is not a checkpoint of nnU-Net 2")
    return checkpoint
