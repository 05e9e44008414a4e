"""Which files a prediction reads, and under which names their results go. Lazy: only the names in one folder are held
in memory. Not for reading files, and not for deciding whether one is an image.

A result keeps its input's path relative to what was given, and its stem. Only endings of image files are taken off:
files named by a UID end in digits that look like a suffix. Two inputs with one stem (x.dcm and x.png) would have one
result; the first in the order of SUFFIXES gets it, the other is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Final

from maseg_nnunet.errors import UsageError
from maseg_nnunet.files import is_folder, walk
from maseg_nnunet.writers.results import ENDINGS, PREVIEW_ENDING, Format

SUFFIXES: Final = (".dcm", ".dicom", ".ima", "", ".png", ".pgm")
"""Endings that are left out of a result's name, in the order of preference; "" is any other name, kept whole."""

LIST_SUFFIX: Final = ".txt"

PREVIEW: Final = PREVIEW_ENDING.removesuffix(ENDINGS[Format.PNG])
"""Follows the stem in a preview's name, which a mask must not take."""


@dataclass(frozen=True)
class Source:
    """One input. `name`: its path relative to what was given; `stem`: the same without an image's ending.

    `problem`: why it is refused before it is read, or "". `listed`: whether the user named it, or a folder held it.
    """

    path: Path
    name: str
    stem: str
    listed: bool = True
    problem: str = ""

    @property
    def is_named_image(self) -> bool:
        """Whether its name ends as an image's: then it is a bad one rather than something else."""
        return self.stem != self.name


def find_sources(inputs: Sequence[Path], output: Path) -> Iterator[Source]:
    """The files of `inputs` (files, folders, lists of either in .txt files, one a line), one at a time.

    A single folder's files are named relative to it, a single file by its name; of several inputs, relative to the
    folder that is common to all; a file that several inputs lead to comes once. Hidden files and DICOMDIRs are left
    out, so is `output` where it lies in an input folder, whenever it is made; symbolic links are followed, but not in
    circles. Raises UsageError, at once, where an input is missing, or where results would be written among inputs.
    """
    for path in inputs:
        if not path.exists():
            raise UsageError(f"the input {path} does not exist")
        if path.resolve() == output.resolve():
            raise _is_input(output)
    root = _root(inputs)
    return _found(inputs, root, output, _results_among_inputs(root, output))


def _found(inputs: Sequence[Path], root: Path, output: Path, inner: tuple[str, ...]) -> Iterator[Source]:
    if len(inputs) == 1 and is_folder(inputs[0]):
        found = _below(inputs[0], root, output)
    else:
        found = _unique(_listed(inputs, root, output))
    for source in found:
        if inner and PurePath(source.name).parts[: len(inner)] == inner:
            source = replace(
                source, problem="its result would be written into the input folder: choose another --output"
            )
        yield source


def _root(inputs: Sequence[Path]) -> Path:
    """The folder that names are relative to."""
    common: str | None = None
    for path in _expanded(inputs):
        folder = str(_absolute(path if is_folder(path) else path.parent))
        try:
            common = folder if common is None else os.path.commonpath([common, folder])
        except ValueError as error:
            raise UsageError("the inputs lie on different drives: predict them one drive at a time") from error
    if common is None:
        raise UsageError("no input: the list of files is empty")
    return Path(common)


def _results_among_inputs(root: Path, output: Path) -> tuple[str, ...]:
    """Where the input folder lies in the output folder, relative; () where it does not."""
    inputs, results = root.resolve(), output.resolve()
    if inputs == results:
        raise _is_input(output)
    return inputs.relative_to(results).parts if inputs.is_relative_to(results) else ()


def _is_input(output: Path) -> UsageError:
    return UsageError(f"the output folder {output} is the input folder: choose another one, in it or elsewhere")


def _expanded(inputs: Sequence[Path]) -> Iterator[Path]:
    """The inputs, with lists replaced by what they list."""
    for path in inputs:
        if path.suffix.lower() != LIST_SUFFIX or is_folder(path):
            yield path
            continue
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            yield from (Path(line.strip()) for line in lines if line.strip())


def _listed(inputs: Sequence[Path], root: Path, output: Path) -> Iterator[Source]:
    results = output.resolve()
    for path in _expanded(inputs):
        if is_folder(path):
            yield from _below(path, root, output)
            continue
        try:
            is_result = path.resolve().is_relative_to(results)
        except (OSError, ValueError, RuntimeError):  # a link to itself, a name that can't be one: reading says so
            is_result = False
        source = _source(path, root, listed=True)
        yield replace(source, problem="it lies in the output folder") if is_result else source


def _unique(sources: Iterable[Source]) -> Iterator[Source]:
    """Leave out what came before, refuse a result that an earlier source has. Of each no more than a number is kept."""
    taken: set[int] = set()
    seen: set[int] = set()
    for source in sources:
        key = hash(source.path)
        if key in seen:
            continue
        seen.add(key)
        if not source.problem:
            source = _claim(source, taken)
        yield source


def _claim(source: Source, taken: set[int]) -> Source:
    mine = {hash(source.stem), hash(source.stem + PREVIEW)}
    if mine & taken:
        return replace(source, problem="another input of that name comes before it: their results would be one file")
    taken |= mine
    return source


def _below(folder: Path, root: Path, output: Path) -> Iterator[Source]:
    for place, names in walk(folder, skip=output):
        if isinstance(names, OSError):
            yield replace(_source(place, root, listed=True), problem=f"the folder can't be read: {names.strerror}")
            continue
        taken: set[int] = set()
        for name in sorted(names, key=_order):
            if name.upper() != "DICOMDIR":  # some CDs have its name in lower case
                yield _claim(_source(place / name, root, listed=False), taken)


def _order(name: str) -> tuple[str, int, str]:
    suffix = _suffix(name)
    return name[: -len(suffix)] if suffix else name, SUFFIXES.index(suffix), name


def _source(path: Path, root: Path, *, listed: bool) -> Source:
    name = PurePath(os.path.relpath(_absolute(path), root)).as_posix()
    suffix = _suffix(path.name)
    return Source(_absolute(path), name, name[: -len(suffix)] if suffix else name, listed)


def _suffix(name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def _absolute(path: Path) -> Path:
    # Not resolve(): a symbolic link keeps its own place and name.
    return Path(os.path.abspath(path))  # noqa: PTH100
