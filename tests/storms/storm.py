"""A storm: producers, workers, connections and the broker fail at random moments of a schedule drawn from a seed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

import proofs
from waiting import until

from labkit import tasks
from labkit.clients.producer import Producer
from labkit.clients.worker import Worker
from labkit.errors import LabError
from labkit.lab import Lab
from labkit.tasks import Task
from labkit.tasks.handlers import HANDLERS

SETTLED = 4.0  # seconds that a quorum queue's declaration takes to be safe from a SIGKILL
DOT = 0.01  # seconds
STEPS = 25
SURE = 0.1  # seconds that a producer must have to go if a cut is sure to strike it
PROVEN = 30.0  # seconds until a fault must show
HASTE = 8.0  # the speed at which the rest is done

# What may happen at each step, and how often in proportion.
EVENTS = {
    "publish": 6,
    "join": 6,
    "leave": 2,
    "crash": 3,
    "pause": 3,
    "resume": 3,
    "speed": 2,
    "cut worker": 4,
    "cut producer": 4,
    "declare": 1,
}
OUTAGES = ("restart", "kill")
AMOUNT = (1, 60)  # tasks that are published at a time
RATES = (None, 100, 300)  # tasks a second


@dataclass
class Fault:
    """Something that was done to ``whom``; ``struck`` is true once that is proven."""

    step: str
    whom: str
    struck: Callable[[], object]

    def __str__(self) -> str:
        return f"a proof that this has struck: {self.step} {self.whom}"


@dataclass
class Storm:
    """One schedule, and what it did. ``done`` is what was really done, told by the handler: a task's id each time."""

    seed: int
    outages: bool = False  # whether the broker itself goes down once
    log: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    gone: set[str] = field(default_factory=set)  # workers that were told to leave, or to crash

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        draw = self.random.choice
        self.type = draw(["classic", "quorum"])
        self.ack = draw(["manual", "manual", "automatic"])
        self.prefetch = draw([None, 1, 2, 10])
        self.confirms = draw([True, True, False])
        self.persistent = True if self.type == "quorum" else draw([True, True, False])
        self.loads = draw([True, False, False, False])  # the broker's figures cost 2-3 s at the end
        self.producers: list[Producer] = []
        # Up to where a client's connection is known to be broken: for a worker the number of events in the ledger,
        # for a producer the number of its connections.
        self.broken: dict[str, int] = {}

    @property
    def executions(self) -> Counter[str]:
        """How many times the work of each task was really done."""
        return Counter(self.done)

    @property
    def loses_nothing(self) -> bool:
        """Manual acknowledgement, confirms and a queue that keeps its messages: then no task may ever be lost."""
        return self.ack == "manual" and self.confirms and (self.persistent or not self.outages)

    def __str__(self) -> str:
        return (
            f"storm {self.seed}: {self.type} queue, ack={self.ack}, prefetch={self.prefetch}, "
            f"confirms={self.confirms}, persistent={self.persistent}, loads={self.loads}, outages={self.outages}: "
            f"{', '.join(self.log)}"
        )

    def blow(self, lab: Lab):
        """Run the schedule on the bench, and prove every fault; returns the Run and the queue."""
        declared = time.monotonic()
        queue = lab.queue(
            f"storm-{self.seed}", type=self.type
        )  # the broker may still list who had the last one
        self.join(lab, queue)
        steps = self.random.choices(list(EVENTS), EVENTS.values(), k=STEPS)
        if self.outages:
            steps.insert(self.random.randrange(5, STEPS), self.random.choice(OUTAGES))
        for step in ["publish", *steps]:
            if step == "kill":  # the pause is the subject: nothing tells when the declaration is safe
                time.sleep(max(0.0, declared + SETTLED - time.monotonic()))
            self.log.append(self.step(step, lab, queue) or step)
            time.sleep(self.random.uniform(0, 0.1))  # the weather: a schedule needs its pauses
        for worker in self.alive(lab):
            worker.resume()
            worker.speed = HASTE
        if not self.alive(lab):
            self.join(lab, queue)
        self.prove(lab, queue)
        return lab.finish(timeout=120), queue

    def prove(self, lab: Lab, queue: str) -> None:
        """Wait for the proof of every fault; AssertionError with the fault that never struck."""
        for fault in self.faults:
            until(fault.struck, str(fault), PROVEN)
        consumers = {worker.name for worker in self.alive(lab)}
        until(
            lambda: proofs.broker_has_just_these_consumers(lab, queue, consumers),
            f"the broker to have just the consumers {consumers}",
            PROVEN,
        )

    # --- what happens ------------------------------------------------------------------------

    def step(self, step: str, lab: Lab, queue: str) -> str | None:
        """Take one step; returns what is to be logged if that is something else than the step."""
        if step == "publish":
            self.publish(lab, queue)
        elif step == "join":
            self.join(lab, queue)
        elif step in OUTAGES:
            self._outage(step, lab)
        elif step == "declare":
            arguments = {"x-queue-type": "quorum"} if self.type == "quorum" else None
            with contextlib.suppress(LabError), lab.channel() as channel:
                channel.queue_declare(queue, durable=True, arguments=arguments)
        elif step == "cut producer":
            return self._cut_producer()
        elif workers := self.alive(lab):
            return self._to_a_worker(step, lab, self.random.choice(workers))
        else:  # nobody is left
            self.join(lab, queue)
            return "join"
        return None

    def _to_a_worker(self, step: str, lab: Lab, worker: Worker) -> str | None:
        name, ledger, since = worker.name, lab.ledger, len(lab.ledger)
        if step == "speed":
            worker.speed = self.random.choice([0.5, 1, 4])
        elif step == "resume":
            worker.resume()
        elif step == "pause":
            if worker.paused:
                return f"nothing to pause in {name}"
            worker.pause()
            self._inject(step, name, proofs.paused_worker_held_still, ledger, name, since)
        elif step == "cut worker":
            if not proofs.worker_is_connected(ledger, name, self.broken.get(name, 0)):
                return f"nothing to cut in {name}"
            self.broken[name] = since
            worker.cut()
            self._inject(step, name, proofs.cut_worker_lost_its_connection_and_came_back, ledger, name, since)
        else:
            self.gone.add(name)
            # A cut that it has not noticed, or not mended, cannot show any more.
            self.faults = [
                fault
                for fault in self.faults
                if fault.whom != name or fault.step != "cut worker" or fault.struck()
            ]
            if step == "crash":
                worker.crash()
                self._inject(step, name, proofs.crashed_worker_said_nothing_more, ledger, name, since)
            elif step == "leave":
                worker.stop(timeout=None)
                self._inject(step, name, proofs.worker_stopped, ledger, name, since)
        return f"{step} {name}"

    def _inject(self, step: str, whom: str, proof: Callable, *about: object) -> None:
        self.faults.append(Fault(step, whom, partial(proof, *about)))

    def _cut_producer(self) -> str:
        """Cut one that has so much to publish that the cut finds it at work."""
        able = [
            producer
            for producer in self.producers
            if producer.is_alive()
            and producer.rate is not None
            and len(producer.workload) - producer.published >= SURE * producer.rate
            and producer.connections > self.broken.get(producer.name, 0)
        ]
        if not able:
            return "no producer to cut"
        producer = self.random.choice(able)
        connections = self.broken[producer.name] = producer.connections
        producer.cut()
        self._inject("cut producer", producer.name, proofs.cut_producer_came_back, producer, connections)
        return f"cut {producer.name}"

    def _outage(self, step: str, lab: Lab) -> None:
        since, before = len(lab.ledger), proofs.started_at(lab.broker)
        for producer in self.producers:
            self.broken[producer.name] = producer.connections
        for worker in lab.active:
            self.broken[worker.name] = since
        lab.restart_broker() if step == "restart" else lab.kill_broker()
        assert proofs.broker_began_anew(lab.broker, before), f"the broker went on through a {step}"
        self._inject(step, "the broker", proofs.outage_is_in_the_ledger, lab.ledger, since)

    def publish(self, lab: Lab, queue: str) -> None:
        seed = self.random.randrange(10**6)
        workload = tasks.random(self.random.randint(*AMOUNT), seed=seed, low=0, high=3)
        rate = self.random.choice(RATES)
        settings = {"rate": rate, "confirms": self.confirms, "persistent": self.persistent}
        self.producers.append(lab.publish(queue, workload, wait=False, **settings))

    def join(self, lab: Lab, queue: str) -> None:
        settings = {"ack": self.ack, "prefetch": self.prefetch, "handlers": {**HANDLERS, "dots": self._do}}
        lab.workers(1, queue, loads=self.loads, timeout=60, **settings)

    def _do(self, task: Task, fields: dict) -> None:
        self.done.append(task.id)  # from many threads: append is atomic

    def alive(self, lab: Lab) -> list[Worker]:
        """The workers that nobody has told to leave or to crash."""
        return [worker for worker in lab.active if worker.name not in self.gone]


def left_over(lab: Lab, threads_before: set[threading.Thread]) -> list[str]:
    """What a closed bench has left behind: threads, queues, connections."""
    left = [thread.name for thread in set(threading.enumerate()) - threads_before]
    left += [queue.name for queue in lab.management.queues(lab.name("any").removesuffix("any"))]
    return left
