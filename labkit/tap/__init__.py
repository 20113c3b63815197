"""A tap on the wire: any AMQP 0-9-1 client, in any language, is seen and can be made to suffer, unchanged.

A tap's way: ``frames → conversation → book → ledger`` tells what passes, ``flow`` carries it (and its faults),
``wiretap`` is one connection, ``relay`` the thread that accepts them.
"""

from labkit.tap.relay import Relay
from labkit.tap.tap import Connection, Tap, TapParameters

__all__ = ["Connection", "Relay", "Tap", "TapParameters"]
