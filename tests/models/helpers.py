"""Changing the files of a model folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def checkpoint_path(model: Path) -> Path:
    return model / "fold_0" / "checkpoint_final.pth"


def change_checkpoint(model: Path, **entries: Any) -> None:
    checkpoint = torch.load(checkpoint_path(model), weights_only=False)
    torch.save({**checkpoint, **entries}, checkpoint_path(model))
