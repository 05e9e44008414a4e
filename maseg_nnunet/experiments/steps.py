"""The steps of an experiment: each is a command that a user could type, and runs only if its result is missing."""

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

from maseg_nnunet.dataset.folders import (
    ENDING,
    EXTERNAL_TRAINER,
    PREPROCESSED,
    RAW,
    RESULTS,
    external_trainers,
    nnunet_folder,
)
from maseg_nnunet.errors import ModelError, UsageError
from maseg_nnunet.files import stamp, write_text
from maseg_nnunet.parallel.commands import run_command, run_on_gpus
from maseg_nnunet.parallel.tasks import WorkerLostError, run_tasks

DRAWN_BY: Final = "checkpoint.txt"
"""File beside predicted masks: the checkpoint that predicted them, and its stamp."""


@dataclass(frozen=True)
class CommandStep:
    """One command. It is pickled and sent to the workers of a cluster, so it holds all that `run_step` needs.

    Attributes:
        title: What the step is called in messages.
        command: The program and its arguments.
        log: File that the command's output is appended to.
        result: The file that only a finished command leaves. None for a command that skips finished work by itself.
        masks: The folder that the command fills with one mask for each of `cases`. Before it runs, damaged masks are
            removed from the folder; if another checkpoint than `model` predicted them, all are removed.
        cases: The cases whose masks are expected.
        model: The checkpoint that predicts the masks.
        links: (link, file) of the images that the command must find in one folder. They are made first.
        spread: Whether the step may run on another machine, or at the same time as the other steps of its phase.
        environment: Variables that are set for the command, with their values.
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
        """The command as it is typed in a shell."""
        return shlex.join(self.command)

    @property
    def is_done(self) -> bool:
        """Whether the command's result exists. Always False for a command that skips finished work by itself."""
        if self.masks is not None:
            files = [self.masks / f"{case}{ENDING}" for case in self.cases]
            return bool(files) and all(path.is_file() for path in files) and not self.is_outdated
        return self.result is not None and self.result.is_file()

    @property
    def is_outdated(self) -> bool:
        """Whether another checkpoint than the present `model` predicted the masks."""
        note = None if self.masks is None else self.masks / DRAWN_BY
        if note is None or self.model is None or not self.model.is_file():
            return False
        return not note.is_file() or note.read_text(encoding="utf-8") != self._checkpoint

    @property
    def _checkpoint(self) -> str:
        return f"{self.model} {stamp(self.model)}\n" if self.model else ""

    def clear_masks(self) -> None:
        """Remove masks that are damaged or of another checkpoint, and record the checkpoint beside them."""
        if self.masks is None:
            return
        remove_damaged(self.masks)
        if self.is_outdated:
            for mask in self.masks.glob(f"*{ENDING}"):
                mask.unlink()
            write_text(self.masks / DRAWN_BY, self._checkpoint)


Phase = Callable[[], list[CommandStep]]
"""Makes steps that may run at the same time.

It is called when its turn comes, because only a combined data set says which images are to be predicted.
"""


def nnunet_environment() -> tuple[tuple[str, str], ...]:
    """Variables of nnU-Net for a command that may run on another machine, with absolute paths.

    Raises:
        UsageError: One of nnU-Net's folders is not set.
    """
    folders = {name: str(nnunet_folder(name).absolute()) for name in (RAW, PREPROCESSED, RESULTS)}
    return *folders.items(), (EXTERNAL_TRAINER, external_trainers())


def run_phases(
    todo: Iterable[Phase], *, gpus: Sequence[str] = (), scheduler: str | None = None
) -> Iterator[tuple[CommandStep, str]]:
    """Run one phase after another with `run_steps`. A phase with a failure is the last one.

    Args:
        todo: The phases, in the order in which they depend on each other.
        gpus: See `run_steps`.
        scheduler: See `run_steps`.

    Yields:
        Each step that ran, and what went wrong (empty if nothing did).

    Raises:
        ModelError: A step failed. The other steps of its phase have run.
        UsageError: Both `gpus` and `scheduler` are given.
    """
    for phase in todo:
        failed = []
        for step, problem in run_steps(phase(), gpus=gpus, scheduler=scheduler):
            yield step, problem
            failed += [step.title] if problem else []
        if failed:
            raise ModelError(
                f"failed: {', '.join(failed)}; their logs are named above. Run the same command again to continue"
            )


def run_steps(
    steps: Sequence[CommandStep], *, gpus: Sequence[str] = (), scheduler: str | None = None
) -> Iterator[tuple[CommandStep, str]]:
    """Run the steps that are not done.

    Args:
        steps: Independent steps. Those that must not be spread run first, one after another.
        gpus: Numbers of the GPUs of this machine, each of which runs one step at a time. Without any, and without a
            scheduler, the steps run one after another.
        scheduler: Address of a Dask scheduler. Its workers should have one thread and one GPU each, and must see the
            same file system.

    Yields:
        Each step that ran, and what went wrong (empty if nothing did).

    Raises:
        UsageError: Both `gpus` and `scheduler` are given.
    """
    if scheduler and gpus:
        raise UsageError("--gpus is for this machine; with --scheduler every worker uses its own GPU")
    for step in steps:
        step.clear_masks()
    waiting = [step for step in steps if not step.is_done]
    for step in waiting:
        if not step.spread:
            yield step, run_step(step)
    spread = [step for step in waiting if step.spread]
    if not scheduler:
        yield from run_on_gpus(run_step, spread, gpus)
        return
    for step, outcome in run_tasks(run_step, spread, scheduler=scheduler):
        yield step, str(outcome) if isinstance(outcome, WorkerLostError) else outcome


def run_step(step: CommandStep, gpu: str | None = None) -> str:
    """Run a step's command. Dask's workers import this function by name.

    Args:
        step: The step; whether it is done is not asked.
        gpu: Number of the GPU that the command may see, None for all.

    Returns:
        What went wrong, empty if nothing did.
    """
    for link, file in step.links:
        _link(link, file)
    program, *arguments = step.command
    environment = os.environ | dict(step.environment) | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
    status = run_command([_program(program), *arguments], environment, step.log)
    # A command that skips finished work by itself leaves no result to look for.
    looks_done = step.is_done if step.result or step.masks else status == 0
    return "" if looks_done else f"ended with status {status} and without its result; see {step.log}"


def remove_damaged(folder: Path) -> None:
    """Remove masks that a killed prediction left half-written: nnU-Net's command would take them for finished."""
    for path in folder.glob(f"*{ENDING}"):
        try:
            with gzip.open(path) as file:
                whole = bool(file.read(1))  # gzip reads an empty file without complaint
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
    """The path of a command of this environment, whose folder need not be in PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name
