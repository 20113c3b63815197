"""All of the benchmark in one run, as text and as a file of JSON."""

from __future__ import annotations

import json
import os
import platform
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from tabulate import tabulate

from labkit import __version__, management
from labkit.bench import dispatch, liveview, own, scale, startup, tap_cost, throughput
from labkit.bench import other_clients as clients
from labkit.bench.rounds import Figure, Ratio
from labkit.brokers import Broker
from labkit.errors import LabError, UsageError

Say = Callable[[str], object]
ROUNDS = 5
QUICK_TASKS = 0.12  # of the tasks of a full run


@dataclass
class Section:
    """What one part of the benchmark found."""

    name: str
    found: list[Ratio | Figure] = field(default_factory=list)
    note: str = ""  # why there is nothing, or not all


@dataclass
class Report:
    """The whole benchmark."""

    about: dict[str, Any]
    sections: list[Section] = field(default_factory=list)

    @property
    def missed(self) -> list[Ratio | Figure]:
        """What does not reach its goal."""
        return [one for section in self.sections for one in section.found if not one.met]

    def save(self, path: Path) -> Path:
        """Write everything to a file of JSON and return its path; UsageError if that cannot be."""
        sections = [
            {
                "name": section.name,
                "note": section.note,
                "found": [{**asdict(one), "met": one.met} for one in section.found],
            }
            for section in self.sections
        ]
        try:
            path.write_text(json.dumps({"about": self.about, "sections": sections}, indent=1) + "\n")
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror}.", do="Name another file."
            ) from error
        return path


def run(
    broker: Broker,
    *,
    quick: bool = False,
    only: Sequence[str] = (),
    rounds: int = ROUNDS,
    save: Path | None = None,
    say: Say = print,
) -> Report:
    """Measure everything (``quick``: little of everything, in less than a minute), saying each result.

    ``only`` names the sections to run; UsageError for one that does not exist. To the file ``save`` everything
    is written after each section, so that an interrupted run keeps what it has.
    """
    if unknown := set(only) - set(SECTIONS):
        raise UsageError(
            f"The benchmark has no section {', '.join(sorted(unknown))}.",
            do=f"Choose from {', '.join(SECTIONS)}.",
        )
    report = Report(about(broker))
    say(_heading(report.about, quick))
    for name, (title, measure) in SECTIONS.items():
        if only and name not in only:
            continue
        say(f"\n{title}")
        section = Section(name)
        try:
            section.found, section.note = measure(
                broker, quick, 0 if quick else rounds, lambda text: say(f"    {text}")
            )
        except LabError as error:  # the other sections can still be measured
            section.note = f"Not measured: {error.what}"
        report.sections.append(section)
        say(_table(section))
        if save is not None:
            report.save(save)
    missed = report.missed
    total = sum(len(section.found) for section in report.sections)
    say(f"\n{total} measured; {len(missed)} short of their goal{':' if missed else '.'}")
    for one in missed:
        say(f"  {one.name}: {_value(one)}")
    if quick:
        say(
            "These are of a quick look, in which chance has a large part: without --quick it takes some minutes."
        )
    return report


def about(broker: Broker) -> dict[str, Any]:
    """The machine and the versions."""
    overview = management.of(broker).overview()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_before": load,  # what else the machine did
        "python": platform.python_version(),
        "rabbitmq": overview.rabbitmq_version,
        "erlang": overview.erlang_version,
        "broker": broker.kind,
        "labkit": __version__,
        "pika": metadata.version("pika"),
        "clients": clients.installed(),
    }


def _workers(broker: Broker, quick: bool, rounds: int, say: Say) -> tuple[list, str]:
    if not quick:
        return [*throughput.workers(broker, rounds=rounds, say=say), *own.own()], ""
    found = throughput.workers(broker, rounds=0, scale=QUICK_TASKS, counts=(2,), say=say)
    return [*found, *own.own(repeats=1)], "2 workers only."


def _producer(broker: Broker, quick: bool, rounds: int, say: Say) -> tuple[list, str]:
    return throughput.producers(broker, rounds=rounds, scale=QUICK_TASKS if quick else 1, say=say), ""


def _clients(broker: Broker, quick: bool, rounds: int, say: Say) -> tuple[list, str]:
    absent = [name for name, version in clients.installed().items() if version is None]
    note = f"Not installed: {', '.join(absent)} (pip install -r tests/requirements.txt)." if absent else ""
    if quick:
        names = tuple(name for name in ("pika", "kombu") if name not in absent)
        found, failed = clients.compare(broker, rounds=0, count=200, prefetches=(100,), names=names, say=say)
    else:
        found, failed = clients.compare(broker, rounds=min(rounds, 3), say=say)
    return found, " ".join([note, *failed]).strip()


def _dispatch(broker: Broker, quick: bool, rounds: int, say: Say) -> tuple[list, str]:
    if quick:
        return dispatch.dispatch(
            broker, rounds=1, seconds_per_dot=0.01, say=say
        ), "A dot is 0.01 s; in lessons 0.1 s."
    return dispatch.dispatch(broker, rounds=min(rounds, 3), say=say), ""


def _live(broker: Broker, quick: bool, rounds: int, say: Say) -> tuple[list, str]:
    return liveview.view(broker, rounds=rounds, count=500 if quick else 6000, say=say), ""


def _tap(broker: Broker, quick: bool, rounds: int, say: Say) -> tuple[list, str]:
    note = (
        "Beside the tap's own processor time (CPU: the other's, divided by it). Two of a kind should agree."
    )
    if quick:
        return tap_cost.tap(broker, rounds=1, scale=QUICK_TASKS, connections=50, say=say), note
    return tap_cost.tap(broker, rounds=3 * rounds, say=say), note


def _scale(broker: Broker, quick: bool, rounds: int, say: Say) -> tuple[list, str]:
    if quick:
        return scale.scale(broker, sizes=(1_000, 3_000), workers=(1, 8), chart_tasks=5_000, say=say), ""
    return scale.scale(broker, say=say), ""


def _start(broker: Broker, quick: bool, rounds: int, say: Say) -> tuple[list, str]:
    if quick or broker.kind == "remote":
        return startup.quick(broker), "The full run has a cold start and a warm one, step by step."
    return [*startup.quick(broker), *startup.start(say=say)], ""


SECTIONS = {
    "workers": ("Workers with the full ledger against a bare pika loop", _workers),
    "producer": ("The producer against bare basic_publish", _producer),
    "clients": ("Other Python clients on the same work", _clients),
    "dispatch": ("Prefetch 1 against the greedy schedule", _dispatch),
    "live": ("The live view, on and off", _live),
    "tap": ("A tap between a client and the broker", _tap),
    "scale": ("Scale", _scale),
    "start": ("The start, step by step", _start),
}


def _heading(about: dict[str, Any], quick: bool) -> str:
    load = "" if about["load_before"] is None else f", load {about['load_before']:.1f}"
    return (
        f"labkit {about['labkit']}, pika {about['pika']}, Python {about['python']}; RabbitMQ"
        f" {about['rabbitmq']} ({about['broker']}), Erlang {about['erlang']}\n{about['system']},"
        f" {about['cores']} cores, {about['memory_gb']:g} GB{load}; {about['date']}"
        + ("\nA quick look: one run of each." if quick else "")
    )


def _table(section: Section) -> str:
    ratios = [
        [
            one.name, f"{one.rate:,.0f}/s", f"{one.other_rate:,.0f}/s", f"{one.ratio:.2f}",
            f"{one.low:.2f}–{one.high:.2f}", f"{one.cpu_ratio:.2f}", f"{_mark(one)} {one.goal:.2f}",
        ]
        for one in section.found
        if isinstance(one, Ratio)
    ]  # fmt: skip
    figures = [
        [
            one.name,
            f"{one.value:,.2f}",
            one.unit,
            "" if one.limit is None else f"{_mark(one)} at most {one.limit:g}",
        ]
        for one in section.found
        if isinstance(one, Figure)
    ]
    tables = [
        _aligned(ratios, "lrrrrrl", ["", "lab", "other", "ratio", "of rounds", "CPU", "goal"])
        if ratios
        else "",
        _aligned(figures, "lrll") if figures else "",
        section.note,
    ]
    return textwrap.indent("\n".join(part for part in tables if part), "  ")


def _aligned(rows: list[list[str]], columns: str, heads: Sequence[str] = ()) -> str:
    """Rows of text in columns, each aligned to the left (l) or to the right (r)."""
    align = [{"l": "left", "r": "right"}[one] for one in columns]
    return tabulate(rows, heads, "plain", colalign=align, disable_numparse=True)


def _mark(one: Ratio | Figure) -> str:
    return "✔" if one.met else "✘"


def _value(one: Ratio | Figure) -> str:
    if isinstance(one, Ratio):
        return f"{one.ratio:.2f} instead of {one.goal:.2f} (by processor time {one.cpu_ratio:.2f})"
    return f"{one.value:,.2f} {one.unit} instead of at most {one.limit:g}"
