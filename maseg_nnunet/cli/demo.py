"""`maseg demo`: every step on synthetic exams, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from maseg_nnunet.experiments.demo import DemoResult


def demo(
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Folder for the demo's files. It is created if it is missing."
        ),
    ] = Path("maseg_demo"),
    keep: Annotated[
        bool, typer.Option(help="Keep nnU-Net's folders with the data set, the plans, the model and the predictions.")
    ] = False,
) -> None:
    """Run every step, from DICOM to scores, on synthetic exams.

    Creates DICOM exams in the style of three vendors, then converts, plans, trains, predicts and scores with the same
    commands that you would use. Takes minutes on a CPU and needs no GPU, no data and no settings. If it is interrupted,
    run it again: it continues.

    The exit status is 1 if the mean Dice is not above 0.95 for the breast or 0.80 for the pectoral muscle.

    Example: maseg demo
    """
    from rich.console import Console

    from maseg_nnunet.experiments.demo import DemoStage, run_demo
    from maseg_nnunet.parallel.signals import interrupted_by_sigterm

    console = Console(highlight=False)
    stages: list[DemoStage] = []

    def ended(stage: DemoStage) -> None:
        stages.append(stage)
        console.print(f"{stage.title:<28}{stage.seconds:7.1f} s  {stage.note}")

    # The exception that SIGTERM becomes makes subprocess.run end the stage's command.
    with interrupted_by_sigterm(), console.status("") as status:
        result = run_demo(output, keep=keep, started=lambda title: status.update(f"{title} ..."), ended=ended)
    console.print(_table(result))
    console.print(f"Pictures with the edges of the breast (red) and the muscle (blue): {result.overlays}")
    console.print(f"Scores of each image: {result.report / 'report.html'}")
    wall, cpu = sum(stage.seconds for stage in stages), sum(stage.cpu_seconds for stage in stages)
    console.print(f"Total: {wall:.0f} s, {cpu:.0f} s of CPU time")
    result.check()


def _table(result: DemoResult) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title="Dice on the test exams", title_justify="left", box=box.SIMPLE)
    for heading in ("Vendor", "View", "Intent"):
        table.add_column(heading)
    for heading in ("n", "Breast", "Pectoral", "n with muscle"):
        table.add_column(heading, justify="right")
    for score in result.scores:
        # The mean of no images is NaN, which is not equal to itself.
        pectoral = f"{score.pectoral:.3f}" if score.pectoral == score.pectoral else "-"
        table.add_row(
            score.vendor,
            score.view,
            score.intent,
            str(score.images),
            f"{score.breast:.3f}",
            pectoral,
            str(score.with_muscle),
        )
    table.add_section()
    images, muscles = (sum(getattr(score, name) for score in result.scores) for name in ("images", "with_muscle"))
    table.add_row("all", "", "", str(images), f"{result.breast:.3f}", f"{result.pectoral:.3f}", str(muscles))
    return table
