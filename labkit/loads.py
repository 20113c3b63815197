"""What the broker counted for every worker: sampled while a run goes on, and settled at its end.

The figures come from the management API, not from the workers: a worker in a terminal of its own, in
another process or another language, is counted like any other, by the name of its connection.

Three things make that harder than it looks. The figures lag behind; a channel's figures vanish with the
channel; and a worker that reconnects begins a new channel at zero. So the sampler adds up what it saw on
all channels of a worker, keeps what it last saw of those that are gone, and at the end waits until the
figures have settled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from labkit.errors import LabError, SavedRunError, WaitTimeoutError
from labkit.ledger import Kind, Ledger
from labkit.management import DEFAULT_AGE, Management
from labkit.words import listed, natural

INTERVAL = 0.5  # seconds between samples
POLL = 0.1  # seconds between looks while the last figures settle
FIELDS = ("delivered", "acknowledged", "redelivered", "unacknowledged")
_NOUNS = {
    "delivered": ("delivery", "deliveries"),
    "acknowledged": ("acknowledgement", "acknowledgements"),
    "redelivered": ("redelivery", "redeliveries"),
    "unacknowledged": ("unacknowledged message", "unacknowledged messages"),
}


@dataclass(frozen=True)
class Load:
    """What was counted for one worker; all in messages.

    ``automatic`` are those of the deliveries that need no acknowledgement. ``stale`` says that a channel
    of this worker was gone at the end: the figures are the last that were seen of it.
    """

    worker: str
    delivered: int = 0
    acknowledged: int = 0
    redelivered: int = 0
    unacknowledged: int = 0
    automatic: int = 0
    stale: bool = False


@dataclass(frozen=True)
class Sample:
    """One moment: ``time`` in seconds since the ledger began, the rest in messages."""

    time: float
    loads: tuple[Load, ...]
    ready: int
    unacknowledged: int


@dataclass(frozen=True)
class Difference:
    """Where broker and ledger do not agree about a worker, and why that is."""

    worker: str
    what: str
    broker: int
    ledger: int
    why: str


@dataclass(frozen=True)
class Reconciliation:
    """Whether broker and ledger counted the same; ``sentence`` says it in words."""

    agrees: bool
    sentence: str
    rows: tuple[Difference, ...] = ()


@dataclass
class Loads:
    """The broker's figures of a run.

    ``final`` has the last ones by worker, ``samples`` those on the way. ``total`` is the queues' own
    count, which outlives channels. ``settled`` says that the figures stood still (or were as expected)
    before the time limit. ``problem`` is why there are no figures, if there are none.
    """

    final: dict[str, Load] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    total: Load | None = None
    settled: bool = True
    problem: str = ""

    def reconcile(self, ledger: Ledger) -> Reconciliation:
        """Compares the broker's final figures with what the ledger recorded."""
        if self.problem and not self.final:
            return Reconciliation(False, f"The broker gave no figures to compare with: {self.problem}")
        expected = expected_loads(ledger)
        rows = []
        for name, mine in expected.items():
            theirs = self.final.get(name)
            if theirs is None:
                if mine.delivered or mine.acknowledged:
                    rows.append(
                        Difference(name, "delivered", 0, mine.delivered, "the broker never showed it")
                    )
                continue
            for what in FIELDS[:3]:
                counted, recorded = getattr(theirs, what), getattr(mine, what)
                if counted != recorded:
                    why = self._why(theirs, what, counted, recorded)
                    rows.append(Difference(name, what, counted, recorded, why))
        strangers = [load for name, load in self.final.items() if name not in expected and load.delivered]
        if rows:
            sentence = _tell(rows)
            if self.total is not None and all(
                getattr(self.total, what) == sum(getattr(mine, what) for mine in expected.values())
                for what in FIELDS[:3]
            ):
                sentence += " Over all workers together the two agree."
            return Reconciliation(False, sentence, tuple(rows))
        return Reconciliation(True, _agreement(expected, strangers))

    def _why(self, load: Load, what: str, broker: int, ledger: int) -> str:
        if what == "acknowledged" and load.automatic and broker < ledger:
            return "deliveries with automatic acknowledgement count no acks"
        if broker > ledger and what != "acknowledged":
            return "sent, but not read by the worker before it left"
        if broker > ledger:
            return "somebody else acknowledged under this name"
        if load.stale:
            return "its channel was gone before the broker's last count"
        return "the broker's statistics lag behind" if not self.settled else "the broker did not count them"

    def to_dict(self) -> dict[str, Any]:
        """This as plain dictionaries and lists, for a file of JSON."""
        return {
            "final": [asdict(load) for load in self.final.values()],
            "total": asdict(self.total) if self.total else None,
            "settled": self.settled,
            "problem": self.problem,
            "samples": [
                [
                    sample.time,
                    sample.ready,
                    sample.unacknowledged,
                    [list(asdict(load).values()) for load in sample.loads],
                ]
                for sample in self.samples
            ],
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Loads:
        """The opposite of ``to_dict``. Raises SavedRunError if it is nothing of the kind."""
        try:
            finals = [_load(**load) for load in saved["final"]]
            return cls(
                final={load.worker: load for load in finals},
                samples=[
                    Sample(float(at), tuple(_load(*row) for row in rows), int(ready), int(unacknowledged))
                    for at, ready, unacknowledged, rows in saved["samples"]
                ],
                total=_load(**saved["total"]) if saved.get("total") else None,
                settled=bool(saved.get("settled", True)),
                problem=str(saved.get("problem", "")),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SavedRunError(
                "The broker's figures in this saved run are damaged.", do="Save the run again."
            ) from error


def _load(worker: str, *figures: Any, **more: Any) -> Load:
    """A Load of a saved run; TypeError where something else than its figures stands there."""
    if not isinstance(worker, str) or not all(isinstance(each, int) for each in (*figures, *more.values())):
        raise TypeError("a load is a name and whole numbers")
    return Load(worker, *figures, **more)


def expected_loads(ledger: Ledger) -> dict[str, Load]:
    """What the broker should have counted for each worker, if it counted what the ledger recorded."""
    delivered: dict[str, int] = {}
    acknowledged: dict[str, int] = {}
    redelivered: dict[str, int] = {}
    automatic: dict[str, int] = {}
    held: dict[str, set[str | None]] = {name: set() for name in ledger.workers}
    mode: dict[str, str | None] = {}
    settles = {Kind.ACKNOWLEDGED, Kind.REQUEUED, Kind.REJECTED, Kind.DEAD_LETTERED}
    leaves = {Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED}
    wanted = {Kind.DELIVERED, Kind.REDELIVERED, Kind.CONNECTED} | settles | leaves
    for event in ledger.events(wanted):
        worker, kind = event.worker, event.kind
        if worker is None:
            continue
        if kind in (Kind.DELIVERED, Kind.REDELIVERED):
            delivered[worker] = delivered.get(worker, 0) + 1
            if kind is Kind.REDELIVERED:
                redelivered[worker] = redelivered.get(worker, 0) + 1
            if mode.get(worker) == "automatic":
                automatic[worker] = automatic.get(worker, 0) + 1
            else:
                held[worker].add(event.task_id)
        elif kind is Kind.CONNECTED:
            mode[worker] = event.note
        elif kind in leaves:
            held[worker].clear()
        else:
            held[worker].discard(event.task_id)
            if kind is Kind.ACKNOWLEDGED:
                acknowledged[worker] = acknowledged.get(worker, 0) + 1
    return {
        name: Load(
            name,
            delivered.get(name, 0),
            acknowledged.get(name, 0),
            redelivered.get(name, 0),
            len(held[name]),
            automatic.get(name, 0),
        )
        for name in ledger.workers
        if name in mode or name in delivered
    }


class LoadSampler(threading.Thread):
    """Samples the loads of the workers on ``queues`` until it is stopped, in a thread of its own.

    ``management`` is copied: the thread has its own HTTP session. ``ledger`` gives the time axis and what
    to expect at the end. ``interval`` is in seconds. ``depth`` is an optional function from a queue's name
    to ``(ready, consumers)``: with one that asks the queue itself, "ready" is fresh (the management API's
    figure is seconds old); it is called in the sampler's thread.
    """

    def __init__(
        self,
        management: Management,
        queues: Iterable[str],
        ledger: Ledger | None = None,
        interval: float = INTERVAL,
        depth: Callable[[str], tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(name="load sampler", daemon=True)
        self.samples: list[Sample] = []
        self.interval = interval
        self.problem = ""
        self._management = management.copy()
        self._queues = list(queues)
        self._ledger = ledger
        self._depth = depth
        self._began = time.perf_counter()
        self._stop_event = threading.Event()
        self._lock = threading.Lock()
        self._meters: dict[str, _Meter] = {}  # by channel
        self._totals: dict[str, _Meter] = {}  # by queue
        self._age: float | None = None

    def run(self) -> None:
        """Samples until ``stop``; a broker that does not answer is asked again at the next turn."""
        while not self._stop_event.is_set():
            self.sample()
            self._stop_event.wait(self.interval)

    def watch(self, queue: str) -> None:
        """Counts the workers on one more queue."""
        with self._lock:
            if queue not in self._queues:
                self._queues.append(queue)

    def sample(self) -> Sample | None:
        """One sample, now, added to ``samples``; None if the broker gave no figures (see ``problem``).

        From any thread: one at a time uses the HTTP session.
        """
        with self._lock:
            try:
                sample = self._read()
            except LabError as error:
                self.problem = error.what
                return None
            self.problem = ""
            self.samples.append(sample)
            return sample

    def final(self, expected: Mapping[str, Load] | None = None, timeout: float | None = None) -> Loads:
        """The last figures, once they are as ``expected`` or stand still; call it before workers stop.

        ``expected`` is what each worker should have (default: what the ledger recorded). ``timeout`` is in
        seconds (default: three times the age that this broker's figures can have). Figures that never
        settle are returned as they are, with ``settled=False``; so is a broker that gives none, with its
        ``problem``: a run must not fail because its figures do.
        """
        if self._age is None:
            try:
                self._age = self._management.copy().overview().statistics_age
            except LabError:
                self._age = DEFAULT_AGE
        limit = time.monotonic() + (3 * self._age if timeout is None else timeout)
        last, since, settled = None, time.monotonic(), False
        recorded, known = -1, {}
        while True:
            sample = self.sample()
            now = time.monotonic()
            if sample is None and not self.samples and self.problem:
                break  # it never gave any
            if sample is not None:
                current = (sample.loads, self._total())
                if current != last:
                    last, since = current, now
                wanted = expected
                if wanted is None and self._ledger is not None:
                    if recorded != len(self._ledger):  # reading a long ledger costs more than a poll
                        recorded, known = len(self._ledger), expected_loads(self._ledger)
                    wanted = known
                quiet = now - since >= self._age and not self._holder_unlisted(wanted or {}, sample.loads)
                if quiet or (wanted and self._as_expected(wanted, sample.loads)):
                    settled = True
                    break
            if now >= limit:
                break
            self._stop_event.wait(POLL)  # a sampler that was stopped has nothing to wait for
            if self._stop_event.is_set():
                break
        return self._loads(settled)

    def stop(self, timeout: float = 15) -> None:
        """Ends the thread and waits for it up to ``timeout`` seconds; harmless when repeated.

        Raises WaitTimeoutError if it does not end.
        """
        self._stop_event.set()
        if self.is_alive():
            self.join(timeout)
            if self.is_alive():
                raise WaitTimeoutError(
                    f"The load sampler did not end within {timeout:g} seconds.",
                    do="The broker's management API hangs; restart the kernel if it goes on.",
                )
        self._management.close()

    # Reading.

    def _now(self) -> float:
        return self._ledger.now() if self._ledger is not None else time.perf_counter() - self._began

    def _read(self) -> Sample:
        channels = self._management.channels()
        depths = {}
        for queue in self._queues:
            try:
                depths[queue] = self._management.queue(queue)
            except LabError:  # deleted meanwhile, or lost with a broker that was restarted
                continue
        for channel in channels:
            if channel.name in self._meters or any(queue in self._queues for queue in channel.queues):
                meter = self._meters.setdefault(channel.name, _Meter(channel.worker))
                meter.update(channel)
        here = {channel.name for channel in channels}
        for name, meter in self._meters.items():
            meter.present = name in here
        for name, queue in depths.items():
            self._totals.setdefault(name, _Meter("", began=queue)).update(queue)
        loads = self._by_worker()
        ready = sum(queue.ready for queue in depths.values())
        if self._depth is not None:
            try:
                ready = sum(self._depth(queue)[0] for queue in depths)
            except Exception:  # the queue or the broker went away: the API's figure has to do
                ready = sum(queue.ready for queue in depths.values())
        return Sample(self._now(), loads, ready, sum(load.unacknowledged for load in loads))

    def _by_worker(self) -> tuple[Load, ...]:
        workers: dict[str, list[_Meter]] = {}
        for meter in self._meters.values():
            workers.setdefault(meter.worker, []).append(meter)
        return tuple(_sum(name, workers[name]) for name in sorted(workers, key=natural))

    def _total(self) -> Load | None:
        if not self._totals:
            return None
        # Unacknowledged is left out: the queues' figure for it is the oldest of all.
        return replace(_sum("", list(self._totals.values())), stale=False, unacknowledged=0)

    @staticmethod
    def _holder_unlisted(expected: Mapping[str, Load], loads: tuple[Load, ...]) -> bool:
        """Whether a worker that holds messages, and so is there, is missing from a listing that lags."""
        listed = {load.worker for load in loads if not load.stale}
        return any(wanted.unacknowledged and name not in listed for name, wanted in expected.items())

    def _as_expected(self, expected: Mapping[str, Load], loads: tuple[Load, ...]) -> bool:
        counted = {load.worker: load for load in loads}
        if any(load.delivered for name, load in counted.items() if name not in expected):
            return False  # nobody knows what a stranger should have: wait until it stands still
        if self._holder_unlisted(expected, loads):
            return False
        gone, missing = 0, 0
        for name, wanted in expected.items():
            load = counted.get(name)
            if load is None:
                missing += wanted.delivered > 0
            elif load.stale:
                gone += 1
            elif any(getattr(load, what) != getattr(wanted, what) for what in FIELDS):
                return False
        if not gone and not missing:
            return True
        if missing and gone + missing > 1:  # which of them had what cannot be told
            return False
        total = self._total()  # what those had is known from the queues' own count
        return total is not None and all(
            getattr(total, what) == sum(getattr(wanted, what) for wanted in expected.values())
            for what in FIELDS[:3]
        )

    def _loads(self, settled: bool) -> Loads:
        with self._lock:
            final = {load.worker: load for load in self._by_worker()}
            total = self._total()
            gone = [load for load in final.values() if load.stale]
            if self._ledger is not None:  # some left before the broker showed them at all
                wanted = expected_loads(self._ledger)
                gone += [Load(n, stale=True) for n in wanted if n not in final and wanted[n].delivered]
            if len(gone) == 1 and total is not None:
                # The queues' own count outlives a channel: what nobody else had was this worker's.
                final[gone[0].worker] = _remainder(gone[0], total, list(final.values()))
            problem = self.problem if not self.samples else ""
            ordered = {name: final[name] for name in sorted(final, key=natural)}
            return Loads(ordered, list(self.samples), total, settled, problem)


class _Meter:
    """Adds up a counter that may begin again at zero (a channel's, or a queue's after a restart)."""

    COUNTERS = ("delivered", "acknowledged", "redelivered", "automatic")

    def __init__(self, worker: str, began: object = None) -> None:
        self.worker = worker
        self.present = True
        self.unacknowledged = 0
        self._before = dict.fromkeys(self.COUNTERS, 0)  # of earlier lives, or what was there at the start
        self._now = dict.fromkeys(self.COUNTERS, 0)
        for name in self.COUNTERS:
            self._before[name] = -getattr(began, name, 0)

    def update(self, source: object) -> None:
        fresh = {name: getattr(source, name, 0) for name in self.COUNTERS}
        if fresh["delivered"] < self._now["delivered"]:
            for name in self.COUNTERS:
                self._before[name] += self._now[name]
        self._now = fresh
        self.unacknowledged = getattr(source, "unacknowledged", 0)

    def value(self, name: str) -> int:
        return self._before[name] + self._now[name]


def _sum(worker: str, meters: list[_Meter]) -> Load:
    return Load(
        worker=worker,
        delivered=sum(meter.value("delivered") for meter in meters),
        acknowledged=sum(meter.value("acknowledged") for meter in meters),
        redelivered=sum(meter.value("redelivered") for meter in meters),
        # What a channel that is gone had not acknowledged is the queue's again.
        unacknowledged=sum(meter.unacknowledged for meter in meters if meter.present),
        automatic=sum(meter.value("automatic") for meter in meters),
        stale=any(not meter.present for meter in meters),
    )


def _remainder(load: Load, total: Load, loads: list[Load]) -> Load:
    others = [other for other in loads if other.worker != load.worker]
    rest = {what: getattr(total, what) - sum(getattr(o, what) for o in others) for what in FIELDS[:3]}
    if any(rest[what] < getattr(load, what) for what in rest):
        return load  # the queues' figures are older than what was seen of this worker
    return replace(load, **rest)


def _count(number: int, what: str) -> str:
    return f"{number:,} {_NOUNS[what][number != 1]}"


def _tell(rows: list[Difference]) -> str:
    parts = []
    for row in rows[:3]:
        difference = abs(row.broker - row.ledger)
        word = "fewer" if row.broker < row.ledger else "more"
        noun = _NOUNS[row.what][difference != 1]
        parts.append(f"{difference:,} {word} {noun} for {row.worker} ({row.why})")
    more = f"; and {len(rows) - 3} more differences" if len(rows) > 3 else ""
    return f"Compared with the ledger, the broker counted {'; '.join(parts)}{more}."


def _agreement(expected: Mapping[str, Load], strangers: list[Load]) -> str:
    delivered = sum(load.delivered for load in expected.values())
    if not delivered and not strangers:
        return "Broker and ledger agree: nothing was delivered."
    parts = [_count(delivered, "delivered")]
    automatic = sum(load.automatic for load in expected.values())
    acknowledged = sum(load.acknowledged for load in expected.values())
    if automatic == delivered and delivered:
        parts.append("all acknowledged automatically")
    else:
        parts.append(_count(acknowledged, "acknowledged"))
        if automatic:
            parts.append(f"{automatic:,} acknowledged automatically")
    redelivered = sum(load.redelivered for load in expected.values())
    if redelivered:
        parts.append(_count(redelivered, "redelivered"))
    sentence = f"Broker and ledger agree: {listed(parts)}."
    if strangers:
        others = listed([f"{load.worker} {load.delivered:,}" for load in strangers])
        sentence += f" Beside them the broker counted workers of other programs: {others}."
    return sentence
