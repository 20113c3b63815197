"""A storm: producers, workers, connections and the broker fail at random moments of a schedule drawn from a seed."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from random import Random

from labkit import tasks
from labkit.clients.listener import Listener
from labkit.clients.worker import Worker
from labkit.errors import LabError
from labkit.lab import Lab

SETTLED = 4.0  # seconds that a quorum queue's declaration takes to be safe from a SIGKILL
DOT = 0.01  # seconds
STEPS = 25

# What may happen at each step, and how often in proportion.
EVENTS = {
    "publish": 8,
    "join": 3,
    "leave": 2,
    "crash": 4,
    "pause": 2,
    "resume": 3,
    "speed": 2,
    "cut worker": 3,
    "cut producer": 2,
    "declare": 1,
}
OUTAGES = ("restart", "kill")


class Effects(Listener):
    def __init__(self, effects):
        self._effects = effects

    def done(self, task, result):
        self._effects.add(task.id)


@dataclass
class Storm:
    """One schedule, and what it did. ``effects`` are the tasks whose work was really done, told by the workers."""

    seed: int
    outages: bool = False  # whether the broker itself goes down once
    log: list[str] = field(default_factory=list)
    effects: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        draw = self.random.choice
        self.type = draw(["classic", "quorum"])
        self.ack = draw(["manual", "manual", "automatic"])
        self.prefetch = draw([None, 1, 2, 10])
        self.confirms = draw([True, True, False])
        self.persistent = True if self.type == "quorum" else draw([True, True, False])

    @property
    def loses_nothing(self) -> bool:
        """Manual acknowledgement, confirms and a queue that keeps its messages: then no task may ever be lost."""
        return self.ack == "manual" and self.confirms and (self.persistent or not self.outages)

    def __str__(self) -> str:
        return (
            f"storm {self.seed}: {self.type} queue, ack={self.ack}, prefetch={self.prefetch}, "
            f"confirms={self.confirms}, persistent={self.persistent}, outages={self.outages}: {', '.join(self.log)}"
        )

    def blow(self, lab: Lab):
        """Run the schedule on the bench; returns the Run and the queue."""
        declared = time.monotonic()
        queue = lab.queue("storm", type=self.type)
        self.producers: list = []
        self._join(lab, queue)
        steps = self.random.choices(list(EVENTS), EVENTS.values(), k=STEPS)
        if self.outages:
            steps.insert(self.random.randrange(5, STEPS), self.random.choice(OUTAGES))
        for step in ["publish", *steps]:
            self.log.append(step)
            if step == "kill":
                time.sleep(max(0.0, declared + SETTLED - time.monotonic()))
            self._step(step, lab, queue)
            time.sleep(self.random.uniform(0, 0.1))
        for worker in self._alive(lab):
            worker.resume()
        if not self._alive(lab):
            self._join(lab, queue)
        return lab.finish(timeout=120), queue

    def _step(self, step: str, lab: Lab, queue: str) -> None:
        one = self.random.choice(self._alive(lab) or [None])
        if step == "publish":
            workload = tasks.random(
                self.random.randint(1, 60), seed=self.random.randrange(10**6), low=0, high=3
            )
            self.producers.append(
                lab.publish(queue, workload, wait=False, confirms=self.confirms, persistent=self.persistent)
            )
        elif step == "join":
            self._join(lab, queue)
        elif step == "restart":
            lab.restart_broker()
        elif step == "kill":
            lab.kill_broker()
        elif step == "declare":
            arguments = {"x-queue-type": "quorum"} if self.type == "quorum" else None
            with contextlib.suppress(LabError), lab.channel() as channel:
                channel.queue_declare(queue, durable=True, arguments=arguments)
        elif step == "cut producer":
            producer = self.random.choice(self.producers)
            producer.cut()
        elif one is None:
            return
        elif step == "leave":
            one.stop(timeout=None)
        elif step == "crash":
            one.crash()
        elif step == "pause":
            one.pause()
        elif step == "resume":
            one.resume()
        elif step == "speed":
            one.speed = self.random.choice([0.5, 1, 4])
        elif step == "cut worker":
            one.cut()

    def _join(self, lab: Lab, queue: str) -> None:
        lab.workers(1, queue, ack=self.ack, prefetch=self.prefetch, listener=Effects(self.effects), timeout=60)

    @staticmethod
    def _alive(lab: Lab) -> list[Worker]:
        return [worker for worker in lab.active if worker.is_alive() and not worker.leaving]


def left_over(lab: Lab, threads_before: set[threading.Thread]) -> list[str]:
    """What a closed bench has left behind: threads, queues, connections."""
    left = [thread.name for thread in set(threading.enumerate()) - threads_before]
    left += [queue.name for queue in lab.management.queues(lab.name("any").removesuffix("any"))]
    return left
