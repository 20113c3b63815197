"""A run as a table: who had which task, and what became of it."""

from __future__ import annotations

import html
from dataclasses import dataclass

from labkit.ledger import Kind, Ledger, Outcome
from labkit.results.run import Run

NOBODY = "nobody"  # the row of the tasks that reached no worker
_LEFT = ("open", "back")  # deliveries of a lost task were one of these
SHOWN = 60  # tasks in a row; the others are counted

_LEAVING = {Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED}
_SETTLING = {Kind.ACKNOWLEDGED, Kind.REQUEUED, Kind.REJECTED, Kind.DEAD_LETTERED}

# What became of one delivery: mark, word, colour (Okabe-Ito), style of the border.
_LOOKS = {
    "done": ("✔", "done", "#009E73", "solid"),
    "again": ("↻", "redelivered and done", "#0072B2", "solid"),
    "twice": ("✔✔", "done a second time", "#CC79A7", "double"),
    "unheard": ("✔↩", "done, never acknowledged: went back", "#CC79A7", "dotted"),
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
    """
    ledger = run.ledger if isinstance(run, Run) else run
    fates = _fates(ledger)
    outcomes = ledger.outcomes()
    rows = dict.fromkeys(ledger.workers, ())
    seen: set[str] = set()
    for worker, deliveries in fates.items():
        seen.update(task_id for task_id, _ in deliveries)
        rows[worker] = tuple(
            Cell(
                _label(ledger, task_id),
                "lost" if fate in _LEFT and outcomes[task_id] is Outcome.LOST else fate,
            )
            for task_id, fate in deliveries
        )
    unseen = [task_id for task_id in outcomes if task_id not in seen]
    if unseen:
        rows[NOBODY] = tuple(
            Cell(_label(ledger, task_id), "lost" if outcomes[task_id] is Outcome.LOST else "open")
            for task_id in unseen
        )
    return Table(rows, _sentence(ledger))


def _fates(ledger: Ledger) -> dict[str, list[tuple[str, str]]]:
    """By worker: every delivery as a task's id and what became of it there."""
    rows: dict[str, list[tuple[str, str]]] = {}
    held: dict[str, dict[str, int]] = {}  # by worker: what it was sent, and where in its row that is
    heard: set[tuple[str, str]] = set()  # deliveries that the broker knows to be settled
    again: set[tuple[str, str]] = set()  # redeliveries
    finished: set[str] = set()
    automatic: set[str] = set()  # workers
    for event in ledger.events():
        kind, task_id, worker = event.kind, event.task_id, event.worker
        if worker is None:
            continue
        row, mine, key = rows.setdefault(worker, []), held.setdefault(worker, {}), (worker, task_id)
        if kind is Kind.CONNECTED:
            (automatic.add if event.note == "automatic" else automatic.discard)(worker)
        elif kind in _LEAVING:
            for task, at in mine.items():
                if (worker, task) not in heard:
                    row[at] = task, "back" if row[at][1] == "open" else "unheard"
            mine.clear()
        elif kind in (Kind.DELIVERED, Kind.REDELIVERED):
            mine[task_id] = len(row)
            row.append((task_id, "open"))
            (again.add if kind is Kind.REDELIVERED else again.discard)(key)
            (heard.add if worker in automatic else heard.discard)(key)
        elif task_id in mine:
            at = mine[task_id]
            if kind is Kind.FINISHED:
                row[at] = task_id, "twice" if task_id in finished else "again" if key in again else "done"
                finished.add(task_id)
            elif kind is Kind.FAILED:
                row[at] = task_id, "failed"
            elif kind is Kind.REQUEUED:
                row[at] = task_id, "back"
            if kind in _SETTLING:
                heard.add(key)
    return rows


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
