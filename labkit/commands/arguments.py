"""What subcommands share: the lab's broker, and the types of their arguments."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from labkit.errors import BrokerNotInstalledError
from labkit.setup import machine

if TYPE_CHECKING:
    from labkit.brokers import Broker


QUEUE = "task_queue"  # as in RabbitMQ's tutorial two
QUEUE_TYPES = ("classic", "quorum")


def add_queue(parser: argparse.ArgumentParser) -> None:
    """Declare what `send` and `worker` have in common: a queue on a broker."""
    parser.add_argument(
        "--queue",
        type=name,
        default=QUEUE,
        metavar="Q",
        help=f"taken as it is; declared durable where there is none (default: {QUEUE})",
    )
    parser.add_argument(
        "--queue-type",
        choices=QUEUE_TYPES,
        help="its type if it has to be declared (default: quorum, as in RabbitMQ's tutorial)",
    )
    parser.add_argument(
        "--url",
        type=url,
        metavar="URL",
        help="any broker: amqp://user:password@host:5672/%%2F (default: LABKIT_AMQP_URL, or the lab's own)",
    )


def find_broker(yes: bool = False, install: bool = True, url: str | None = None) -> Broker:
    """Return the lab's broker (not started); where there is none, RabbitMQ is installed first.

    With ``url`` it is the one there, as if ``LABKIT_AMQP_URL`` said so.
    """
    from labkit import brokers

    if url:
        if os.environ.get("LABKIT_AMQP_URL"):  # its management API is another broker's
            os.environ.pop("LABKIT_MANAGEMENT_URL", None)
        os.environ |= {"LABKIT_AMQP_URL": url, "LABKIT_BROKER": "remote"}
    try:
        return brokers.find(fetch=install)
    except BrokerNotInstalledError:
        if not install or os.environ.get("LABKIT_RABBITMQ_HOME"):
            raise
        machine.install_rabbitmq(yes=yes)
        return brokers.find()


def positive(text: str) -> int:
    """A whole number above 0 (for argparse)."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def name(text: str) -> str:
    """The name of a queue or of a worker (for argparse)."""
    if not 1 <= len(text.encode("utf-8", "surrogateescape")) <= 255:
        raise argparse.ArgumentTypeError("a name has 1 to 255 bytes")
    return text


def url(text: str) -> str:
    """The address of a broker (for argparse), which is not repeated: a password may be in it."""
    if not text.startswith(("amqp://", "amqps://")):
        raise argparse.ArgumentTypeError("an address begins with amqp:// or amqps://")
    return text


def port(text: str) -> int:
    """A port from 1 to 65535 (for argparse)."""
    if not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 1 to 65535")
    return int(text)


def not_negative(text: str) -> float:
    """A number from 0 (for argparse)."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return number


def above_zero(text: str) -> float:
    """A number above 0 (for argparse)."""
    if not not_negative(text):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)
