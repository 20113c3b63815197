"""A broker farther away: a relay on loopback that holds every byte back for some milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import threading
from collections import deque

import pika

from labkit import checks
from labkit.errors import BrokerDownError, UsageError

START_LIMIT = 5.0  # seconds that the relay's thread may take to listen
CHUNK = 65536  # bytes
MOST = 10.0  # seconds of delay


class Relay:
    """Stands between clients and the broker of ``parameters``; ``seconds`` is the delay each way.

    ``parameters_to(parameters)`` leads a client through it. Use it as a context manager, or ``close()`` it.
    """

    def __init__(self, parameters: pika.ConnectionParameters, seconds: float) -> None:
        if checks.seconds("The delay", seconds) > MOST:
            raise UsageError(f"The delay is {seconds!r}.", do=f"Use 0 to {MOST:g} seconds, for example 0.01.")
        self.seconds = seconds
        self.port = 0
        self._target = parameters.host, parameters.port
        self._loop = asyncio.new_event_loop()
        self._listening, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()
        if not self._listening.wait(START_LIMIT) or not self.port:
            raise BrokerDownError("The relay to the broker could not listen on 127.0.0.1.")

    def parameters_to(self, parameters: pika.ConnectionParameters) -> pika.ConnectionParameters:
        """The same connection parameters, by way of the relay; TLS still expects the broker's own certificate."""
        found = copy.copy(parameters)
        found.host, found.port = "127.0.0.1", self.port
        if (tls := parameters.ssl_options) is not None:
            found.ssl_options = pika.SSLOptions(tls.context, tls.server_hostname or parameters.host)
        return found

    def close(self) -> None:
        """Cut every connection that goes through it. Harmless when repeated."""
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
        finally:
            self._listening.set()
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            writers.append(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        for one in writers:
            one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes in, each piece as late as the delay says, and in order."""
        on_the_way: deque[bytes] = deque()

        def arrive() -> None:
            if not writer.is_closing():
                writer.write(on_the_way.popleft())

        while data := await reader.read(CHUNK):
            on_the_way.append(data)
            self._loop.call_later(self.seconds, arrive)
        await asyncio.sleep(self.seconds)
        writer.close()
