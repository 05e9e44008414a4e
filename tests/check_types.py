"""Type-check README's Python example against an installed package. `make lint` and `make wheel` run this."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
EXPECTED = """
reveal_type(mammogram.spacing)
reveal_type(mask)
"""
TYPES = ("tuple[float, float]", "numpy.ndarray[")


def main(python: Path) -> None:
    """Fail if mypy finds an error, or if it does not know the types of the package that `python` imports."""
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    with tempfile.TemporaryDirectory() as elsewhere:
        Path(elsewhere, "example.py").write_text(example + EXPECTED, encoding="utf-8")
        mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python.absolute())]
        run = subprocess.run([*mypy, "example.py"], check=False, cwd=elsewhere, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    revealed = re.findall(r'Revealed type is "(.*)"', run.stdout)
    assert len(revealed) == len(TYPES) and all(map(str.startswith, revealed, TYPES)), run.stdout
    sys.stdout.write(f"types: README's example is checked against {python}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
