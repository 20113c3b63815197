"""This machine's own programs: run them visibly, and install RabbitMQ and a browser. Standard library only.

Installed is with the platform's package manager: at once where that needs no password, after a question where it
does, and where it cannot be done the error says the exact command to type.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from labkit.errors import BrokerNotInstalledError, LabError, SetupError

MANAGERS = {  # the package managers that the lab knows, and how each installs without asking (winget has no RabbitMQ)
    "apt-get": ["apt-get", "install", "-y", "-q", "--no-install-recommends"],
    "dnf": ["dnf", "install", "-y"],
    "brew": ["brew", "install"],
    "winget": ["winget", "install", "--silent", "--accept-package-agreements", "--accept-source-agreements"],
}
RABBITMQ = {"apt-get": "rabbitmq-server", "dnf": "rabbitmq-server", "brew": "rabbitmq"}
# The driver of playwright, which comes with it, needs libatomic; a bare Debian has none.
BROWSER = {"apt-get": "chromium libatomic1", "dnf": "chromium libatomic", "brew": "chromium"}
QUIET = 10  # seconds between the lines that say how far it is, where the output is no terminal
BROWSER_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


def run(
    command: Sequence[str],
    doing: str,
    cwd: Path | None = None,
    step: Callable[[str], str | None] = lambda line: None,
    keep: Sequence[int] = (),
) -> tuple[int, str]:
    """Run ``command``, saying what is ``doing`` and for how long; return its exit status and output.

    ``step`` makes a few words of a line of its output, to be said as well; the open files ``keep`` are its own, too
    (not on Windows). Whatever interrupts it also ends the
    command, and waits until it has ended.
    """
    live, began = sys.stdout.isatty(), time.monotonic()
    print(f"{doing}…", end="" if live else "\n", flush=True)
    child = subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", pass_fds=keep if os.name == "posix" else (),
    )  # fmt: skip
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(child, lines), daemon=True)
    reader.start()
    width = 0
    try:
        while True:
            try:
                child.wait(1 if live else QUIET)
                break
            except subprocess.TimeoutExpired:
                now = next((words for line in reversed(lines) if (words := step(line))), "")
                took = f"{time.monotonic() - began:.0f} s{', ' * bool(now)}{now}"
                print(
                    f"\r{doing}… {took:<{width}}" if live else f"  {took}",
                    end="" if live else "\n",
                    flush=True,
                )
                width = len(took)
        reader.join(1)
    except BaseException:
        end(child)
        raise
    finally:
        print("" if live else f"  {time.monotonic() - began:.0f} s", flush=True)
    return child.returncode, "".join(lines)


def _read(child: subprocess.Popen, lines: list[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.append(line)


def end(child: subprocess.Popen, grace: float = 30) -> None:
    """Interrupt ``child`` (pip and apt-get clean up on that), and kill it when it stays over ``grace`` seconds."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT) if os.name == "posix" else child.terminate()
    try:
        child.wait(timeout=grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def install(packages: dict[str, str], error: LabError, *, otherwise: str, yes: bool = False) -> None:
    """Install one of ``packages`` (package manager -> names) or raise ``error`` saying what to type.

    At once as root, with brew, or with a sudo that needs no password; after a question where a password is
    needed (``yes`` answers it); else the error's ``do`` is the exact command.
    """
    manager = next((name for name in packages if shutil.which(name)), None)
    if manager is None:
        error.do = otherwise
        raise error
    command = [*MANAGERS[manager], *packages[manager].split()]
    if manager in ("apt-get", "dnf") and os.geteuid() != 0:
        command = ["sudo", *command]
    error.do = f"Type this, then start again: {shlex.join(command)}"
    if not _allowed(command, yes):
        raise error
    if manager == "apt-get":  # a fresh machine has no list of packages, an old one a list of vanished ones
        run(
            [*command[: command.index("apt-get")], "apt-get", "update", "-qq"],
            "Fetching the list of packages",
        )
        if os.geteuid() == 0:
            os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
    code, output = run(command, f"Installing {packages[manager]} (one to three minutes)")
    if code:
        last = next((line for line in reversed(output.splitlines()) if line.strip()), "it said nothing")
        network = "Connect this machine to the internet and start again, or type this to see more: "
        error.do = f"{manager} could not install it ({last.strip()}). {network}{shlex.join(command)}"
        raise error


def _allowed(command: Sequence[str], yes: bool) -> bool:
    if command[0] == "winget":
        return yes or _asked(command)
    if command[0] != "sudo":
        return True
    if not shutil.which("sudo"):
        return False
    if subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return True
    return sys.stdin.isatty() and (yes or _asked(command)) and subprocess.run(["sudo", "-v"]).returncode == 0


def _asked(command: Sequence[str]) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"May I run `{shlex.join(command)}`? [Y/n] ").strip().lower() in ("", "y", "yes")


def install_rabbitmq(yes: bool = False) -> None:
    """Install RabbitMQ with the platform's package manager; raises :class:`BrokerNotInstalledError`."""
    error = BrokerNotInstalledError("There is no RabbitMQ and no Docker engine on this machine.")
    link = "Install RabbitMQ (https://www.rabbitmq.com/docs/download) or Docker, then start again."
    install(RABBITMQ, error, otherwise=link, yes=yes)


def browser() -> str | None:
    """Return the path of a Chromium or Chrome for the browser tests, or ``None``."""
    return next(filter(None, map(shutil.which, BROWSER_PROGRAMS)), None)


def install_browser(yes: bool = False) -> None:
    """Install Chromium with the platform's package manager; raises :class:`SetupError`."""
    error = SetupError("There is no Chromium that the browser tests could drive.")
    install(BROWSER, error, otherwise="Install Chromium or Chrome, then start again.", yes=yes)
