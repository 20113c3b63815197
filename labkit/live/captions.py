"""The picture in words: for a terminal, for those who cannot see it, and the words that are in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labkit.ledger import Outcome, Seat
from labkit.ledger.account import DONE, IN_FLIGHT, WAITING
from labkit.ledger.seat import OVER, done_word
from labkit.live.moment import State
from labkit.loads import Load, Sample
from labkit.words import plural

MOST = 64  # workers that are drawn
STATES = {
    "connecting": "… connecting",
    "idle": "○ idle",
    "working": "▶ working",
    "paused": "❚❚ paused",
    "reconnecting": "↯ reconnecting",
    "crashed": "✕ crashed",
    "stopped": "■ left",
    # Of those whose work is not seen:
    "connected": "● connected",
    "holding": "▷ holds tasks",
    "disconnected": "↯ disconnected",
    "gone": "✕ no goodbye",
    "closed": "■ closed",
}
SAID = {
    "crashed": "crashed",
    "gone": "gone without a goodbye",
    "paused": "paused",
    "reconnecting": "reconnecting",
    "disconnected": "disconnected",
}

NAMES = (
    "ready",
    "with workers",
    *(outcome.value for outcome in list(Outcome)[2:]),
)  # in the order of Outcome

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


def named(state: State) -> tuple[str, ...]:
    """What the places of tasks are called, in the order of Outcome."""
    return *NAMES[:DONE], done_word(state.seats), *NAMES[DONE + 1 :]


def answers(seat: Seat) -> tuple[str, str]:
    """What a worker did, as far as it is seen: a mark with a number, and the word for it."""
    if seat.mode == OVER:
        return f"⇥ {seat.delivered}", "handed over"
    return f"✔ {seat.done}", "acknowledged" if seat.foreign else "done"


def hand(seat: Seat) -> tuple[str, str]:
    """What a worker whose work is not seen has in hand, and how much it does at a time, in words."""
    if seat.mode == OVER:
        return "its work is", "not seen"
    lanes = len(seat.lanes)
    return f"holds {len(seat.held)}" if seat.held else "", f"{lanes} at once" if lanes > 1 else ""


def sum_of(state: State, counts: Sequence[int]) -> str:
    """Where the published tasks are, as a sum that adds up."""
    parts = [
        f"{count} {name}"
        for at, (count, name) in enumerate(zip(counts, named(state), strict=True))
        if count or at <= DONE
    ]
    twice = f"   ({state.done_twice} {done_word(state.seats)} twice)" if state.done_twice else ""
    return f"{len(state.place)} published  =  {'  +  '.join(parts)}{twice}"


def sentence(state: State, counts: Sequence[int]) -> str:
    """The picture for those who cannot see it."""
    word = done_word(state.seats)
    done = f"{counts[DONE]} of {plural(len(state.place), 'task')} {word}"
    parts = [f"{done}, {counts[WAITING]} ready, {counts[IN_FLIGHT]} with workers"]
    parts += [f"{count} {name}" for count, name in list(zip(counts, NAMES, strict=True))[3:] if count]
    if state.done_twice:
        parts.append(f"{state.done_twice} {word} twice")
    said = ", ".join(parts) + "."
    if state.down:
        said += " The broker is down."
    for word, words in SAID.items():
        names = [seat.name for seat in state.seats if seat.word == word]
        if names:
            said += f" {', '.join(names[:5])}{' and others' if len(names) > 5 else ''} {words}."
    return said


def text(state: State, pace: Pace, title: str = "", width: int = 80) -> str:
    """The picture for a terminal."""
    counts, lines = state.counts(), [title] if title else []
    whole = sum_of(state, counts)
    lines.append(whole if len(whole) <= width else " ".join(whole.split()))
    boxes = "▪" * min(counts[WAITING], width - 32)
    more = f" +{counts[WAITING] - len(boxes)}" if counts[WAITING] > len(boxes) else ""
    lines.append(
        "✕ the broker is down" if state.down else f"{'queue':<13} {counts[WAITING]:>4} ready  {boxes}{more}"
    )
    for seat in state.seats[:MOST]:
        bar = ""
        if seat.current is not None:
            full = round(10 * min(1.0, pace(seat)[0]))
            again = "↻" if state.again[seat.current.task] else " "
            bar = f"{again}{state.label(seat.current.task):>4} {'█' * full}{'░' * (10 - full)}"
        tail = f"lost {len(seat.lost)}" if seat.lost else f"holds {seat.waits}" if seat.waits else ""
        did = {"done": "done", "acknowledged": "acked", "handed over": "given"}[answers(seat)[1]]
        number = seat.delivered if seat.mode == OVER else seat.done
        lines.append(
            f"{short(seat.name, 13):<13} {STATES[seat.word]:<14} {bar:<16} {tail:<10} {did} {number}".rstrip()
        )
    if len(state.seats) > MOST:
        lines.append(f"and {len(state.seats) - MOST} more workers")
    return "\n".join(line[:width] for line in lines)
