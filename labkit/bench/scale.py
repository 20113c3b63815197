"""Time and memory a task from a thousand tasks to a million, charts of many, and how late loads are final."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from labkit import charts, management, tasks
from labkit.bench import bare
from labkit.bench.rounds import Figure, Took
from labkit.bench.source import Source
from labkit.bench.throughput import Ours, drained, queue_on, steady, wait_until
from labkit.brokers import Broker
from labkit.clients.worker import Worker
from labkit.ledger import Kind, Ledger
from labkit.loads import LoadSampler
from labkit.results.run import Run

Say = Callable[[str], object]
OUR_BROKERS = ("node", "compose")  # whose statistics are set to be quick


def scale(
    broker: Broker,
    *,
    sizes: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000),
    workers: Sequence[int] = (1, 4, 16, 64),
    chart_tasks: int = 100_000,
    say: Say = lambda _: None,
) -> list[Figure]:
    """Time and memory a task as they grow in number, charts of many, and how late the loads are final."""
    found: list[Figure] = []
    source = Source(broker.amqp_url)
    try:
        per_task: dict[int, Took] = {}
        for size in sizes:
            repeats = 5 if size <= 1_000 else 3 if size <= 10_000 else 1
            took = [
                steady(broker, Ours, size, source, workers=4, ack="manual", prefetch=100)
                for _ in range(repeats)
            ]
            per_task[size] = middle = sorted(took, key=lambda one: one.cpu)[repeats // 2]
            found.append(Figure(f"{size:,} tasks, 4 workers", _per_task(middle.seconds, middle), "µs a task"))
            found.append(
                Figure(f"{size:,} tasks, processor time", _per_task(middle.cpu, middle), "µs a task")
            )
            say(f"{size:,} tasks: {found[-2].value:.0f} µs a task")
        small, large = per_task[sizes[0]], per_task[sizes[-1]]
        name = f"{sizes[-1]:,} ÷ {sizes[0]:,} tasks"
        clocked = _per_task(large.seconds, large) / _per_task(small.seconds, small)
        cpu = _per_task(large.cpu, large) / _per_task(small.cpu, small)
        found += [
            Figure(f"{name}, time a task", clocked, "×", 1.2),
            Figure(f"{name}, processor time", cpu, "×", 1.2),
        ]
    finally:
        source.close()
    for number in workers:
        each = drained(broker, Ours, 3000, workers=number, ack="manual", prefetch=10)
        found.append(
            Figure(
                f"3,000 tasks, {number} worker{'s'[: number > 1]}", _per_task(each.seconds, each), "µs a task"
            )
        )
    found.append(Figure("ledger, memory a task", _ledger_bytes(min(chart_tasks, 50_000)), "bytes", 200))
    found += _charts(chart_tasks)
    found.append(_loads_final(broker))
    return found


def _all_done(ledger: Ledger, count: int) -> bool:
    return ledger.counts().done == count


def _per_task(seconds: float, took: Took) -> float:
    return seconds / took.count * 1e6


def filled(count: int, workers: int = 8) -> Ledger:
    """A ledger of so many tasks that were published, confirmed and done by the workers."""
    ledger, workload = Ledger(), tasks.equal(count, 0)
    ledger.add(workload)
    _fill(ledger, [task.id for task in workload], workers)
    return ledger


def _fill(ledger: Ledger, ids: Sequence[str], workers: int) -> None:
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    for name in names:
        ledger.record(Kind.CONNECTED, None, name, "manual")
    for number, task_id in enumerate(ids):
        ledger.record(Kind.PUBLISHED, task_id)
        ledger.record(Kind.CONFIRMED, task_id)
        for kind in (Kind.DELIVERED, Kind.STARTED, Kind.FINISHED, Kind.ACKNOWLEDGED):
            ledger.record(kind, task_id, names[number % workers])
    ledger.counts()


def _ledger_bytes(count: int) -> float:
    """What the ledger keeps of a task, beside the task itself (its id among it)."""
    ids = [task.id for task in tasks.equal(count, 0)]
    gc.collect()
    tracemalloc.start()
    try:
        ledger = Ledger()
        before, _ = tracemalloc.get_traced_memory()
        _fill(ledger, ids, 8)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / count


def _charts(count: int) -> list[Figure]:
    run = Run("many", filled(count))
    found = []
    for name in ("timeline",):
        began = time.perf_counter()
        getattr(charts, name)(run).png()
        found.append(Figure(f"chart: {name} of {count:,} tasks", time.perf_counter() - began, "s", 2))
    return found


def _loads_final(broker: Broker, count: int = 200, repeats: int = 3) -> Figure:
    """Seconds from the last acknowledgement until the broker's figures are known to be final."""
    late = []
    for _ in range(repeats):
        with queue_on(broker) as (_, queue), management.of(broker) as api:
            ledger = Ledger()
            workers = [
                Worker(broker.parameters(n), queue, name=n, ledger=ledger, prefetch=10)
                for n in ("bench-1", "bench-2")
            ]
            for worker in workers:
                worker.start()
                worker.subscribed.wait(30)
            sampler = LoadSampler(api, [queue], ledger)
            sampler.start()
            bare.publish(broker.parameters("bench"), queue, tasks.equal(count, 0))
            wait_until(partial(_all_done, ledger, count), "all tasks to be done")
            sampler.final()
            late.append(ledger.now() - max(event.time for event in ledger.events({Kind.ACKNOWLEDGED})))
            sampler.stop()
            for worker in workers:
                worker.stop()
    limit = 1.5 if broker.kind in OUR_BROKERS else None  # others have RabbitMQ's own, slow statistics
    return Figure("loads final after the last acknowledgement", median(late), "s", limit)
