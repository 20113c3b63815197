"""The ledger: whatever happens, in whatever order, every task has one outcome, and it is the right one."""

import sys
import threading
from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from labkit import tasks
from labkit.ledger import Kind, Ledger, Outcome, saved

WORKERS = ["w1", "w2", "w3"]


class BrokerAndWorkers(RuleBasedStateMachine):
    """A small model of a queue and its consumers, which tells the ledger what a worker would tell it.

    The model knows where each task really is; the ledger has to come to the same from the events alone.
    """

    def __init__(self):
        super().__init__()
        self.ledger = Ledger()
        self.queue: deque[str] = deque()
        self.where: dict[str, Outcome] = {}
        self.automatic = {"w1": True, "w2": False, "w3": False}
        self.held: dict[str, dict[str, bool]] = {}  # worker -> task -> finished
        self.finishes: Counter = Counter()
        self.delivered_before: set[str] = set()

    def connect(self, worker):
        if worker not in self.held:
            self.held[worker] = {}
            self.ledger.record(
                Kind.CONNECTED, None, worker, "automatic" if self.automatic[worker] else "manual"
            )

    def nobody_has(self, task):
        return Outcome.DONE if self.finishes[task] else Outcome.LOST

    @rule(routable=st.booleans())
    def publish(self, routable):
        task = f"t-{len(self.where) + 1}"
        self.ledger.record(Kind.PUBLISHED, task)
        self.ledger.record(Kind.CONFIRMED if routable else Kind.RETURNED, task)
        self.where[task] = Outcome.WAITING if routable else Outcome.UNROUTABLE
        if routable:
            self.queue.append(task)

    @precondition(lambda self: self.queue)
    @rule(worker=st.sampled_from(WORKERS))
    def deliver(self, worker):
        self.connect(worker)
        task = self.queue.popleft()
        again = task in self.delivered_before
        self.delivered_before.add(task)
        self.ledger.record(Kind.REDELIVERED if again else Kind.DELIVERED, task, worker)
        self.held[worker][task] = False
        self.where[task] = Outcome.IN_FLIGHT

    def _busy(self):
        return [(w, t) for w, held in self.held.items() for t, finished in held.items() if not finished]

    @precondition(_busy)
    @rule(data=st.data(), well=st.booleans())
    def work(self, data, well):
        worker, task = data.draw(st.sampled_from(self._busy()))
        self.ledger.record(Kind.STARTED, task, worker)
        self.ledger.record(Kind.FINISHED if well else Kind.FAILED, task, worker)
        self.finishes[task] += well
        if self.automatic[worker]:
            del self.held[worker][task]
            self.where[task] = Outcome.DONE if well else self.nobody_has(task)
        elif well:
            self.held[worker][task] = True
        else:
            kind, outcome = data.draw(
                st.sampled_from(
                    [
                        (Kind.REQUEUED, Outcome.WAITING),
                        (Kind.REJECTED, Outcome.LOST),
                        (Kind.DEAD_LETTERED, Outcome.DEAD_LETTERED),
                    ]
                )
            )
            self.ledger.record(kind, task, worker)
            del self.held[worker][task]
            self.where[task] = self.nobody_has(task) if outcome is Outcome.LOST else outcome
            if outcome is Outcome.WAITING:
                self.queue.appendleft(task)

    def _finished(self):
        return [(w, t) for w, held in self.held.items() for t, finished in held.items() if finished]

    @precondition(_finished)
    @rule(data=st.data())
    def acknowledge(self, data):
        worker, task = data.draw(st.sampled_from(self._finished()))
        self.ledger.record(Kind.ACKNOWLEDGED, task, worker)
        del self.held[worker][task]
        self.where[task] = Outcome.DONE

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from([Kind.CRASHED, Kind.STOPPED, Kind.DISCONNECTED]))
    def leave(self, data, how):
        worker = data.draw(st.sampled_from(sorted(self.held)))
        self.ledger.record(how, worker=worker)
        for task in self.held.pop(worker):
            self.where[task] = self.nobody_has(task) if self.automatic[worker] else Outcome.WAITING
            if not self.automatic[worker]:
                self.queue.append(task)
            if how is Kind.CRASHED:  # the dead may go on talking: it does not count
                self.ledger.record(Kind.FINISHED, task, worker)
                self.ledger.record(Kind.ACKNOWLEDGED, task, worker)

    @invariant()
    def the_law_of_conservation_holds(self):
        counts = self.ledger.counts()
        assert counts.adds_up
        assert counts.published == len(self.where)

    @invariant()
    def every_task_is_where_the_model_has_it(self):
        assert self.ledger.outcomes() == self.where
        assert set(self.ledger.done_twice()) == {task for task, times in self.finishes.items() if times > 1}

    def teardown(self):
        again = saved.ledger(saved.lines(self.ledger))
        assert again.outcomes() == self.ledger.outcomes()
        assert [e.kind for e in again.events()] == [e.kind for e in self.ledger.events()]
        assert [(s.task_id, s.worker, s.how) for s in again.spans() if s.how != "running"] == [
            (s.task_id, s.worker, s.how) for s in self.ledger.spans() if s.how != "running"
        ]


TestBrokerAndWorkers = BrokerAndWorkers.TestCase
TestBrokerAndWorkers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Kind)),
            st.sampled_from([None, "a-1", "a-2", "a-3"]),
            st.sampled_from([None, *WORKERS]),
        )
    )
)
@settings(deadline=None)
def test_even_events_that_make_no_sense_add_up(events):
    ledger = Ledger()
    for kind, task, worker in events:
        ledger.record(kind, task, worker)
        assert ledger.counts().adds_up


def test_nothing_is_missed_when_many_threads_record_and_one_reads():
    ledger = Ledger()

    def record(worker):
        ledger.record(Kind.CONNECTED, None, worker, "manual")
        for number in range(3000):
            for kind in (Kind.DELIVERED, Kind.STARTED, Kind.FINISHED, Kind.ACKNOWLEDGED):
                ledger.record(kind, f"{worker}-{number}", worker)

    threads = [threading.Thread(target=record, args=(f"w{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert ledger.counts().adds_up
    assert ledger.counts().done == 18_000
    assert len(ledger) == 6 * (1 + 4 * 3000)


def test_a_task_costs_the_ledger_less_than_200_bytes():
    workload = tasks.equal(20_000, 0)
    ledger = Ledger()
    ledger.add(workload)
    ledger.record(Kind.CONNECTED, None, "w", "manual")
    for tag, task in enumerate(workload, 1):
        for kind in (Kind.PUBLISHED, Kind.CONFIRMED):
            ledger.record(kind, task.id)
        for kind in (Kind.DELIVERED, Kind.STARTED, Kind.FINISHED, Kind.ACKNOWLEDGED):
            ledger.record(kind, task.id, "w", delivery=tag)
    ledger.counts()
    parts = [
        *vars(ledger).values(),
        *ledger._columns,
        *vars(ledger._task_numbers).values(),
        *vars(ledger._account).values(),
    ]
    size = sum(sys.getsizeof(part) for part in parts if hasattr(part, "__len__"))
    size += sum(sys.getsizeof(number) for number in ledger._task_numbers.values())
    assert size / len(workload) < 200


def test_columns_tell_the_same_as_events_and_only_what_is_new():
    ledger = Ledger()
    ledger.record(Kind.PUBLISHED, "t-1")
    ledger.record(Kind.CONNECTED, None, "w1", "automatic")
    ledger.record(Kind.PUBLISHED, "t-2")
    seen = len(ledger)
    ledger.record(Kind.DELIVERED, "t-2", "w1")
    ledger.record(Kind.BROKER_DOWN)

    def told(since):
        for number, (at, kind, task, worker, delivery) in enumerate(
            zip(*ledger.columns(since), strict=True), since
        ):
            task_id = ledger.task_id(task) if task >= 0 else None
            name = ledger.workers[worker] if worker >= 0 else None
            yield at, Kind(kind), task_id, name, ledger.notes.get(number), delivery

    for since in (0, seen):
        assert list(told(since)) == [
            (event.time, event.kind, event.task_id, event.worker, event.note, event.delivery)
            for event in ledger.events(since=since)
        ]
    assert len(list(told(seen))) == 2
