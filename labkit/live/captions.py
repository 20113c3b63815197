"""The picture in words: for a terminal, for those who cannot see it, and the words that are in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labkit.live.moment import DEAD_LETTERED, HELD, LOST, UNROUTABLE, WAITING, Seat, State
from labkit.loads import Load, Sample

MOST = 64  # workers that are drawn
STATES = {
    "connecting": "… connecting",
    "idle": "○ idle",
    "working": "▶ working",
    "paused": "❚❚ paused",
    "reconnecting": "↯ reconnecting",
    "crashed": "✕ crashed",
    "stopped": "■ left",
}

# How much of its task a worker has done (0 to 1), and how much more it does each second.
Pace = Callable[[Seat], tuple[float, float]]


def short(name: str, limit: int) -> str:
    """The name, cut to so many characters."""
    return name if len(name) <= limit else name[: limit - 1] + "…"


def strangers(state: State, sample: Sample | None) -> list[Load]:
    """What the broker counts for workers that the ledger knows nothing of: those in other terminals."""
    known = {seat.name for seat in state.seats}
    return (
        []
        if sample is None
        else [load for load in sample.loads if load.worker not in known and load.delivered]
    )


def sum_of(state: State, counts: Sequence[int]) -> str:
    """Where the published tasks are, as a sum that adds up."""
    names = ("ready", "with workers", "done", "dead-lettered", "unroutable", "lost")
    parts = [
        f"{count} {name}" for count, name in zip(counts, names, strict=True) if count or name in names[:3]
    ]
    twice = f"   ({state.done_twice} done twice)" if state.done_twice else ""
    return f"{len(state.place)} published  =  {'  +  '.join(parts)}{twice}"


def sentence(state: State, counts: Sequence[int]) -> str:
    """The picture for those who cannot see it."""
    parts = [
        f"{counts[2]} of {len(state.place)} tasks done, {counts[WAITING]} ready, {counts[HELD]} with workers"
    ]
    parts += [
        f"{counts[place]} {name}"
        for place, name in ((DEAD_LETTERED, "dead-lettered"), (UNROUTABLE, "unroutable"), (LOST, "lost"))
        if counts[place]
    ]
    if state.done_twice:
        parts.append(f"{state.done_twice} done twice")
    said = ", ".join(parts) + "."
    if state.down:
        said += " The broker is down."
    for word in ("crashed", "paused", "reconnecting"):
        names = [seat.name for seat in state.seats if seat.word == word]
        if names:
            said += f" {', '.join(names[:5])}{' and others' if len(names) > 5 else ''} {word}."
    return said


def text(state: State, pace: Pace, title: str = "", width: int = 80) -> str:
    """The picture for a terminal."""
    counts, lines = state.counts(), [title] if title else []
    lines.append(sum_of(state, counts))
    boxes = "▪" * min(counts[WAITING], width - 32)
    more = f" +{counts[WAITING] - len(boxes)}" if counts[WAITING] > len(boxes) else ""
    lines.append(
        "✕ the broker is down" if state.down else f"{'queue':<13} {counts[WAITING]:>4} ready  {boxes}{more}"
    )
    for seat in state.seats[:MOST]:
        bar = ""
        if seat.current >= 0:
            full = round(10 * min(1.0, pace(seat)[0]))
            again = "↻" if state.again[seat.current] else " "
            bar = f"{again}{state.label(seat.current):>4} {'█' * full}{'░' * (10 - full)}"
        waits = len(seat.held) - (seat.current in seat.held)
        tail = f"lost {len(seat.lost)}" if seat.lost else f"holds {waits}" if waits else ""
        lines.append(
            f"{short(seat.name, 13):<13} {STATES[seat.word]:<14} {bar:<16} {tail:<10} done {seat.done}".rstrip()
        )
    if len(state.seats) > MOST:
        lines.append(f"and {len(state.seats) - MOST} more workers")
    return "\n".join(line[:width] for line in lines)
