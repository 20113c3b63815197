"""What all charts share: the figure with its title and its sentence, and the colours and hatches.

Sizes are in inches and points, for a projector: 10 inches wide, no letter smaller than 14 points. Nothing
here touches pyplot, so that a chart leaves no trace in the notebook's own figures.
"""

from __future__ import annotations

import base64
import html
import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from labkit.charts.lettering import FONT, LARGE, NORMAL, SMALL, fit, height_of, width_of

WIDTH = 10.0  # inches
PAD = 0.22  # inches around everything
NAME = 2.4  # inches that a name may take on the left
DPI = 144  # sharp on a screen of twice the usual density

# The colours of Okabe and Ito, told apart with every kind of colour blindness.
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
INK, GREY, PALE = "#1a1a1a", "#5f5f5f", "#d9d9d9"
ALARM = "#a84300"  # vermillion, dark enough for letters on white
AWAY: dict[str, Any] = {
    "facecolor": "#ececec",
    "edgecolor": "#b5b5b5",
    "hatch": "\\\\",
    "linewidth": 0,
}  # no broker then


@dataclass(frozen=True)
class Look:
    """How one thing is drawn, in every chart alike: what it is called, its colour and its hatch."""

    label: str
    colour: str
    hatch: str = ""
    edge: str = "white"  # the hatch's colour, too: white on the strong colours is seen from the back row
    wide: float = 0.42  # inches in a key

    def style(self) -> dict[str, Any]:
        """The keyword arguments for a patch or a collection of them."""
        linewidth = 0.8 if self.edge == "white" else 1.6
        return {"facecolor": self.colour, "edgecolor": self.edge, "hatch": self.hatch, "linewidth": linewidth}

    @property
    def key_width(self) -> float:
        """How many inches its entry in a key takes."""
        return self.wide + 0.08 + width_of(self.label) + 0.35


class Chart(Figure):
    """A figure with a title that says what is seen, and a sentence under it that says it in words.

    In a notebook it shows itself, as a picture with the sentence as its alternative text. ``sentence`` is
    that, ``body`` the room above it: left, bottom, width and height in inches. ``savefig`` writes the
    chart to a file.
    """

    def __init__(self, title: str, sentence: str, body: float) -> None:
        """``body`` is the height in inches of what is drawn between title and sentence."""
        self.title, self.sentence = title, sentence
        width = WIDTH - 2 * PAD
        heading, lines = fit(title, width, LARGE, bold=True), fit(sentence, width, NORMAL)
        top = len(heading) * height_of(LARGE) + 0.12
        bottom = len(lines) * height_of(NORMAL) + 0.12
        super().__init__(figsize=(WIDTH, 2 * PAD + top + body + bottom), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self)
        self.body = (PAD, PAD + bottom, width, body)
        self.lines_at(PAD, self.get_figheight() - PAD, heading, LARGE, weight="bold")
        self.lines_at(PAD, PAD + bottom - 0.12, lines)

    def _shares(
        self, left: float, bottom: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        """Inches of the figure as matplotlib wants them: as shares of its width and height."""
        w, h = self.get_figwidth(), self.get_figheight()
        return left / w, bottom / h, width / w, height / h

    def text_at(self, x: float, y: float, text: str, size: float = SMALL, **style: Any) -> Text:
        """Text at so many inches from the figure's left and bottom."""
        left, bottom, _, _ = self._shares(x, y, 0, 0)
        return self.text(left, bottom, text, fontsize=size, family=FONT, parse_math=False, **style)

    def lines_at(
        self, x: float, top: float, lines: Iterable[str], size: float = NORMAL, **style: Any
    ) -> None:
        """Lines of text, one below the other; ``x`` and ``top`` in inches from the figure's left and bottom."""
        for line in lines:
            self.text_at(x, top, line, size, verticalalignment="top", color=INK, **style)
            top -= height_of(size)

    def box(self, left: float, bottom: float, width: float, height: float, **style: Any) -> None:
        """A rectangle at so many inches from the figure's left and bottom."""
        x, y, w, h = self._shares(left, bottom, width, height)
        self.add_artist(Rectangle((x, y), w, h, transform=self.transFigure, **style))

    def panel(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes at these inches within the body, without a frame that says nothing."""
        x, y, _, _ = self.body
        axes = self.add_axes(self._shares(x + left, y + bottom, width, height))
        axes.tick_params(labelsize=SMALL, length=0, colors=INK)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GREY)
        axes.set_axisbelow(True)
        return axes

    def key(self, looks: Sequence[Look], left: float, bottom: float) -> None:
        """Boxes with what their colours and hatches mean, in a line at these inches within the body."""
        x, y = self.body[0] + left, self.body[1] + bottom
        for look in looks:
            self.box(x, y, look.wide, 0.2, **look.style())
            self.text_at(x + look.wide + 0.08, y + 0.1, look.label, verticalalignment="center", color=INK)
            x += look.key_width

    def png(self) -> bytes:
        """The picture as the bytes of a PNG file."""
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # A worker may be named in a script that the font does not have: boxes, and no warning.
            warnings.filterwarnings("ignore", message=".*[Gg]lyph")
            self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        picture = base64.b64encode(self.png()).decode("ascii")
        alternative = html.escape(self.sentence, quote=True)
        return {
            "text/html": (
                f'<figure style="margin:0"><img alt="{alternative}" '
                f'src="data:image/png;base64,{picture}" '
                f'style="width:{self.get_figwidth() * 96:.0f}px; max-width:100%; height:auto"></figure>'
            ),
            "image/png": picture,
            "text/plain": f"{self.title}\n{self.sentence}",
        }

    def __repr__(self) -> str:
        return f"<Chart {self.title!r}>"


def empty(title: str, sentence: str) -> Chart:
    """A chart of nothing: it says so."""
    chart = Chart(title, sentence, body=1.0)
    chart.box(*chart.body, facecolor="#f2f2f2", edgecolor=PALE)
    return chart


def bare(axes: Axes, left: bool = True) -> None:
    """Take the numbers off: the values stand on the bars. ``left`` leaves a line for the bars to begin at."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(left)
    axes.spines["left"].set_color(GREY)


def write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """A word or a number in the axes' own units, at the height of its middle."""
    style = {"verticalalignment": "center_baseline", "fontsize": SMALL, "color": INK, **style}
    axes.text(x, y, text, parse_math=False, **style)


def key_rows(looks: Sequence[Look], width: float) -> list[list[Look]]:
    """The entries of a key in lines of at most ``width`` inches."""
    rows: list[list[Look]] = [[]]
    for look in looks:
        if rows[-1] and sum(each.key_width for each in [*rows[-1], look]) > width:
            rows.append([])
        rows[-1].append(look)
    return rows
