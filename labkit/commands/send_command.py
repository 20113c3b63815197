"""Publish messages: every MESSAGE is one; a dot in it is a second's work for `labkit worker`."""

from __future__ import annotations

import argparse
import json
from uuid import uuid4

from labkit.commands import arguments
from labkit.errors import BrokerError, QueueMissingError
from labkit.setup import bootstrap
from labkit.setup.machine import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit send``."""
    parser.add_argument(
        "message", nargs="+", metavar="MESSAGE", help='text or JSON; quote spaces: "two words.."'
    )
    arguments.add_queue(parser)
    parser.add_argument("--count", type=arguments.positive, default=1, metavar="N", help="send each N times")


def run(args: argparse.Namespace) -> int:
    """Publish persistent messages, each confirmed by the broker before it is reported as sent."""
    bootstrap.enter(args.argv)
    import pika
    from pika.exceptions import AMQPError, NackError, UnroutableError

    from labkit.brokers import connect
    from labkit.brokers.connection import explain
    from labkit.commands import queues

    broker = arguments.find_broker(install=False, url=args.url)
    parameters = broker.parameters("labkit send")
    total, sent = args.count * len(args.message), 0
    try:
        connection = connect(parameters)
        declared = queues.take(connection, args.queue, args.queue_type)
        if args.queue_type and not declared:
            queues.say_type(broker, args.queue, args.queue_type)
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(args.count):
            for text in args.message:
                properties = pika.BasicProperties(
                    delivery_mode=pika.DeliveryMode.Persistent,
                    message_id=uuid4().hex,
                    content_type=content_type(text),
                )
                body = text.encode(
                    "utf-8", "surrogateescape"
                )  # the bytes of the command line, as they came in
                channel.basic_publish("", args.queue, body, properties, mandatory=True)
                sent += 1
                say(f" [x] Sent {text!r}")
        connection.close()  # not when interrupted: the broker might not answer
    except UnroutableError as error:
        raise QueueMissingError(
            f"The queue {args.queue} was deleted meanwhile.", do="Send again: it is declared then."
        ) from error
    except NackError as error:
        raise BrokerError(
            f"The broker refused the message: {args.queue} is full, or it cannot store it.",
            do="Let a worker take some, or see `python3 -m labkit broker logs`.",
        ) from error
    except AMQPError as error:
        raise explain(error, parameters) from error
    finally:
        if sent < total > 1:
            say(f" [!] Sent {sent:,} of {total:,} messages, confirmed by the broker")
    return 0


def content_type(text: str) -> str:
    """JSON for what is a JSON object, plain text for everything else."""
    try:
        return "application/json" if isinstance(json.loads(text), dict) else "text/plain"
    except (ValueError, RecursionError):
        return "text/plain"
