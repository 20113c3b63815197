"""A tap: an address for any AMQP 0-9-1 client; what passes is told to a ledger, and forwarded unchanged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import pika

from labkit import checks
from labkit.errors import UsageError
from labkit.ledger import Ledger
from labkit.tap.book import Book
from labkit.tap.flow import Flow
from labkit.tap.names import program_at
from labkit.tap.relay import LOOPBACK, Relay
from labkit.tap.wiretap import Wiretap

AT_ONCE = 1000  # tasks that a consumer may be said to do at a time
FAULTS = {
    "cut": 0,
    "disconnect": 0,
    "silence": 0,
    "release": 0,
    "delay": 1,
    "limit": 1,
    "swallow_ack": 0,
}  # amounts


class TapParameters(pika.ConnectionParameters):
    """For ``pika.BlockingConnection``; ``str()`` is the same as an address for any other client.

    It has the password in it; the ``repr()`` has not.
    """

    def __str__(self) -> str:
        user: Any = self.credentials
        login = f"{quote(user.username, safe='')}:{quote(user.password, safe='')}"
        return f"amqp://{login}@{self.host}:{self.port}/{quote(self.virtual_host, safe='')}"

    def __repr__(self) -> str:
        return f"<TapParameters {self.host}:{self.port}{self.virtual_host}>"


@dataclass(frozen=True)
class Connection:
    """A connection through the tap, at this moment."""

    name: str
    pid: int | None
    opaque: str  # what passes unseen: "TLS", "AMQP 1.0", …; "" for AMQP 0-9-1
    consumers: tuple[str, ...]  # the queues that it consumes from
    prefetch: int | None
    held: int
    published: int
    delivered: int
    acknowledged: int
    redelivered: int
    undecoded: int
    swallowed: int


class Struck(NamedTuple):
    """A fault that was asked for: when (seconds of the ledger), which, of whom (None: all), how many it struck."""

    time: float
    fault: str
    name: str | None
    connections: int


class Tap(Relay):
    """Stands between clients and the broker of ``parameters``, and tells the ``ledger`` what it hears.

    ``port``         where it listens on loopback; 0: any that is free
    ``at_once``      how many tasks a consumer does at a time, for who knows; else only a prefetch count of 1 tells
    ``queues``       only these hold tasks; none named: all but those that go with their clients
    ``dead_letters`` whether a queue has a dead-letter exchange, for those whose declaration did not pass here

    Faults strike the connections of a ``name``, or all without one, and return how many that were; UsageError for
    a name that is not there; ``struck`` lists them. https://www.rabbitmq.com/docs/connections
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        ledger: Ledger,
        *,
        port: int = 0,
        at_once: int | None = None,
        queues: Iterable[str] = (),
        dead_letters: Callable[[str], bool] = lambda _: False,
    ) -> None:
        if not isinstance(ledger, Ledger):
            raise UsageError(f"ledger is {ledger!r}.", do="Use a labkit.ledger.Ledger.")
        if at_once is not None:
            checks.whole("at_once", at_once, 1, AT_ONCE)
        self.ledger = ledger
        self._book = Book(ledger, at_once=at_once, queues=queues, dead_letters=dead_letters)
        self._pids: dict[Wiretap, int] = {}
        self._undecoded = 0  # of connections that are over
        self.struck: list[Struck] = []  # oldest first
        super().__init__(parameters, port=port)
        self.parameters = TapParameters(
            host=LOOPBACK,
            port=self.port,
            virtual_host=parameters.virtual_host,
            credentials=parameters.credentials,
        )

    def follow(self, ledger: Ledger) -> None:
        """Tell another ledger from now on: a new experiment begins, and the clients go on."""

        def follow() -> None:
            self.ledger = ledger
            self._book.follow(ledger)

        self.ask(follow)

    def worker(self, tags: Iterable[str]) -> str | None:
        """The name under which the ledger knows the client that has these consumer tags; None for nobody."""
        wanted = set(tags)

        def find() -> str | None:
            for wire in self.wires:
                if wire.client is not None and wanted & {tag for _, tag in wire.client.consumers}:
                    return wire.name
            return None

        return self.ask(find) if wanted else None

    # --- what is seen ------------------------------------------------------------------------

    @property
    def connections(self) -> list[Connection]:
        """The connections that are open now, in the order of their names."""
        return sorted(self.ask(lambda: [self._seen(wire) for wire in self.wires]), key=lambda one: one.name)

    @property
    def undecoded(self) -> int:
        """How many frames could not be understood so far; they were forwarded all the same."""
        return self.ask(lambda: self._undecoded + sum(len(wire.undecoded) for wire in self.wires))

    def _seen(self, wire: Wiretap) -> Connection:
        client = wire.client
        queues = tuple(one.queue for one in client.consumers.values()) if client else ()
        figures = {
            what: getattr(client, what, 0)
            for what in ("held", "published", "delivered", "acknowledged", "redelivered")
        }
        return Connection(
            name=wire.name,
            pid=self._pids.get(wire),
            opaque=wire.opaque,
            consumers=queues,
            prefetch=client.prefetch if client else None,
            undecoded=len(wire.undecoded),
            swallowed=wire.swallowed,
            **figures,
        )

    # --- faults ------------------------------------------------------------------------------

    def cut(self, name: str | None = None) -> int:
        """Cut connections off (RST), as a machine that crashed and came back would."""
        return self._strike("cut", name, Wiretap.cut)

    def disconnect(self, name: str | None = None) -> int:
        """Close connections (FIN) without a word of AMQP, as a process that dies does."""
        return self._strike("disconnect", name, Wiretap.close)

    def silence(self, name: str | None = None) -> int:
        """Let nothing pass any more, in either direction, as a network that lost its way; ``release`` ends it."""
        return self._flows("silence", name, lambda flow: flow.set_silent(True))

    def release(self, name: str | None = None) -> int:
        """End a silence: everything that was held goes on, in order."""
        return self._flows("release", name, lambda flow: flow.set_silent(False))

    def delay(self, seconds: float, name: str | None = None) -> int:
        """From now on everything takes so many ``seconds`` longer, each way; 0 ends it."""
        checks.seconds("The delay", seconds)
        return self._flows("delay", name, lambda flow: flow.set_delay(seconds))

    def limit(self, bytes_per_second: float | None, name: str | None = None) -> int:
        """From now on not more than so many bytes a second pass, each way; None ends it."""
        _bandwidth(bytes_per_second)
        return self._flows("limit", name, lambda flow: flow.set_rate(bytes_per_second))

    def swallow_ack(self, name: str | None = None) -> int:
        """Let the next acknowledgement of each connection get lost, and cut the connection then.

        The work is done, the broker does not hear of it, and delivers the message again: a duplicate on demand.
        """
        return self._strike("swallow_ack", name, Wiretap.swallow)

    def _flows(self, fault: str, name: str | None, set_flow: Callable[[Flow], None]) -> int:
        def strike(wire: Wiretap) -> None:
            for flow in wire.flows():
                set_flow(flow)

        return self._strike(fault, name, strike)

    def schedule(self, steps: Iterable[tuple[Any, ...]]) -> None:
        """Have faults strike later: (seconds from now, the method's name, a connection's name or None[, amount]).

        ``[(1.5, "cut", "worker-1"), (2, "delay", None, 0.05), (4, "delay", None, 0)]``. A name that is not there
        at that time is noted in ``struck``. UsageError for what is no such step.
        """
        checked = [_step(step) for step in steps]

        def begin() -> None:
            for seconds, fault, arguments in checked:
                self._loop.call_later(seconds, self._later, fault, arguments)

        self.ask(begin)

    def _later(self, fault: str, arguments: tuple[Any, ...]) -> None:
        with contextlib.suppress(UsageError):  # nobody is called so now, which is noted
            getattr(self, fault)(*arguments)

    def _strike(self, fault: str, name: str | None, strike: Callable[[Wiretap], None]) -> int:
        def strike_all() -> int:
            there = [wire for wire in self.wires if name is None or wire.name == name]
            self.struck.append(Struck(self.ledger.now(), fault, name, len(there)))
            if name is not None and not there:
                names = ", ".join(sorted(wire.name for wire in self.wires)) or "none"
                raise UsageError(
                    f"No connection is called {name!r}.",
                    do=f"Those through the tap are: {names}.",
                    field="name",
                )
            for wire in there:
                strike(wire)
            return len(there)

        return self.ask(strike_all)

    # --- the thread --------------------------------------------------------------------------

    def _wire(self) -> Wiretap:
        made: list[Wiretap] = []

        async def name(port: int) -> str:
            found, pid = await self._loop.run_in_executor(None, program_at, port, self.port)
            if pid is not None and made[0] in self.wires:
                self._pids[made[0]] = pid
            return found

        made.append(Wiretap(self._loop, self._connect, self._book, name, self._left))
        return made[0]

    def _left(self, wire: Wiretap) -> None:
        self.wires.discard(wire)
        self._pids.pop(wire, None)
        self._undecoded += len(wire.undecoded)

    async def _connect(self, protocol: Callable[[], asyncio.Protocol]) -> object:
        """The clients speak in the clear; to a broker that wants TLS the tap speaks TLS."""
        target, tls = self._target, self._target.ssl_options
        if tls is None:
            return await super()._connect(protocol)
        return await self._loop.create_connection(
            protocol,
            target.host,
            target.port,
            ssl=tls.context,
            server_hostname=tls.server_hostname or target.host,
        )

    def __enter__(self) -> Tap:
        return self

    def __repr__(self) -> str:
        return f"<Tap at {LOOPBACK}:{self.port}>"


def _step(step: Any) -> tuple[float, str, tuple[Any, ...]]:
    """A step of a schedule: seconds, the fault, and what it is called with."""
    example = 'Use steps like (1.5, "cut", "worker-1") or (2, "delay", None, 0.05).'
    if not isinstance(step, tuple) or len(step) < 3 or step[1] not in FAULTS:
        raise UsageError(f"{step!r} is no step of a schedule.", do=example, field="steps")
    seconds, fault, name, *amount = step
    if len(amount) != FAULTS[fault] or not isinstance(name, str | None):
        raise UsageError(f"{step!r} is no step of a schedule.", do=example, field="steps")
    if fault == "delay":
        checks.seconds("The delay", amount[0])
    elif fault == "limit":
        _bandwidth(amount[0])
    return checks.seconds("The time of a step", seconds), fault, (*amount, name)


def _bandwidth(bytes_per_second: float | None) -> None:
    if bytes_per_second is not None:
        checks.number("The bandwidth", bytes_per_second, above=0, unit="bytes a second, or None")
