"""What clients and brokers say to each other, as bytes; and the tap's parts without a network."""

import asyncio
import threading

import pika
from pika import frame, spec

from labkit.ledger import Ledger
from labkit.tap.book import Book
from labkit.tap.conversation import Conversation
from labkit.tap.frames import HEADER, Splitter
from labkit.tap.wiretap import Wiretap

CLIENT, BROKER = True, False
B, Q = spec.Basic, spec.Queue


def method(one, channel=1):
    return frame.Method(channel, one).marshal()


def content(one, body=b"x", channel=1, cut=131072 - 8, **properties):
    """A method with a message: its header and the body in as many frames as it takes."""
    properties = pika.BasicProperties(**properties)
    parts = [body[at : at + cut] for at in range(0, len(body), cut)]
    return b"".join(
        [
            method(one, channel),
            frame.Header(channel, len(body), properties).marshal(),
            *(frame.Body(channel, part).marshal() for part in parts),
        ]
    )


def hello(name="worker"):
    """How a client begins, as far as the tap is concerned."""
    return HEADER + method(spec.Connection.StartOk({"connection_name": name}, "PLAIN", "\0guest\0guest"), 0)


def publish(body=b"x", queue="tasks", channel=1, exchange="", **properties):
    return content(B.Publish(exchange=exchange, routing_key=queue), body, channel, **properties)


def deliver(tag, body=b"x", redelivered=False, consumer="c", channel=1, **properties):
    return content(B.Deliver(consumer, tag, redelivered, "", "tasks"), body, channel, **properties)


def subscribe(queue="tasks", tag="c", channel=1, **how):
    """A consumer asks, and gets its tag."""
    return [
        (CLIENT, method(B.Consume(queue=queue, consumer_tag=tag, **how), channel)),
        (BROKER, method(B.ConsumeOk(tag), channel)),
    ]


def ack(tag, multiple=False, channel=1):
    return method(B.Ack(tag, multiple), channel)


def heard(said):
    """The events in what was said: pairs of who says it, and bytes."""
    conversation, splitters = Conversation(), {CLIENT: Splitter(client=True), BROKER: Splitter(client=False)}
    events = []
    for client, data in said:
        for each in splitters[client].feed(data):
            events += conversation.hear(each, client=client)
    return events


def turn(loop):
    """Let the loop take a turn; in a thread of its own, for a browser's driver may have a loop running in this one."""
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.sleep(0),))
    thread.start()
    thread.join()


class Line(asyncio.Transport):
    """One side's socket, that keeps what is written to it."""

    def __init__(self):
        super().__init__()
        self.written, self.closed, self.aborted = b"", False, False

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def abort(self):
        self.closed = self.aborted = True

    def get_extra_info(self, name, default=None):
        return ("127.0.0.1", 40000) if name == "peername" else _NoSocket()

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class _NoSocket:
    def setsockopt(self, *_):
        pass


class Wire:
    """A wiretap between two lines; ``say`` is what came from one of them."""

    def __init__(self, loop, book=None):
        self.ledger = book.ledger if book else Ledger()
        self.book = book or Book(self.ledger)
        self.to_client, self.to_broker = Line(), Line()
        self.gone = []

        async def connect(protocol):
            protocol().connection_made(self.to_broker)

        async def name(port):
            return f"program at {port}"

        self.tap = Wiretap(loop, connect, self.book, name, self.gone.append)
        self.tap.client_end.connection_made(self.to_client)
        turn(loop)
        turn(loop)

    def say(self, client, data):
        self.tap.came(data, client=client)

    def talk(self, said):
        for client, data in said:
            self.say(client, data)
