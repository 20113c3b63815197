"""Proofs that a fault has struck, each a claim that is true as soon as the ledger and the broker bear it out.

``since`` is the number of events in the ledger when the fault was injected.
"""

from __future__ import annotations

import time

from labkit.brokers import Broker
from labkit.clients.producer import Producer
from labkit.lab import Lab
from labkit.ledger import Event, Kind, Ledger

CLOCK = 1.0  # seconds that a broker's start may seem to move; it boots for longer than that
LEFT = {Kind.STOPPED, Kind.CRASHED}


def events_of(ledger: Ledger, worker: str, kinds: set[Kind], since: int = 0) -> list[Event]:
    """What the ledger says of a worker, oldest first."""
    return [event for event in ledger.events(kinds, since=since) if event.worker == worker]


def worker_is_connected(ledger: Ledger, worker: str, since: int = 0) -> bool:
    """Of all that it told since then of its connection, the last is that it has one."""
    told = events_of(ledger, worker, {Kind.CONNECTED, Kind.DISCONNECTED, *LEFT}, since)
    return bool(told) and told[-1].kind is Kind.CONNECTED


def cut_worker_lost_its_connection_and_came_back(ledger: Ledger, worker: str, since: int) -> bool:
    """A worker that was cut notices, and connects anew."""
    kinds = [event.kind for event in events_of(ledger, worker, {Kind.CONNECTED, Kind.DISCONNECTED}, since)]
    return kinds[:2] == [Kind.DISCONNECTED, Kind.CONNECTED]


def cut_producer_came_back(producer: Producer, connections: int) -> bool:
    """A producer that was cut with tasks to go, when it had opened so many connections, has opened another."""
    return producer.connections > connections


def paused_worker_held_still(ledger: Ledger, worker: str, since: int) -> bool:
    """From its pause until it was told to go on, it began and finished nothing.

    All that is allowed is what was under way as the pause reached it: the beginning and the end of one task.
    """
    kinds = {Kind.PAUSED, Kind.RESUMED, Kind.STARTED, Kind.FINISHED, *LEFT}
    told = iter(events_of(ledger, worker, kinds, since))
    if not any(event.kind is Kind.PAUSED for event in told):  # goes on after it
        return False
    moved: list[Event] = []
    for event in told:
        if event.kind in (Kind.RESUMED, *LEFT):
            break
        if event.kind is not Kind.PAUSED:
            moved.append(event)
    return len({event.task_id for event in moved}) <= 1 and len({event.kind for event in moved}) == len(moved)


def crashed_worker_said_nothing_more(ledger: Ledger, worker: str, since: int) -> bool:
    """The ledger has its crash, and no word of it afterwards."""
    told = [event.kind for event in ledger.events(since=since) if event.worker == worker]
    return Kind.CRASHED in told and told[-1] is Kind.CRASHED


def worker_stopped(ledger: Ledger, worker: str, since: int) -> bool:
    """The ledger has its leaving."""
    return bool(events_of(ledger, worker, LEFT, since))


def broker_has_just_these_consumers(lab: Lab, queue: str, workers: set[str]) -> bool:
    """Those who crashed or left are gone and those who were cut are back: in the queue's words and the API's."""
    if lab.depth(queue)[1] != len(workers):
        return False
    connected = {connection.user_provided_name for connection in lab.management.connections()}
    everybody = {worker.name for worker in lab.active}
    return connected & everybody <= workers


def started_at(broker: Broker) -> float:
    """When the broker was started, in seconds since the epoch."""
    uptime = broker.uptime()
    assert uptime is not None, "a broker that can be restarted knows since when it runs"
    return time.time() - uptime


def broker_began_anew(broker: Broker, before: float) -> bool:
    """It was started later than ``before``, when it was started last."""
    return started_at(broker) > before + CLOCK


def outage_is_in_the_ledger(ledger: Ledger, since: int) -> bool:
    """The ledger has that the broker went, and that it came back."""
    kinds = [event.kind for event in ledger.events({Kind.BROKER_DOWN, Kind.BROKER_UP}, since=since)]
    return kinds[:1] == [Kind.BROKER_DOWN] and kinds[-1:] == [Kind.BROKER_UP]
