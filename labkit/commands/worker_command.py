"""Work on messages in this terminal: a dot is a second. Ctrl-C finishes the task, a second one gives it back."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING

from labkit.commands import arguments
from labkit.setup import bootstrap
from labkit.setup.machine import say

if TYPE_CHECKING:
    from labkit.clients.worker import Worker

ON_ERROR = ("reject", "requeue", "acknowledge", "dead-letter")
LOOK = 0.05  # seconds between looks whether the worker still lives


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit worker``."""
    arguments.add_queue(parser)
    parser.add_argument(
        "--name",
        type=arguments.name,
        default=f"worker-{os.getpid()}",
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
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default="reject",
        help="what becomes of a message that cannot be done; dead-letter moves it to Q.dead-letters (default: reject)",
    )


def run(args: argparse.Namespace) -> int:
    """Consume until Ctrl-C; messages that are not done then stay in the queue."""
    bootstrap.enter(args.argv)
    from pika.exceptions import AMQPError

    from labkit import checks
    from labkit.brokers import connect
    from labkit.brokers.connection import explain
    from labkit.clients.worker import Worker
    from labkit.commands import queues
    from labkit.commands.worker_lines import Lines

    broker = arguments.find_broker(install=False, url=args.url)
    parameters = broker.parameters(args.name)
    # Whoever taps the wire may know that a delivery is not begun before the one before it is answered.
    parameters.client_properties = {**(parameters.client_properties or {}), "at_once": 1}
    dead_letter_queue = None
    try:
        with connect(
            parameters
        ) as connection:  # a broker that is down is an error here; later it is waited for
            declared = queues.take(connection, args.queue, args.queue_type)
            if args.queue_type and not declared:
                queues.say_type(broker, args.queue, args.queue_type)
            if args.on_error == "dead-letter":
                dead_letter_queue = checks.text(
                    "The name of the dead-letter queue", f"{args.queue}.dead-letters"
                )
                there = None if declared else queues.queue_type(broker, args.queue)
                queues.take(connection, dead_letter_queue, there or args.queue_type)
    except AMQPError as error:
        raise explain(error, parameters) from error
    worker = Worker(
        parameters,
        args.queue,
        name=args.name,
        ack="automatic" if args.auto_ack else "manual",
        prefetch=args.prefetch,
        speed=args.speed,
        seconds_per_dot=args.seconds_per_dot,
        on_error=args.on_error,
        dead_letter_queue=dead_letter_queue,
        listener=Lines(broker, args.queue, auto_ack=args.auto_ack, dead_letter_queue=dead_letter_queue),
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
