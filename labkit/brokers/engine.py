"""Runs Docker's command line, and says in the lab's own errors why it did not work."""

from __future__ import annotations

import os
import shutil
import subprocess

from labkit.errors import EngineError

ENGINE_TIMEOUT = 15.0  # seconds for a question to the engine
NOT_RUNNING = ("cannot connect to the docker daemon", "daemon running", "dial unix", "error during connect")


def docker(*arguments: str, timeout: float = ENGINE_TIMEOUT, more: dict[str, str] | None = None) -> str:
    """Runs ``docker``; returns what it printed. Raises EngineError with Docker's own words as its cause.

    ``timeout`` is in seconds; ``more`` is added to the environment.
    """
    program = shutil.which("docker")
    if program is None:
        raise EngineError("Docker is not installed.", do="Install Docker, or use an installed RabbitMQ.")
    try:
        done = subprocess.run(
            [program, *arguments],
            env=os.environ | (more or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        said = done.stderr or done.stdout
        if done.returncode == 0:
            return done.stdout
        cause: Exception = RuntimeError(said.strip())
    except (OSError, subprocess.TimeoutExpired) as error:
        said, cause = str(error), error
    lowered = said.lower()
    if "permission denied" in lowered and ("socket" in lowered or "docker.sock" in lowered):
        raise EngineError(
            "The Docker engine refuses you permission.",
            do="Add yourself to its group (`sudo usermod -aG docker $USER`) and log in again.",
        ) from cause
    if any(words in lowered for words in NOT_RUNNING):
        raise EngineError(
            "Docker is installed, but its engine does not run.",
            do="Start Docker Desktop, or the service (`sudo systemctl start docker`).",
        ) from cause
    if isinstance(cause, subprocess.TimeoutExpired):
        raise EngineError(
            f"Docker did not finish `docker {arguments[0]}` within {timeout:.0f} s.",
            do="Restart Docker, and try again.",
        ) from cause
    if arguments[0] == "compose" and ("is not a docker command" in lowered or "unknown" in lowered):
        raise EngineError(
            "Docker is here, but its Compose plugin is not.",
            do="Install the package docker-compose-plugin (or docker-compose-v2).",
        ) from cause
    raise EngineError(f"`docker {arguments[0]}` failed: {last_line(said)}") from cause


def last_line(text: str) -> str:
    """The last line of ``text`` that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
