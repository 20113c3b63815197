"""A producer: a thread with a connection of its own that publishes a workload."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import pika
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from labkit import checks
from labkit.clients.link import DRAIN, Link
from labkit.errors import (
    AccessRefusedError,
    LabError,
    QueueMissingError,
    ResourceAlarmError,
    UsageError,
    WaitTimeoutError,
)
from labkit.ledger import Kind, Ledger
from labkit.tasks import Task

PUBLISHED, CONFIRMED = int(Kind.PUBLISHED), int(Kind.CONFIRMED)  # an Enum's attributes are slow
WIDEST = 65_535  # messages that may wait for their confirms
AT_A_TIME = 100  # messages published before the connection is served again
MOST_UNSENT = 262_144  # bytes that wait to be sent, before more is published


class Producer(Link):
    """Publishes the tasks of ``workload`` to ``queue``, in order, and tells the ``ledger``.

    ``parameters``  where to connect (its connection name becomes the producer's name)
    ``confirms``    how many messages may be on their way to their confirm by the broker: True or 1 is one by one,
                    100 a window of 100, False or 0 does without confirms. A message that was not confirmed because
                    the connection broke is published again after reconnecting
    ``persistent``  delivery mode 2 instead of 1
    ``rate``        at most so many tasks a second; None: as the tasks' own delays say
    ``exchange``    the default exchange routes by the queue's name
    ``mandatory``   ask for a message back that no queue takes (only with confirms)
    ``reconnect``   whether to go on after a lost connection

    https://www.rabbitmq.com/docs/confirms#publisher-confirms
    """

    def __init__(
        self,
        parameters: pika.connection.Parameters,
        queue: str,
        workload: Iterable[Task],
        *,
        ledger: Ledger | None = None,
        name: str = "producer",
        confirms: bool | int = True,
        persistent: bool = True,
        rate: float | None = None,
        exchange: str = "",
        mandatory: bool = False,
        reconnect: bool = True,
    ) -> None:
        if rate is not None:
            checks.number("rate", rate, above=0, unit="tasks a second, or None")
        if mandatory and not confirms:
            raise UsageError(
                "mandatory is set, and confirms is not.",
                do="Without confirms nobody hears of what came back.",
            )
        if ledger is not None and not isinstance(ledger, Ledger):
            raise UsageError(f"ledger is {ledger!r}.", do="Use a labkit.ledger.Ledger, or leave it out.")
        checks.text("name", name)
        super().__init__(parameters, name=name, reconnect=reconnect)
        self.queue, self.workload = checks.text("queue", queue), _checked(workload)
        self.confirms = (
            confirms if isinstance(confirms, bool) else checks.whole("confirms", confirms, 0, WIDEST)
        )
        self.persistent, self.rate, self.exchange, self.mandatory = persistent, rate, exchange, mandatory
        self.ledger = ledger if ledger is not None else Ledger()
        self.published = 0  # how many tasks it is through with
        self._next = 0  # the place in the workload of the first task that was not published yet
        self._again: deque[int] = deque()  # places of tasks to be published once more
        self._waiting: dict[int, int] = {}  # for a confirm, by its number on this connection: the place
        self._number = 0  # of the last message on this connection
        self._came_back: set[str | None] = set()  # ids of messages that no queue took
        self._due = 0.0  # when the next task is to be published, on the clock of perf_counter
        self._timed = False  # a timer will publish
        self._gave_up = False  # after an error that no new attempt can mend
        self.ledger.add(self.workload)

    # --- what others may call ----------------------------------------------------------------

    @property
    def leaving(self) -> bool:
        """Whether it was told to end, or has published everything."""
        return self._stopping or self.published >= len(self.workload)

    def wait(self, timeout: float = 60) -> None:
        """Wait until everything is published.

        WaitTimeoutError after ``timeout`` seconds; ResourceAlarmError if the broker blocks publishers because
        its disk or memory runs low; the producer's own error if it gave up.
        """
        deadline = time.monotonic() + timeout
        while self.is_alive() and time.monotonic() < deadline:
            self.join(0.1)
            self.check()
        if self.is_alive():
            raise WaitTimeoutError(
                f"{self.name} published {self.published} of {len(self.workload)} tasks in {timeout:g} s.",
                do=str(self.error or "Give it more time, or publish fewer tasks."),
            )
        if self.error is not None:
            raise self.error

    def check(self) -> None:
        """Raise the error that waiting does not mend.

        It is ResourceAlarmError if the broker has refused to read from this producer for too long.
        """
        error = self.error
        if error is not None and (self._gave_up or isinstance(error, ResourceAlarmError)):
            raise error

    # --- the connection ----------------------------------------------------------------------

    def _opened(self, channel: Channel) -> None:
        # What was not confirmed is published again. A source that was cut off goes on at its own pace from now.
        self._again = deque(sorted([*self._again, *self._waiting.values()]))
        self._waiting.clear()
        self._came_back.clear()
        self._number, self._timed, self._due = 0, False, time.perf_counter()
        if self.confirms:
            channel.add_on_return_callback(self._returned)
            channel.confirm_delivery(self._confirmed, callback=self._begin)
        else:
            self._begin()

    def _begin(self, _: object = None) -> None:
        self._ready()
        self._publish()

    def _disconnected(self, error: LabError) -> bool:
        self._gave_up = isinstance(error, UsageError | QueueMissingError | AccessRefusedError)
        return not self._gave_up

    def _look(self) -> None:
        if not self._waiting:
            self._goodbye()

    # --- publishing --------------------------------------------------------------------------

    def _publish(self) -> None:
        """In the loop: publish what may be published now."""
        window = int(self.confirms) or WIDEST
        for _ in range(AT_A_TIME):
            channel = self._channel
            if channel is None or self._timed or len(self._waiting) >= window:
                return
            place = self._again[0] if self._again else self._next
            if self._stopping or place >= len(self.workload):
                self._look()
                return
            task, wait = self.workload[place], 0.0
            if pause := (1 / self.rate if self.rate else task.delay):
                wait = self._due + pause - time.perf_counter()
            elif not self.confirms and self._unsent() > MOST_UNSENT:
                wait = DRAIN
            if wait > 0:
                self._publish_in(wait)
                return
            self._due += pause
            self._send(channel, place, task)
        self._publish_in(0)

    def _publish_in(self, seconds: float) -> None:
        self._timed = True
        self._soon(self._time_has_come, seconds)

    def _time_has_come(self) -> None:
        self._timed = False
        self._publish()

    def _send(self, channel: Channel, place: int, task: Task) -> None:
        if self._again:
            self._again.popleft()
        else:
            self._next += 1
        self._number += 1
        properties = BasicProperties(
            message_id=task.id, content_type=task.content_type, delivery_mode=2 if self.persistent else 1
        )
        self.ledger.record(PUBLISHED, task.id)  # first: the worker may have it before this call returns
        if self.confirms:
            self._waiting[self._number] = place
        else:
            self.published += 1
        channel.basic_publish(self.exchange, self.queue, task.body, properties, self.mandatory)

    def _returned(self, _: Channel, __: Basic.Return, properties: BasicProperties, ___: bytes) -> None:
        """No queue takes it: the broker returns a message before it confirms it."""
        self._came_back.add(properties.message_id)

    def _confirmed(self, frame: Any) -> None:
        """The broker has taken, or refused, a message or all up to it."""
        upto, good = frame.method.delivery_tag, isinstance(frame.method, Basic.Ack)
        numbers = [upto]
        if frame.method.multiple:
            numbers = [number for number in self._waiting if number <= upto]
        for number in numbers:
            if (place := self._waiting.pop(number, None)) is None:
                continue
            task_id = self.workload[place].id
            if task_id in self._came_back:
                self.ledger.record(Kind.RETURNED, task_id)
            else:
                self.ledger.record(CONFIRMED if good else Kind.NACKED, task_id)
            self.published += 1
        self._publish()


def _checked(workload: Iterable[Task]) -> list[Task]:
    """The workload as a list; UsageError for what is no task, or no task that can be sent."""
    try:
        workload = list(workload)
    except TypeError as error:
        raise checks.refused(
            "The workload", workload, "Use a list of tasks, for example tasks.equal(10)."
        ) from error
    for task in workload:
        if not isinstance(task, Task):
            raise checks.refused("A task of the workload", task, "Use tasks, for example tasks.equal(10).")
        if not isinstance(task.body, bytes):
            raise checks.refused("The body of a task", task.body, "Use bytes: text.encode().")
        checks.text("The id of a task", task.id)
        checks.text("The content type of a task", task.content_type)
        if task.delay:
            checks.seconds("The delay of a task", task.delay)
    if len({task.id for task in workload}) < len(workload):
        raise UsageError(
            "Two tasks of the workload have the same id.", do="Let tasks.workload(…) give the ids."
        )
    return workload
