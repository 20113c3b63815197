"""How the bars of a timeline look, and what the key says of them.

A strong bar is work. Of a worker whose work is not seen, a pale one is a task that it held, and a thin mark one that
was handed over to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labkit.charts.chart import BLUE, INK, ORANGE, PURPLE, SKY, VERMILLION, Look
from labkit.ledger import Span

LOOKS = {
    "done": Look("done", BLUE),
    "acknowledged": Look("acknowledged", BLUE),
    "again": Look("redelivered", ORANGE, "//"),
    "crashed": Look("cut off", VERMILLION, "xx"),
    "failed": Look("failed", PURPLE, ".."),
    "rejected": Look("rejected", PURPLE, ".."),
    "running": Look("under way", SKY),
    "held": Look("held", "#dcebf5", "", BLUE),
    "held again": Look("held, redelivered", "#fcecc8", "//", "#b37b00"),
    "back": Look("went back to the queue", "#f4f4f4", "xx", "#8a8a8a"),
    "over": Look("handed over", INK, wide=0.07),
    "over again": Look("handed over, redelivered", "#b37b00", wide=0.07),
}
STRONG = {"done", "acknowledged", "crashed"}  # looks on which the number has to be white
# How attempts ended that have another name as looks; and the looks of those that were redelivered.
FATES = {"finished": "done", "stopped": "crashed", "handed over": "over"}
AGAIN = {"finished": "again", "acknowledged": "again", "held": "held again", "handed over": "over again"}
# What a cross means, by whether the worker's work is not seen.
CROSSES = {False: "crash", True: "connection ended without a goodbye"}


def fate_of(span: Span) -> str:
    """Which look the bar has."""
    if span.how in AGAIN and span.redelivered:
        return AGAIN[span.how]
    return FATES.get(span.how, span.how)


def waits(span: Span) -> bool:
    """Whether it waited in a foreign client, as far as that is known."""
    return span.lane is None or (
        span.how in ("acknowledged", "rejected", "back", "held") and span.delivered < span.started
    )


def entries(fates: set[str]) -> list[Look]:
    """The key's entries; what looks alike is one."""
    found: dict[Look, list[str]] = {}
    for fate, look in LOOKS.items():
        if fate in fates:
            found.setdefault(replace(look, label=""), []).append(look.label)
    return [replace(look, label=" / ".join(labels)) for look, labels in found.items()]


def cross(axes: Any, x: float, y: float, size: float, **style: Any) -> None:
    """The mark of a crash, or of a connection that ended without a goodbye."""
    axes.scatter([x], [y], marker="X", s=size, color=VERMILLION, edgecolors="white", **style)
