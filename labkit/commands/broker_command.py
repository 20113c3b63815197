"""Start, stop, restart, kill or look at the lab's RabbitMQ."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import TYPE_CHECKING

from labkit.commands import arguments
from labkit.setup import bootstrap
from labkit.setup.machine import say

if TYPE_CHECKING:
    from labkit.brokers import Broker

DOWN = 3  # the exit status of `status` when the broker is down, as init scripts have it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit broker``."""
    parser.add_argument(
        "action",
        choices=["start", "stop", "restart", "kill", "status", "logs"],
        help="restart is graceful; kill is SIGKILL (the next start brings it up again); status is 3 when it is down",
    )
    parser.add_argument(
        "--lines",
        type=arguments.positive,
        default=100,
        metavar="N",
        help="how many lines of logs (default: 100)",
    )
    parser.add_argument(
        "--yes", action="store_true", help="install RabbitMQ without asking when it is missing"
    )


def run(args: argparse.Namespace) -> int:
    """Do one thing with the broker; the broker itself says what it does."""
    bootstrap.enter(args.argv)
    broker = arguments.find_broker(yes=args.yes, install=args.action in ("start", "restart"))
    if args.action == "status":
        return _status(broker)
    if args.action == "logs":
        say(broker.logs(args.lines).rstrip("\n"))
        return 0
    ran = broker.running()
    getattr(broker, args.action)(say=say)
    if args.action == "kill":
        say("`python3 -m labkit broker start` brings it up again.")
    elif args.action == "stop":
        say("RabbitMQ is down." if ran else "RabbitMQ was down already.")
    else:
        management = broker.management_url or "no known address"
        running = "runs already" if ran and args.action == "start" else "runs"
        say(f"RabbitMQ {running}: AMQP at {broker.address()}, management page at {management}")
    return 0


def _status(broker: Broker) -> int:
    if not broker.running():
        say(f"RabbitMQ ({broker.kind}) is down. `python3 -m labkit broker start` starts it.")
        return DOWN
    from tabulate import tabulate

    status = broker.status()
    rows = {
        "kind": status.kind,
        "RabbitMQ": status.rabbitmq_version or "unknown",
        "Erlang": status.erlang_version or "unknown",
        "AMQP": status.amqp,
        "management": status.management or "none",
        "uptime": "unknown"
        if status.uptime is None
        else f"{timedelta(seconds=int(status.uptime))} (h:mm:ss)",
    }
    say(
        tabulate(
            [(f"{name}:", value) for name, value in rows.items()], tablefmt="plain", disable_numparse=True
        )
    )
    return 0
