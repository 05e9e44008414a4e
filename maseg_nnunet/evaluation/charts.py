"""The report's charts: box plots of Dice and Bland–Altman plots of areas.

They are SVG, so they need no script and print sharply. The pictures of cases are in `pictures.py`.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from maseg_nnunet.arrays import FloatArray

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = {"MLO": "#1f5a96", "CC": "#d1762b"}
"""Colour of each view; dark enough to print in gray, and distinct for colour-blind readers."""

_OTHER_COLOUR: Final = "#6b6b6b"

SCORES: Final = {"dice_overall": "Overall", "dice_breast": "Breast", "dice_pectoral": "Pectoral muscle"}


def dice_boxes(cases: pd.DataFrame) -> str:
    """Draw box plots of the three Dice scores by group and view.

    The box shows quartiles and median. The whiskers reach to the most extreme case within 1.5 times the interquartile
    range. Each case beyond is a point that links to its row.

    Args:
        cases: Scored cases with the columns of `with_groups`.

    Returns:
        An SVG element.
    """
    groups, views = _ordered(cases["group"]), _ordered(cases["view_group"])
    with _style():
        figure = _figure(len(SCORES), height=0.9 + 0.42 * len(groups) * max(1, len(views) * 0.7))
        axes = figure.subplots(1, len(SCORES), sharey=True, squeeze=False)[0]
        for axis, (column, title) in zip(axes, SCORES.items(), strict=True):
            for number, view in enumerate(views):
                _boxes(axis, cases[cases["view_group"] == view], column, groups, number, len(views), view)
            axis.set_title(title)
            axis.set_xlabel("Dice")
            axis.grid(axis="x")
        axes[0].set_yticks(range(len(groups)), groups)
        axes[0].set_ylim(len(groups) - 0.5, -0.5)
        return _svg(figure, f"Box plots of Dice by {' and '.join(views)} view for {', '.join(groups)}")


def _boxes(
    axis: Axes, cases: pd.DataFrame, column: str, groups: Sequence[str], number: int, count: int, view: str
) -> None:
    width = 0.7 / count
    for position, group in enumerate(groups):
        part = cases[(cases["group"] == group) & cases[column].notna()]
        if part.empty:
            continue
        values, at = part[column].to_numpy(dtype=float), position + (number - (count - 1) / 2) * width
        colour = COLOURS.get(view, _OTHER_COLOUR)
        line = {"color": colour, "linewidth": 1}
        drawn = axis.boxplot(
            [values], positions=[at], widths=[width * 0.8], orientation="horizontal", showfliers=False,
            patch_artist=True, manage_ticks=False, boxprops={"facecolor": "white", "edgecolor": colour},
            medianprops={**line, "linewidth": 2.5}, whiskerprops=line, capprops=line,
        )  # fmt: skip
        low, high = (float(drawn["caps"][end].get_xdata()[0]) for end in (0, 1))
        beyond = (values < low) | (values > high)
        _points(axis, values[beyond], np.full(int(beyond.sum()), at), part["case"][beyond].tolist(), colour)


def bland_altman(cases: pd.DataFrame) -> str:
    """Draw Bland–Altman plots of the areas of both classes: predicted minus reference area against their mean, in cm².

    The lines show the mean difference and the 95% limits of agreement (± 1.96 standard deviations; images of one woman
    are treated as independent). Cases without the class in both masks are left out, and for the muscle those whose
    muscle was not judged. Each point links to the row of its case.

    Args:
        cases: Scored cases with the columns of `with_groups`.

    Returns:
        An SVG element.
    """
    with _style():
        figure = _figure(2, height=3.2)
        for axis, name in zip(figure.subplots(1, 2), ("breast", "pectoral"), strict=True):
            reference = cases[f"reference_{name}_area"].to_numpy(dtype=float)
            predicted = cases[f"predicted_{name}_area"].to_numpy(dtype=float)
            shown = reference + predicted > 0
            if name == "pectoral":
                shown &= cases["muscle_scored"].to_numpy(dtype=bool)
            part = cases[shown]
            mean, difference = ((reference + predicted) / 2)[shown], (predicted - reference)[shown]
            for view in _ordered(cases["view_group"]):
                of_view = (part["view_group"] == view).to_numpy()
                colour = COLOURS.get(view, _OTHER_COLOUR)
                _points(axis, mean[of_view], difference[of_view], part["case"][of_view].tolist(), colour, label=view)
            _agreement(axis, difference)
            axis.set_title({"breast": "Breast", "pectoral": "Pectoral muscle"}[name])
            axis.set_xlabel("Mean of reference and prediction, cm²")
            axis.set_ylabel("Prediction − reference, cm²")
            axis.grid()
        return _svg(figure, "Bland–Altman plots of the areas of breast and pectoral muscle")


def _agreement(axis: Axes, difference: FloatArray) -> None:
    if len(difference) < 2:
        return
    mean, spread = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
    for value, style in ((mean, "-"), (mean - spread, "--"), (mean + spread, "--")):
        axis.axhline(value, color="black", linewidth=0.9, linestyle=style, zorder=1)
        text = f"{value:+.1f}".replace("-", "−")
        axis.annotate(text, (1, value), xycoords=("axes fraction", "data"), xytext=(3, 0), va="center",
                      textcoords="offset points")  # fmt: skip


def legend(views: Sequence[str]) -> list[tuple[str, str]]:
    """(view, colour) of each view, for the page's legend."""
    return [(view, COLOURS.get(view, _OTHER_COLOUR)) for view in views]


def _points(
    axis: Axes,
    x: FloatArray,
    y: FloatArray,
    cases: Sequence[str],
    colour: str,
    label: str | None = None,
) -> None:
    """Draw points that link to the rows of their cases."""
    if len(x):
        points = axis.scatter(x, y, s=9, color=colour, alpha=0.75, linewidths=0, label=label, zorder=2)
        points.set_urls([f"#case-{case}" for case in cases])


def _ordered(names: pd.Series[str]) -> list[str]:
    return [str(name) for name in names.drop_duplicates()]


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    settings: Any = {
        "svg.fonttype": "none",  # keep text as text, searchable and in the page's font
        "svg.hashsalt": "maseg",  # the same element ids in each run
        "font.family": "sans-serif",
        "font.size": 8.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "grid.color": "#e3e3e3",
        "axes.axisbelow": True,
    }
    with mpl.rc_context(settings):
        yield


def _figure(columns: int, height: float) -> Figure:
    # Not pyplot, which needs a backend and keeps figures open.
    from matplotlib.figure import Figure

    return Figure(figsize=(9.6 if columns > 1 else 5, height), layout="constrained")


def _svg(figure: Figure, described: str) -> str:
    """Convert a figure to an SVG element that scales with the page; `described` is its text for screen readers."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    element = written.getvalue()
    element = element[element.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.DOTALL)
    opening = f'<svg role="img" aria-label="{html.escape(described)}" '
    return re.sub(r'<svg ([^>]*?)width="[^"]*" ', lambda found: opening + found[1], element, count=1)
