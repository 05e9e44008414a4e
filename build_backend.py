"""setuptools as the build backend, with editable installs that type checkers can follow.

The folders dataset_conversion, trainers and plans are mapped into maseg_nnunet, so setuptools installs an import hook
for `pip install -e .`. mypy and pyright run no hooks, but they read the paths in .pth files. So the editable wheel gets
one more .pth file, which names this folder. All other hooks (PEP 517, PEP 660) are setuptools' own.
"""

import os
from pathlib import Path
from zipfile import ZipFile

from setuptools import build_meta
from wheel.wheelfile import WheelFile

build_sdist = build_meta.build_sdist
build_wheel = build_meta.build_wheel
get_requires_for_build_editable = build_meta.get_requires_for_build_editable
get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
get_requires_for_build_wheel = build_meta.get_requires_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build the editable wheel in `wheel_directory` and return its file name (PEP 660)."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    finished, original = Path(wheel_directory, name), Path(wheel_directory, f"original-{name}")
    finished.replace(original)
    with WheelFile(finished, "w") as wheel, ZipFile(original) as source:
        for entry in source.infolist():
            if not entry.filename.endswith(".dist-info/RECORD"):  # WheelFile writes a new one
                wheel.writestr(entry, source.read(entry))
        wheel.writestr("maseg_nnunet-types.pth", os.fsencode(Path(__file__).resolve().parent) + b"\n")
    original.unlink()
    return name
