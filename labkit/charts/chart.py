"""What all charts share: the figure with its title and its sentence, the colours, and text that fits.

Sizes are in inches and points, for a projector: 10 inches wide, no letter smaller than 14 points. Nothing
here touches pyplot, so that a chart leaves no trace in the notebook's own figures.
"""

from __future__ import annotations

import base64
import html
import io
import os.path
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.textpath import TextToPath

from labkit.errors import UsageError
from labkit.ledger import Ledger
from labkit.loads import Loads, natural

WIDTH = 10.0  # inches
SMALL, NORMAL, LARGE = 14, 15, 20  # points: numbers and names, the sentence, the title
LINE = 1.32  # the height of a line of text, in letter heights
PAD = 0.22  # inches around everything
NAME = 2.4  # inches that a name may take on the left
DPI = 144  # sharp on a screen of twice the usual density
FONT = ["DejaVu Sans"]  # comes with matplotlib, so that a chart is the same everywhere

# The colours of Okabe and Ito, told apart with every kind of colour blindness.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
INK, GREY, PALE = "#1a1a1a", "#5f5f5f", "#d9d9d9"


@dataclass(frozen=True)
class Look:
    """How one thing is drawn, in every chart alike: what it is called, its colour and its hatch."""

    label: str
    colour: str
    hatch: str = ""

    def style(self) -> dict[str, Any]:
        """The keyword arguments for a patch or a collection of them."""
        # Hatches are drawn in the edge's colour; white on the strong colours is seen from the back row.
        return {"facecolor": self.colour, "edgecolor": "white", "hatch": self.hatch, "linewidth": 0.8}


class Chart(Figure):
    """A figure with a title that says what is seen, and a sentence under it that says it in words.

    In a notebook it shows itself, as a picture with the sentence as its alternative text. ``text`` is that
    sentence. ``savefig`` writes it to a file.
    """

    def __init__(self, title: str, text: str, body: float, width: float = WIDTH) -> None:
        """``body`` is the height in inches of what is drawn between title and sentence."""
        self.title, self.text = title, text
        self._title_lines = fit(title, width - 2 * PAD, LARGE, bold=True)
        self._text_lines = fit(text, width - 2 * PAD, NORMAL)
        top = len(self._title_lines) * height_of(LARGE) + 0.12
        bottom = len(self._text_lines) * height_of(NORMAL) + 0.12
        super().__init__(figsize=(width, 2 * PAD + top + body + bottom), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self)
        self._body = (PAD, PAD + bottom, width - 2 * PAD, body)
        y = self.get_figheight() - PAD
        for line in self._title_lines:
            self._line(line, y, LARGE, weight="bold", color=INK)
            y -= height_of(LARGE)
        y = PAD + len(self._text_lines) * height_of(NORMAL)
        for line in self._text_lines:
            self._line(line, y, NORMAL, color=INK)
            y -= height_of(NORMAL)

    def _line(self, text: str, top: float, size: float, **style: Any) -> None:
        self.text_at(PAD, top, text, size, verticalalignment="top", **style)

    def text_at(self, x: float, y: float, text: str, size: float = SMALL, **style: Any) -> Text:
        """Text at so many inches from the figure's left and bottom."""
        place = (x / self.get_figwidth(), y / self.get_figheight())
        return Figure.text(self, *place, text, fontsize=size, family=FONT, parse_math=False, **style)

    @property
    def body(self) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of the room between title and sentence, in inches."""
        return self._body

    def panel(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes at these inches within the body, without a frame that says nothing."""
        x, y, _, _ = self._body
        w, h = self.get_figwidth(), self.get_figheight()
        axes = self.add_axes(((x + left) / w, (y + bottom) / h, width / w, height / h))
        axes.tick_params(labelsize=SMALL, length=0, colors=INK)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GREY)
        axes.set_axisbelow(True)
        return axes

    def key(self, looks: Sequence[Look], left: float, bottom: float) -> None:
        """Boxes with what their colours and hatches mean, in a line at these inches within the body."""
        x, y = self._body[0] + left, self._body[1] + bottom
        w, h = self.get_figwidth(), self.get_figheight()
        for look in looks:
            box = Rectangle(
                (x / w, y / h), 0.42 / w, 0.2 / h, transform=self.transFigure, figure=self, **look.style()
            )
            self.add_artist(box)
            self.text_at(x + 0.5, y + 0.1, look.label, verticalalignment="center", color=INK)
            x += key_width(look)

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
        alternative = html.escape(self.text, quote=True)
        return {
            "text/html": (
                f'<figure style="margin:0"><img alt="{alternative}" '
                f'src="data:image/png;base64,{picture}" '
                f'style="width:{self.get_figwidth() * 96:.0f}px; max-width:100%; height:auto"></figure>'
            ),
            "image/png": picture,
            "text/plain": f"{self.title}\n{self.text}",
        }

    def __repr__(self) -> str:
        return f"<Chart {self.title!r}>"


# What is drawn.


@dataclass
class Shown:
    """One run in a chart, whatever it was given as."""

    name: str
    ledger: Ledger
    loads: Loads = field(default_factory=Loads)
    about: dict[str, Any] = field(default_factory=dict)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """The workers in the order in which they were set up, the others by their names."""
        set_up = [str(one.get("name")) for one in self.about.get("workers", []) if isinstance(one, dict)]
        order = {name: at for at, name in enumerate(set_up)}
        return sorted(names, key=lambda name: (order.get(name, len(order)), natural(name)))


def shown(runs: Any) -> list[Shown]:
    """One run or ledger, or several of them, as a list. Raises UsageError for anything else."""
    if isinstance(runs, dict):
        return [_shown(run, str(name)) for name, run in runs.items()]
    if not isinstance(runs, list | tuple):
        runs = [runs]
    if not runs:
        raise UsageError("There is no run to draw.", do="Give the chart a run, or a list of runs.")
    return [_shown(run, "") for run in runs]


def _shown(run: Any, name: str) -> Shown:
    if isinstance(run, Ledger):
        return Shown(name, run)
    if isinstance(run, Loads):
        return Shown(name, Ledger(), run)
    if isinstance(getattr(run, "ledger", None), Ledger):
        return Shown(
            name or str(getattr(run, "name", "")),
            run.ledger,
            getattr(run, "loads", None) or Loads(),
            getattr(run, "about", None) or {},
        )
    raise UsageError(
        f"A chart cannot be drawn of {type(run).__name__}.",
        do="Give it what lab.finish() or lab.run() returned.",
    )


# Text that fits.


@lru_cache(maxsize=8)
def _font(size: float, bold: bool) -> FontProperties:
    return FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")


_paths = TextToPath()


@lru_cache(maxsize=4096)
def width_of(text: str, size: float = SMALL, bold: bool = False) -> float:
    """How many inches the text is wide."""
    if not text:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        width, _, _ = _paths.get_text_width_height_descent(text, _font(size, bold), False)
    return width / 72


def height_of(size: float) -> float:
    """How many inches a line of this many points is high."""
    return size * LINE / 72


def fit(text: str, width: float, size: float = SMALL, bold: bool = False) -> list[str]:
    """The text in lines of at most ``width`` inches; a word that is too long is cut."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if width_of(longer, size, bold) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = shorten(word, width, size, bold)
    return [*lines, line] if line else lines


def shorten(text: str, width: float, size: float = SMALL, bold: bool = False) -> str:
    """The text, with its middle left out if it is wider than ``width`` inches."""
    text = re.sub(r"\s+", " ", text).strip()
    if width_of(text, size, bold) <= width:
        return text
    low, high = 0, len(text)  # how many characters may stay
    while low < high:
        keep = (low + high + 1) // 2
        if width_of(_cut(text, keep), size, bold) <= width:
            low = keep
        else:
            high = keep - 1
    return _cut(text, low)


def names_in(names: Sequence[str], width: float) -> list[str]:
    """Names in at most ``width`` inches that can still be told apart: what they share is left out first."""
    cut = [shorten(name, width) for name in names]
    if len(set(cut)) == len(set(names)):
        return cut
    shared = len(os.path.commonprefix(list(names)))
    end = len(os.path.commonprefix([name[shared:][::-1] for name in names]))
    cores = [name[shared : len(name) - end] for name in names]
    for keep in range(shared, -1, -1):
        cut = [f"{names[0][:keep]}…{core}{'…' if end else ''}" for core in cores]
        if all(width_of(name) <= width for name in cut):
            break
    return [shorten(name, width) for name in cut]


def _cut(text: str, keep: int) -> str:
    tail = keep // 2
    return f"{text[: keep - tail]}…{text[len(text) - tail :] if tail else ''}"


def key_width(look: Look) -> float:
    """How many inches an entry of the key takes."""
    return 0.5 + width_of(look.label) + 0.35


def key_rows(looks: Sequence[Look], width: float) -> list[list[Look]]:
    """The entries of a key in lines of at most ``width`` inches."""
    rows: list[list[Look]] = [[]]
    for look in looks:
        if rows[-1] and sum(map(key_width, [*rows[-1], look])) > width:
            rows.append([])
        rows[-1].append(look)
    return rows


# Words.


def listed(parts: Sequence[str], last: str = "and") -> str:
    """The parts as in a sentence: "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}" if parts else ""


def some(parts: Sequence[str], most: int = 8) -> str:
    """The parts as in a sentence, with those beyond ``most`` only counted."""
    if len(parts) <= most:
        return listed(parts)
    return f"{', '.join(parts[: most - 1])} and {len(parts) - most + 1} more"


def called(name: str, most: int = 24) -> str:
    """A name as it is written in a title or a sentence: cut if it has more than ``most`` characters."""
    return name if len(name) <= most else _cut(name, most - 1)


def run_names(panels: Sequence[Shown]) -> list[str]:
    """What the runs are called in a title or a sentence; one without a name gets a number."""
    return [called(panel.name, 40) or f"run {at}" for at, panel in enumerate(panels, 1)]


def plural(number: int, one: str, many: str | None = None) -> str:
    """The number with its noun: "1 task", "2 tasks"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def seconds(value: float) -> str:
    """A duration in words: "4.2 s", "35 ms"."""
    if value >= 100:
        return f"{value:,.0f} s"
    return f"{value:.1f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"


def empty(title: str, text: str) -> Chart:
    """A chart of nothing: it says so."""
    chart = Chart(title, text, body=1.0)
    x, y, width, height = chart.body
    chart.add_artist(
        Rectangle(
            (x / chart.get_figwidth(), y / chart.get_figheight()),
            width / chart.get_figwidth(),
            height / chart.get_figheight(),
            transform=chart.transFigure,
            facecolor="#f2f2f2",
            edgecolor=PALE,
        )
    )
    return chart
