"""The broker of ``compose.yaml``: RabbitMQ in a container of the Docker engine of this machine."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from labkit.brokers import config
from labkit.brokers.broker import START_TIMEOUT, Broker, Say
from labkit.brokers.engine import ENGINE_TIMEOUT, docker, last_line
from labkit.brokers.statefile import StateFile
from labkit.errors import BrokerDownError, BrokerStartError, EngineError, ImageMissingError, PortTakenError
from labkit.setup.home import ROOT, state_directory
from labkit.setup.ports import LOOPBACK, wanted_port

SERVICE = "rabbitmq"
CLUSTER = "rabbit@rabbitmq-lab"  # how the container of compose.yaml introduces itself
DEFAULT_PROJECT = "rabbitmq-lab"
DEFAULT_IMAGE = "rabbitmq:4.3-management"
OLDEST_COMPOSE = (2, 23, 1)  # the first that takes the configuration inline
UP_ATTEMPTS = 3
STEP = 2.0  # seconds between looks whether a container that does not answer still runs
PULL_TIMEOUT = 900.0  # seconds; the image is about 100 MB
# Of compose.yaml's variables: what each is the port of, and the container's own.
PORTS = {
    "LABKIT_AMQP_PORT": ("amqp", "5672/tcp"),
    "LABKIT_MANAGEMENT_PORT": ("management", "15672/tcp"),
    "LABKIT_PROMETHEUS_PORT": ("prometheus", "15692/tcp"),
}


class Compose(Broker):
    """The container of ``compose.yaml``; started by hand or from here, it is the same one."""

    kind = "compose"

    def __init__(self, *, root: Path | None = None) -> None:
        """``root`` is where ``.labkit`` is (default: ``LABKIT_HOME``, or the checkout)."""
        self.directory = state_directory(root)
        self._state = StateFile(
            self.directory / "compose.json", lock=self.directory / "compose.lock", ports=PORTS
        )
        self.image = os.environ.get("RABBITMQ_IMAGE") or DEFAULT_IMAGE

    @property
    def amqp_url(self) -> str:
        return f"amqp://guest:guest@{LOOPBACK}:{self._ports()['LABKIT_AMQP_PORT']}/%2F"

    @property
    def management_url(self) -> str:
        return f"http://{LOOPBACK}:{self._ports()['LABKIT_MANAGEMENT_PORT']}"

    def running(self) -> bool:
        greeting = self.greeting()
        return greeting is not None and greeting.get("cluster_name") == CLUSTER

    def in_use(self) -> bool:
        return self._state.comes_back or (self._state.read().get("started") is True and self.running())

    def uptime(self) -> float | None:
        container = self._container()
        if not container:
            return None
        began = container["State"]["StartedAt"][:19]
        since = datetime.datetime.fromisoformat(began).replace(tzinfo=datetime.timezone.utc)
        return max(0.0, time.time() - since.timestamp())

    def logs(self, lines: int = 100) -> str:
        return self._compose("logs", "--no-color", "--no-log-prefix", "--tail", str(lines), SERVICE).strip()

    # ---- the engine and the image -------------------------------------------------------------

    def require_engine(self) -> None:
        """Raises EngineError unless a Docker engine answers and its Compose is new enough."""
        docker("version", "--format", "{{.Server.Version}}")
        said = docker("compose", "version", "--short")
        version = tuple(int(part) for part in re.findall(r"\d+", said)[:3])
        if version < OLDEST_COMPOSE:
            raise EngineError(
                f"Docker Compose {said.strip()} is too old for compose.yaml.",
                do=f"Update Docker: Compose {'.'.join(map(str, OLDEST_COMPOSE))} or newer is needed.",
            )

    def fetch_image(self, *, timeout: float = PULL_TIMEOUT, say: Say = print) -> None:
        """Downloads the image unless it is here; raises ImageMissingError when it cannot be had."""
        with contextlib.suppress(EngineError):
            docker("image", "inspect", "--format", "{{.Id}}", self.image)
            return
        say(f"Downloading the image {self.image} (about 100 MB, once) ...")
        began = time.monotonic()
        try:
            docker("pull", "--quiet", self.image, timeout=timeout)
        except EngineError as error:
            raise ImageMissingError(
                f"The image {self.image} is not on this machine and could not be downloaded"
                f" ({last_line(str(error.__cause__ or error.what))}).",
                do="Check the internet connection and RABBITMQ_IMAGE, or bring the image with `docker load`.",
            ) from error
        say(f"The image is here ({time.monotonic() - began:.0f} s).")

    # ---- starting and stopping ----------------------------------------------------------------

    def start(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Starts the container unless it runs already (the time limit does not count a download).

        Raises EngineError, PortTakenError, or BrokerStartError with the end of the container's log.
        """
        self.require_engine()
        with self._state.locked(timeout):
            self._start(timeout, say)

    def stop(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        with self._state.locked(timeout):
            if self._container(running=True):
                began = time.monotonic()
                say("Stopping the RabbitMQ container ...")
                self._compose("stop", SERVICE, timeout=timeout)
                say(f"RabbitMQ is stopped ({time.monotonic() - began:.0f} s).")
            self._remember(started=False)

    def restart(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        with self._state.locked(timeout):
            if self._container(running=True):
                self._remember(comes_back=True)
                say("Stopping the RabbitMQ container ...")
                self._compose("stop", SERVICE, timeout=timeout)
            self._start(timeout, say)

    def kill(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        with self._state.locked(timeout):
            if self._container(running=True):
                self._remember(comes_back=True)
                self._compose("kill", "--signal", "SIGKILL", SERVICE, timeout=timeout)
                say("The RabbitMQ container was killed (SIGKILL).")

    def throw_away(self, *, timeout: float = START_TIMEOUT, say: Say = print) -> None:
        """Removes the container with everything that is in it."""
        with self._state.locked(timeout):
            self._compose("down", "--volumes", "--timeout", "5", timeout=timeout)
            self._remember(started=False)

    def _start(self, timeout: float, say: Say) -> None:
        container = self._container(running=True)
        if container:  # perhaps by hand, on other ports than ours
            self._remember(started=True, ports=self._ports() | _published(container))
            if self._wait_steady(timeout):
                return
        self.fetch_image(say=say)
        began = time.monotonic()
        say(f"Starting {self.image} with Docker Compose ...")
        refused: set[int] = set()
        for attempt in range(1, UP_ATTEMPTS + 1):
            ports = self._choose_ports(say, refused)
            self._remember(ports=ports, comes_back=True)
            try:
                self._up(timeout)
                break
            except (
                PortTakenError
            ):  # between our look and Docker's, or one that Docker alone knows to be taken
                if attempt == UP_ATTEMPTS:
                    raise
                refused.update(ports.values())
        self.wait_ready(max(1.0, began + timeout - time.monotonic()))
        self._remember(started=True)
        say(f"RabbitMQ answers at {self.address()} ({time.monotonic() - began:.0f} s).")

    def _wait_steady(self, timeout: float) -> bool:
        """Waits until the running container answers; False if it was on its way down: who began that may be dead."""
        deadline = time.monotonic() + timeout
        while self._container(running=True):
            try:
                self.wait_ready(min(STEP, timeout))
                return True
            except BrokerDownError:
                if time.monotonic() > deadline:
                    raise
        return False

    def _up(self, timeout: float) -> None:
        limit = f"{max(1.0, timeout):.0f}"
        try:
            self._compose(
                "up", "--detach", "--wait", "--wait-timeout", limit, timeout=timeout + ENGINE_TIMEOUT
            )
        except BaseException as error:  # Ctrl-C as well
            self._remember(comes_back=False)
            if not isinstance(error, EngineError):
                raise
            text = str(error.__cause__ or error)
            if "already allocated" in text or "address already in use" in text:
                raise PortTakenError(
                    f"A port that the container needs was taken by another program ({last_line(text)}).",
                    do="Close it, or set LABKIT_AMQP_PORT or LABKIT_MANAGEMENT_PORT to another port.",
                ) from error
            raise BrokerStartError(
                f"The RabbitMQ container did not come up: {last_line(text)}\n"
                f"The end of its log:\n{self._last_words()}",
                do="If it has data of a newer RabbitMQ: `docker compose down --volumes` throws that away.",
            ) from error

    def _last_words(self) -> str:
        try:
            return self.logs(15)
        except EngineError:
            return "(none)"

    # ---- what is remembered, and what Docker knows --------------------------------------------

    def _remember(self, **more: object) -> None:
        known = {"project": self._project(), **self._state.read()}
        if "started" in more:
            known.pop("comes_back", None)
        self._state.replace(known | more)

    def _ports(self) -> dict[str, int]:
        return self._state.ports or {
            name: wanted_port(name) or config.FIRST_PORTS[what] for name, (what, _) in PORTS.items()
        }

    def _choose_ports(self, say: Say, refused: set[int]) -> dict[str, int]:
        chosen = config.wanted_ports(PORTS)
        for name, kept in self._ports().items():
            if name in chosen:
                continue
            if kept not in {*chosen.values(), *refused} and config.unclaimed(PORTS[name][0], kept):
                chosen[name] = kept
            else:
                chosen[name] = config.free_port(PORTS[name][0], but={*chosen.values(), *refused})
                say(f"Port {kept} is taken by another program; this broker takes {chosen[name]}.")
        return chosen

    def _project(self) -> str:
        """Compose's name for this checkout's broker; another checkout's is left to it."""
        given = os.environ.get("COMPOSE_PROJECT_NAME") or self._state.read().get("project")
        if given and isinstance(given, str):
            return given
        label = '{{.Label "com.docker.compose.project.working_dir"}}'
        mine = str(ROOT)
        owners = docker(
            "ps",
            "--all",
            "--filter",
            f"label=com.docker.compose.project={DEFAULT_PROJECT}",
            "--format",
            label,
        ).split("\n")
        if all(owner.strip() in ("", mine) for owner in owners):
            return DEFAULT_PROJECT
        return f"{DEFAULT_PROJECT}-{hashlib.sha256(mine.encode()).hexdigest()[:8]}"

    def _container(self, *, running: bool = False) -> dict[str, Any] | None:
        """What Docker knows of the container (with ``running``: if it runs); None when there is none."""
        identity = self._compose("ps", "--all", "--quiet", SERVICE).strip()
        if not identity:
            return None
        found: dict[str, Any] = json.loads(docker("inspect", identity.splitlines()[0]))[0]
        return found if found["State"]["Running"] or not running else None

    def _compose(self, *arguments: str, timeout: float = ENGINE_TIMEOUT) -> str:
        where = ("--project-directory", str(ROOT), "--file", str(ROOT / "compose.yaml"))
        ports = {name: str(port) for name, port in self._ports().items()}
        project = ("--project-name", self._project())
        return docker("compose", *where, *project, *arguments, timeout=timeout, more=ports)


def _published(container: dict[str, Any]) -> dict[str, int]:
    """The ports of this machine that lead to a running container."""
    bindings = container["NetworkSettings"]["Ports"]
    return {
        name: int(bindings[inside][0]["HostPort"]) for name, (_, inside) in PORTS.items() if bindings[inside]
    }
