"""Two processes that train together make the same decisions, although each sees only the loss of its own patches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maseg_nnunet.training.early_stopping import judge
from tests.trainers import tiny

LOSSES = ((1.0, 0.5, 2.0, 2.0, 2.0, 2.0), (3.0, 4.0, 1.0, 2.6, 2.6, 2.6))
MEANS = [(a + b) / 2 for a, b in zip(*LOSSES, strict=True)]

SCRIPT = """
import json, sys
import numpy as np
import torch
from torch import distributed
from maseg_nnunet.trainers.maseg_trainer import MasegTrainer

rank, store, plans, losses, out = int(sys.argv[1]), *sys.argv[2:]
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
plans = json.load(open(plans)) | {"continue_training": False}
trainer = MasegTrainer(plans, "2d", 0, {"labels": {"background": 0, "breast": 1, "pectoral_muscle": 2}})
trainer.patience = 3
decisions = []
for trainer.current_epoch, loss in enumerate(json.loads(losses)[rank]):
    counts = {key: np.array([5.0, 4.0]) for key in ("tp_hard", "fp_hard", "fn_hard")}
    trainer.on_validation_epoch_end([{"loss": np.array(loss), **counts}])
    progress = trainer.progress
    decisions.append([progress.best, progress.stale, progress.improved, progress.stop])
json.dump(decisions, open(out, "w"))
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_all_ranks_decide_alike(tiny_base: Path, tmp_path: Path) -> None:
    plans = tmp_path / "plans.json"
    plans.write_text(json.dumps(tiny.plans()))
    outputs = [tmp_path / f"rank{rank}.json" for rank in range(2)]
    shared = [str(tmp_path / "store"), str(plans), json.dumps(LOSSES)]
    processes = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(rank), *shared, str(out)], stdout=subprocess.DEVNULL)
        for rank, out in enumerate(outputs)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    first, second = (json.loads(path.read_text()) for path in outputs)
    expected = [judge(MEANS[: epoch + 1], 3) for epoch in range(len(MEANS))]
    assert first == second == [[p.best, p.stale, p.improved, p.stop] for p in expected]
    assert first[-1] == [2, 3, False, True]
    # With only its own losses, each rank would have decided otherwise.
    assert judge(LOSSES[0][:5], 3).stop and judge(LOSSES[0], 3).best != 2
