"""The lines that a worker in a terminal prints."""

from __future__ import annotations

import math
import os
import sys
import time

from labkit.brokers import Broker
from labkit.clients.listener import Listener
from labkit.commands import queues
from labkit.errors import LabError
from labkit.setup.machine import say
from labkit.tasks import Task

LONGEST = 200  # characters of a message or of a result that are shown
REMEMBERED = 2.0  # seconds that an answer about the queue's dead-letter exchange serves
CHOOSE = "(--on-error chooses otherwise)"


class Lines(Listener):
    """Prints what the worker does, and where a message goes that it cannot do."""

    def __init__(self, broker: Broker, queue: str, *, auto_ack: bool, dead_letter_queue: str | None) -> None:
        self._broker, self._queue = broker, queue
        self._auto_ack, self._dead_letter_queue = auto_ack, dead_letter_queue
        self._dead_letters: queues.DeadLetters | None = None
        self._asked = -math.inf  # when, in monotonic seconds

    def received(self, task: Task, redelivered: bool) -> None:
        self._say(f" [x] Received {message(task.body)}{' (redelivered)' if redelivered else ''}")

    def done(self, task: Task, result: object) -> None:
        self._say(f" [x] Done {message(task.body)}" + ("" if result is None else f" = {shown(result)}"))

    def failed(self, body: bytes, error: BaseException, verdict: str) -> None:
        what, do = (error.what, error.do) if isinstance(error, LabError) else (repr(error), "")
        self._say(f" [!] Failed: {what}")
        if do:
            self._say(f"     → {do}")
        self._say(f"     {message(body)} {self._became(verdict)}")

    def reconnecting(self, error: LabError) -> None:
        self._say(f" [!] {error.what} Trying again…")

    def _became(self, verdict: str) -> str:
        if verdict == "rejected":
            return f"was rejected {self._where()}"
        if verdict == "requeued":
            return "was put back into the queue and comes again"
        if verdict == "acknowledged":
            return "was acknowledged all the same: nobody gets it any more"
        if verdict == "dead-lettered":
            return f"was moved to the queue {self._dead_letter_queue}"
        if self._auto_ack:
            return "was acknowledged on delivery: nobody gets it any more"
        return "goes back to the queue: the connection is gone"

    def _where(self) -> str:
        """Where the broker puts what was rejected. https://www.rabbitmq.com/docs/dlx"""
        if time.monotonic() - self._asked > REMEMBERED:
            self._dead_letters = queues.dead_letters(self._broker, self._queue)
            self._asked = time.monotonic()
        known = self._dead_letters
        if known is None:
            return f"and went to its queue's dead-letter exchange, or nowhere if it has none {CHOOSE}"
        if known.exchange is None:
            return f"and discarded: nobody gets it any more {CHOOSE}"
        if not known.exists:
            return f"and discarded: the dead-letter exchange {known.exchange} does not exist {CHOOSE}"
        key = "" if known.routing_key is None else f", with the routing key {known.routing_key}"
        return f"and went to the dead-letter exchange {known.exchange or '(default)'}{key}"

    @staticmethod
    def _say(line: str) -> None:
        try:
            say(line)
        except BrokenPipeError:  # nobody reads on; the work goes on
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123


def message(body: bytes) -> str:
    """A message as it is shown: quoted, and not too long."""
    return _shortened(repr(body[: 4 * LONGEST].decode("utf-8", "replace")))


def shown(result: object) -> str:
    """A result as it is shown; of a huge number only the size, because its digits would take for ever."""
    if isinstance(result, int) and result.bit_length() > 3 * LONGEST:
        exponent = math.log10(abs(result))
        return f"about {'-' * (result < 0)}{10 ** (exponent % 1):.4f}e+{int(exponent)}"
    try:
        return _shortened(str(result))
    except ValueError:  # a huge number somewhere in it
        return f"a {type(result).__name__} that is too long to show"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
