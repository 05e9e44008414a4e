from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from maseg_nnunet.errors import UsageError
from maseg_nnunet.parallel.commands import gpu_numbers, run_command, run_on_gpus


def test_output_is_appended_to_the_log_and_the_status_returned(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "step.log"
    code = "import os, sys; print('out'); sys.exit(int(os.environ['STATUS']))"
    for status in (0, 3):
        environment = {**os.environ, "STATUS": str(status)}
        assert run_command([sys.executable, "-c", code], environment, log) == status
    assert log.read_text().split() == ["out", "out"]


def test_gpu_numbers() -> None:
    assert gpu_numbers("0, 1", "cuda") == ["0", "1"]
    assert gpu_numbers("", "cpu") == []
    for gpus, device in (("0", "cpu"), ("0,0", "cuda"), ("0-1", "cuda"), ("", "tpu")):
        with pytest.raises(UsageError):
            gpu_numbers(gpus, device)


def test_each_gpu_has_one_task_at_a_time() -> None:
    lock = threading.Lock()
    used: set[str | None] = set()

    def function(task: int, gpu: str | None) -> str | None:
        with lock:
            assert gpu not in used
            used.add(gpu)
        time.sleep(0.01)
        with lock:
            used.remove(gpu)
        return gpu

    results = list(run_on_gpus(function, range(12), ["0", "1"]))
    assert sorted(task for task, _ in results) == list(range(12))
    assert {gpu for _, gpu in results} == {"0", "1"}
    assert list(run_on_gpus(function, [5])) == [(5, None)]


# A shell makes the jobs that it starts in the background ignore SIGINT.
@pytest.mark.parametrize("shell", [(), ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")])
def test_a_command_ends_with_the_run_that_started_it(shell: tuple[str, ...], tmp_path: Path) -> None:
    child = "import time; open('began', 'w').close(); time.sleep(60)"
    lines = ["import sys", "from pathlib import Path", "from maseg_nnunet.parallel.commands import *",
             "def step(task, gpu): return run_command([sys.executable, '-c', task], {}, Path('log'))",
             "with commands_end_with_us():", f"    list(run_on_gpus(step, [{child!r}]))"]  # fmt: skip
    command = [*shell, sys.executable, "-c", "\n".join(lines)]
    run = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    end = time.monotonic() + 30
    while not (tmp_path / "began").exists():
        assert time.monotonic() < end and run.poll() is None
        time.sleep(0.05)
    run.terminate()
    assert "KeyboardInterrupt" in run.communicate(timeout=30)[1].decode(), "it waits for the command it interrupts"
    assert "KeyboardInterrupt" in (tmp_path / "log").read_text()
