"""How the lab's own broker is configured (compose.yaml says the same inline)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from labkit.brokers.plainpath import plain_path
from labkit.errors import PortTakenError
from labkit.setup.ports import LOOPBACK, port_free, wanted_port
from labkit.setup.programs import search_path

NODENAME = "lab@localhost"
# The usual port of each, or all of them some steps higher. Those of epmd and of the Erlang distribution are not
# RabbitMQ's own (4369, 25672), so that a RabbitMQ of the whole machine finds its ports free.
FIRST_PORTS = {"amqp": 5672, "management": 15672, "prometheus": 15692, "distribution": 26672, "epmd": 14369}
# Management's and Prometheus's ports are 20 apart: every other 20 steps are left out.
SLOTS = [number for number in range(400) if number % 40 < 20]
PORTS_TRIED = 200  # how far above the usual port a container's free one is looked for
DISK_FREE_LIMIT = 50_000_000  # bytes; with less than this free RabbitMQ blocks every publisher

# Makes the figures of the management API 0.3-0.8 s old instead of up to 5 s. All three retention policies
# must be there. https://www.rabbitmq.com/docs/management#sample-retention
FRESH_STATISTICS = """\
collect_statistics_interval = 1000
management.sample_retention_policies.global.minute = 5
management.sample_retention_policies.basic.minute = 1
management.sample_retention_policies.detailed.10 = 1
"""

PLUGINS = "[rabbitmq_management,rabbitmq_prometheus].\n"


def slot(number: int) -> dict[str, int]:
    """The ports of a node, ``number`` steps above the usual ones."""
    return {name: first + number for name, first in FIRST_PORTS.items()}


def unclaimed(name: str, port: int) -> bool:
    """Whether ``port`` is free, and no private node that is just away (its epmd is not) comes back to it."""
    epmd = FIRST_PORTS["epmd"] + port - FIRST_PORTS[name]
    return port_free(port) and (not 0 < epmd < 65536 or port_free(epmd))


def free_port(name: str, *, but: set[int]) -> int:
    """The usual port of ``name``, or the next above it that is unclaimed and not in ``but``."""
    first = FIRST_PORTS[name]
    for port in range(first, first + PORTS_TRIED):
        if port not in but and unclaimed(name, port):
            return port
    raise PortTakenError(
        f"None of the ports from {first} to {first + PORTS_TRIED - 1} is free.",
        do="Close the programs that listen there, and try again.",
    )


def wanted_ports(variables: Iterable[str]) -> dict[str, int]:
    """The ports that the environment asks for, by variable. PortTakenError for one that cannot be had."""
    wanted: dict[str, int] = {}
    for variable in variables:
        port = wanted_port(variable)
        if port is None:
            continue
        twice = port in wanted.values()
        if twice or not port_free(port):
            raise PortTakenError(
                f"Port {port} of {variable} is {'asked for twice' if twice else 'taken by another program'}.",
                do=f"Set {variable} to another port, or unset it"
                + ("." if twice else ", or close that program."),
                setting=variable,
            )
        wanted[variable] = port
    return wanted


def rabbitmq_conf(*, amqp: int, management: int, prometheus: int) -> str:
    """The ``rabbitmq.conf`` of a private node on these ports of the loopback address."""
    return f"""\
# Written by the lab at every start of its broker: changes made here do not last.
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = {prometheus}
disk_free_limit.absolute = {DISK_FREE_LIMIT}
{FRESH_STATISTICS}"""


def advanced_config(*, permit_transient: bool = True) -> str:
    """The ``advanced.config``: permits non-durable queues, which RabbitMQ 4.3 refuses by default.

    ``rabbitmq.conf`` has a key for it too, but a RabbitMQ that does not know the key (before 3.12)
    refuses to boot with it; what it does not know in this file it passes over.
    https://www.rabbitmq.com/docs/deprecated-features
    """
    value = "true" if permit_transient else "false"
    return f"[{{rabbit, [{{permit_deprecated_features, #{{transient_nonexcl_queues => {value}}}}}]}}].\n"


def write_files(here: Path, ports: dict[str, int]) -> None:
    """Writes the configuration of a private node into its directory."""
    for part in ("home", "db", "log"):
        (here / part).mkdir(parents=True, exist_ok=True)
    permit = os.environ.get("LABKIT_PERMIT_TRANSIENT", "true").strip().lower() != "false"
    conf = rabbitmq_conf(amqp=ports["amqp"], management=ports["management"], prometheus=ports["prometheus"])
    (here / "rabbitmq.conf").write_text(conf, encoding="utf-8")
    (here / "advanced.config").write_text(advanced_config(permit_transient=permit), encoding="utf-8")
    (here / "enabled_plugins").write_text(PLUGINS, encoding="utf-8")


def environment(here: Path, ports: dict[str, int]) -> dict[str, str]:
    """Everything that keeps the node in the directory ``here`` apart from any other RabbitMQ."""
    here = plain_path(here)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RABBITMQ_", "ERL_", "XDG_")) and name != "NOTIFY_SOCKET"
    }
    loopback_only = "-kernel inet_dist_use_interface {127,0,0,1}"  # else distribution listens everywhere
    return inherited | {
        "PATH": search_path(),
        "HOME": str(here / "home"),  # the cookie
        "RABBITMQ_NODENAME": NODENAME,
        "RABBITMQ_DIST_PORT": str(ports["distribution"]),
        "RABBITMQ_BASE": str(here),  # Windows
        "RABBITMQ_MNESIA_BASE": str(here / "db"),
        "RABBITMQ_LOG_BASE": str(here / "log"),
        "RABBITMQ_LOGS": str(here / "log" / "rabbit.log"),
        "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(here / "no-more.conf"),  # and not the machine's conf.d
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(here / "pid"),
        "RABBITMQ_CONF_ENV_FILE": str(here / "no-environment.conf"),
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_CRASH_DUMP_SECONDS": "0",  # none
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback_only,
        "RABBITMQ_CTL_ERL_ARGS": loopback_only,
        # The start script then becomes the Erlang process instead of staying as its parent.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
