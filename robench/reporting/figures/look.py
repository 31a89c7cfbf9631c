"""The look of all figures, each a matplotlib `Figure` made without pyplot: same records, same bytes.

Colours are those of Okabe and Ito (Color Universal Design, 2008), and no curve is told from another by colour alone.
"""

from __future__ import annotations

import contextlib
import io
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from robench.reporting.evaluation import Evaluation

BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000",
)  # fmt: skip
GREY = "#5B6470"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
THIN_LINES = ((0, (1, 1)), (0, (4, 1.5, 1, 1.5)), (0, (6, 2)), (0, (2, 2)), (0, (5, 1, 1, 1, 1, 1)))
LEGEND_WIDTH, LEGEND_ROWS, ROW_HEIGHT = 68, 4, 0.21
"""Letters of a name that fit below a panel; rows of a legend that it has room for; inches that each more takes."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#E4E8EC",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "#1B1F24",
    "ytick.labelcolor": "#1B1F24",
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "savefig.facecolor": "white",
    "savefig.dpi": 130,
    "text.parse_math": False,
    "svg.hashsalt": "robench",
    "svg.fonttype": "path",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Within it, or in a function that it decorates, figures look alike, whatever the user's settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def image_bytes(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """The figure as a file without dates or versions in it."""
    metadata = {"Date": None, "Creator": "robench"} if kind == "svg" else {"Software": "robench"}
    buffer = io.BytesIO()
    with style():
        engine = figure.get_layout_engine()
        if engine is not None:  # a quarter of the time of a figure: done once for all its files
            engine.execute(figure)
            figure.set_layout_engine(None)  # not "none", which leaves a placeholder, for which each file is drawn twice
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def panel(width: float = 6.4, height: float = 4.6) -> tuple[Figure, Axes]:
    """A figure of one panel, with its size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def legend_of_names(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend below the panels, in one column where names are long; the figure grows rather than its panels shrink.

    Args:
        figure: to draw on.
        handles: as matplotlib makes them.
        labels: one for each handle.
    """
    longest = max((len(label) for label in labels), default=0)
    columns = 2 if longest <= LEGEND_WIDTH // 2 - 5 else 1
    shown = ["\n".join(textwrap.wrap(label, LEGEND_WIDTH)) or label for label in labels]
    rows = sum(label.count("\n") + 1 for label in shown) / columns
    figure.set_figheight(figure.get_figheight() + ROW_HEIGHT * max(0.0, rows - LEGEND_ROWS))
    figure.legend(handles, shown, loc="outside lower center", ncols=columns)


def look_of(place: int) -> dict[str, str]:
    """Colour and marker of one of several models, the same in every figure."""
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def in_percent(axes: Axes) -> None:
    """Write rates on the upright axis in percent."""
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def unit(evaluations: Sequence[Evaluation]) -> str:
    """What lengths are measured in."""
    return "pixel units" if all(item.is_image for item in evaluations) else "input units"
