"""Fixtures that all tests share, and where the real mammograms are."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell that starts the tests in the background makes them ignore SIGINT, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


def _needs(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"the real mammograms are missing: {path.name} was expected in ../shared/data")
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


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like mini-MIAS: `films` with 24 PGM and Info.txt, `masks` with PNG, and mini_mias.csv."""
    import cv2
    import numpy as np

    base = tmp_path_factory.mktemp("films")
    (base / "films").mkdir()
    (base / "masks").mkdir()
    random = np.random.default_rng(0)
    lines = ["mdb001 G CIRC B 535 425 197", "mdb002 D NORM", "mdb003 F CALC M 1 2 3", "mdb003 F MISC B 1 2 3"]
    (base / "films" / "Info.txt").write_text("MIAS\n\n" + "\n".join(lines) + "\n", encoding="latin-1")
    table = ["image_id,quality", "mdb001,ok", "mdb002,exclude", "mdb003,uncertain"]
    (base / "mini_mias.csv").write_text("\n".join(table) + "\n")
    for number in range(1, 25):
        mask = np.zeros((96, 80), np.uint8)
        cv2.ellipse(mask, (0, 48), (60, 40), 0, 0, 360, 1, -1)
        cv2.fillPoly(mask, [np.array([(0, 8), (30, 14), (0, 60)])], 2)
        image = (40 + 80 * (mask == 1) + 150 * (mask == 2) + random.integers(0, 20, mask.shape)).astype(np.uint8)
        if number % 2:
            mask, image = mask[:, ::-1], image[:, ::-1]
        name = f"mdb{number:03d}"
        cv2.imwrite(str(base / "films" / f"{name}.pgm"), image)
        cv2.imwrite(str(base / "masks" / f"{name}.png"), mask)
    return base


@pytest.fixture(autouse=True)
def _signals_stay() -> Iterator[None]:
    """Check that no command run in this process leaves a signal handler: nnU-Net's forked pools would hang."""
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


pytest_plugins = ["tests.commands"]
