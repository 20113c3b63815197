"""A run as a table: who had which task, and what became of it."""

from __future__ import annotations

import html
from dataclasses import dataclass

from labkit.ledger import Kind, Ledger, Outcome
from labkit.run import Run

NOBODY = "nobody"  # the row of the tasks that reached no worker
SHOWN = 60  # tasks in a row; the others are counted

# What became of one delivery: mark, word, colour (Okabe-Ito), style of the border.
_LOOKS = {
    "done": ("✔", "done", "#009E73", "solid"),
    "again": ("↻", "redelivered and done", "#0072B2", "solid"),
    "twice": ("✔✔", "done a second time", "#CC79A7", "double"),
    "back": ("↩", "went back to the queue", "#E69F00", "dotted"),
    "lost": ("✘", "lost", "#D55E00", "dashed"),
    "open": ("…", "not done yet", "#8A8A8A", "dotted"),
    "failed": ("!", "failed", "#8A8A8A", "dashed"),
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
        return "\n".join([*lines, self._key(), self.text])

    def _key(self) -> str:
        used = {cell.fate for cells in self.rows.values() for cell in cells}
        return "   ".join(f"{look[0]} {look[1]}" for fate, look in _LOOKS.items() if fate in used)

    def _repr_html_(self) -> str:
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
            f'<div style="font-size:1.05em; opacity:.85">{html.escape(self._key())}</div>'
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
    """
    ledger = run.ledger if isinstance(run, Run) else run
    sent: dict[str, list[tuple[str, str]]] = {}  # by worker: (task id, fate)
    at: dict[tuple[str, str], int] = {}  # where a worker's last delivery of a task is in its row
    again: set[tuple[str, str]] = set()
    finished: set[str] = set()
    for event in ledger.events():
        kind, task_id, worker = event.kind, event.task_id, event.worker
        if worker is None or task_id is None:
            continue
        key = worker, task_id
        if kind in (Kind.DELIVERED, Kind.REDELIVERED):
            row = sent.setdefault(worker, [])
            at[key] = len(row)
            row.append((task_id, ""))
            (again.add if kind is Kind.REDELIVERED else again.discard)(key)
        elif kind is Kind.FINISHED and key in at:
            fate = "twice" if task_id in finished else "again" if key in again else "done"
            finished.add(task_id)
            sent[worker][at[key]] = task_id, fate
        elif kind is Kind.FAILED and key in at:
            sent[worker][at[key]] = task_id, "failed"
    outcomes = ledger.outcomes()
    held = {(worker, task_id) for worker in sent for task_id in _still_held(ledger, worker)}
    rows = dict.fromkeys(ledger.workers, ())
    for worker, row in sent.items():
        rows[worker] = tuple(
            Cell(_label(ledger, task_id), fate or _unfinished(outcomes[task_id], (worker, task_id) in held))
            for task_id, fate in row
        )
    unseen = [task_id for task_id in outcomes if not any((worker, task_id) in at for worker in sent)]
    if unseen:
        rows[NOBODY] = tuple(
            Cell(_label(ledger, task_id), "lost" if outcomes[task_id] is Outcome.LOST else "open")
            for task_id in unseen
        )
    return Table(rows, _sentence(ledger))


def _unfinished(outcome: Outcome, held: bool) -> str:
    if outcome is Outcome.LOST:
        return "lost"
    return "open" if held else "back"


def _still_held(ledger: Ledger, worker: str) -> set[str]:
    """What the worker was sent since it last connected, unless it has left."""
    held: set[str] = set()
    for event in ledger.events():
        if event.worker != worker:
            continue
        if event.kind in (Kind.DELIVERED, Kind.REDELIVERED):
            held.add(event.task_id)
        elif event.kind in (Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED):
            held.clear()
        elif event.kind in (Kind.REQUEUED, Kind.REJECTED, Kind.DEAD_LETTERED):
            held.discard(event.task_id)
    return held


def _label(ledger: Ledger, task_id: str) -> str:
    task = ledger.task(task_id)
    return task.label if task else task_id[:6]


def _sentence(ledger: Ledger) -> str:
    counts = ledger.counts()
    parts = [f"{counts.done} done"]
    for name in ("waiting", "in_flight", "dead_lettered", "unroutable", "lost"):
        if number := getattr(counts, name):
            parts.append(f"{number} {name.replace('_', ' ')}")
    text = f"{counts.published} tasks: {', '.join(parts)}."
    for name, ids in (("Lost", ledger.lost()), ("Done more than once", ledger.done_twice())):
        if ids:
            shown = ", ".join(_label(ledger, task_id) for task_id in ids[:SHOWN])
            text += f" {name}: {shown}{' …' if len(ids) > SHOWN else '.'}"
    return text
