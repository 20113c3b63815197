"""Text that fits: how wide letters are, and lines and names that are not wider than there is room.

Sizes are in points, widths and heights in inches.
"""

from __future__ import annotations

import os.path
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from labkit.words import cut

SMALL, NORMAL, LARGE = 14, 15, 20  # points: numbers and names, the sentence, the title
LINE = 1.32  # the height of a line of text, in letter heights
FONT = ["DejaVu Sans"]  # comes with matplotlib, so that a chart is the same everywhere


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
        if width_of(cut(text, keep), size, bold) <= width:
            low = keep
        else:
            high = keep - 1
    return cut(text, low)


def names_in(names: Sequence[str], width: float) -> list[str]:
    """Names in at most ``width`` inches that can still be told apart: what they share is left out first."""
    short = [shorten(name, width) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    shared = len(os.path.commonprefix(list(names)))
    end = len(os.path.commonprefix([name[shared:][::-1] for name in names]))
    cores = [name[shared : len(name) - end] for name in names]
    for keep in range(shared, -1, -1):
        short = [f"{names[0][:keep]}…{core}{'…' if end else ''}" for core in cores]
        if all(width_of(name) <= width for name in short):
            break
    return [shorten(name, width) for name in short]
