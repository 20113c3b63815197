"""Publish messages: every MESSAGE is one; a dot in it is a second's work for `labkit worker`."""

from __future__ import annotations

import argparse
import json
from uuid import uuid4

from labkit.commands import arguments
from labkit.errors import BrokerError
from labkit.setup import bootstrap
from labkit.setup.machine import say

QUEUE = "task_queue"  # as in the classic tutorial


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit send``."""
    parser.add_argument(
        "message", nargs="+", metavar="MESSAGE", help='text or JSON; quote spaces: "two words.."'
    )
    parser.add_argument(
        "--queue", type=arguments.name, default=QUEUE, metavar="Q", help=f"a durable queue (default: {QUEUE})"
    )
    parser.add_argument("--count", type=arguments.positive, default=1, metavar="N", help="send each N times")


def run(args: argparse.Namespace) -> int:
    """Publish persistent messages, each confirmed by the broker before it is reported as sent."""
    bootstrap.enter(args.argv)
    import pika
    from pika.exceptions import AMQPError, NackError

    from labkit.brokers import connect
    from labkit.brokers.connection import explain

    parameters = arguments.find_broker(install=False).parameters("labkit send")
    connection = connect(parameters)
    try:
        channel = connection.channel()
        channel.queue_declare(args.queue, durable=True)
        channel.confirm_delivery()
        for text in args.message * args.count:
            body = text.encode("utf-8", "surrogateescape")  # the bytes of the command line, as they came in
            properties = pika.BasicProperties(
                delivery_mode=pika.DeliveryMode.Persistent,
                message_id=uuid4().hex,
                content_type=content_type(text),
            )
            channel.basic_publish("", args.queue, body, properties)
            say(f" [x] Sent {text!r}")
        connection.close()
    except NackError as error:
        raise BrokerError(
            "The broker refused a message.", do="See `python3 -m labkit broker logs`."
        ) from error
    except (AMQPError, OSError) as error:
        raise explain(error, parameters) from error
    finally:
        if connection.is_open:
            connection.close()
    return 0


def content_type(text: str) -> str:
    """JSON for what is a JSON object, plain text for everything else."""
    try:
        return "application/json" if isinstance(json.loads(text), dict) else "text/plain"
    except ValueError:
        return "text/plain"
