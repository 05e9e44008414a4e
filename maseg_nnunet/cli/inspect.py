"""`maseg inspect`: how a file is read, before anything is predicted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maseg_nnunet.cli.options import RawWindowsOption, SpacingOption
from maseg_nnunet.console import Problems

if TYPE_CHECKING:
    from maseg_nnunet.readers.inspection import InspectedLut, Inspection


def inspect(
    files: Annotated[list[Path], typer.Argument(help="DICOM, PNG, TIFF, PGM or JPEG files, or folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of text.")] = False,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Write the displayed image to this PNG file or, for several files, into this folder."
        ),
    ] = None,
    spacing_mm: SpacingOption = None,
    raw_windows: RawWindowsOption = False,
) -> None:
    """Show how files are read, or why they are rejected.

    Prints vendor, view, side, size, spacing, look-up tables and flags. Nothing that identifies a patient is shown. The
    look-up table marked with * is the one that maseg predict uses. The exit status is 1 if a file is rejected.

    In a folder, the files that maseg predict would read are shown, and those that it would reject are counted by
    their reason.

    Example: maseg inspect exam/image.dcm --preview image.png
    """
    import json

    from maseg_nnunet.errors import Reason, UsageError
    from maseg_nnunet.files import size_of
    from maseg_nnunet.mammogram import Flag
    from maseg_nnunet.readers.inspection import inspect_file
    from maseg_nnunet.writers.png import write_displayed

    named = set(files)
    files, unnamed = _expanded(files, preview)
    problems = Problems()
    places = _preview_paths(files, preview)
    # Not Path.resolve(), which fails on a link to itself before Python 3.13.
    sources = {os.path.realpath(file) for file in files}
    for place in places:
        if place is not None and os.path.realpath(place) in sources:
            raise UsageError(f"--preview would write over {place}, which is an input: choose another file or folder")
    inspections = []
    strays = 0
    for file, place in zip(files, places, strict=True):
        inspection, mammogram = inspect_file(file, spacing_mm=spacing_mm, raw_windows=raw_windows)
        if file in unnamed and (inspection.reason == Reason.NOT_DICOM.value or size_of(file) == 0):
            strays += 1
            continue
        inspections.append(inspection)
        if mammogram is not None and place is not None:
            if Flag.BURNED_IN in mammogram.flags:
                typer.echo(f"no preview of {file.name}: a name may be burned into its pixels", err=True)
            else:
                write_displayed(place, mammogram.displayed())
        if inspection.refusal and file not in named:
            problems.add("rejected", file.name, f"{inspection.reason}: {inspection.refusal}")
        elif not as_json:
            typer.echo("\n".join(_lines(inspection)))
    for line in problems.lines():
        typer.echo(line, err=True)
    if strays:
        typer.echo(
            f"{strays} file{'s are' if strays > 1 else ' is'} not DICOM, PNG, TIFF, PGM or JPEG: skipped", err=True
        )
    if as_json:
        typer.echo(json.dumps([inspection.to_json() for inspection in inspections], indent=2))
    if any(inspection.refusal for inspection in inspections):
        raise typer.Exit(1)


def _expanded(inputs: list[Path], preview: Path | None) -> tuple[list[Path], set[Path]]:
    """The inputs with each folder replaced by its files, and those of its files whose names are not those of images."""
    from maseg_nnunet.files import is_folder
    from maseg_nnunet.prediction.sources import find_sources

    files: list[Path] = []
    unnamed: set[Path] = set()
    for path in inputs:
        if not is_folder(path):
            files.append(path)
            continue
        for source in find_sources([path], preview or Path(os.devnull)):
            files.append(source.path)
            if not source.is_named_image:
                unnamed.add(source.path)
    return files, unnamed


def _preview_paths(files: list[Path], preview: Path | None) -> list[Path | None]:
    """The path of each displayed image, or None; repeated stems get a number."""
    if preview is None:
        return [None] * len(files)
    if len(files) == 1 and preview.suffix.lower() == ".png":
        return [preview]
    places: list[Path | None] = []
    for file in files:
        number = 1
        while (place := preview / f"{file.stem}{f'_{number}' if number > 1 else ''}.png") in places:
            number += 1
        places.append(place)
    return places


def _lines(found: Inspection) -> Iterator[str]:
    """The lines of text about a file. What it does not state has no line."""
    yield found.file
    if found.refusal:
        yield f"  rejected     {found.reason}: {found.refusal}"
    size = f"{found.rows} x {found.columns} pixels" if found.rows and found.columns else ""
    if size and found.spacing:
        size += f" of {found.spacing[0]:g} x {found.spacing[1]:g} mm ({found.spacing_source})"
    polarity = {None: "", False: "MONOCHROME2: large values are bright", True: "MONOCHROME1: small values are bright"}
    rows = {
        "vendor": " ".join(filter(None, (found.vendor, f"({found.model})" if found.model else ""))),
        "object": found.sop_class,
        "intent": found.intent,
        "view": found.view,
        "side": found.side,
        "size": size,
        "orientation": "\\".join(found.patient_orientation),
        "flipped": found.horizontal_flip,
        "polarity": polarity[found.inverted],
    }
    for name, text in rows.items():
        if text:
            yield f"  {name:12} {text}"
    if found.luts:
        yield "  look-up tables"
        yield from (f"    {'*' if lut.base else ' '} {_lut(lut)}" for lut in found.luts)
    for number, flag in enumerate(found.flags):
        yield f"  {'' if number else 'flags':12} {flag}"


def _lut(lut: InspectedLut) -> str:
    name = f"{lut.explanation or '(unnamed)':16} {lut.function:12}"
    if lut.entries is not None:
        return f"{name} {lut.entries} entries of {lut.bits} bits from {lut.first}"
    return f"{name} center {lut.center:g}, width {lut.width:g}"
