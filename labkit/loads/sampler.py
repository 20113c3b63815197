"""What the broker counted for every worker: sampled while a run goes on, and settled at its end.

The figures come from the management API, not from the workers: a worker in a terminal of its own, in
another process or another language, is counted like any other, by the name of its connection.

They lag behind, and a channel's figures vanish with the channel. So the sampler keeps what it last saw of
those that are gone, and at the end waits until the figures have settled.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from labkit.errors import LabError, WaitTimeoutError
from labkit.ledger import Ledger
from labkit.loads.load import COUNTED, Load, Meter, total
from labkit.loads.loads import Loads, Sample
from labkit.loads.reconcile import expected_loads
from labkit.management import Management
from labkit.management.answers import DEFAULT_AGE, Queue
from labkit.words import natural

INTERVAL = 0.5  # seconds between samples
POLL = 0.1  # seconds between looks while the last figures settle


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
        ledger: Ledger,
        interval: float = INTERVAL,
        depth: Callable[[str], tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(name="load sampler", daemon=True)
        self.samples: list[Sample] = []
        self.problem = ""
        self._management = management.copy()
        self._queues = list(queues)
        self._ledger = ledger
        self._interval = interval
        self._depth = depth
        self._stop_event = threading.Event()
        self._lock = threading.Lock()
        self._channel_meters: dict[str, Meter] = {}
        self._queue_meters: dict[str, Meter] = {}

    def run(self) -> None:
        """Samples until ``stop``; a broker that does not answer is asked again at the next turn."""
        while not self._stop_event.is_set():
            self.sample()
            self._stop_event.wait(self._interval)

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

    def final(self, timeout: float | None = None) -> Loads:
        """The last figures, once they are as the ledger has it or stand still; call it before workers stop.

        ``timeout`` is in seconds (default: three times the age that this broker's figures can have). Figures
        that never settle are returned as they are, with ``settled=False``; so is a broker that gives none,
        with its ``problem``: a run must not fail because its figures do.
        """
        age = self._age()
        limit = time.monotonic() + (3 * age if timeout is None else timeout)
        last, since, settled = None, time.monotonic(), False
        recorded, expected = -1, {}
        while True:
            sample, now = self.sample(), time.monotonic()
            if sample is not None:
                if recorded != len(self._ledger):  # reading a long ledger costs more than a poll
                    recorded, expected = len(self._ledger), expected_loads(self._ledger)
                if (current := (sample.loads, self._total())) != last:
                    last, since = current, now
                settled = self._settled(sample.loads, expected, still=now - since >= age)
            never = sample is None and not self.samples
            # A sampler that was stopped has nothing to wait for.
            if settled or never or now >= limit or self._stop_event.wait(POLL):
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
                    limit=timeout,
                )
        self._management.close()

    # Reading.

    def _age(self) -> float:
        """How old this broker's figures may be, in seconds."""
        try:
            with self._lock:
                return self._management.overview().statistics_age
        except LabError:
            return DEFAULT_AGE

    def _read(self) -> Sample:
        channels = {channel.name: channel for channel in self._management.channels()}
        queues: dict[str, Queue] = {}
        for name in self._queues:
            with contextlib.suppress(LabError):  # deleted meanwhile, or lost with a broker that was restarted
                queues[name] = self._management.queue(name)
        for name, channel in channels.items():
            if name in self._channel_meters or not set(self._queues).isdisjoint(channel.queues):
                meter = self._channel_meters.setdefault(name, Meter(Load(channel.worker)))
                meter.update(
                    Load(
                        channel.worker,
                        channel.delivered,
                        channel.acknowledged,
                        channel.redelivered,
                        channel.unacknowledged,
                        channel.automatic,
                    )
                )
        for name, meter in self._channel_meters.items():
            meter.present = name in channels
        for name, queue in queues.items():
            # Unacknowledged is left out: the queues' figure for it is the oldest of all.
            counted = Load("", queue.delivered, queue.acknowledged, queue.redelivered)
            self._queue_meters.setdefault(name, Meter(zero=counted)).update(counted)
        loads = tuple(self._by_worker().values())
        unacknowledged = sum(load.unacknowledged for load in loads)
        return Sample(self._ledger.now(), loads, self._ready(queues), unacknowledged)

    def _ready(self, queues: Mapping[str, Queue]) -> int:
        if self._depth is not None:
            # If the queue or the broker went away, the API's figure has to do.
            with contextlib.suppress(Exception):
                return sum(self._depth(name)[0] for name in queues)
        return sum(queue.ready for queue in queues.values())

    def _by_worker(self) -> dict[str, Load]:
        loads: dict[str, Load] = {}
        for load in (meter.load for meter in self._channel_meters.values()):
            loads[load.worker] = loads[load.worker] + load if load.worker in loads else load
        return {name: loads[name] for name in sorted(loads, key=natural)}

    def _total(self) -> Load | None:
        """What the queues counted; None if they never said."""
        meters = list(self._queue_meters.values())  # at once: the thread may add one meanwhile
        return total(meter.load for meter in meters) if meters else None

    # Settling.

    def _settled(self, loads: Iterable[Load], expected: Mapping[str, Load], still: bool) -> bool:
        """Whether the figures are the last ones: they stand still, or are as expected."""
        counted = {load.worker: load for load in loads}
        listed = {name for name, load in counted.items() if not load.stale}
        if any(wanted.unacknowledged and name not in listed for name, wanted in expected.items()):
            return False  # a worker that holds messages is there: it is the listing that lags
        if still or not expected:
            return still
        if any(load.delivered for name, load in counted.items() if name not in expected):
            return False  # nobody knows what a stranger should have: wait until it stands still
        figures = (*COUNTED, "unacknowledged")
        if not all(counted[name].agrees(expected[name], figures) for name in listed & expected.keys()):
            return False
        gone = [name for name in expected if name in counted and name not in listed]
        missing = [name for name, wanted in expected.items() if name not in counted and wanted.delivered]
        if not gone and not missing:
            return True
        if missing and len(gone) + len(missing) > 1:  # which of them had what cannot be told
            return False
        queues = self._total()  # what those had is known from the queues' own count
        return queues is not None and queues.agrees(total(expected.values()))

    def _loads(self, settled: bool) -> Loads:
        with self._lock:
            final, queues = self._by_worker(), self._total()
            gone = [load for load in final.values() if load.stale]
            # Some left before the broker showed them at all, or it is too busy to have shown them yet.
            expected = expected_loads(self._ledger)
            unseen = [Load(name, late=True) for name in expected if name not in final]
            gone += [load for load in unseen if expected[load.worker].delivered]
            if self.samples:
                final |= {load.worker: load for load in unseen}
            if len(gone) == 1 and queues is not None:
                final[gone[0].worker] = _remainder(gone[0], queues, final.values())
            problem = self.problem if not self.samples else ""
            ordered = {name: final[name] for name in sorted(final, key=natural)}
            return Loads(ordered, list(self.samples), queues, settled, problem)


def _remainder(load: Load, queues: Load, loads: Iterable[Load]) -> Load:
    """The queues' own count outlives a channel: what nobody else had was this worker's."""
    others = total(other for other in loads if other.worker != load.worker)
    rest = {what: getattr(queues, what) - getattr(others, what) for what in COUNTED}
    if any(rest[what] < getattr(load, what) for what in rest):
        return load  # the queues' figures are older than what was seen of this worker
    return replace(load, **rest, stale=True, late=False)
