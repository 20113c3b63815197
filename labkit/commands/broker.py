"""Start, stop, restart, kill or look at the lab's RabbitMQ."""

from __future__ import annotations

import argparse
from datetime import timedelta

from labkit import bootstrap, commands

DOWN = 3  # the exit status of `status` when the broker is down, as init scripts have it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit broker``."""
    parser.add_argument(
        "action",
        choices=["start", "stop", "restart", "kill", "status", "logs"],
        help="restart is graceful; kill is SIGKILL (the next start brings it up again); status is 3 when it is down",
    )
    parser.add_argument(
        "--lines", type=int, default=100, metavar="N", help="how many lines of logs (default: 100)"
    )
    parser.add_argument(
        "--yes", action="store_true", help="install RabbitMQ without asking when it is missing"
    )


def run(args: argparse.Namespace) -> int:
    """Do one thing with the broker and say in a line what came of it."""
    bootstrap.enter(args.argv)
    broker = commands.find_broker(yes=args.yes, install=args.action in ("start", "restart"))
    return {"start": _start, "stop": _stop, "restart": _restart, "kill": _kill, "status": _status}.get(
        args.action, lambda broker: _logs(broker, args.lines)
    )(broker)


def _start(broker: commands.Broker) -> int:
    before = broker.running()
    if not before:
        broker.start(say=bootstrap.say)
    bootstrap.say(f"RabbitMQ {'runs already' if before else 'runs'}: {_addresses(broker)}")
    return 0


def _stop(broker: commands.Broker) -> int:
    if not broker.running() and broker.can_restart:
        broker.stop()  # harmless when it is down, and clears away what a broker that hangs left
        bootstrap.say("RabbitMQ is down.")
        return 0
    broker.stop()
    bootstrap.say("RabbitMQ has stopped.")
    return 0


def _restart(broker: commands.Broker) -> int:
    broker.restart()
    bootstrap.say(f"RabbitMQ has restarted: {_addresses(broker)}")
    return 0


def _kill(broker: commands.Broker) -> int:
    broker.kill()
    bootstrap.say("RabbitMQ was killed. `python3 -m labkit broker start` brings it up again.")
    return 0


def _status(broker: commands.Broker) -> int:
    if not broker.running():
        bootstrap.say(f"RabbitMQ ({broker.kind}) is down. `python3 -m labkit broker start` starts it.")
        return DOWN
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
    for name, value in rows.items():
        bootstrap.say(f"{name + ':':<12} {value}")
    return 0


def _logs(broker: commands.Broker, lines: int) -> int:
    bootstrap.say(broker.logs(lines).rstrip("\n"))
    return 0


def _addresses(broker: commands.Broker) -> str:
    return f"AMQP at {broker.address()}, management page at {broker.management_url or 'no known address'}"
