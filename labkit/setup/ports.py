"""The ports of this machine (standard library only, so that it works before anything is installed)."""

from __future__ import annotations

import contextlib
import os
import socket

from labkit.errors import PortTakenError

LOOPBACK = "127.0.0.1"


def port_free(port: int) -> bool:
    """Whether nothing listens on ``port`` of this machine and we could."""
    for family, address in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")):
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.settimeout(0.5)
            if probe.connect_ex((address, port)) == 0:
                return False
    with socket.socket() as probe:
        if os.name != "nt":  # there it means something else: to take a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def wanted_port(variable: str) -> int | None:
    """The port that the environment ``variable`` asks for; raises PortTakenError for a bad value."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6) or not 0 < int(text) < 65536:
        raise PortTakenError(
            f"{variable} is not a port: {text!r}.",
            do="Set it to a number from 1 to 65535.",
            setting=variable,
        )
    return int(text)
