"""What subcommands share: the lab's broker, and the types of their arguments."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from labkit.errors import BrokerNotInstalledError
from labkit.setup import machine

if TYPE_CHECKING:
    from labkit.brokers import Broker


def find_broker(yes: bool = False, install: bool = True) -> Broker:
    """Return the lab's broker (not started); where there is none, RabbitMQ is installed first."""
    from labkit import brokers

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
