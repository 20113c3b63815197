"""The cards that a lesson speaks with."""

from __future__ import annotations

import html

_ACCENTS = {
    "right": "#009E73",
    "wrong": "#D55E00",
    "neutral": "#8A8A8A",
    "question": "#0072B2",
    "hint": "#E69F00",
}


def card(look: str, title: str, inside: str = "") -> str:
    """A box that is read from the last row; its text has the theme's colour, light or dark."""
    accent = _ACCENTS[look]
    style = (
        f"border-left:.45em solid {accent}; background:{accent}22; border-radius:.3em; padding:.6em 1em;"
        " margin:.3em 0; font-size:1.15em; line-height:1.45; max-width:52em"
    )
    return f'<div style="{style}"><div style="font-weight:700">{title}</div>{inside}</div>'


def lines(text: str) -> str:
    """Text as markup that keeps its lines."""
    return f'<div style="white-space:pre-line">{html.escape(text)}</div>' if text else ""
