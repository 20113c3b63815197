"""What happened in a run, and how it is told: the facts and the words under a ``timeline``.

Who worked when, who crashed, when the broker was away and which tasks were lost. Nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from labkit.charts.drawable import Shown
from labkit.ledger import Kind, Ledger, Outcome, Span
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
    crashes: list[tuple[str, float]]  # whose, when
    lost: dict[str, str | None]  # by lost task: the worker that had it last

    def label(self, task_id: str) -> str:
        """The short name of a task."""
        return self.ledger.label(task_id)

    def busy(self) -> dict[str, float]:
        """By worker: the share of the time that it worked."""
        busy = self.ledger.busy(self.zero + self.end)
        return {name: busy[name] / max(self.end, 1e-9) for name in self.workers}

    def message(self) -> str:
        """What the title says: the most important thing that happened."""
        counts, crashed = self.ledger.counts(), list(dict(self.crashes))
        who = f"{called(crashed[0])} crashed" if len(crashed) == 1 else f"{len(crashed)} crashes"
        if counts.lost:
            what = f"{counts.lost:,} of {plural(counts.published, 'task')} lost"
            return f"{who}: {what}" if crashed else what
        if self.downtimes:
            away = sum(end - start for start, end in self.downtimes)
            rest = self._elsewhere() or "no task was lost"
            return f"The broker was away for {seconds(away)}, and {rest}"
        if crashed:
            again = sum(span.redelivered for span in self.spans)
            rest = self._elsewhere() or "nothing lost"
            return f"{who}, {rest}" + (f": {plural(again, 'task')} redelivered" if again else "")
        workers = plural(len(self.workers), "worker")
        elsewhere = f"; {self._elsewhere()}" if self._elsewhere() else ""
        if not self.spans:
            return f"{workers}, no task started{elsewhere}"
        done = sum(span.how == "finished" for span in self.spans)
        tasks = plural(done, "task") if done else "no task finished"
        return f"{workers}, {tasks} in {seconds(self.end)}{elsewhere or self._idle()}"

    def _elsewhere(self) -> str:
        """What went to clients that the lab does not see into, and is neither lost nor done by a worker."""
        counts = self.ledger.counts()
        parts = [(counts.done_elsewhere, "done elsewhere"), (counts.handed_over, "handed over, fate unknown")]
        return listed([f"{number:,} {what}" for number, what in parts if number])

    def _idle(self) -> str:
        """The worker that idled most, if that is what one sees."""
        busy = self.busy()
        least = min(busy, key=lambda name: busy[name])
        if max(busy.values()) - busy[least] < IDLE:
            return ""
        return f"; {called(least)} idle {1 - busy[least]:.0%} of the time"

    def sentence(self) -> str:
        """What is seen, in words."""
        if not self.workers:
            return " ".join(["No worker was connected.", *self.others()])
        return " ".join([f"In {seconds(self.end)}, {self._work()}.", *self._trouble()])

    def _work(self) -> str:
        """Who did how much, in how much of the time."""
        names, busy, done = self.workers, self.busy(), dict.fromkeys(self.workers, 0)
        for span in self.spans:
            done[span.worker] += span.how == "finished"
        least, most = min(busy.values()), max(busy.values())
        fewest, greatest = min(done.values()), max(done.values())
        even, few = most - least < EVEN, len(names) <= FEW
        time = f"{least:.0%} of the time" if even else f"{least:.0%} to {most:.0%} of the time"
        if len(names) > 1 and fewest == greatest and even:
            whom = listed([called(name) for name in names]) if few else f"{len(names)} workers"
            return f"each of {whom} did {plural(fewest, 'task')} and was busy {time}"
        if few:
            return listed(
                [
                    f"{called(name)} did {plural(done[name], 'task')} and was busy {busy[name]:.0%} of the time"
                    for name in names
                ]
            )
        each = f"{fewest:,} each" if fewest == greatest else f"{fewest:,} to {greatest:,} each"
        return f"{len(names)} workers did {plural(sum(done.values()), 'task')}, {each}, and were busy {time}"

    def _trouble(self) -> Iterator[str]:
        """What went wrong, a sentence each; and that nothing was lost, where one might fear it."""
        for start, end in self.downtimes:
            yield f"The broker was away from {seconds(start)} to {seconds(end)}."
        if self.crashes:
            parts = [f"{called(who)} crashed at {seconds(at)}" for who, at in dict(self.crashes).items()]
            rest = [f"{len(parts) - 4} more crashed"] if len(parts) > 4 else []
            yield f"{listed(parts[:4] + rest)}."
        if again := self._labels({span.task_id for span in self.spans if span.redelivered}):
            are, tasks = ("was", "task") if len(again) == 1 else ("were", "tasks")
            yield f"Redelivered {are} {tasks} {some(again, 10)}."
        if lost := self._labels(self.lost):
            are, tasks = ("is", "task") if len(lost) == 1 else ("are", "tasks")
            yield f"Lost {are} {tasks} {some(lost, 12)}."
        elif (self.crashes or self.downtimes) and not self.ledger.counts().handed_over:
            yield "No task was lost."
        yield from self.others()
        if twice := self.ledger.counts().done_twice:
            yield f"{plural(twice, 'task was', 'tasks were')} done twice."
        if failed := sum(span.how == "failed" for span in self.spans):
            yield f"{plural(failed, 'attempt')} failed."

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

    def _labels(self, task_ids: set[str] | dict[str, str | None]) -> list[str]:
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
    ends = [span.ended for span in spans] + [at for _, at in crashes] + [stop for _, stop in downtimes]
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
    return History(ledger, zero, workers, spans, end, downtimes, lives, crashes, lost)
