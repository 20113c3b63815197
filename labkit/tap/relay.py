"""Stands between clients and the broker, in a thread of its own; a relay only puts the broker farther away."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import threading
from collections.abc import Callable
from typing import TypeVar

import pika

from labkit import checks
from labkit.brokers.connection import check_parameters
from labkit.errors import BrokerDownError, PortTakenError, UsageError
from labkit.tap.wiretap import Wiretap

START_LIMIT = 5.0  # seconds that the thread may take to listen, and to end
MOST = 10.0  # seconds of delay
LOOPBACK = "127.0.0.1"

Answer = TypeVar("Answer")


class Relay:
    """Takes connections for the broker of ``parameters``; everything takes ``seconds`` longer each way.

    ``parameters_to(parameters)`` leads a client through it; it listens on ``port`` (0: any that is free). Use it
    as a context manager, or ``close()`` it. PortTakenError where the port is not free.
    """

    def __init__(
        self, parameters: pika.connection.Parameters, seconds: float = 0.0, *, port: int = 0
    ) -> None:
        if checks.seconds("The delay", seconds) > MOST:
            raise UsageError(f"The delay is {seconds!r}.", do=f"Use 0 to {MOST:g} seconds, for example 0.01.")
        self.seconds = seconds
        self._target = check_parameters(parameters)
        self.port = checks.whole("port", port, 0, 65535)
        self.wires: set[Wiretap] = set()  # the thread's own; others ask by ``ask``
        self._problem: OSError | None = None
        self._loop = asyncio.new_event_loop()
        self._listening, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__.lower(), daemon=True)
        self._thread.start()
        if not self._listening.wait(START_LIMIT) or self._problem is not None:
            self.close()
            if port and self._problem is not None:
                raise PortTakenError(
                    f"Port {port} is taken by another program.",
                    do="Choose another one, or close that program.",
                ) from self._problem
            raise BrokerDownError(f"The {self._thread.name} to the broker could not listen on {LOOPBACK}.")

    def parameters_to(self, parameters: pika.ConnectionParameters) -> pika.ConnectionParameters:
        """The same connection parameters, by way of the relay; TLS still expects the broker's own certificate."""
        found = copy.copy(parameters)
        found.host, found.port = LOOPBACK, self.port
        if (tls := parameters.ssl_options) is not None:
            found.ssl_options = pika.SSLOptions(tls.context, tls.server_hostname or parameters.host)
        return found

    def ask(self, question: Callable[[], Answer], timeout: float = START_LIMIT) -> Answer:
        """Have the thread answer this, and wait for it up to ``timeout`` seconds."""
        if not self._thread.is_alive() or self._thread is threading.current_thread():
            return question()  # nothing moves any more, or nothing else moves now

        async def answer() -> Answer:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(timeout)

    def close(self) -> None:
        """Close every connection that goes through it. Harmless when repeated."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(START_LIMIT)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:  # it cannot listen
            self._problem = error
        finally:
            self._listening.set()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        server = await self._loop.create_server(self._accept, LOOPBACK, self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        for wire in list(self.wires):
            wire.clear_away()
        await asyncio.sleep(0)  # what they have to say is sent
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self) -> asyncio.Protocol:
        wire = self._wire()
        self.wires.add(wire)
        return wire.client_end

    def _wire(self) -> Wiretap:
        """What a new connection goes through."""
        return Wiretap(self._loop, self._connect, None, _nobody, self.wires.discard, self.seconds)

    async def _connect(self, protocol: Callable[[], asyncio.Protocol]) -> object:
        return await self._loop.create_connection(protocol, self._target.host, self._target.port)


async def _nobody(_: int) -> str:
    return ""
