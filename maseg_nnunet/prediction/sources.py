"""The files that a prediction reads, and the names of their results. Whether a file is an image is not decided here.

A result keeps its input's relative path and stem. Only endings of image files are removed, because files named by a UID
end in digits that look like a suffix. Two inputs with the same stem (x.dcm and x.png) would have the same result. The
first in the order of SUFFIXES gets it, and the other is rejected.

Files are listed lazily: only the names in one folder are in memory at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Final

from maseg_nnunet.errors import UsageError, as_text
from maseg_nnunet.files import is_folder, walk
from maseg_nnunet.writers.results import ENDINGS, PREVIEW_ENDING, Format

SUFFIXES: Final = (".dcm", ".dicom", ".ima", "", ".png", ".tif", ".tiff", ".pgm", ".jpg", ".jpeg")
"""Endings that are removed for a result's name, in the order of preference. "" stands for any other ending."""

LIST_SUFFIX: Final = ".txt"

PREVIEW: Final = PREVIEW_ENDING.removesuffix(ENDINGS[Format.PNG])
"""What a preview's name adds to the stem. A mask must not have that name."""


@dataclass(frozen=True)
class Source:
    """One input file.

    Attributes:
        path: Its absolute path.
        name: Its path relative to the inputs' common folder, with "/" as separator, as `errors.as_text` shows it.
        stem: The same path as the system has it, without the ending of an image file.
        listed: Whether the user named the file. Otherwise it was found in a folder.
        problem: Why it is rejected before it is read, or "".
    """

    path: Path
    name: str
    stem: str
    listed: bool = True
    problem: str = ""

    @property
    def is_named_image(self) -> bool:
        """Whether its name has the ending of an image file, so that a file that can't be read is a bad image."""
        return bool(_suffix(self.path.name))


def find_sources(inputs: Sequence[Path], output: Path) -> Iterator[Source]:
    """List the input files.

    Files are named relative to the input folder, or to the folder that several inputs share. A single file has its own
    name. A file that several inputs lead to is listed once. Hidden files and DICOMDIRs are skipped. Symbolic links are
    followed, but not in circles.

    Args:
        inputs: Files, folders, and .txt files that list files and folders, one on each line.
        output: The folder of the results. It is skipped if it lies in an input folder, even if it is created later.

    Returns:
        An iterator over the files, in the order of folders and names.

    Raises:
        UsageError: At once, if an input is missing, a list is empty, or results would be written among the inputs.
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
    """The folder that the files' names are relative to."""
    common: str | None = None
    for path in _expanded(inputs):
        folder = str(_absolute(path if is_folder(path) else path.parent))
        try:
            common = folder if common is None else os.path.commonpath([common, folder])
        except ValueError as error:
            raise UsageError("the inputs are on different drives: predict the files of one drive at a time") from error
    if common is None:
        raise UsageError("no input: the list of files is empty")
    return Path(common)


def _results_among_inputs(root: Path, output: Path) -> tuple[str, ...]:
    """The path of the input folder within the output folder, () if it is not in it."""
    inputs, results = root.resolve(), output.resolve()
    if inputs == results:
        raise _is_input(output)
    return inputs.relative_to(results).parts if inputs.is_relative_to(results) else ()


def _is_input(output: Path) -> UsageError:
    return UsageError(f"the output folder {output} is the input folder: choose another folder, in it or elsewhere")


def _expanded(inputs: Sequence[Path]) -> Iterator[Path]:
    """The inputs, with each .txt file replaced by the files and folders that it lists."""
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
        except (OSError, ValueError, RuntimeError):  # a link to itself or an invalid name, which reading will report
            is_result = False
        source = _source(path, root, listed=True)
        yield replace(source, problem="it is in the output folder") if is_result else source


def _unique(sources: Iterable[Source]) -> Iterator[Source]:
    """Skip files that came before, and reject those whose result another file has. Only hashes are kept in memory."""
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
        return replace(source, problem="another input has the same stem: their results would be the same file")
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
    return Source(_absolute(path), as_text(name), name[: -len(suffix)] if suffix else name, listed)


def _suffix(name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def _absolute(path: Path) -> Path:
    # Not resolve(): a symbolic link keeps its own place and name.
    return Path(os.path.abspath(path))  # noqa: PTH100
