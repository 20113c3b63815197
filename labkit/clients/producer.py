"""A producer: a thread with a connection of its own that publishes a workload."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable

import pika
from pika.exceptions import AMQPError, NackError, UnroutableError

from labkit import checks
from labkit.brokers.connection import connect, explain
from labkit.errors import LabError, QueueMissingError, ResourceAlarmError, UsageError, WaitTimeoutError
from labkit.ledger import Kind, Ledger
from labkit.tasks import Task

FIRST_DELAY, LAST_DELAY = 0.2, 2.0  # seconds between attempts to reconnect: doubling from one to the other
PUBLISHED, CONFIRMED = int(Kind.PUBLISHED), int(Kind.CONFIRMED)  # an Enum's attributes are slow


class Producer(threading.Thread):
    """Publishes the tasks of ``workload`` to ``queue``, in order, and tells the ``ledger``.

    ``parameters``  where to connect (its connection name becomes the producer's name)
    ``confirms``    wait for the broker's confirm of each message; a message that was not confirmed
                    because the connection broke is published again after reconnecting
    ``persistent``  delivery mode 2 instead of 1
    ``rate``        at most so many tasks a second; None: as the tasks' own delays say
    ``exchange``    the default exchange routes by the queue's name
    ``mandatory``   ask for a message back that no queue takes (only with confirms)
    ``reconnect``   whether to go on after a lost connection

    https://www.rabbitmq.com/docs/confirms#publisher-confirms
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        queue: str,
        workload: Iterable[Task],
        *,
        ledger: Ledger | None = None,
        name: str = "producer",
        confirms: bool = True,
        persistent: bool = True,
        rate: float | None = None,
        exchange: str = "",
        mandatory: bool = False,
        reconnect: bool = True,
    ) -> None:
        checks.connection(parameters)
        if rate is not None:
            checks.number("rate", rate, above=0, unit="tasks a second, or None")
        if mandatory and not confirms:
            raise UsageError(
                "mandatory is set, and confirms is not.",
                do="Without confirms nobody hears of what came back.",
            )
        checks.text("name", name)
        super().__init__(name=name, daemon=True)
        self.queue, self.workload = checks.text("queue", queue), _checked(workload)
        self.confirms, self.persistent, self.rate = confirms, persistent, rate
        self.exchange, self.mandatory, self.reconnect = exchange, mandatory, reconnect
        self.ledger = ledger if ledger is not None else Ledger()
        self.published = 0  # how many tasks it is through with
        self.error: LabError | None = None
        self._parameters = parameters
        self._socket: socket.socket | None = None
        self._stopping = threading.Event()
        self._gave_up = False  # after an error that no new attempt can mend
        self.ledger.add(self.workload)

    def stop(self, timeout: float | None = 10) -> None:
        """Stop after the message under way; wait up to ``timeout`` seconds for that (None: do not wait)."""
        self._stopping.set()
        if timeout is not None and self.is_alive():
            self.join(timeout)

    def cut(self) -> None:
        """Break its TCP connection, as a network would; it notices, and goes on with what is not confirmed."""
        with contextlib.suppress(OSError, AttributeError):
            self._socket.shutdown(socket.SHUT_RDWR)

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
        if self._gave_up or isinstance(self.error, ResourceAlarmError):
            raise self.error

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # nobody would hear of it
            self.error = LabError(f"{self.name} failed: {type(error).__name__}: {error}.")
            self.error.__cause__ = error
            self._gave_up = True

    def _run(self) -> None:
        delay = FIRST_DELAY
        while self.published < len(self.workload) and not self._stopping.is_set():
            try:
                connection = connect(self._parameters)
            except LabError as error:
                self.error = error
            else:
                try:
                    # A source that was cut off goes on at its own pace: it does not hurry to catch up.
                    self._publish(connection, time.perf_counter())
                    connection.close()
                    self.error = None
                    continue
                except (AMQPError, OSError) as error:
                    self.error = explain(error, self._parameters)
                    with contextlib.suppress(AMQPError, OSError):
                        connection.close()
            if isinstance(self.error, (UsageError, QueueMissingError)):
                self._gave_up = True
                return
            if not self.reconnect:
                return
            self._stopping.wait(delay)
            delay = min(delay * 2, LAST_DELAY)

    def _publish(self, connection: pika.BlockingConnection, due: float) -> None:
        """Publish what is left, the first of it at ``due`` at the earliest."""
        channel = connection.channel()
        if self.confirms:
            channel.confirm_delivery()
        record, gap = self.ledger.record, 1 / self.rate if self.rate else None
        mode = 2 if self.persistent else 1
        while self.published < len(self.workload) and not self._stopping.is_set():
            task = self.workload[self.published]
            if gap or task.delay:
                due += gap or task.delay
                self._wait_until(due, connection)
            properties = pika.BasicProperties(
                message_id=task.id, content_type=task.content_type, delivery_mode=mode
            )
            record(PUBLISHED, task.id)  # first: the worker may have it before this call returns
            try:
                channel.basic_publish(self.exchange, self.queue, task.body, properties, self.mandatory)
            except UnroutableError:
                record(Kind.RETURNED, task.id)
            except NackError:
                record(Kind.NACKED, task.id)
            else:
                if self.confirms:
                    record(CONFIRMED, task.id)
            self.published += 1

    def _wait_until(self, due: float, connection: pika.BlockingConnection) -> None:
        while (left := due - time.perf_counter()) > 0 and not self._stopping.is_set():
            connection.process_data_events(min(left, 0.1))


def _checked(workload: Iterable[Task]) -> list[Task]:
    """The workload as a list; UsageError for what is no task, or no task that can be sent."""
    try:
        workload = list(workload)
    except TypeError as error:
        raise UsageError(
            f"The workload is {workload!r}.", do="Use a list of tasks, for example tasks.equal(10)."
        ) from error
    for task in workload:
        if not isinstance(task, Task):
            raise UsageError(
                f"The workload holds {task!r}.", do="Make it of tasks, for example tasks.equal(10)."
            )
        if not isinstance(task.body, bytes):
            raise UsageError(f"The body of a task is {task.body!r}.", do="Use bytes: text.encode().")
        checks.text("The id of a task", task.id)
        if task.delay:
            checks.seconds("The delay of a task", task.delay)
    if len({task.id for task in workload}) < len(workload):
        raise UsageError(
            "Two tasks of the workload have the same id.", do="Let tasks.workload(…) give the ids."
        )
    return workload
