"""The steps of an experiment, each a command that a user could type: which are done, and running those that are not."""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from maseg_nnunet.dataset.folders import ENDING
from maseg_nnunet.errors import ModelError
from maseg_nnunet.files import stamp, write_text
from maseg_nnunet.parallel.commands import run_command, run_on_gpus
from maseg_nnunet.parallel.tasks import WorkerLostError, run_tasks

DRAWN_BY: Final = "checkpoint.txt"
"""File beside predicted masks: the checkpoint that draws them, and its stamp."""


@dataclass(frozen=True)
class CommandStep:
    """One command. Sent to the workers of a cluster as it is.

    `result`: the file that only a finished command leaves; None for a command that finds out by itself what is left to
    do. `masks`: the folder that the command fills with one mask for each of `cases`; damaged ones are removed first,
    and all where another checkpoint than `model` drew them. `links`: (link, file) of the images that the
    command is to find in one folder, made first. `spread`: may run on another machine, beside its neighbours.
    """

    title: str
    command: tuple[str, ...]
    log: Path
    result: Path | None = None
    masks: Path | None = None
    cases: tuple[str, ...] = ()
    model: Path | None = None
    links: tuple[tuple[Path, Path], ...] = ()
    spread: bool = False
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def shell(self) -> str:
        """The command as it is typed."""
        return shlex.join(self.command)

    @property
    def is_done(self) -> bool:
        """Whether the command's result is there."""
        if self.masks is not None:
            files = [self.masks / f"{case}{ENDING}" for case in self.cases]
            return bool(files) and all(path.is_file() for path in files) and not self.is_outdated
        return self.result is not None and self.result.is_file()

    @property
    def is_outdated(self) -> bool:
        """Whether what is in `masks` is not of the checkpoint that `model` is now."""
        note = None if self.masks is None else self.masks / DRAWN_BY
        if note is None or self.model is None or not self.model.is_file():
            return False
        return not note.is_file() or note.read_text(encoding="utf-8") != self._checkpoint

    @property
    def _checkpoint(self) -> str:
        return f"{self.model} {stamp(self.model)}\n" if self.model else ""

    def clear_masks(self) -> None:
        """Remove from `masks` what is damaged or of another checkpoint, and note there what draws the rest."""
        if self.masks is None:
            return
        remove_damaged(self.masks)
        if self.is_outdated:
            for mask in self.masks.glob(f"*{ENDING}"):
                mask.unlink()
            write_text(self.masks / DRAWN_BY, self._checkpoint)


Phase = Callable[[], list[CommandStep]]
"""Steps that may run at the same time. Made when it is their turn: what is to be predicted is known after combining."""


def run_phases(
    todo: Iterable[Phase], *, gpus: Sequence[str] = (), scheduler: str | None = None
) -> Iterator[tuple[CommandStep, str]]:
    """Run the steps that are not done; yield each with what went wrong, empty for nothing.

    Steps of one phase that may be spread run over the cluster of `scheduler`, or at once on the GPUs of the numbers
    `gpus`, else one after the other. A phase with a failure is the last one; raises ModelError after it.
    """
    for phase in todo:
        steps = phase()
        for step in steps:
            step.clear_masks()
        waiting = [step for step in steps if not step.is_done]
        failed = []
        for step, problem in _run_phase(waiting, gpus, scheduler):
            yield step, problem
            failed += [step.title] if problem else []
        if failed:
            raise ModelError(
                f"failed: {', '.join(failed)}; the logs are named above, the same command goes on from here"
            )


def _run_phase(
    steps: Sequence[CommandStep], gpus: Sequence[str], scheduler: str | None
) -> Iterator[tuple[CommandStep, str]]:
    for step in steps:
        if not step.spread:
            yield step, run_step(step)
    spread = [step for step in steps if step.spread]
    if not scheduler:
        yield from run_on_gpus(run_step, spread, gpus)
        return
    for step, outcome in run_tasks(run_step, spread, scheduler=scheduler):
        yield step, str(outcome) if isinstance(outcome, WorkerLostError) else outcome


def run_step(step: CommandStep, gpu: str | None = None) -> str:
    """Run a step's command, on the GPU of that number where one is given; what went wrong, empty for nothing.

    Also run on Dask's workers, which find it by name.
    """
    for link, file in step.links:
        _link(link, file)
    program, *arguments = step.command
    environment = os.environ | dict(step.environment) | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
    status = run_command([_program(program), *arguments], environment, step.log)
    # Commands that know by themselves what is left to do have no result to look for.
    looks_done = step.is_done if step.result or step.masks else status == 0
    return "" if looks_done else f"ended with status {status} and without its result; see {step.log}"


def remove_damaged(folder: Path) -> None:
    """Remove masks that a killed prediction left half-written: nnU-Net's command would take them for finished."""
    for path in folder.glob(f"*{ENDING}"):
        try:
            with gzip.open(path) as file:
                whole = bool(file.read(1))  # of a file without a byte, gzip reads none
                while file.read(1 << 20):
                    pass
        except (EOFError, gzip.BadGzipFile, zlib.error):
            whole = False
        if not whole:
            path.unlink()


def _link(link: Path, file: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(file)
    except OSError:  # a file system without links
        shutil.copyfile(file, link)


def _program(name: str) -> str:
    """The command of this environment, also where its folder is not in PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name
