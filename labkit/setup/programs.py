"""Finds an installed RabbitMQ (standard library only, so that it works before anything is installed)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import BrokerNotInstalledError, BrokerTooOldError

OLDEST = (3, 9)  # quorum queues and management figures as the lessons need them
SUFFIX = ".bat" if os.name == "nt" else ""
# Where the packages put it. The wrappers in /usr/sbin accept only root and the user rabbitmq;
# the programs behind them run as anybody.
PLACES = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",  # Debian, Ubuntu, Fedora, the official packages
    "/usr/lib64/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",  # Homebrew on Apple silicon
    "/usr/local/opt/rabbitmq/sbin",  # Homebrew on Intel
    "/home/linuxbrew/.linuxbrew/opt/rabbitmq/sbin",
    "/opt/rabbitmq/sbin",
    "/usr/local/lib/rabbitmq_server-*/sbin",
)
# Homebrew's and the official packages' Erlang, which a desktop's PATH may lack.
ERLANG_PLACES = ("/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin", "/usr/bin")


@dataclass(frozen=True)
class RabbitMQ:
    """An installed RabbitMQ: its programs and its version."""

    sbin: Path
    version: tuple[int, ...]

    @property
    def server(self) -> Path:
        return self.sbin / f"rabbitmq-server{SUFFIX}"

    @property
    def ctl(self) -> Path:
        return self.sbin / f"rabbitmqctl{SUFFIX}"

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def find_rabbitmq() -> RabbitMQ:
    """The newest RabbitMQ on this machine; ``LABKIT_RABBITMQ_HOME`` names one.

    Raises BrokerNotInstalledError when there is none (or no Erlang for it), BrokerTooOldError when all
    that there is is older than 3.9.
    """
    chosen = os.environ.get("LABKIT_RABBITMQ_HOME")
    if chosen:
        home = Path(chosen).expanduser()
        found = [rabbit for place in (home / "sbin", home) if (rabbit := _at(place))]
        if not found:
            raise BrokerNotInstalledError(
                f"LABKIT_RABBITMQ_HOME has no sbin/rabbitmq-server{SUFFIX}: {home}.",
                do="Set it to the directory of an unpacked RabbitMQ, or unset it.",
            )
    else:
        found = [rabbit for place in _places() if (rabbit := _at(place))]
        if not found:
            raise BrokerNotInstalledError(
                "RabbitMQ is not installed on this machine.",
                do="Run `python3 -m labkit`, which installs it, or install it yourself: "
                "https://www.rabbitmq.com/docs/download.",
            )
    newest = max(found, key=lambda rabbit: rabbit.version)
    if newest.version < OLDEST:
        raise BrokerTooOldError(
            f"The lab needs RabbitMQ {'.'.join(map(str, OLDEST))} or newer; here is {newest.version_text}.",
            do="Install a newer one (https://www.rabbitmq.com/docs/download), or use Docker.",
        )
    if shutil.which("erl", path=search_path()) is None and os.name != "nt":
        raise BrokerNotInstalledError(
            f"RabbitMQ {newest.version_text} is installed, but the Erlang that it runs on is not.",
            do="Install Erlang (the package `erlang` or `erlang-base`), and see that `erl` is on the PATH.",
        )
    return newest


def search_path() -> str:
    """The PATH with the places where Erlang may be as well."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *ERLANG_PLACES])


def find_epmd() -> Path | None:
    """Erlang's port mapper: on the PATH, or in the Erlang that ``erl`` belongs to."""
    on_path = shutil.which("epmd", path=search_path())
    if on_path:
        return Path(on_path)
    erl = shutil.which("erl", path=search_path())
    if erl:
        for root in (Path(erl).resolve().parents[1], Path(erl).resolve().parents[1] / "lib/erlang"):
            for epmd in sorted(root.glob("erts-*/bin/epmd*")):
                return epmd
    return None


def _places() -> Iterator[Path]:
    for pattern in PLACES:
        yield from Path("/").glob(pattern.lstrip("/"))
    for variable in ("ProgramFiles", "ProgramW6432", "ChocolateyInstall"):
        if os.environ.get(variable):
            yield from Path(os.environ[variable]).glob("RabbitMQ Server/rabbitmq_server-*/sbin")
    on_path = shutil.which(f"rabbitmq-server{SUFFIX}")
    if on_path:
        yield Path(on_path).resolve().parent


def _at(sbin: Path) -> RabbitMQ | None:
    """The RabbitMQ whose own programs (not a distribution's wrappers) are in ``sbin``."""
    sbin = sbin.resolve()
    if not (sbin / f"rabbitmq-server{SUFFIX}").is_file():
        return None
    names = [entry.name for entry in sbin.parent.glob("plugins/rabbit-[0-9]*")] + [sbin.parent.name]
    for name in names:
        digits = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", name)
        if digits:
            return RabbitMQ(sbin, tuple(int(part) for part in digits.groups(default="0")))
    return None
