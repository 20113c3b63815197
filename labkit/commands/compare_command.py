"""Run strategies on the same tasks, one after the other, and print what came of each.

A workload is equal, growing, alternating, random, bursts or steady, with its settings after a colon:
alternating:count=20,heavy=8. A strategy is "default" (nothing is set) or its settings: prefetch=1,
ack=automatic, queue_type=quorum, publish_first=yes, priorities=10/0, confirms=no, with commas between them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from labkit.commands import arguments
from labkit.errors import UsageError
from labkit.setup import bootstrap

SECONDS_PER_DOT = 0.1  # seconds
RUN_LIMIT = 300  # seconds for one run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit compare``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--workers",
        default="2",
        metavar="N",
        help="how many, or the speed of each: 1,1,2 (default: 2)",
    )
    parser.add_argument(
        "--workload",
        default="alternating",
        metavar="W",
        help="the tasks (default: alternating; heavy and light ones in turn)",
    )
    parser.add_argument(
        "--strategy",
        action="append",
        metavar="S",
        help="may be given several times (default: default and prefetch=1)",
    )
    parser.add_argument(
        "--seconds-per-dot",
        type=arguments.above_zero,
        default=SECONDS_PER_DOT,
        metavar="X",
        help=f"work of a dot (default: {SECONDS_PER_DOT})",
    )
    parser.add_argument(
        "--repeat",
        type=arguments.positive,
        default=1,
        metavar="N",
        help="run each N times; its fastest run counts",
    )
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="put the chart, the runs and the table (CSV) there"
    )


def run(args: argparse.Namespace) -> int:
    """Compare, print the table, and save it if wanted."""
    bootstrap.enter(args.argv)
    from labkit import tasks
    from labkit.compare import Strategy, save
    from labkit.lab import Lab

    strategies = [Strategy.parse(text) for text in args.strategy or ("default", "prefetch=1")]
    workload, workers = tasks.from_text(args.workload), _workers(args.workers)
    if args.save is not None:
        _make(args.save)  # before a long run, not after it
    broker = arguments.find_broker(install=False)
    with Lab("compare", broker=broker, say=bootstrap.say) as lab:
        comparison = lab.compare(
            strategies,
            workload,
            workers,
            seconds_per_dot=args.seconds_per_dot,
            repeat=args.repeat,
            timeout=RUN_LIMIT,
        )
    bootstrap.say(str(comparison))
    if args.save is not None:
        for path in save(comparison, args.save):
            bootstrap.say(f"  {path}")
    return 0


def _workers(text: str) -> int | list[float]:
    try:
        return [float(part) for part in text.split(",")] if "," in text else int(text)
    except ValueError as error:
        raise UsageError(
            f"--workers is {text!r}.", do="Give a number, or the speeds of the workers: 1,1,2."
        ) from error


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be made: {error.strerror}.", do="Name another directory."
        ) from error
