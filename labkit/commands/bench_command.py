"""Measure the lab against bare pika and other clients on this machine, and print what came of it.

The two are run in turns, several rounds, and the ratios are the median of the rounds'. Everything takes some
minutes; --quick less than one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from labkit.commands import arguments
from labkit.errors import UsageError
from labkit.setup import bootstrap

ROUNDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit bench``."""
    parser.add_argument("--quick", action="store_true", help="a little of everything, in less than a minute")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write everything to this file")
    parser.add_argument(
        "--rounds",
        type=arguments.positive,
        default=ROUNDS,
        metavar="N",
        help=f"how often each is run in turns (default: {ROUNDS})",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="SECTION",
        help="one section; may be given several times",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, and save them if wanted; 0 also where a goal is not reached."""
    bootstrap.enter(args.argv)
    from labkit.bench import report

    if args.save is not None and not args.save.absolute().parent.is_dir():
        raise UsageError(f"There is no directory {args.save.absolute().parent}.", do="Make it first.")
    broker = arguments.find_broker(install=False)
    broker.start(say=bootstrap.say)
    report.run(
        broker, quick=args.quick, only=args.only, rounds=args.rounds, save=args.save, say=bootstrap.say
    )
    if args.save is not None:
        bootstrap.say(f"  {args.save}")
    return 0
