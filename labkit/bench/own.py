"""What the lab itself does for a task, without a broker: the worker's own steps and its record in the ledger.

Between two processes and a network the time of a message varies by far more than this from one run to the next.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pika

from labkit import tasks
from labkit.bench.rounds import Figure
from labkit.clients.worker import Worker
from labkit.ledger import Kind, Ledger


def own(count: int = 20_000, repeats: int = 5) -> list[Figure]:
    """Microseconds of processor time a task for manual and automatic acknowledgement, the least of the repeats."""
    return [
        Figure(f"the lab's own code, {ack}", min(_once(ack, count) for _ in range(repeats)), "µs a task")
        for ack in ("manual", "automatic")
    ]


def _once(ack: str, count: int) -> float:
    worker = Worker(pika.ConnectionParameters(), "none", name="bench", ledger=Ledger(), ack=ack)
    channel: Any = SimpleNamespace(basic_ack=lambda tag: None)
    worker._channel = channel
    worker.ledger.record(Kind.CONNECTED, None, worker.name, ack)
    deliveries: list[Any] = [
        (
            SimpleNamespace(delivery_tag=tag, redelivered=False),
            SimpleNamespace(message_id=task.id, content_type=task.content_type),
            task.body,
        )
        for tag, task in enumerate(tasks.equal(count, 0), 1)
    ]
    began = time.thread_time()
    for method, properties, body in deliveries:
        worker._delivered(channel, method, properties, body)
    worker.ledger.counts()
    return (time.thread_time() - began) / count * 1e6
