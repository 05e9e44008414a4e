"""`maseg demo`: the whole path on synthetic exams, in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from maseg_nnunet.experiments.demo import DemoResult


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the demo, made where it is missing.")
    ] = Path("maseg_demo"),
    keep: Annotated[bool, typer.Option(help="Keep nnU-Net's folders (data set, plans, model, predictions).")] = False,
) -> None:
    """Make synthetic DICOM exams of three makers; convert, plan, train, predict and score them with the real commands.

    Takes a few minutes on two cores, needs no GPU, no data and no settings. Ends with status 1 where the breast's Dice
    is not above 0.95 or the pectoral muscle's not above 0.80. An interrupted demo goes on when it is run again.

    Example: maseg demo
    """
    from rich.console import Console

    from maseg_nnunet.experiments.demo import DemoStage, run_demo
    from maseg_nnunet.parallel.signals import interrupted_by_sigterm

    console = Console(highlight=False)
    steps: list[DemoStage] = []

    def ended(step: DemoStage) -> None:
        steps.append(step)
        console.print(f"{step.title:<28}{step.seconds:7.1f} s  {step.note}")

    # subprocess.run ends the stage's command with us.
    with interrupted_by_sigterm(), console.status("") as status:
        outcome = run_demo(output, keep=keep, started=lambda title: status.update(f"{title} ..."), ended=ended)
    console.print(_table(outcome))
    console.print(f"Overlay pictures (red: edge of the breast, blue: edge of the muscle): {outcome.overlays}")
    console.print(f"Scores of every image: {outcome.report}")
    wall, cpu = sum(step.seconds for step in steps), sum(step.cpu_seconds for step in steps)
    console.print(f"{wall:.0f} s in all, {cpu:.0f} s of CPU time")
    outcome.check()


def _table(outcome: DemoResult) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title="Dice on the test exams", title_justify="left", box=box.SIMPLE)
    for heading in ("Vendor", "View", "Intent"):
        table.add_column(heading)
    for heading in ("n", "Breast", "Pectoral", "n with muscle"):
        table.add_column(heading, justify="right")
    for score in outcome.scores:
        # A mean over no image is NaN, which is unequal to itself.
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
    images, muscles = (sum(getattr(score, name) for score in outcome.scores) for name in ("images", "with_muscle"))
    table.add_row("all", "", "", str(images), f"{outcome.breast:.3f}", f"{outcome.pectoral:.3f}", str(muscles))
    return table
