"""Where the tests find the real mammograms, and what they share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


def _needs(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"the real mammograms are not here: {path.name} was looked for in ../shared/data")
    return path


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mini_mias, mini_mias_masks, mini_mias.csv and inbreast, unpacked once a session."""
    script = _needs(SHARED / "unpack.py")
    folder = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def real_dicom() -> Path:
    """The folder of the seven real DICOM files."""
    return _needs(SHARED / "dicom")
