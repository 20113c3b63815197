"""``survival``: what outlived a broker's death, by the kind of queue and of message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labkit.charts.chart import ALARM, GREEN, GREY, INK, PALE, VERMILLION, Chart, Look, empty
from labkit.charts.lettering import NORMAL, height_of, width_of
from labkit.errors import UsageError
from labkit.results.fates import Fate, Matrix
from labkit.words import listed, plural

KEPT = Look("kept", GREEN)
LOST = Look("lost", VERMILLION, "//")
GONE = Look("queue gone, with everything in it", GREY, "xx")
REFUSED = Look("this RabbitMQ refuses such a queue", PALE, "..")
ONE, MANY = 0.34, 0.25  # inches: the height of a bar that is alone in its cell, and of one of several
BETWEEN = 0.04  # inches between two bars
ROOM = 0.13  # inches around the bars of a cell
SAID = 0.3  # inches for the learner's prediction in a cell
KEY = 0.55  # inches for the key below


def survival(
    matrices: Matrix | Sequence[Matrix], predicted: Mapping[tuple[str, str], str] | None = None
) -> Chart:
    """A cell for each kind of queue and message: how many were there before, how many afterwards.

    ``matrices``: what ``Survival.count`` returned, or several of them; each cell then has a bar for each, in
    order. ``predicted``: a prediction's ``answer``, to be written beside the outcome of a single matrix.
    Returns a Chart; UsageError for something else.
    """
    given = [matrices] if isinstance(matrices, Matrix) else matrices
    if not isinstance(given, list | tuple) or not all(isinstance(each, Matrix) for each in given):
        raise UsageError(
            f"A survival chart cannot be drawn of {type(matrices).__name__}.",
            do="Give it what Survival.count() returned, or a list of these.",
        )
    given = [matrix for matrix in given if matrix]
    if not given:
        return empty("Nothing to compare yet", "No message was published before the broker went away.")
    rows, columns = _heads(given)
    names = _names(given)[1] if len(given) > 1 else [""]
    thick = ONE if len(given) == 1 else MANY
    said = dict(predicted or {}) if len(given) == 1 else {}
    height = len(given) * thick + (len(given) - 1) * BETWEEN + 2 * ROOM + (SAID if said else 0)
    head = height_of(NORMAL) + 0.12
    chart = Chart(
        _title(given), _sentence(given) + _guessed(given, said), body=head + height * len(rows) + KEY
    )
    room = max(width_of(row, NORMAL, bold=True) for row in rows) + 0.3
    width = (chart.body[2] - room) / len(columns)
    x, y, _, whole = chart.body
    for at, column in enumerate(columns):
        chart.text_at(
            x + room + at * width + ROOM, y + whole, f"{column} messages", NORMAL,
            weight="bold", color=INK, verticalalignment="top",
        )  # fmt: skip
    values = [_value(matrix[cell]) for matrix in given for cell in matrix]
    own = max(map(width_of, names))
    full = width - 2 * ROOM - max(map(width_of, values)) - 0.12 - (own + 0.12 if own else 0)
    looks = []
    for down, row in enumerate(rows):
        top = y + whole - head - down * height
        _line(chart, x, top, chart.body[2])
        chart.text_at(
            x, top - height / 2, row, NORMAL, weight="bold", color=INK, verticalalignment="center_baseline"
        )
        for across, column in enumerate(columns):
            left = x + room + across * width + ROOM
            for number, (matrix, name) in enumerate(zip(given, names, strict=True)):
                bottom = top - ROOM - (number + 1) * thick - number * BETWEEN
                if name:
                    chart.text_at(
                        left, bottom + thick / 2, name, color=GREY, verticalalignment="center_baseline"
                    )
                place = (left + (own + 0.12 if own else 0), bottom, full, thick)
                looks += _bar(chart, place, matrix.get((row, column)))
            if (row, column) in said and (row, column) in given[0]:
                right = said[row, column] == given[0][row, column].outcome
                words = f"{'✔' if right else '✘'} you said: {said[row, column]}"
                chart.text_at(
                    left, top - height + ROOM, words, color=INK if right else ALARM,
                    weight="normal" if right else "bold", verticalalignment="bottom",
                )  # fmt: skip
    _line(chart, x, y + KEY, chart.body[2])
    chart.key([look for look in (KEPT, LOST, GONE, REFUSED) if look in looks], 0, 0.1)
    return chart


def _heads(given: Sequence[Matrix]) -> tuple[list[str], list[str]]:
    """The queues and the messages, in the order of their first appearance."""
    cells = [cell for matrix in given for cell in matrix]
    return list(dict.fromkeys(queue for queue, _ in cells)), list(dict.fromkeys(kind for _, kind in cells))


def _names(given: Sequence[Matrix]) -> tuple[str, list[str]]:
    """The words that all names begin with, and what each has of its own."""
    words = [matrix.name.split() for matrix in given]
    shared = 0
    while len({tuple(each[: shared + 1]) for each in words}) == 1 and all(len(w) > shared + 1 for w in words):
        shared += 1
    return " ".join(words[0][:shared]), [" ".join(each[shared:]) for each in words]


def _bar(chart: Chart, place: tuple[float, float, float, float], fate: Fate | None) -> list[Look]:
    """Draw one bar with its value, and return what it shows."""
    left, bottom, full, height = place
    if fate is None:
        return []
    share = 0.0 if not fate.sent or fate.kept is None else fate.kept / fate.sent
    if fate.refused:
        parts = [(REFUSED, 1.0)]
    elif fate.kept is None:
        parts = [(GONE, 1.0)]
    else:
        parts = [(KEPT, share), (LOST, 1 - share)]
    start = 0.0
    for look, part in parts:
        if part:
            chart.box(left + start * full, bottom, part * full, height, **look.style())
            start += part
    weight = "bold" if share == 1 else "normal"
    chart.text_at(
        left + full + 0.12, bottom + height / 2, _value(fate),
        color=INK, weight=weight, verticalalignment="center_baseline",
    )  # fmt: skip
    return [look for look, part in parts if part]


def _value(fate: Fate) -> str:
    if fate.refused:
        return "refused"
    return "gone" if fate.kept is None else f"{fate.kept:,} of {fate.sent:,}"


def _line(chart: Chart, left: float, y: float, width: float) -> None:
    chart.box(left, y - 0.01, width, 0.02, facecolor=PALE, edgecolor="none")


# In words.


def _title(given: Sequence[Matrix]) -> str:
    cells = [cell for cell in given[0] if not any(matrix[cell].refused for matrix in given)]
    always = [cell for cell in cells if all(matrix[cell].outcome == "kept" for matrix in given)]
    never = [cell for cell in cells if not any(matrix[cell].kept for matrix in given)]
    how = "Confirmed" if given[0].confirmed else "Not confirmed"
    if len(given) == 1:
        name = given[0].name if given[0].confirmed else f"not confirmed, {given[0].name}"
        name = name[:1].upper() + name[1:]
        return f"{name}: {len(always)} of {plural(len(cells), 'kind')} of message were kept"
    if len(always) + len(never) == len(cells):
        return f"{how}: {len(always)} of {len(cells)} kinds were kept, {_times(len(given))}"
    return f"{how}: what is kept is left to chance"


def _times(count: int) -> str:
    return "both times" if count == 2 else f"all {count} times"


def _sentence(given: Sequence[Matrix]) -> str:
    rows, columns = _heads(given)
    said = []
    if len(given) > 1:
        shared, own = _names(given)
        heading = f"{shared} {listed(own)}".strip()
        said.append(f"{heading[:1].upper()}{heading[1:]}.")
    for row in rows:
        fates = {column: [matrix[row, column] for matrix in given] for column in columns}
        parts = [f"{_number(each)} {column}" for column, each in fates.items()]
        every = [fate for each in fates.values() for fate in each]
        if all(fate.refused for fate in every):
            said.append(f"{row.capitalize()}: refused by this RabbitMQ.")
        elif all(fate.kept is None for fate in every):
            said.append(f"{row.capitalize()}: the queue was gone, and all messages with it.")
        else:
            said.append(f"{row.capitalize()}: {listed(parts)} messages kept.")
    return " ".join(said)


def _guessed(given: Sequence[Matrix], said: Mapping[tuple[str, str], str]) -> str:
    """How the prediction compares with the outcome, if there is one."""
    told = [cell for cell in said if cell in given[0]]
    right = sum(said[cell] == given[0][cell].outcome for cell in told)
    return f" {right} of {plural(len(told), 'prediction')} came true." if told else ""


def _number(fates: Sequence[Fate]) -> str:
    """How many were kept, in one run or from the fewest to the most in several."""
    kept = [fate.kept or 0 for fate in fates]
    number = f"{min(kept):,}" if min(kept) == max(kept) else f"{min(kept):,} to {max(kept):,}"
    return f"{number} of {max(fate.sent for fate in fates):,}"
