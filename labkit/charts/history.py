"""What happened in a run, and how it is told: the facts and the words under a ``timeline``.

Who worked when, who crashed, when the broker was away and which tasks were lost. Nothing is drawn here.

Of a worker whose work is not seen nothing is said but what passed: what it held, for how long, and what it answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labkit.charts.drawable import Shown
from labkit.ledger import Kind, Ledger, Outcome, Seat, Span
from labkit.ledger.seat import OVER, done_word
from labkit.words import called, listed, natural, plural, seconds, some

FEW = 4  # workers that a sentence names one by one
EVEN = 0.02  # shares of the time that differ by less are called the same
IDLE = 0.25  # how much less than another a worker must have worked, for that to be in the title


@dataclass
class History:
    """What happened in one run; times in seconds since its first task was published."""

    ledger: Ledger
    zero: float  # where that time begins, in the ledger's seconds
    workers: list[str]  # in the order in which they were set up
    spans: list[Span]
    end: float
    downtimes: list[tuple[float, float]]
    lives: list[tuple[str, float, float]]  # connections: whose, from, to
    crashes: list[
        tuple[str, float]
    ]  # whose, when; of one that is not seen: its connection ended without a word
    cuts: list[tuple[str, float, str]]  # whose connection was ended for it, when and how; of those not seen
    lost: dict[str, str | None]  # by lost task: the worker that had it last
    seats: dict[str, Seat]  # of the workers

    def label(self, task_id: str) -> str:
        """The short name of a task."""
        return self.ledger.label(task_id)

    def busy(self) -> dict[str, float]:
        """By worker: the share of the time that it worked."""
        busy = self.ledger.busy(self.zero + self.end)
        return {name: busy[name] / max(self.end, 1e-9) for name in self.workers}

    def unseen(self, worker: str) -> bool:
        """Whether the worker's work is not seen."""
        return self.seats[worker].unseen

    @property
    def foreign(self) -> bool:
        """Whether there is any whose work is not seen."""
        return any(map(self.unseen, self.workers))

    def message(self) -> str:
        """What the title says: the most important thing that happened."""
        counts, crashed = self.ledger.counts(), list(dict(self.crashes))
        again = sum(span.redelivered for span in self.spans)
        redelivered = f": {plural(again, 'task')} redelivered" if again else ""
        if any(map(self.unseen, crashed)):
            who = called(crashed[0]) if len(crashed) == 1 else plural(len(crashed), "worker")
            who += f" {'was' if len(crashed) == 1 else 'were'} gone without a goodbye"
        else:
            who = f"{called(crashed[0])} crashed" if len(crashed) == 1 else f"{len(crashed)} crashes"
        if counts.lost:
            what = f"{counts.lost:,} of {plural(counts.published, 'task')} lost"
            if any(map(self.unseen, crashed)):  # that alone loses nothing
                return f"{what}, and {who}"
            return f"{who}: {what}" if crashed else what
        if self.downtimes:
            away = sum(end - start for start, end in self.downtimes)
            rest = self._elsewhere() or f"no task {'is known to be' if self.foreign else 'was'} lost"
            return f"The broker was away for {seconds(away)}, and {rest}"
        if crashed:
            if self.foreign:
                rest = ", ".join(filter(None, [redelivered.removeprefix(": "), self._elsewhere()]))
                return f"{who}: {rest}" if rest else who
            return f"{who}, {self._elsewhere() or 'nothing lost'}{redelivered}"
        if cut := list(dict.fromkeys(name for name, *_ in self.cuts)):
            who = called(cut[0]) if len(cut) == 1 else f"{len(cut)} workers"
            return f"{who} lost {'its connection' if len(cut) == 1 else 'their connections'}{redelivered}"
        workers = plural(len(self.workers), "worker")
        elsewhere = f"; {self._elsewhere()}" if self._elsewhere() else ""
        if not self.spans:
            return f"{workers}, no task started{elsewhere}"
        done = sum(self._done().values())
        if not done and all(self.seats[name].mode == OVER for name in self.workers):
            return f"{workers}{elsewhere}"
        word = done_word(self.seats.values())
        tasks = plural(done, "task") if done else f"no task {'acknowledged' if self.foreign else 'finished'}"
        tasks += f" {word}" if done and word != "done" else ""
        return f"{workers}, {tasks} in {seconds(self.end)}{elsewhere or self._idle()}"

    def _elsewhere(self) -> str:
        """What went to clients that the lab does not see into, and is neither lost nor done by a worker."""
        counts = self.ledger.counts()
        parts = [(counts.done_elsewhere, "done elsewhere"), (counts.handed_over, "handed over, fate unknown")]
        return listed([f"{number:,} {what}" for number, what in parts if number])

    def _idle(self) -> str:
        """The worker that idled most, if that is what one sees."""
        if self.foreign:  # what it does when it holds nothing cannot be seen
            return ""
        busy = self.busy()
        least = min(busy, key=lambda name: busy[name])
        if max(busy.values()) - busy[least] < IDLE:
            return ""
        return f"; {called(least)} idle {1 - busy[least]:.0%} of the time"

    def sentence(self) -> str:
        """What is seen, in words."""
        if not self.workers:
            return " ".join(["No worker was connected.", *self.others()])
        return " ".join([f"In {seconds(self.end)}, {self._work()}.", *self._at_once(), *self._trouble()])

    def _done(self) -> dict[str, int]:
        """By worker: the tasks that it did, or acknowledged."""
        done = {name: self.seats[name].done if self.unseen(name) else 0 for name in self.workers}
        for span in self.spans:
            done[span.worker] += span.how == "finished"
        return done

    def _work(self) -> str:
        """Who did how much, in how much of the time."""
        own = [name for name in self.workers if not self.unseen(name)]
        foreign = [name for name in self.workers if self.seats[name].foreign]
        over = [name for name in self.workers if self.seats[name].mode == OVER]
        parts = [self._deeds(own, "did", "was busy", "were busy")] if own else []
        parts += [self._deeds(foreign, "acknowledged", "held tasks", "held tasks")] if foreign else []
        handed = [self.seats[name].delivered for name in over]
        each = [
            f"{plural(count, 'task')} to {called(name)}" for name, count in zip(over, handed, strict=True)
        ]
        if len(over) > FEW:
            each = [f"{plural(sum(handed), 'task')} to {len(over)} workers"]
        if over:
            parts.append(f"the broker handed {listed(each)}, acknowledged automatically")
        return "; ".join(parts)

    def _deeds(self, names: list[str], did: str, was: str, were: str) -> str:
        """What these workers did, and for how much of the time they did what ``was`` and ``were`` say."""
        everyone, done = self.busy(), self._done()
        busy = {name: everyone[name] for name in names}
        done = {name: done[name] for name in names}
        least, most = min(busy.values()), max(busy.values())
        fewest, greatest = min(done.values()), max(done.values())
        even, few = most - least < EVEN, len(names) <= FEW
        time = f"{least:.0%} of the time" if even else f"{least:.0%} to {most:.0%} of the time"
        if len(names) > 1 and fewest == greatest and even:
            whom = listed([called(name) for name in names]) if few else f"{len(names)} workers"
            return f"each of {whom} {did} {plural(fewest, 'task')} and {was} {time}"
        if few:
            return listed(
                [
                    f"{called(name)} {did} {plural(done[name], 'task')} and {was} {busy[name]:.0%} of the time"
                    for name in names
                ]
            )
        each = f"{fewest:,} each" if fewest == greatest else f"{fewest:,} to {greatest:,} each"
        return f"{len(names)} workers {did} {plural(sum(done.values()), 'task')}, {each}, and {were} {time}"

    def _at_once(self) -> Iterator[str]:
        """How many tasks at a time those worked on of whom nobody knows it, as far as the wire tells."""
        seats = [self.seats[name] for name in self.workers]
        several = [seat for seat in seats if seat.foreign and not seat.lanes and seat.most > 1]
        for seat in several[:FEW]:
            known = f" and worked on at least {seat.at_least} at once" if seat.at_least > 1 else ""
            number = "exactly how many" if known else "how many at once"
            yield f"{called(seat.name)} held up to {seat.most:,} at a time{known}; {number} cannot be seen."
        if len(several) > FEW:
            yield f"Of {len(several) - FEW} more workers it cannot be seen how many tasks they worked on at once."

    def _trouble(self) -> Iterator[str]:
        """What went wrong, a sentence each; and that nothing was lost, where one might fear it."""
        for start, end in self.downtimes:
            yield f"The broker was away from {seconds(start)} to {seconds(end)}."
        gone = dict(self.crashes).items()
        for unseen, one, more in (
            (False, "", "crashed"),
            (True, "the connection of ", "ended without a goodbye"),
        ):
            parts = [
                f"{one}{called(who)} {more} at {seconds(at)}"
                for who, at in gone
                if self.unseen(who) == unseen
            ]
            rest = [f"{len(parts) - 4} more {more}"] if len(parts) > 4 else []
            if parts:
                said = listed(parts[:4] + rest)
                yield f"{said[:1].upper() if unseen else said[:1]}{said[1:]}."
        for who, at, how in self.cuts[:FEW]:
            yield f"The connection of {called(who)} ended at {seconds(at)} ({how})."
        if len(self.cuts) > FEW:
            yield f"{len(self.cuts) - FEW} more connections ended like that."
        redelivered = {span.task_id: span.delivered for span in self.spans if span.redelivered}
        if again := self._labels(redelivered):
            are, tasks = ("was", "task") if len(again) == 1 else ("were", "tasks")
            back = {
                span.task_id
                for span in self.spans
                if span.how == "back" and span.delivered < redelivered.get(span.task_id, 0.0)
            }
            done = " whether {} done before cannot be seen".format(
                "it was" if len(back) == 1 else "they were"
            )
            yield f"Redelivered {are} {tasks} {some(again, 10)}{f';{done}' if back else ''}."
        if lost := self._labels(self.lost):
            are, tasks = ("is", "task") if len(lost) == 1 else ("are", "tasks")
            yield f"Lost {are} {tasks} {some(lost, 12)}."
        elif (self.crashes or self.downtimes) and not self.ledger.counts().handed_over:
            yield f"No task {'is known to be' if self.foreign else 'was'} lost."
        yield from self.others()
        yield from self._twice()
        if failed := sum(span.how == "failed" for span in self.spans):
            yield f"{plural(failed, 'attempt')} failed."
        answers = self.ledger.events({Kind.REJECTED, Kind.DEAD_LETTERED}) if self.foreign else ()
        if rejected := sum(event.worker is not None and self.unseen(event.worker) for event in answers):
            yield f"{plural(rejected, 'delivery was', 'deliveries were')} rejected."

    def _twice(self) -> Iterator[str]:
        """Which tasks are known to be done twice; two acknowledgements are no proof of that."""
        finished = Counter(span.task_id for span in self.spans if span.how == "finished")
        twice = self.ledger.done_twice() if self.ledger.counts().done_twice else []
        acknowledged = sum(finished[task_id] < 2 for task_id in twice) if self.foreign else 0
        for number, how in ((len(twice) - acknowledged, "done"), (acknowledged, "acknowledged or done")):
            if number:
                how = how if any(finished.values()) else how.removesuffix(" or done")
                yield f"{plural(number, 'task was', 'tasks were')} {how} twice."

    def others(self) -> Iterator[str]:
        """What became of the tasks that clients had which nobody watched, a sentence each."""
        for outcome, said in (
            (Outcome.DONE_ELSEWHERE, ""),
            (Outcome.HANDED_OVER, "; nobody knows what became of it"),
        ):
            if gone := self._labels(dict.fromkeys(self.ledger.task_ids(outcome))):
                are, tasks = ("is", "task") if len(gone) == 1 else ("are", "tasks")
                them = said if len(gone) == 1 else said.replace(" it", " them")
                yield f"{outcome.value.capitalize()} {are} {tasks} {some(gone, 12)}{them}."

    def _labels(self, task_ids: Iterable[str]) -> list[str]:
        return sorted(map(self.label, task_ids), key=natural)


def history(run: Shown) -> History:
    """What the ledger of a run tells, on the time axis of a chart."""
    ledger, spans = run.ledger, run.ledger.spans()
    comes_and_goes = {Kind.CONNECTED, Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED}
    marks = [(mark.worker, mark.kind, mark.time) for mark in ledger.events(comes_and_goes) if mark.worker]
    zero = run.zero(marks[0][2] if marks else 0.0)
    for span in spans:
        span.started, span.ended = span.started - zero, span.ended - zero
    downtimes = [(start - zero, end - zero) for start, end in ledger.downtimes()]
    crashes = [(who, at - zero) for who, kind, at in marks if kind is Kind.CRASHED]
    seats = ledger.seats()
    cuts = [
        (mark.worker, mark.time - zero, mark.note or "nobody knows why")
        for mark in ledger.events({Kind.DISCONNECTED})
        if mark.worker and seats[mark.worker].unseen
    ]
    ends = [span.ended for span in spans] + [at for _, at in crashes] + [stop for _, stop in downtimes]
    if any(
        seat.mode == OVER for seat in seats.values()
    ):  # nothing but its connection says how long it went on
        ends += [at - zero for at in ledger.columns()[0][-1:]]
    end = max([*ends, 0.0])
    lives: list[tuple[str, float, float]] = []
    since: dict[str, float] = {}
    for who, kind, at in marks:
        if kind is Kind.CONNECTED:
            since.setdefault(who, at - zero)
        elif who in since:
            lives.append((who, since.pop(who), at - zero))
    lives += [(who, start, end) for who, start in since.items()]
    workers = run.ordered({span.worker for span in spans} | {who for who, *_ in lives})
    lost: dict[str, str | None] = dict.fromkeys(ledger.task_ids(Outcome.LOST))
    if lost:
        for event in ledger.events({Kind.DELIVERED, Kind.REDELIVERED}):
            if event.task_id in lost:
                lost[event.task_id] = event.worker
    return History(ledger, zero, workers, spans, end, downtimes, lives, crashes, cuts, lost, seats)
