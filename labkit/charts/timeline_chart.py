"""``timeline``: who worked on what, and when – a row a worker, a bar a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labkit.charts.chart import INK, NAME, PAD, WIDTH, Chart, empty, key_rows
from labkit.charts.drawable import by_name, run_names, shown
from labkit.charts.history import History, history
from labkit.charts.lettering import LARGE, NORMAL, fit, height_of, names_in, width_of
from labkit.charts.timeline_looks import CROSSES, cross, entries, fate_of, waits
from labkit.charts.timeline_rows import ROW, Rows, heights
from labkit.ledger.seat import OVER
from labkit.words import seconds

THIN = 0.115  # inches: the height of a row at the least
ROWS = 6.4  # inches that all rows may take together
AXIS = 0.72  # inches below the rows for the axis
AWAY_ROOM = 0.34  # inches above the rows, to say how long the broker was away
CROWD = 16  # workers beyond whom lanes make no row higher
SHORTEST = 0.001  # seconds on the axis


def timeline(runs: Any) -> Chart:
    """A row a worker, a bar a task with its number, and what went wrong: crashes, the broker's absence.

    ``runs``: one run or ledger, or several to be put below each other with one time axis. Returns a Chart;
    UsageError for something that is no run.
    """
    given = shown(runs)
    told = [history(run) for run in given]
    if not any(each.workers for each in told):
        other = " ".join(sentence for each in told for sentence in each.others())
        return empty(
            "No worker of the lab took part" if other else "Nothing happened yet",
            other or "No worker was connected and no task was started in this run.",
        )
    messages, sentences = [each.message() for each in told], [each.sentence() for each in told]
    if len(told) == 1:
        return _draw(told, messages[0], sentences[0], [""])
    title, text = _compared(run_names(given), told), " ".join(by_name(given, sentences))
    return _draw(told, title, text, by_name(given, messages))


def _compared(names: Sequence[str], told: Sequence[History]) -> str:
    order = sorted(range(len(told)), key=lambda at: told[at].end)
    fast, slow = told[order[0]], told[order[-1]]
    over = any(
        seat.mode == OVER for each in told for seat in each.seats.values()
    )  # who took how long is not seen
    if over or slow.end < fast.end * 1.1 or not fast.spans:
        return f"{len(told)} runs on one time axis"
    title = f"{names[order[0]]} took {seconds(fast.end)}, {names[order[-1]]} {seconds(slow.end)}"
    if len(fit(title, WIDTH - 2 * PAD, LARGE, bold=True)) > 2:
        return f"{len(told)} runs on one time axis: {seconds(fast.end)} to {seconds(slow.end)}"
    return title


def _draw(told: Sequence[History], title: str, text: str, heads: Sequence[str]) -> Chart:
    crowd = sum(len(each.workers) for each in told) > CROWD
    tall = [[1.0] * max(len(each.workers), 1) if crowd else heights(each) for each in told]
    rows = [sum(each) for each in tall]
    row = min(ROW, max(THIN, ROWS / sum(rows)))
    width = WIDTH - 2 * PAD
    wrapped = [fit(head, width, NORMAL, bold=True) for head in heads]
    above = [
        len(lines) * height_of(NORMAL) + (0.1 if lines else 0) + (AWAY_ROOM if each.downtimes else 0)
        for lines, each in zip(wrapped, told, strict=True)
    ]
    fates = {fate_of(span) for each in told for span in each.spans if span.lane is not None}
    fates |= {"held" for each in told for span in each.spans if waits(span)}
    looks = entries(fates) if fates != {"done"} else []
    crashes = {each.unseen(who) for each in told for who, _ in each.crashes}
    crash = " / ".join(word for unseen, word in CROSSES.items() if unseen in crashes)
    keys = key_rows(looks, width - (width_of(crash) + 0.6 if crashes else 0)) if looks or crashes else []
    key_height = len(keys) * 0.34 + (0.1 if keys else 0)
    chart = Chart(title, text, body=sum(above) + sum(rows) * row + AXIS * len(told) + key_height)
    end = max(max(each.end for each in told), SHORTEST)
    names = [name for each in told for name in names_in(each.workers, NAME)]
    room = max(map(width_of, names), default=0) + 0.15
    x, bottom, _, y = chart.body
    for each, lines, top, count, parts in zip(told, wrapped, above, rows, tall, strict=True):
        chart.lines_at(x, bottom + y, lines, weight="bold")
        y -= top + count * row
        Rows(chart, each, (room, y, width - room, count * row), end, parts).draw()
        y -= AXIS
    for at, line in enumerate(keys):
        chart.key(line, 0, key_height - 0.34 * (at + 1))
    if crashes:
        left = sum(look.key_width for look in keys[-1])
        y = key_height - 0.34 * len(keys) + 0.1
        axes = chart.panel(left - 0.03, y - 0.15, 0.3, 0.3)
        axes.set_axis_off()
        cross(axes, 0, 0, 170, linewidths=1)
        chart.text_at(x + left + 0.35, bottom + y, crash, verticalalignment="center", color=INK)
    return chart
