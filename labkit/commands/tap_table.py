"""What `labkit tap` shows while it runs: a table that is redrawn on a terminal, lines of what changed elsewhere."""

from __future__ import annotations

import shutil
import sys

from tabulate import tabulate

from labkit.setup.machine import say
from labkit.tap import Connection, Tap
from labkit.words import listed, plural

HEADS = ["connection", "consumes", "prefetch", "sent", "held", "acked", "redelivered"]
ALIGN = ["left", "left", *["right"] * 5]
UP, CLEAR = "\x1b[{}F", "\x1b[J"  # lines up; all below
KEEP, BACK, END = "\x1b7", "\x1b8", "\x1b[K\n"  # where the cursor is; the rest of the line


class Table:
    """The connections through a tap, and what became of the tasks."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._redraws = sys.stdout.isatty()
        self._drawn: list[str] = []
        self._said: dict[str, str] = {}

    def show(self) -> None:
        """Show what is so now, if it is not shown already."""
        if self._redraws:
            self._redraw()
        else:
            self._say_changes()

    def interrupted(self) -> None:
        """Something else was written: the table begins anew below it."""
        self._drawn = []

    # --- a terminal --------------------------------------------------------------------------

    def _redraw(self) -> None:
        rows = [_row(one) for one in self._tap.connections]
        lines = [
            *tabulate(rows, HEADS, "plain", disable_numparse=True, colalign=ALIGN).splitlines(),
            self._tasks(),
        ]
        lines = [line[: shutil.get_terminal_size().columns - 1] for line in lines]
        if lines == self._drawn:
            return
        text = "".join(line + END for line in lines)
        if len(lines) == len(self._drawn):  # in its place, and what is being typed below stays
            text = KEEP + UP.format(len(lines)) + text + BACK
        elif self._drawn:
            text = UP.format(len(self._drawn)) + CLEAR + text
        sys.stdout.write(text)
        sys.stdout.flush()
        self._drawn = lines

    # --- a pipe, a file ----------------------------------------------------------------------

    def _say_changes(self) -> None:
        now = {one.name: _line(one) for one in self._tap.connections if one.name or one.opaque}
        for name in self._said.keys() - now.keys():
            say(f" [-] {name} is gone")
        for name, line in now.items():
            if self._said.get(name) != line:
                say(f" [{'=' if name in self._said else '+'}] {line}")
        if now != self._said:
            say(f"     {self._tasks()}")
        self._said = now

    def _tasks(self) -> str:
        counts = self._tap.ledger.counts()
        parts = [f"{number:,} {outcome.value}" for outcome, number in counts.by_outcome() if number]
        return f"{plural(counts.published, 'task')}{': ' if parts else ''}{listed(parts)}"


def _row(one: Connection) -> list[str]:
    if one.opaque:
        return [one.name or "a connection", f"({one.opaque}: passes unseen)"]
    figures = (one.published, one.held, one.acknowledged, one.redelivered)
    consumes = ", ".join(dict.fromkeys(one.consumers))
    prefetch = "" if not one.consumers else str(one.prefetch or "no limit")
    return [one.name or "…", consumes, prefetch, *(f"{figure:,}" if figure else "" for figure in figures)]


def _line(one: Connection) -> str:
    if one.opaque:
        return f"{one.name or 'a connection'} passes unseen: {one.opaque}"
    does = f"consumes {', '.join(dict.fromkeys(one.consumers))} (prefetch {one.prefetch or 'none'})"
    return (
        f"{one.name} {does if one.consumers else 'is connected'}: sent {one.published:,}, held {one.held:,},"
        f" acked {one.acknowledged:,}, redelivered {one.redelivered:,}"
    )
