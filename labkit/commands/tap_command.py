"""Watch any AMQP program, unchanged, on its way to the broker; Ctrl-C saves what was seen, and its chart.

Give your programs the address that is printed. While it runs, a line typed here is a fault for a connection, or for
all without a name: cut, disconnect, silence, release or swallow_ack NAME; delay SECONDS NAME; limit BYTES NAME.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.commands import arguments
from labkit.errors import LabError, PortTakenError, UsageError
from labkit.setup import bootstrap
from labkit.setup.machine import say

if TYPE_CHECKING:
    import pika

    from labkit.brokers import Broker
    from labkit.commands.tap_table import Table
    from labkit.ledger import Ledger
    from labkit.tap import Tap

RUNS = bootstrap.STATE / "runs"
LOOK = 0.25  # seconds between two looks at the connections
HIDDEN = "***"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit tap``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--port",
        type=arguments.port,
        default=0,
        metavar="P",
        help="where it listens; 5672 for programs that have that written into them (default: any that is free)",
    )
    parser.add_argument(
        "--queue",
        type=arguments.name,
        action="append",
        default=[],
        metavar="Q",
        help="what is in there are tasks; may be given several times (default: all but a client's own queues)",
    )
    parser.add_argument(
        "--at-once",
        type=arguments.positive,
        metavar="K",
        help="how many tasks each program does at a time (default: not known, unless its prefetch count is 1)",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help=f"where the run is saved; its chart goes beside it (default: a new file in {RUNS.name}/ of .labkit/)",
    )
    parser.add_argument(
        "--url",
        type=arguments.url,
        metavar="URL",
        help="any broker: amqp://user:password@host:5672/%%2F (default: LABKIT_AMQP_URL, or the lab's own)",
    )


def run(args: argparse.Namespace) -> int:
    """Watch until Ctrl-C; then save."""
    bootstrap.enter(args.argv)
    from labkit.brokers import connect
    from labkit.commands import queues
    from labkit.commands.tap_table import Table
    from labkit.ledger import Ledger
    from labkit.tap import Tap

    path = _path(args.save)  # before a long run, not after it
    broker = arguments.find_broker(install=False, url=args.url)
    parameters = broker.parameters("labkit tap")
    connect(parameters).close()  # a broker that is down is an error here
    ledger, dead_lettering, asked = Ledger(), set[str](), set[str]()
    try:
        tap = Tap(
            parameters,
            ledger,
            port=args.port,
            at_once=args.at_once,
            queues=args.queue,
            dead_letters=dead_lettering.__contains__,
        )
    except PortTakenError as error:
        raise _taken(args.port, broker) from error
    with contextlib.suppress(KeyboardInterrupt), tap:
        say(f" [*] Programs that connect to {address(tap.parameters)} are watched. To leave press Ctrl-C")
        if HIDDEN in address(tap.parameters):
            say(f"     {HIDDEN} stands for the password of {broker.address()}, as in LABKIT_AMQP_URL")
        table, lines = Table(tap), _typed()
        while True:
            _obey(tap, lines, table)
            for name in {name for one in tap.connections for name in one.consumers} - asked:
                asked.add(name)  # a policy is not seen on the wire
                if (known := queues.dead_letters(broker, name)) and known.exchange is not None:
                    dead_lettering.add(name)
            table.show()
            time.sleep(LOOK)
    return _save(ledger, broker, path)


def address(parameters: pika.ConnectionParameters) -> str:
    """The tap's address, with no password in it but guest's, which everybody knows."""
    from urllib.parse import quote

    text = str(parameters)
    login: Any = parameters.credentials
    if (login.username, login.password) == ("guest", "guest"):
        return text
    return text.replace(f":{quote(login.password, safe='')}@", f":{HIDDEN}@", 1)


def _taken(port: int, broker: Broker) -> PortTakenError:
    if broker.can_restart and broker.address().endswith(f":{port}"):
        return PortTakenError(
            f"Port {port} is the lab's own broker's.",
            do="Move it: `python3 -m labkit broker restart` with the environment variable"
            f" LABKIT_AMQP_PORT={port + 1}.",
        )
    return PortTakenError(
        f"Port {port} is taken by another program.",
        do="Close it, or leave --port out and give your program the address that is printed then.",
    )


def _typed() -> queue.SimpleQueue[str]:
    """The lines that are typed; none are read where that would stop a program in the background."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    with contextlib.suppress(OSError, AttributeError, ValueError):  # AttributeError: Windows
        if sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
            return lines

    def read() -> None:
        for line in sys.stdin:
            lines.put(line.strip())

    if sys.stdin is not None:
        threading.Thread(target=read, daemon=True).start()
    return lines


def _obey(tap: Tap, lines: queue.SimpleQueue[str], table: Table) -> None:
    while not lines.empty():
        line = lines.get()
        table.interrupted()
        if line:
            try:
                say(f" [!] {strike(tap, line)}")
            except LabError as error:
                say(f" [!] {error.what} {error.do}")


def strike(tap: Tap, line: str) -> str:
    """Do what a line says, "delay 0.1 worker.py", and say what was struck; UsageError if it is no fault."""
    from labkit.tap.tap import FAULTS
    from labkit.words import plural

    fault, *words = line.split()
    if fault not in FAULTS or len(words) < FAULTS[fault]:
        raise UsageError(
            f"{line!r} is no fault.",
            do=f"They are {', '.join(FAULTS)}; a delay takes seconds, a limit bytes.",
        )
    amounts = [_amount(word) for word in words[: FAULTS[fault]]]
    name = " ".join(words[FAULTS[fault] :]) or None
    return f"{fault}: {plural(getattr(tap, fault)(*amounts, name), 'connection')}"


def _amount(word: str) -> float | None:
    try:
        return None if word == "none" else float(word)
    except ValueError as error:
        raise UsageError(f"{word!r} is no number.", do="For example: delay 0.1, limit 100000.") from error


def _path(save: Path | None) -> Path:
    """Where the run will be; UsageError if that cannot be written."""
    path = save or RUNS / f"tap-{datetime.now():%Y-%m-%d-%H%M%S}.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(0, "it cannot be written")
    except OSError as error:
        raise UsageError(
            f"{path} is no place for a run: {error.strerror}.", do="Name another file."
        ) from error
    return path


def _save(ledger: Ledger, broker: Broker, path: Path) -> int:
    from labkit import charts
    from labkit.results.run import Run

    if not len(ledger):
        say(" [*] Nothing was published or consumed by way of the tap")
        return 0
    done = Run(
        "tap", ledger, about={"broker": broker.address(), "date": datetime.now().isoformat(" ", "seconds")}
    )
    say(f" [*] {done!r}")
    say(f"     saved in {done.save(path)}")
    picture = path.with_suffix(".png")
    picture.write_bytes(charts.timeline(done).png())
    say(f"     and drawn in {picture}")
    return 0
