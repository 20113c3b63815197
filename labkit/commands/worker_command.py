"""Work on messages in this terminal: a dot is a second. Ctrl-C finishes the task, a second one gives it back."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from labkit.commands import arguments
from labkit.commands.send_command import QUEUE
from labkit.setup import bootstrap
from labkit.setup.machine import say

if TYPE_CHECKING:
    from labkit.clients.worker import Worker

LOOK = 0.05  # seconds between looks whether the worker still lives


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit worker``."""
    name = f"worker-{os.getpid()}"
    parser.add_argument(
        "--queue", type=arguments.name, default=QUEUE, metavar="Q", help=f"a durable queue (default: {QUEUE})"
    )
    parser.add_argument(
        "--name",
        type=arguments.name,
        default=name,
        metavar="N",
        help="its name on the management page and in the charts",
    )
    parser.add_argument(
        "--prefetch",
        type=arguments.positive,
        metavar="N",
        help="unacknowledged messages at most (default: no limit)",
    )
    parser.add_argument(
        "--auto-ack", action="store_true", help="acknowledged on delivery: what it holds is lost with it"
    )
    parser.add_argument(
        "--seconds-per-dot",
        type=arguments.not_negative,
        default=1.0,
        metavar="S",
        help="work of a dot (default: 1)",
    )
    parser.add_argument(
        "--speed",
        type=arguments.above_zero,
        default=1.0,
        metavar="X",
        help="2 works twice as fast (default: 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Consume until Ctrl-C; messages that are not done then stay in the queue."""
    bootstrap.enter(args.argv)
    from pika.exceptions import AMQPError

    from labkit.brokers import connect
    from labkit.brokers.connection import explain
    from labkit.clients.worker import Worker

    parameters = arguments.find_broker(install=False).parameters(args.name)
    connection = connect(
        parameters
    )  # a broker that is down is an error here; later on the worker waits for it
    try:
        connection.channel().queue_declare(args.queue, durable=True)
        connection.close()
    except (AMQPError, OSError) as error:
        raise explain(error, parameters) from error
    worker = Worker(
        parameters,
        args.queue,
        name=args.name,
        ack="automatic" if args.auto_ack else "manual",
        prefetch=args.prefetch,
        speed=args.speed,
        seconds_per_dot=args.seconds_per_dot,
        on_event=_tell,
    )
    try:
        say(f" [*] {args.name} waits for messages on {args.queue}. To leave press Ctrl-C")
        worker.start()
        _wait(worker)
        if worker.error:
            raise worker.error
        return 0
    except KeyboardInterrupt:
        return _leave(worker)


def _wait(worker: Worker) -> None:
    """Until it has ended. Not by ``join()``: a Ctrl-C in there can leave a living thread marked as ended."""
    while worker.is_alive():
        time.sleep(LOOK)


def _leave(worker: Worker) -> int:
    try:
        if worker.state == "working":
            say(" [*] Finishing this task; Ctrl-C again gives it back")
        worker.stop(timeout=None)
        _wait(worker)
    except KeyboardInterrupt:
        worker.crash()  # the broker sees the connection go, and gives the task to another worker
        _wait(worker)
        say(" [*] Given back what was not done")
    say(" [*] Left")
    return 0


def _tell(what: str, about: object) -> None:
    """Print what the worker does; ``about`` is a task, a task and its result, or an error."""
    if what == "received":
        line = f" [x] Received {_text(about)}"
    elif what == "done":
        task, result = about
        line = f" [x] Done {_text(task)}" + ("" if result is None else f" = {_short(result)}")
    elif what == "failed":
        line = f" [!] Failed: {about}"
    else:
        line = f" [!] {getattr(about, 'what', about)} Trying again…"
    try:
        say(line)
    except (BrokenPipeError, ValueError):  # nobody reads on; the work goes on
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123


def _text(task: object) -> str:
    return repr(task.body.decode("utf-8", "replace"))


def _short(result: object, limit: int = 200) -> str:
    text = str(result)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
