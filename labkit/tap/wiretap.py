"""One tapped connection: two sockets, the bytes between them, and what is understood of these."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from labkit.ledger import Kind
from labkit.tap import conversation as said
from labkit.tap.conversation import Conversation
from labkit.tap.flow import Flow
from labkit.tap.frames import METHOD, Frame, NotAmqpError, Splitter

if TYPE_CHECKING:
    from labkit.tap.book import Book, Client

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends an RST
ACK = b"\x00\x3c\x00\x50"  # basic.ack
MOST_UNDECODED = 100  # reasons that are kept

DRAIN = 0.02  # seconds between the last bytes that are sent on and a cut
Name = Callable[[int], Awaitable[str]]  # what the program is called that has this port


class End(asyncio.Protocol):
    """One side's socket."""

    def __init__(self, wire: Wiretap, *, client: bool) -> None:
        self.wire, self.client = wire, client
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.client:
            self.wire.accepted()

    def data_received(self, data: bytes) -> None:
        self.wire.came(data, client=self.client)

    def eof_received(self) -> bool:
        return False  # closes

    def connection_lost(self, _: Exception | None) -> None:
        self.wire.lost(client=self.client)

    def pause_writing(self) -> None:
        self.wire.read(from_client=not self.client, go=False)

    def resume_writing(self) -> None:
        self.wire.read(from_client=not self.client, go=True)


class Wiretap:
    """Forwards between a client and the broker at ``target``; tells the ``book`` what passes, before it passes.

    What is not AMQP 0-9-1 passes unseen: ``opaque`` says what it is. What could not be decoded is in ``undecoded``.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connect: Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]],
        book: Book | None,
        name: Name,
        gone: Callable[[Wiretap], None],
        delay: float = 0.0,
    ) -> None:
        """``connect`` makes a connection to the broker with a protocol; without a ``book`` all passes unseen."""
        self._loop, self._connect_to, self._book, self._name, self._gone = loop, connect, book, name, gone
        self.client_end, self.broker_end = End(self, client=True), End(self, client=False)
        self.client: Client | None = None  # in the book, once it has said who it is
        self.name = ""
        self.opaque = "" if book is not None else "not looked at"
        self.undecoded: list[str] = []
        self.swallowed = 0  # acknowledgements
        self.bytes = 0
        self._conversation = Conversation()
        self._splitters = {True: Splitter(client=True), False: Splitter(client=False)}
        self._flows: dict[bool, Flow] = {}  # by where the bytes come from: True is the client
        self._delay = delay
        self._early: list[bytes] = []  # from the client, while the broker is being connected
        self._swallowing = self._muted = False
        self._closed: said.Closed | None = None
        self._over = False  # one side is gone
        self._ended = False  # both are

    # --- the sockets -------------------------------------------------------------------------

    def accepted(self) -> None:
        """A client has connected: connect to the broker as well."""
        self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self._connect_to(lambda: self.broker_end)
        except OSError:
            self.end()
            return
        client, broker = self.client_end.transport, self.broker_end.transport
        if self._over or client is None or broker is None:
            self.end()
            return
        self._flows = {
            True: Flow(self._loop, broker, lambda go: self.read(from_client=True, go=go)),
            False: Flow(self._loop, client, lambda go: self.read(from_client=False, go=go)),
        }
        for flow in self._flows.values():
            flow.set_delay(self._delay)
        early, self._early = self._early, []
        for data in early:
            self.came(data, client=True)

    def lost(self, *, client: bool) -> None:
        """One side is gone: the other one hears of it when all that was on its way has arrived."""
        if self._over:
            return
        self._over = True
        self._tell_end(client)
        if (flow := self._flows.get(client)) is not None:
            flow.when_empty(self.end)
        else:
            self.end()

    def read(self, *, from_client: bool, go: bool) -> None:
        """Whether more is read from a side; the other one may be slower."""
        end = self.client_end if from_client else self.broker_end
        if end.transport is not None and not end.transport.is_closing():
            end.transport.resume_reading() if go else end.transport.pause_reading()

    def end(self, *, reset: bool = False) -> None:
        """Close both sides. Harmless when repeated."""
        if self._ended:
            return
        self._over = self._ended = True
        for flow in self._flows.values():
            flow.close()
        for end in (self.client_end, self.broker_end):
            if (transport := end.transport) is not None:
                if reset:
                    with contextlib.suppress(OSError):
                        transport.get_extra_info("socket").setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, RESET
                        )
                    transport.abort()
                else:
                    transport.close()
        self._gone(self)

    def _tell_end(self, by_client: bool) -> None:
        if self.client is None:
            return
        if self._closed is not None:
            kind = Kind.STOPPED if self._closed.by == "client" else Kind.DISCONNECTED
            self.client.leave(kind, self._closed.text or None)
        elif by_client:
            self.client.leave(Kind.CRASHED, "its connection ended without a word")
        else:
            self.client.leave(Kind.DISCONNECTED, "the broker ended the connection")

    # --- the bytes ---------------------------------------------------------------------------

    def came(self, data: bytes, *, client: bool) -> None:
        """Bytes from one side: understood first, then sent on, so that nothing is delivered before it is published."""
        if client and self._muted:
            return
        if client and not self._flows:
            self._early.append(data)
            return
        self.bytes += len(data)
        if self.opaque:
            self._flows[client].send(data)
            return
        before = self._splitters[client].pending
        try:
            frames = self._splitters[client].feed(data)
        except NotAmqpError as error:
            self.opaque = str(error)
            self._flows[client].send(data)
            return
        if client and self._swallowing and self._swallow(frames, before, data):
            return
        for frame in frames:
            for event in self._conversation.hear(frame, client=client):
                self._understand(event)
        self._flows[client].send(data)

    def _understand(self, event: Any) -> None:
        if isinstance(event, said.Named):
            self._meet(event)
        elif isinstance(event, said.Closed):
            self._closed = self._closed or event
        elif isinstance(event, said.Undecoded):
            if len(self.undecoded) < MOST_UNDECODED:
                self.undecoded.append(event.why)
        elif self.client is not None:
            self.client.enter(event)

    # --- who it is ---------------------------------------------------------------------------

    def _meet(self, event: said.Named) -> None:
        """The client has said who it is; one that gives no name is looked up by its port, and waits for that."""
        if event.name:
            self._call(event.name, event)
            return
        port = self.client_end.transport.get_extra_info("peername")[1] if self.client_end.transport else 0
        flow = self._flows[False]
        flow.set_silent(True)  # the answer to the login waits: nothing has happened yet that needs a name

        async def ask() -> None:
            name = await self._name(port)
            if not self._over:
                self._call(name or event.product or "client", event)
                flow.set_silent(False)

        self._loop.create_task(ask())

    def _call(self, name: str, event: said.Named) -> None:
        if self._book is not None:
            self.client = self._book.client(name, event.at_once)
            self.name = self.client.row

    # --- faults ------------------------------------------------------------------------------

    def cut(self) -> None:
        """RST to both sides, as from a machine that has forgotten the connection."""
        self._fault("cut at the tap")
        self.end(reset=True)

    def close(self) -> None:
        """FIN to both sides, as from a process that dies."""
        self._fault("closed at the tap")
        self.end()

    def clear_away(self) -> None:
        """The tap itself is over: that is nobody's crash."""
        if self.client is not None and not self._over:
            self.client.leave(Kind.STOPPED, "the tap was closed")
        self.end()

    def _fault(self, note: str) -> None:
        if self.client is not None and not self._over:
            self.client.leave(Kind.DISCONNECTED, note)

    def flows(self) -> tuple[Flow, ...]:
        """Both directions."""
        return tuple(self._flows.values())

    def swallow(self) -> None:
        """Let the client's next acknowledgement not pass, and cut the connection then."""
        self._swallowing = True

    def _swallow(self, frames: list[Frame], before: int, data: bytes) -> bool:
        """Send on what came before the first acknowledgement; whether there was one."""
        at = next((n for n, one in enumerate(frames) if one.kind == METHOD and one.payload[:4] == ACK), None)
        if at is None:
            return False
        for frame in frames[:at]:
            for event in self._conversation.hear(frame, client=True):
                self._understand(event)
        if passing := data[: max(0, sum(len(one.raw) for one in frames[:at]) - before)]:
            self._flows[True].send(passing)
        self.swallowed += 1
        self._swallowing, self._muted = False, True
        self._loop.call_later(DRAIN, self.cut)
        return True
