"""Set up what the tests need and run them; every argument goes to pytest."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from labkit import bootstrap, commands, machine
from labkit.errors import LabError
from labkit.machine import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``labkit test``; those of pytest are taken as they are."""
    parser.usage = "labkit test [-h] [--yes] [pytest arguments …]"
    parser.add_argument("--yes", action="store_true", help="install what is missing without asking")


def run(args: argparse.Namespace) -> int:
    """Return pytest's exit status; in CI (``CI`` is set) a missing broker or browser is a failure."""
    bootstrap.enter(args.argv, tests=True)
    for provide in (lambda: commands.find_broker(yes=args.yes), lambda: _browser(args.yes)):
        try:
            provide()
        except LabError as error:
            if os.environ.get("CI"):
                raise
            say(f"{error.what} The tests that need it are skipped.\n  → {error.do}")
    child = subprocess.Popen([sys.executable, "-m", "pytest", *args.pytest], cwd=bootstrap.ROOT)
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
