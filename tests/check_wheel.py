"""Check what a wheel contains, and the commands of an environment that it is installed into. `make wheel` runs this."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

SETUP = Path(__file__).parent.parent / "setup.cfg"


def main(dist: Path, environment: Path) -> None:
    """Fail at the first difference from what is expected."""
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"maseg_nnunet"}, top
    for wanted in (
        "plans/maseg_demo.json",
        "plans/maseg_lite.json",
        "plans/maseg_paper.json",
        "evaluation/templates/report.html.j2",
        "models/maseg_lite/dataset.json",
        "trainers/maseg_trainer.py",
        "dataset_conversion/convert_vendor.py",
        "py.typed",
        "models/maseg_lite/plans.json",
        "models/maseg_lite/fold_0/checkpoint_final.pth",
        "models/maseg_lite/MODEL_CARD.md",
        "models/maseg_lite/LICENSE",
    ):
        assert f"maseg_nnunet/{wanted}" in names, f"{wanted} is not in the wheel"

    config = ConfigParser()
    config.read(SETUP)
    scripts = [
        line.split("=")[0].strip() for line in config["options.entry_points"]["console_scripts"].split("\n") if line
    ]
    with tempfile.TemporaryDirectory() as elsewhere:

        def answer(*command: str) -> str:
            program = str((environment / "bin" / command[0]).absolute())
            return subprocess.run(
                [program, *command[1:]], cwd=elsewhere, check=True, capture_output=True, text=True
            ).stdout

        for script in scripts:
            assert "Usage" in answer(script, "--help")
        listed = answer("maseg", "--help").split("Commands:")[1].splitlines()
        subcommands = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
        for subcommand in subcommands:
            assert "Example" in answer("maseg", subcommand, "--help"), f"{subcommand} --help shows no example"
        where = answer("python", "-c", "import maseg_nnunet; print(maseg_nnunet.__file__)").strip()
        assert environment.absolute() in Path(where).parents, where
    sys.stdout.write(f"wheel: {', '.join(scripts)} and maseg's {', '.join(subcommands)} answer\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
