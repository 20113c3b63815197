"""The layout of the picture: where every box, panel and word stands. Drawing them is left to others.

A scene is plain data, ready for JSON: the browser draws it and moves what has moved (live.js), and
``still.picture`` makes a picture of it for the notebook's file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from labkit.ledger import Delivery, Kind, Seat
from labkit.ledger.account import LOST, WAITING
from labkit.live.captions import MOST, NAMES, STATES, Pace, answers, hand, sentence, short, strangers, sum_of
from labkit.live.moment import State
from labkit.loads import Load, Sample

WIDTH = 900  # units of the drawing; it scales to the room there is
FULL_DETAIL = 8  # workers that get a row each; more of them get a tile each
MOST_BOXES = 75  # of one row: more have no room even at their smallest
ROW, BOX = 40, 26  # heights of a worker's row and of a task
QUEUE_TOP, WORKERS_TOP = 58, 128
LEFT = 132  # where the row's boxes begin
SLOT, SLOT_WIDTH = 146, 96  # where a worker works
BUFFER, BUFFER_END = 254, 756
DONE_LEFT, DONE_WIDTH = 772, 116
SIZES = (1.0, 0.62, 0.36)  # of the boxes: as small as it takes to show them all
GAP, MORE_ROOM = 3, 44  # between boxes, and for "+123" where there are more
LABEL_ROOM, TIGHT_ROOM = 9.5, 7.0  # units a character of a label takes, and of a small one
PER_DOT, SMALLEST, BASE = 11.0, 8.0, 16.0  # a box is BASE + PER_DOT * cost wide
MOST_DOTS = 5  # wider than that a box does not get: the dearest task then sets the scale
Look = Callable[[int], tuple[str, str]]  # how a task looks, and the mark before its label


class Layout:
    """Makes scenes of a state; boxes once made small stay small, so that nothing jumps."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._sizes = {"queue": 0, "worker": 0, "tray": 0}  # by region: an index in SIZES
        self._labels: dict[int, str] = {}
        self._widths: dict[tuple, float] = {}

    def scene(self, *, now: float, pace: Pace, title: str = "", sample: Sample | None = None) -> dict:
        """The picture at this moment, ``now`` seconds into the run; ``sample`` is the broker's latest word."""
        self.boxes: list[list] = []
        self.panels: list[list] = []
        self.words: list[list] = []
        state, pad = self.state, 8
        counts = state.counts()
        seats = state.seats[:MOST]
        others = strangers(state, sample)
        self._word(pad, 20, "title", title)
        self._word(pad, 44, "", sum_of(state, counts))
        self._queue(counts[WAITING])
        compact = len(seats) + len(others) > FULL_DETAIL
        bottom = self._tiles(seats, pace) if compact else self._rows(seats, others, pace)
        bottom = self._tray(bottom + 4, counts)
        self._word(pad, bottom + 14, "small", self._broker(sample, now, others if compact else []))
        self._word(WIDTH - pad, bottom + 14, "small end", "width = weight   ▰ delivered before   ✕ lost")
        return {
            "height": bottom + 22,
            "boxes": self.boxes,
            "panels": self.panels,
            "words": self.words,
            "say": sentence(state, counts),
        }

    # --- the parts ---------------------------------------------------------------------------

    def _queue(self, ready: int) -> None:
        down = self.state.down
        self._panel(LEFT - 8, QUEUE_TOP, WIDTH - LEFT + 6, 42, "queue down" if down else "queue")
        self._word(8, QUEUE_TOP + 18, "name", "queue")
        self._word(8, QUEUE_TOP + 36, "", f"{ready} ready")
        if down:
            self._word(WIDTH / 2, QUEUE_TOP + 27, "name alarm middle", "✕ the broker is down")
        tasks = self.state.first(WAITING, MOST_BOXES)
        self._row("queue", tasks, ready, LEFT, WIDTH - 16, QUEUE_TOP + 8, self._waiting)

    def _rows(self, seats: Sequence[Seat], others: Sequence[Load], pace: Pace) -> int:
        top = WORKERS_TOP - 6
        if seats or others:
            heads = ((8, "worker"), (SLOT, "works on"), (BUFFER, "pushed to it"), (DONE_LEFT, "done"))
            for x, text in heads:
                self._word(x, top, "small", text)
        most = max((seat.dots for seat in seats), default=0) or 1
        y = WORKERS_TOP
        for w, seat in enumerate(seats):
            self._panel(2, y, WIDTH - 4, ROW - 4, f"worker {seat.word}")
            self._word(8, y + 16, "name", short(seat.name, 15))
            self._word(8, y + 31, f"is {seat.word}", STATES[seat.word])
            if not seat.unseen or seat.current is not None:
                self._current(seat, w, SLOT, y + 5, SLOT_WIDTH, pace)
            else:
                for line, words in enumerate(hand(seat)):
                    self._word(SLOT, y + 16 + 15 * line, "small", words)
            waiting = [one for one in islice(seat.held.values(), MOST_BOXES) if one is not seat.current]
            if seat.lost and not waiting:
                self._row(
                    "worker",
                    seat.lost[:MOST_BOXES],
                    len(seat.lost),
                    BUFFER,
                    BUFFER_END,
                    y + 5,
                    lambda t: ("lost", ""),
                )
            else:
                looks = {one.task: self._held(one) for one in waiting}
                self._row(
                    "worker",
                    [one.task for one in waiting],
                    seat.waits,
                    BUFFER,
                    BUFFER_END,
                    y + 5,
                    looks.__getitem__,
                )
            number, word = answers(seat)
            self._word(DONE_LEFT, y + 17, "name", number)
            if seat.unseen:
                self._word(DONE_LEFT, y + 31, "small", word)
            else:
                self._panel(DONE_LEFT, y + 23, round(DONE_WIDTH * seat.dots / most), 6, "bar")
            y += ROW
        for load in others:
            self._panel(2, y, WIDTH - 4, ROW - 4, "worker other")
            self._word(8, y + 16, "name", short(load.worker, 15))
            self._word(8, y + 31, "", "elsewhere")
            self._word(
                SLOT,
                y + 22,
                "",
                f"delivered {load.delivered}, unacknowledged {load.unacknowledged}, as RabbitMQ counts",
            )
            self._word(DONE_LEFT, y + 22, "name", f"✔ {load.acknowledged}")
            y += ROW
        return y

    def _tiles(self, seats: Sequence[Seat], pace: Pace) -> int:
        columns = 4 if len(seats) <= 24 else 8
        width = (WIDTH - 4) // columns
        for w, seat in enumerate(seats):
            x, y = 2 + (w % columns) * width, WORKERS_TOP - 16 + (w // columns) * ROW
            self._panel(x, y, width - 4, ROW - 4, f"worker {seat.word}")
            waits, mark = seat.waits, STATES[seat.word].split()[0]
            if columns == 4:
                self._word(x + 6, y + 16, "name", short(seat.name, 11))
                self._word(x + 6, y + 31, f"is {seat.word}", STATES[seat.word])
                if not seat.unseen or seat.current is not None:
                    self._current(seat, w, x + 112, y + 5, 46, pace)
                tail = f"✕{len(seat.lost)}" if seat.lost else f"+{waits}" if waits else ""
                self._word(x + 164, y + 23, "alarm" if seat.lost else "", tail)
                self._word(x + width - 10, y + 23, "name end", answers(seat)[0])
            else:
                self._word(x + 5, y + 15, f"is {seat.word}", f"{seat.name.rpartition('-')[2][:6]} {mark}")
                self._word(x + width - 9, y + 15, "end", answers(seat)[0].replace(" ", ""))
                if not seat.unseen or seat.current is not None:
                    self._current(seat, w, x + 5, y + 19, 62, pace, height=14)
                tail = f"✕{len(seat.lost)}" if seat.lost else f"+{waits}" if waits else ""
                self._word(x + width - 9, y + 31, "alarm end" if seat.lost else "end", tail)
        y = WORKERS_TOP - 16 + -(-len(seats) // columns) * ROW
        if len(self.state.seats) > MOST:
            self._word(8, y + 14, "", f"and {len(self.state.seats) - MOST} more workers")
            y += 20
        return y

    def _tray(self, y: int, counts: Sequence[int]) -> int:
        """What is neither waiting nor held nor done, on one line: shown once there is any."""
        order = [place for place in (LOST, *range(3, len(NAMES))) if counts[place]]
        kinds = [(place, NAMES[place]) for place in dict.fromkeys(order)]
        if any(seat.lost for seat in self.state.seats):  # they are in their worker's row
            kinds = [(place, name) for place, name in kinds if place != LOST]
        for number, (place, name) in enumerate(kinds):
            x, end = (8 + (WIDTH - 16) * at // len(kinds) for at in (number, number + 1))
            look, tasks = "lost" if place == LOST else "dead", self.state.first(place, MOST_BOXES)
            self._word(x, y + 19, "name alarm" if place == LOST else "name", f"{counts[place]} {name}")
            self._row(
                "tray", tasks, counts[place], x + 132, end, y, dict.fromkeys(tasks, (look, "")).__getitem__
            )
        return y + BOX + 6 if kinds else y

    def _broker(self, sample: Sample | None, now: float, others: Sequence[Load]) -> str:
        if sample is None:
            return ""
        more = f", {len(others)} workers elsewhere" if others else ""
        age = max(0.0, now - sample.time)
        when = f" ({age:.0f} s ago)" if age >= 1.5 else ""
        return f"RabbitMQ counts{when}: {sample.ready} ready, {sample.unacknowledged} unacknowledged{more}"

    # --- the small things --------------------------------------------------------------------

    def _current(self, seat: Seat, w: int, x: int, y: int, room: int, pace: Pace, height: int = BOX) -> None:
        self._panel(x, y, room, height, "slot")
        if seat.current is not None:
            share, rate = pace(seat)
            t = seat.current.task
            look = "work again" if self.state.again[t] else "work"
            self.boxes.append([t, x, y, room, height, look, self._label(t), round(share, 3), round(rate, 3)])

    def _waiting(self, t: int) -> tuple[str, str]:
        return ("wait again", "↻") if self.state.again[t] else ("wait", "")

    def _held(self, one: Delivery) -> tuple[str, str]:
        again = " again" if self.state.again[one.task] else ""
        if one.work == Kind.FINISHED:
            return f"unacked{again}", "✓"
        return (f"forgotten{again}" if one.settled else f"held{again}"), "↻" if again else ""

    def _width(self, t: int, size: int) -> float:
        cost = self.state.cost(t)
        width = self._widths.get((cost, size, self.state.dearest))
        if width is None:
            dots = (1.0 if cost is None else cost) * min(1.0, MOST_DOTS / self.state.dearest)
            width = round(max(SMALLEST, (BASE + PER_DOT * dots) * SIZES[size]), 1)
            self._widths[cost, size, self.state.dearest] = width
        return width

    def _row(
        self, region: str, tasks: Sequence[int], total: int, x: float, end: int, y: int, look: Look
    ) -> None:
        """Boxes from left to right; what has no room is a number."""
        size = self._sizes[region]
        widths = [self._width(t, size) for t in tasks]
        more_room = MORE_ROOM if total > len(tasks) else 0
        while size < len(SIZES) - 1 and x + sum(widths) + GAP * len(tasks) + more_room > end:
            self._sizes[region] = size = size + 1
            widths = [self._width(t, size) for t in tasks]
        left, box, room = total, self.boxes.append, TIGHT_ROOM * len(str(len(self.state.place)))
        for t, width in zip(tasks, widths, strict=True):
            if x + width > (end - MORE_ROOM if left > 1 else end):
                break
            name, mark = look(t)
            label = mark if width >= TIGHT_ROOM else ""
            if width >= room:  # numbers of this many digits fit
                number = self._label(t)
                label = next((say for say in (mark + number, number) if len(say) * LABEL_ROOM <= width), "")
                if not label:
                    name += " tight"
                    label = number if len(number) * TIGHT_ROOM <= width else mark
            box([t, x, y, width, BOX, name, label])
            x = round(x + width + GAP, 1)
            left -= 1
        if left:
            self._word(x + 2, y + 18, "more", f"+{left}")

    def _label(self, t: int) -> str:
        label = self._labels.get(t)
        if label is None:
            if len(self._labels) > 5000:
                self._labels.clear()
            label = self._labels[t] = self.state.label(t)
        return label

    def _box(
        self, key: int, x: float, y: float, width: float, height: int, look: str, label: str, *fill
    ) -> None:
        self.boxes.append([key, round(x, 1), round(y, 1), round(width, 1), height, look, label, *fill])

    def _panel(self, x: float, y: float, width: float, height: float, look: str) -> None:
        self.panels.append([x, y, width, height, look])

    def _word(self, x: float, y: float, look: str, text: str) -> None:
        self.words.append([x, y, look, text])
