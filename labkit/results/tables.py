"""A run as a table: who had which task, and what became of it."""

from __future__ import annotations

import html
from dataclasses import dataclass

from labkit.errors import UsageError
from labkit.ledger import Delivery, Kind, Ledger, Outcome
from labkit.ledger.account import LEAVES
from labkit.ledger.seat import FOREIGN, done_word
from labkit.results.run import Run
from labkit.words import plural

NOBODY = "nobody"  # the row of the tasks that reached no worker
SHOWN = 60  # tasks in a row; the others are counted
_AWAY = ("open", "back")  # deliveries after which the task can have come to one of these ends
_ENDS = {
    Outcome.LOST: "lost",
    Outcome.HANDED_OVER: "over",
    Outcome.DONE_ELSEWHERE: "elsewhere",
}

# What became of one delivery: mark, word, colour (Okabe-Ito), style of the border.
_LOOKS = {
    "done": ("✔", "done", "#009E73", "solid"),
    "again": ("↻", "redelivered and done", "#0072B2", "solid"),
    "twice": ("✔✔", "done a second time", "#CC79A7", "double"),
    "unheard": ("✔↩", "done, never acknowledged: went back", "#CC79A7", "dotted"),
    "back": ("↩", "went back to the queue", "#E69F00", "dotted"),
    "lost": ("✘", "lost", "#D55E00", "dashed"),
    "over": ("⇥", "handed over, fate unknown", "#8A8A8A", "dotted"),
    "elsewhere": ("✔⇥", "done elsewhere", "#56B4E9", "solid"),
    "open": ("…", "not done yet", "#8A8A8A", "dotted"),
    "failed": ("!", "failed", "#8A8A8A", "dashed"),
    # Of workers whose work is not seen:
    "acknowledged": ("✔", "acknowledged", "#009E73", "solid"),
    "acknowledged again": ("↻", "redelivered and acknowledged", "#0072B2", "solid"),
    "acknowledged twice": ("✔✔", "acknowledged a second time", "#CC79A7", "double"),
    "held": ("…", "held, no answer yet", "#8A8A8A", "dotted"),
    "rejected": ("!", "rejected", "#8A8A8A", "dashed"),
}


@dataclass(frozen=True)
class Cell:
    """One delivery: the task's label, and what became of it (a key of the looks)."""

    label: str
    fate: str


@dataclass(frozen=True)
class Table:
    """Rows of deliveries by worker, and the sentence under them; a notebook shows it as HTML."""

    rows: dict[str, tuple[Cell, ...]]
    text: str

    def __repr__(self) -> str:
        width = max((len(name) for name in self.rows), default=0)
        lines = [
            f"{name:<{width}}  " + " ".join(f"{cell.label}{_LOOKS[cell.fate][0]}" for cell in cells)
            for name, cells in self.rows.items()
        ]
        return "\n".join([*lines, "   ".join(self._key()), self.text])

    def _key(self) -> list[str]:
        used = {cell.fate for cells in self.rows.values() for cell in cells}
        return [f"{look[0]} {look[1]}" for fate, look in _LOOKS.items() if fate in used]

    def _repr_html_(self) -> str:
        entry = '<span style="display:inline-block; margin-right:1.6em">{}</span>'
        key = "".join(entry.format(html.escape(words)) for words in self._key())
        body = ""
        for name, cells in self.rows.items():
            chips = "".join(_chip(cell) for cell in cells[:SHOWN])
            if len(cells) > SHOWN:
                chips += f'<span style="padding:.15em .5em">and {len(cells) - SHOWN} more</span>'
            left = '<th style="text-align:left; vertical-align:top; padding:.35em .8em .35em 0; font-size:1.1em">'
            body += f"<tr style='background:transparent'>{left}{html.escape(name)}</th>"
            body += f'<td style="text-align:left; padding:.15em 0; white-space:normal">{chips}</td></tr>'
        return (
            f'<table style="margin:.3em 0; font-size:1.15em; max-width:56em">{body}</table>'
            f'<div style="font-size:1.1em; opacity:.85">{key}</div>'
            f'<div style="font-size:1.15em; margin:.2em 0">{html.escape(self.text)}</div>'
        )


def _chip(cell: Cell) -> str:
    mark, words, colour, border = _LOOKS[cell.fate]
    struck = "text-decoration:line-through;" if cell.fate == "lost" else ""
    width = 3 if border == "double" else 2
    return (
        f'<span title="{words}" style="display:inline-block; min-width:2.6em; text-align:center; margin:.12em;'
        f" padding:.12em .35em; border:{width}px {border} {colour}; border-radius:.3em;"
        f' background:{colour}22"><span style="{struck}">{html.escape(cell.label)}</span> <b>{mark}</b></span>'
    )


def who_had_what(run: Run | Ledger) -> Table:
    """The tasks that each worker was sent, in that order, with what became of them there.

    Tasks that no worker was sent have a row of their own. ``.rows`` holds it as data, ``.text`` the sentence.
    UsageError for something that is neither a run nor a ledger.
    """
    ledger = run.ledger if isinstance(run, Run) else run
    if not isinstance(ledger, Ledger):
        raise UsageError(f"{run!r} is no run.", do="Give the table what lab.finish() or lab.run() returned.")
    outcomes, deliveries, workers = ledger.outcomes(), ledger.deliveries(), ledger.workers
    rows: dict[str, list[Cell]] = {name: [] for name in workers}
    finished = [one for one in deliveries if one.work == Kind.FINISHED or _heard(one)]
    finished.sort(key=lambda one: one.ended or 0.0, reverse=True)
    first = {one.task: one for one in finished}
    for one in deliveries:
        task_id = ledger.task_id(one.task)
        fate = _fate(one, second=first.get(one.task, one) is not one)
        if fate in _AWAY:
            fate = _ENDS.get(outcomes[task_id], fate)
        rows[workers[one.worker]].append(Cell(ledger.label(task_id), fate))
    seen = {ledger.task_id(one.task) for one in deliveries}
    unseen = [
        Cell(ledger.label(task_id), _ENDS.get(outcome, "open"))
        for task_id, outcome in outcomes.items()
        if task_id not in seen
    ]
    if unseen:
        rows[NOBODY] = unseen
    return Table({name: tuple(cells) for name, cells in rows.items()}, _sentence(ledger))


def _heard(one: Delivery) -> bool:
    """Whether all that is known is that the worker has acknowledged it."""
    return not one.work and one.end == Kind.ACKNOWLEDGED


def _fate(one: Delivery, second: bool) -> str:
    """What became of a delivery, as a key of the looks; ``second`` says that its task was done before."""
    if one.work == Kind.FINISHED and (one.settled or one.end not in LEAVES):
        return "twice" if second else "again" if one.again else "done"
    if one.end in LEAVES:
        if one.settled:
            return "failed" if one.work else "lost"
        return "unheard" if one.work == Kind.FINISHED else "back"
    if one.end == Kind.REQUEUED:
        return "back"
    if one.work:
        return "failed"
    if one.end == Kind.HANDED_OVER:
        return "over"
    if _heard(one):
        return f"acknowledged{' twice' if second else ' again' if one.again else ''}"
    if one.end in (Kind.REJECTED, Kind.DEAD_LETTERED):
        return "rejected"
    return "held" if one.mode.startswith(FOREIGN) else "open"


def _sentence(ledger: Ledger) -> str:
    counts = ledger.counts()
    others = [(outcome, number) for outcome, number in counts.by_outcome() if outcome is not Outcome.DONE]
    done = done_word(ledger.seats().values())
    parts = [f"{counts.done} {done}", *(f"{number} {outcome.value}" for outcome, number in others if number)]
    text = f"{plural(counts.published, 'task')}: {', '.join(parts)}."
    named = [(outcome.value.capitalize(), ledger.task_ids(outcome)) for outcome in _ENDS]
    for name, ids in (*named, (f"{done.capitalize()} more than once", ledger.done_twice())):
        if ids:
            shown = ", ".join(ledger.label(task_id) for task_id in ids[:SHOWN])
            text += f" {name}: {shown}{' …' if len(ids) > SHOWN else '.'}"
    return text
