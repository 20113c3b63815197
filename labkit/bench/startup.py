"""What a start of the lab takes, cold and warm, step by step."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from labkit.bench.rounds import Figure
from labkit.brokers import Broker
from labkit.lab import Lab
from labkit.setup import bootstrap

Say = Callable[[str], object]
ASIDE = re.compile(r"\s*(\d+ s(,|$)|Port |.* is not free)")  # said while something goes on
START_LIMIT = 900.0  # seconds that a first start may take, with everything to be fetched


def quick(broker: Broker) -> list[Figure]:
    """What is always part of a start: Python, the imports, the broker's answer, and a lab."""
    found = []
    for name, code in (("Python alone", "pass"), ("Python and labkit.lab", "import labkit.lab")):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=bootstrap.ROOT)
        found.append(Figure(name, time.perf_counter() - began, "s"))
    began = time.perf_counter()
    broker.wait_ready(60)
    found.append(Figure("the running broker answers", time.perf_counter() - began, "s"))
    began = time.perf_counter()
    Lab("bench", broker=broker, say=lambda _: None).close()
    found.append(Figure("a lab is opened and closed", time.perf_counter() - began, "s"))
    return found


def start(*, say: Say = lambda _: None) -> list[Figure]:
    """What ``python3 -m labkit`` takes, step by step as it says them, in a copy of the checkout.

    The first time there is neither an environment nor a broker, the second time there is.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as name:
        home = Path(name)
        root = home / "lab"
        leave = shutil.ignore_patterns(".venv", ".labkit", ".git", "*.egg-info", "__pycache__")
        shutil.copytree(bootstrap.ROOT, root, ignore=leave)
        for label in ("cold start", "warm start"):
            steps = _start(bootstrap.base_python(), root, home)
            found += [Figure(f"{label}: {what}", seconds, "s") for what, seconds in steps]
            found.append(Figure(f"{label}: all", sum(seconds for _, seconds in steps), "s"))
            say(f"{label}: {found[-1].value:.1f} s")
    return found


def _start(python: str, root: Path, home: Path) -> list[tuple[str, float]]:
    """What it said, and how long it took until it said the next thing; ends it when all is up."""
    keep = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "LABKIT_AMQP_URL")}
    environment = {**keep, "LABKIT_HOME": str(home), "LABKIT_BROKER": "node", "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(
        [python, "-m", "labkit", "start", "--no-browser", "--yes"],
        cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    steps: list[tuple[str, float]] = []
    began = last = time.perf_counter()
    doing = "Python"
    assert child.stdout  # a pipe
    try:
        for line in child.stdout:
            now = time.perf_counter()
            steps.append((doing, now - last))
            last = now
            if not ASIDE.match(line):
                doing = line.strip().rstrip(".… ")
            if doing.startswith("Management page") or now - began > START_LIMIT:
                break
    finally:
        child.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        child.stdout.read()
        child.wait(60)
    # Lines that say how long something took belong to it.
    return [(what, seconds) for what, seconds in steps if seconds >= 0.05]
