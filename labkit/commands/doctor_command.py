"""Check this machine: a line for each thing, and what to do where it fails. Works before anything is installed."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from labkit.errors import LabError
from labkit.setup import bootstrap
from labkit.setup.machine import say
from labkit.setup.ports import port_free
from labkit.setup.programs import find_rabbitmq

ENGINE_TIMEOUT = 15  # seconds that Docker may take to answer
KERNEL_ATTEMPTS = 3  # another program may take one of its ports between the choice and the start
KERNEL_TIMEOUT = 60  # seconds that a kernel may take to start
SET_UP = "Run `python3 -m labkit`: it installs what is missing."


@dataclass(frozen=True)
class Finding:
    """What one check found; ``failed`` findings make the exit status 1, ``do`` says what mends them."""

    found: str
    do: str = ""
    failed: bool = False
    asked: bool = True  # False: something else stands in the way

    @property
    def mark(self) -> str:
        """How its line begins."""
        if self.failed:
            return "FAIL"
        return "note" if self.do else " ok " if self.asked else " -- "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``labkit doctor`` has no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print every finding; return 1 if any check failed."""
    if (
        bootstrap.missing([bootstrap.REQUIREMENTS])
        and not bootstrap.inside_venv()
        and bootstrap.probe()[0] is None
    ):
        bootstrap.go_over(args.argv)
    failures = 0
    for name, check in CHECKS.items():
        try:
            findings = list(check())
        except LabError as error:
            findings = [Finding(error.what, error.do, failed=True)]
        except Exception as error:  # a doctor who falls ill helps nobody
            findings = [Finding(f"the check itself failed: {type(error).__name__}: {error}", failed=True)]
        for finding in findings:
            failures += finding.failed
            say(f"[{finding.mark}] {name + ':':<16} {finding.found}")
            if finding.do:
                say(f"{'':<7}→ {finding.do}")
    say(f"\n{'Everything the lab needs is there.' if not failures else f'{failures} to mend.'}")
    return 1 if failures else 0


def _python() -> Iterator[Finding]:
    yield Finding(f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})")


def _environment() -> Iterator[Finding]:
    fault, _ = bootstrap.probe()
    if fault and bootstrap.missing([bootstrap.REQUIREMENTS]):
        yield Finding(fault, "Run `python3 -m labkit`: it makes the environment.", failed=True)
    elif fault:
        yield Finding("this Python has the packages itself; no .venv is needed")
    else:
        yield Finding(str(bootstrap.VENV))


def _packages() -> Iterator[Finding]:
    absent = bootstrap.missing([bootstrap.REQUIREMENTS])
    if absent:
        yield Finding(f"missing, or in another version: {', '.join(absent)}", SET_UP, failed=True)
    else:
        yield Finding("everything in requirements.txt is installed, in these versions")


def engine() -> tuple[bool, Finding]:
    """Return whether Docker answers, and what; that it does not is a note only: a private node serves as well."""
    if shutil.which("docker") is None:
        return False, Finding("not installed; the lab does not need it where RabbitMQ is installed")
    try:
        command = ["docker", "info", "--format", "{{.ServerVersion}}"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        do = "Restart Docker if you want the lab to use it."
        return False, Finding(f"the engine does not answer ({error})", do)
    if answer.returncode == 0 and answer.stdout.strip():
        return True, Finding(f"engine {answer.stdout.strip()}")
    if "permission denied" in answer.stderr.lower():  # Docker has no other way to say so
        do = "Add yourself to the group docker and log in again, if you want the lab to use it."
        return False, Finding("this user may not use the engine", do)
    do = "Start Docker if you want the lab to use it."
    return False, Finding("installed, but its engine does not run", do)


def _docker() -> Iterator[Finding]:
    yield engine()[1]


def _rabbitmq() -> Iterator[Finding]:
    if os.environ.get("LABKIT_AMQP_URL"):
        yield Finding("the broker of LABKIT_AMQP_URL is used")
        return
    try:
        found = find_rabbitmq()
        yield Finding(f"{found.version_text} ({found.sbin})")
    except LabError as error:
        if not engine()[0]:
            raise
        yield Finding(f"{error.what} Docker serves instead.")


def _broker() -> Iterator[Finding]:
    broker = _found()
    if broker is None:
        yield Finding("not asked: the packages or RabbitMQ are missing", asked=False)
    elif not broker.running():
        down = f"the {broker.kind} broker at {broker.address()} is down"
        if broker.can_restart:
            yield Finding(down + "; `python3 -m labkit broker start` starts it")
        else:
            yield Finding(down, "Ask whoever runs it to start it, or unset LABKIT_AMQP_URL.", failed=True)
    else:
        broker.wait_ready(timeout=10)  # raises for a wrong password or virtual host
        status = broker.status()
        yield Finding(f"RabbitMQ {status.rabbitmq_version} runs at {status.amqp} ({status.kind})")


def _management() -> Iterator[Finding]:
    broker = _found()
    if broker is None or not broker.running():
        yield Finding("not asked: the broker does not run", asked=False)
        return
    from labkit import management

    api = management.of(broker)
    yield Finding(f"RabbitMQ {api.overview().rabbitmq_version} at {broker.management_url}")
    for alarm in api.alarms():
        yield Finding(
            f"alarm: {alarm}",
            "Free disk space or memory: RabbitMQ blocks publishers until then.",
            failed=True,
        )


def _ports() -> Iterator[Finding]:
    from labkit.commands.start_command import FIRST_PORT

    broker = _found()
    ours = f"{broker.amqp_url} {broker.management_url}" if broker is not None and broker.running() else ""
    for port, use in {5672: "AMQP", 15672: "management", FIRST_PORT: "JupyterLab"}.items():
        if f":{port}" in ours:
            yield Finding(f"{port} ({use}) is used by this lab's broker")
        elif port_free(port):
            yield Finding(f"{port} ({use}) is free")
        else:
            yield Finding(f"{port} ({use}) is used by another program; the lab takes the next free one")


def _kernel() -> Iterator[Finding]:
    if bootstrap.missing([bootstrap.REQUIREMENTS]):
        yield Finding("not asked: the packages are missing", asked=False)
        return
    from jupyter_client.manager import start_new_kernel

    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for attempt in range(1, KERNEL_ATTEMPTS + 1):
        try:
            manager, client = start_new_kernel(
                startup_timeout=KERNEL_TIMEOUT, kernel_name="python3", **silent
            )
            break
        except Exception as error:
            if attempt == KERNEL_ATTEMPTS:
                do = "Remove .venv and run `python3 -m labkit`."
                yield Finding(f"does not start: {error}", do, failed=True)
                return
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    yield Finding("the Python kernel starts and answers")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(bootstrap.ROOT).free
    short = free < bootstrap.ROOM_NEEDED
    yield Finding(
        f"{free / 1e9:.1f} GB free", "Free some: RabbitMQ blocks publishers on a full disk." * short, short
    )


def _found():
    """Return the broker, or ``None`` where something that another check reports stands in the way."""
    try:
        from labkit import brokers

        return brokers.find()
    except (ImportError, LabError):
        return None


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "Python": _python,
    "environment": _environment,
    "packages": _packages,
    "Docker": _docker,
    "RabbitMQ": _rabbitmq,
    "broker": _broker,
    "management API": _management,
    "ports": _ports,
    "kernel": _kernel,
    "disk": _disk,
}
