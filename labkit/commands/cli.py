"""The command line: ``python3 -m labkit SUBCOMMAND``, and its exit status.

Nothing heavy is imported before a subcommand runs, so that ``--help`` answers at once and on a bare Python.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import signal
import sys
from collections.abc import Sequence

from labkit import __version__
from labkit.errors import LabError

COMMANDS = {
    "start": "set the lab up and open JupyterLab on the first notebook (what `labkit` alone does)",
    "broker": "start, stop, restart, kill or look at the lab's RabbitMQ",
    "send": "publish messages from this terminal",
    "worker": "work on messages in this terminal",
    "tap": "watch any AMQP program on its way to the broker, and disturb it",
    "compare": "run strategies on the same tasks and print a table",
    "playground": "compare strategies on a page of its own, without code",
    "bench": "measure the lab against bare pika and other clients",
    "doctor": "check this machine and say what to mend",
    "test": "set up what the tests need and run them with pytest",
}


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGHUP came; handled like Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 1 (a LabError), 2 (usage), 3 (broker down), 130 (Ctrl-C)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version")):
        argv = ["start", *argv]
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is signal.SIG_DFL:  # under nohup SIGHUP stays ignored
            signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is shown escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        args = _parse(argv)
        args.argv = argv
        return importlib.import_module(f"labkit.commands.{args.command}_command").run(args)
    except LabError as error:
        print(f"labkit: {error.what}", *([f"  → {error.do}"] if error.do else []), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print("Interrupted.", file=sys.stderr)
        return 128 + (error.args[0] if isinstance(error, Interrupted) else signal.SIGINT)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        sys.stdout = None
        return 0


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="labkit",
        description="See how RabbitMQ work queues behave: a Jupyter teaching lab on a real broker.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"labkit {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"labkit.commands.{name}_command")
        sub = subparsers.add_parser(name, help=summary, description=module.__doc__, allow_abbrev=False)
        module.add_arguments(sub)
    if argv[0] != "test":
        return parser.parse_args(argv)
    own, pytest, words = [], [], iter(argv[1:])  # what is not ours goes to pytest as it is
    for word in words:
        if word == "--brokers":
            own += [word, *itertools.islice(words, 1)]
        elif word in ("-h", "--help", "--yes") or word.startswith("--brokers="):
            own.append(word)
        else:
            pytest.append(word)
    args = parser.parse_args(["test", *own])
    args.pytest = pytest
    return args
