"""Set up what the tests need and run them; every other argument goes to pytest.

All tests (that is, without such an argument) run in several processes at the same time, each with a broker of its
own; on a broker of somebody else's, or with arguments, one after the other. ``-n 4`` asks for several processes.

With --brokers the tests that need a broker, and the notebooks, run once on each of those: "node" is a private node of
the installed RabbitMQ, a version such as 4.3 the image rabbitmq:4.3-management in a Docker engine. Each has ports and
files of its own and is thrown away afterwards; a table says what came of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from xml.etree import ElementTree

from labkit.commands import arguments
from labkit.errors import LabError
from labkit.setup import bootstrap, machine
from labkit.setup.machine import say

if TYPE_CHECKING:
    from labkit.brokers import Broker

Found = TypeVar("Found")
INTERRUPTED = 2  # pytest's exit status after Ctrl-C
MATRIX = bootstrap.STATE / "matrix"  # a directory for each broker of --brokers
PARALLEL = (
    bootstrap.STATE / "tests"
)  # a directory for each process of a parallel run, as tests/conftest.py has it
MOST_PROCESSES = 4  # at the same time: each has a broker, and often kernels and a browser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit test``; those of pytest are taken as they are."""
    parser.usage = "labkit test [-h] [--yes] [--brokers B,…] [pytest arguments …]"
    parser.add_argument("--yes", action="store_true", help="install what is missing without asking")
    parser.add_argument(
        "--brokers",
        type=_brokers,
        metavar="B,…",
        help="run what needs a broker on each of these in turn: node,4.0,4.3",
    )


def _brokers(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name != "node" and not re.fullmatch(r"\d+(\.\d+)*", name):
            raise argparse.ArgumentTypeError(f"{name!r} is neither 'node' nor a version such as 4.3")
    return list(dict.fromkeys(names))


def run(args: argparse.Namespace) -> int:
    """Return pytest's exit status; in CI (``CI`` is set) a missing broker or browser is a failure.

    With ``--brokers`` it is 0 when every one of them was there and no test failed on it, else 1.
    """
    bootstrap.enter(args.argv, tests=True)
    broker = None if args.brokers else _provide(lambda: arguments.find_broker(yes=args.yes))
    _provide(lambda: _browser(args.yes))
    if not args.brokers:
        processes = min(os.cpu_count() or 1, MOST_PROCESSES)
        if args.pytest or processes == 1 or broker is None or broker.kind == "remote":
            return _pytest(args.pytest)
        return _in_parallel(processes)
    results: list[Result] = []
    for name in args.brokers:
        over = bool(results) and results[-1].why == "interrupted"
        results.append(Result(name, why="not run") if over else _on(name, args.pytest))
    say(f"\n{table(results)}")
    return 0 if all(result.good for result in results) else 1


def _provide(what: Callable[[], Found]) -> Found | None:
    try:
        return what()
    except LabError as error:
        if os.environ.get("CI"):
            raise
        say(f"{error.what} The tests that need it are skipped.\n  → {error.do}")
    return None


def _in_parallel(processes: int) -> int:
    """Run all tests; a file's tests stay together, and each process has a broker of its own."""
    from labkit.brokers.compose import Compose
    from labkit.brokers.node import Node

    try:
        return _pytest([f"--numprocesses={processes}", "--dist=loadfile"])
    finally:
        for home in PARALLEL.glob("*"):
            for broker in (Node(root=home), Compose(root=home)):
                if broker.in_use():  # left by a process that could not throw it away itself
                    broker.throw_away(say=lambda _: None)
        shutil.rmtree(PARALLEL, ignore_errors=True)


def _pytest(arguments: list[str]) -> int:
    child = subprocess.Popen([sys.executable, "-m", "pytest", *arguments], cwd=bootstrap.ROOT)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # pytest has it too, from the terminal; a signal to us alone is passed on
            if child.poll() is None:
                machine.end(child, grace=60)


def _browser(yes: bool) -> None:
    driver = subprocess.run([sys.executable, "-m", "playwright", "--version"], capture_output=True)
    if machine.browser() is None or driver.returncode:
        machine.install_browser(yes=yes)


# ---------------------------------------------------------------- on several brokers


@dataclass
class Result:
    """What came of the tests on one broker; ``why`` says why they were not run, or not to their end."""

    broker: str
    version: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether tests ran and none failed."""
        return self.passed > 0 and not self.failed and not self.why


def table(results: list[Result]) -> str:
    """What came of the tests, a row for each broker."""
    from tabulate import tabulate

    rows = []
    for result in results:
        counts = [result.passed, result.failed, result.skipped, f"{result.seconds / 60:.1f}"]
        shown = counts if any(counts[:3]) else [""] * 4
        rows.append([result.broker, result.version or "?", *shown, result.why])
    head = ["broker", "RabbitMQ", "passed", "failed", "skipped", "minutes", ""]
    align = ["left", "left", *["right"] * 4, "left"]
    return tabulate(rows, head, tablefmt="plain", disable_numparse=True, colalign=align)


def _on(name: str, arguments: list[str]) -> Result:
    """Run the tests that need a broker on this one."""
    result, began = Result(name), time.monotonic()
    report = MATRIX / name / "report.xml"
    report.unlink(missing_ok=True)
    try:
        with _broker(name) as broker:
            result.version = broker.status().rabbitmq_version or ""
            say(f"\n=== The tests on RabbitMQ {result.version} ({name}) ===")
            status = _pytest(["--integration", f"--junitxml={report}", *arguments])
    except LabError as error:
        result.why = f"not run: {error.what.splitlines()[0]}"
        return result
    _count(report, result)
    if status not in (0, 1) or (status == 1 and not result.failed):
        result.why = "interrupted" if status == INTERRUPTED else f"pytest ended with status {status}"
    result.seconds = time.monotonic() - began
    return result


@contextlib.contextmanager
def _broker(name: str) -> Iterator[Broker]:
    """The broker of this name, running, and the environment in which everything finds it and no other."""
    from labkit import brokers

    home = MATRIX / name
    home.mkdir(parents=True, exist_ok=True)
    ours = {
        "LABKIT_BROKER": "node",
        "LABKIT_HOME": str(home),
        "CI": "1",  # a broker that is not found now is a failure, and nothing to be skipped
    }
    if name != "node":
        ours |= {
            "LABKIT_BROKER": "compose",
            "RABBITMQ_IMAGE": f"rabbitmq:{name}-management",
            "COMPOSE_PROJECT_NAME": f"labkit-matrix-{os.getpid()}-{name.replace('.', '-')}",
        }
    before = dict(os.environ)
    for variable in (
        "LABKIT_AMQP_URL",
        "LABKIT_MANAGEMENT_URL",
        "LABKIT_AMQP_PORT",
        "LABKIT_MANAGEMENT_PORT",
    ):
        os.environ.pop(variable, None)
    os.environ.update(ours)
    broker = None
    try:
        broker = brokers.find(say=say)
        broker.start(say=say)
        yield broker
    finally:
        try:
            if broker is not None:
                broker.throw_away(say=say)
        finally:
            os.environ.clear()
            os.environ.update(before)


def _count(report: Path, result: Result) -> None:
    with contextlib.suppress(OSError, ElementTree.ParseError):  # pytest did not come so far
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            result.failed += failed
            result.skipped += skipped
            result.passed += max(0, tests - failed - skipped)
