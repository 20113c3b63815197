"""A look-out: when was the broker away?"""

from __future__ import annotations

import threading
import time

import pika
from pika.exceptions import AMQPError

from labkit.brokers.connection import connect
from labkit.errors import LabError
from labkit.ledger import Kind, Ledger

POLL = 0.02  # seconds between two attempts to connect
LIMIT = 15.0  # seconds that it may take to begin, and to end


class Outage(threading.Thread):
    """Notes in the ledger when connections to the broker break, and when they can be made again."""

    def __init__(self, parameters: pika.ConnectionParameters, ledger: Ledger) -> None:
        super().__init__(name="outage", daemon=True)
        self.away = 0.0  # seconds, in all
        self._parameters, self._ledger = parameters, ledger
        self._watching, self._over = threading.Event(), threading.Event()
        self._since: float | None = None  # when it was last seen to go (monotonic)

    def start(self) -> None:
        """Returns when it watches, or has seen that the broker is away."""
        super().start()
        self._watching.wait(LIMIT)

    def stop(self) -> None:
        """Look once more, and end."""
        self._over.set()
        self.join(LIMIT)

    def run(self) -> None:
        while True:
            last = self._over.is_set()
            try:
                connection = connect(self._parameters)
            except LabError:
                self._down()
                if last:
                    return
                self._over.wait(POLL)
                continue
            self._up()
            try:
                while not self._over.is_set():
                    connection.process_data_events(0.2)
                connection.close()
                return
            except AMQPError:
                self._down()

    def _down(self) -> None:
        if self._since is None:
            self._since = time.monotonic()
            self._ledger.record(Kind.BROKER_DOWN)
        self._watching.set()

    def _up(self) -> None:
        if self._since is not None:
            self.away += time.monotonic() - self._since
            self._since = None
            self._ledger.record(Kind.BROKER_UP)
        self._watching.set()
