"""What is said on one connection: its frames, in the order in which they pass, as events that mean something.

Pure: no clock, no socket. Delivery tags and confirms are counted per channel, as AMQP does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

from pika import spec

from labkit.tap.frames import BODY, CONTENT, METHOD, Frame, method_of, properties_of


class Message(NamedTuple):
    """A message as far as it can be known again: headers are left out, because the broker adds to them."""

    id: str | None  # message_id, or else the header "id", or else correlation_id
    print: bytes  # of the body, where there is no id: two messages with the same one cannot be told apart
    body: bytes
    content_type: str | None


class Named(NamedTuple):
    """The client has logged in; ``name`` is what it calls its connection, ``product`` its library."""

    name: str
    product: str
    at_once: int | None  # how many tasks it does at a time, if it says so itself


class Declared(NamedTuple):
    """A queue was declared; ``private`` if it goes with its client (exclusive or auto-delete)."""

    queue: str
    private: bool
    dead_letters: bool


class Bound(NamedTuple):
    """A queue gets messages of an exchange."""

    queue: str
    exchange: str


class Published(NamedTuple):
    """A message was published, to be confirmed as ``number`` on this channel; 0 if it is not."""

    channel: int
    number: int
    exchange: str
    routing_key: str
    message: Message


class Confirmed(NamedTuple):
    """The broker has taken the message of this number, or (not ``good``) refused it."""

    channel: int
    number: int
    good: bool


class Returned(NamedTuple):
    """No queue takes the message."""

    message: Message


class Subscribed(NamedTuple):
    """A consumer is there; ``prefetch`` 0 is no limit."""

    channel: int
    tag: str
    queue: str
    automatic: bool
    prefetch: int


class Unsubscribed(NamedTuple):
    """A consumer is gone."""

    channel: int
    tag: str


class Delivered(NamedTuple):
    """A message was sent to a consumer, or fetched (``tag`` is empty then)."""

    channel: int
    delivery_tag: int
    tag: str
    queue: str
    automatic: bool
    redelivered: bool
    message: Message


class Answered(NamedTuple):
    """The client said of a delivery: "ack", "requeue" or "reject"."""

    channel: int
    delivery_tag: int
    verdict: str


class GivenBack(NamedTuple):
    """The broker takes a delivery back without a word: the channel is gone, or recover was asked for."""

    channel: int
    delivery_tag: int


class Closed(NamedTuple):
    """The connection is closed in due form, by the "client" or the "broker"."""

    by: str
    code: int
    text: str


class Undecoded(NamedTuple):
    """A frame that could not be understood, and why; it was forwarded all the same."""

    why: str


@dataclass
class _Consumer:
    queue: str
    automatic: bool
    prefetch: int


@dataclass
class _Content:
    """A message of which the frames are still coming."""

    method: Any
    left: int = -1  # bytes; -1 before the header
    properties: spec.BasicProperties | None = None
    body: list[bytes] = field(default_factory=list)


@dataclass
class _Channel:
    consumers: dict[str, _Consumer] = field(default_factory=dict)
    asked: list[spec.Basic.Consume] = field(default_factory=list)  # and not answered by consume-ok yet
    declared: list[spec.Queue.Declare] = field(default_factory=list)
    last: str = ""  # the queue that was declared last: what an empty name means
    prefetch: int = 0  # of each new consumer
    shared: int = 0  # of all consumers together (basic.qos with global)
    fetched_from: list[tuple[str, bool]] = field(default_factory=list)  # queue and no_ack of each basic.get
    held: dict[int, None] = field(default_factory=dict)  # delivery tags that wait for an answer
    numbering: bool = False  # confirm.select was sent
    number: int = 0
    unconfirmed: dict[int, None] = field(default_factory=dict)  # their numbers
    content: dict[bool, _Content] = field(default_factory=dict)  # by direction: True is the client's


class Conversation:
    """Feed it frames of both directions as they pass; it tells what they mean."""

    def __init__(self) -> None:
        self._channels: dict[int, _Channel] = {}
        self._closed = False

    def hear(self, frame: Frame, *, client: bool) -> Sequence[Any]:
        """The events in a frame from the ``client``, or from the broker. Never raises."""
        try:
            if frame.kind == METHOD:
                method = method_of(frame.payload)
                handler = _HANDLERS.get((type(method), client))
                return () if handler is None else list(handler(self, frame.channel, method))
            if frame.kind in (CONTENT, BODY) and (channel := self._channels.get(frame.channel)):
                return list(self._content(frame, channel, client))
            return ()
        except Exception as error:  # whatever it is, the bytes are forwarded; who listens is told
            return (Undecoded(f"{type(error).__name__}: {error}"),)

    def _at(self, number: int) -> _Channel:
        if (found := self._channels.get(number)) is None:
            found = self._channels[number] = _Channel()
        return found

    def held(self) -> int:
        """How many deliveries wait for an answer."""
        return sum(len(channel.held) for channel in self._channels.values())

    # --- messages ----------------------------------------------------------------------------

    def _expect(self, number: int, method: Any, client: bool) -> Iterator[Any]:
        self._at(number).content[client] = _Content(method)
        return iter(())

    def _content(self, frame: Frame, channel: _Channel, client: bool) -> Iterator[Any]:
        content = channel.content.get(client)
        if content is None:
            return
        if frame.kind == CONTENT:
            content.left = int.from_bytes(frame.payload[4:12], "big")  # known, whatever the properties are
            try:
                content.properties = properties_of(frame.payload)
            except Exception as error:
                yield Undecoded(f"{type(error).__name__}: {error}")
        else:
            content.left -= len(frame.payload)
            content.body.append(frame.payload)
        if content.left > 0:
            return
        del channel.content[client]
        message = _message(content.properties or _NONE, b"".join(content.body))
        method, number = content.method, frame.channel
        if isinstance(method, spec.Basic.Publish):
            if channel.numbering:
                channel.number += 1
                channel.unconfirmed[channel.number] = None
            yield Published(
                number,
                channel.number if channel.numbering else 0,
                method.exchange or "",
                method.routing_key or "",
                message,
            )
        elif isinstance(method, spec.Basic.Return):
            yield Returned(message)
        else:
            yield self._delivery(number, channel, method, message)

    def _delivery(self, number: int, channel: _Channel, method: Any, message: Message) -> Delivered:
        tag: int = method.delivery_tag
        if isinstance(method, spec.Basic.GetOk):
            queue, automatic = channel.fetched_from.pop(0) if channel.fetched_from else ("", False)
            name = ""
        else:
            name = method.consumer_tag
            consumer = channel.consumers.get(name) or _early(channel, name)
            queue, automatic = consumer.queue, consumer.automatic
        if not automatic:
            channel.held[tag] = None
        return Delivered(number, tag, name, queue, automatic, bool(method.redelivered), message)

    # --- methods -----------------------------------------------------------------------------

    def _start_ok(self, _: int, method: Any) -> Iterator[Any]:
        said = method.client_properties or {}
        at_once = said.get("at_once")
        yield Named(
            _text(said.get("connection_name")),
            _text(said.get("product")),
            at_once if isinstance(at_once, int) and at_once > 0 else None,
        )

    def _close(self, by: str, method: Any) -> Iterator[Any]:
        self._closed = True
        yield Closed(by, method.reply_code or 0, _text(method.reply_text))

    def _channel_gone(self, number: int) -> Iterator[Any]:
        channel = self._channels.pop(number, None)
        if channel is not None:
            for tag in channel.held:
                yield GivenBack(number, tag)
            for name in channel.consumers:
                yield Unsubscribed(number, name)

    def _declare(self, number: int, method: Any) -> Iterator[Any]:
        if method.nowait:
            self._at(number).last = method.queue or ""
            if not method.passive:
                yield _declared(method, method.queue or "")
        else:
            self._at(number).declared.append(method)

    def _declare_ok(self, number: int, method: Any) -> Iterator[Any]:
        channel = self._at(number)
        channel.last = method.queue or ""
        if channel.declared and not (declared := channel.declared.pop(0)).passive:
            yield _declared(declared, channel.last)

    def _bind(self, number: int, method: Any) -> Iterator[Any]:
        yield Bound(method.queue or self._at(number).last, method.exchange or "")

    def _select(self, number: int, _: Any) -> Iterator[Any]:
        channel = self._at(number)
        channel.numbering = True
        return iter(())

    def _qos(self, number: int, method: Any) -> Iterator[Any]:
        # RabbitMQ's own meaning: each new consumer, or (global) all consumers of the channel together.
        channel, count = self._at(number), method.prefetch_count or 0
        if method.global_qos:
            channel.shared = count
        else:
            channel.prefetch = count
        return iter(())

    def _consume(self, number: int, method: Any) -> Iterator[Any]:
        channel = self._at(number)
        if method.nowait:
            yield self._subscribe(number, channel, method, method.consumer_tag)
        else:
            channel.asked.append(method)

    def _consume_ok(self, number: int, method: Any) -> Iterator[Any]:
        channel = self._at(number)
        if channel.asked:
            yield self._subscribe(number, channel, channel.asked.pop(0), method.consumer_tag)

    def _subscribe(self, number: int, channel: _Channel, method: Any, tag: str) -> Subscribed:
        prefetch = channel.prefetch or channel.shared
        consumer = _Consumer(method.queue or channel.last, bool(method.no_ack), prefetch)
        channel.consumers[tag] = consumer
        return Subscribed(number, tag, consumer.queue, consumer.automatic, prefetch)

    def _cancelled(self, number: int, method: Any) -> Iterator[Any]:
        if self._at(number).consumers.pop(method.consumer_tag, None):
            yield Unsubscribed(number, method.consumer_tag)

    def _get(self, number: int, method: Any) -> Iterator[Any]:
        channel = self._at(number)
        channel.fetched_from.append((method.queue or channel.last, bool(method.no_ack)))
        return iter(())

    def _get_empty(self, number: int, _: Any) -> Iterator[Any]:
        if asked := self._at(number).fetched_from:
            asked.pop(0)
        return iter(())

    def _answer(self, number: int, method: Any) -> Iterator[Any]:
        """The client answers one delivery, or (multiple) all up to it; 0 is all."""
        channel, upto = self._at(number), method.delivery_tag
        verdict = "ack"
        if not isinstance(method, spec.Basic.Ack):
            verdict = "requeue" if method.requeue else "reject"
        for tag in _meant(channel.held, upto, getattr(method, "multiple", False)):
            yield Answered(number, tag, verdict)

    def _recover(self, number: int, _: Any) -> Iterator[Any]:
        held, self._at(number).held = self._at(number).held, {}
        for tag in held:
            yield GivenBack(number, tag)

    def _confirm(self, number: int, method: Any) -> Iterator[Any]:
        channel, upto = self._at(number), method.delivery_tag
        good = isinstance(method, spec.Basic.Ack)
        for at in _meant(channel.unconfirmed, upto, method.multiple):
            yield Confirmed(number, at, good)


def _meant(waiting: dict[int, None], upto: int, multiple: bool) -> list[int]:
    """Take out of those that wait, in rising order, the one that is answered, or all up to it; 0 is all."""
    if multiple:
        found = list(takewhile(lambda number: number <= upto or not upto, waiting))
    else:
        found = [upto] if upto in waiting else []
    for number in found:
        del waiting[number]
    return found


def _early(channel: _Channel, tag: str) -> _Consumer:
    """The consumer of a delivery that came before its consume-ok, or that nobody asked for."""
    for asked in channel.asked:
        if asked.consumer_tag == tag or not asked.consumer_tag:
            return _Consumer(asked.queue or channel.last, bool(asked.no_ack), channel.prefetch)
    return channel.consumers.get("") or _Consumer("", False, 0)  # a client that wanted no ok knows no tag


def _declared(method: Any, queue: str) -> Declared:
    arguments = method.arguments or {}
    return Declared(
        queue, bool(method.exclusive or method.auto_delete), bool("x-dead-letter-exchange" in arguments)
    )


_NONE = spec.BasicProperties()


def _message(properties: spec.BasicProperties, body: bytes) -> Message:
    header = (properties.headers or {}).get("id")
    name = _text(properties.message_id) or _text(header) or _text(properties.correlation_id)
    mark = b"" if name else hashlib.blake2b(body, digest_size=12).digest()
    return Message(name or None, mark, body, properties.content_type)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


_B, _CLIENT, _BROKER = spec.Basic, True, False
_HANDLERS: dict[tuple[type, bool], Any] = {
    (spec.Connection.StartOk, _CLIENT): Conversation._start_ok,
    (spec.Connection.Close, _CLIENT): lambda self, _, method: self._close("client", method),
    (spec.Connection.Close, _BROKER): lambda self, _, method: self._close("broker", method),
    # Whoever closes a channel, it is over when that is confirmed: what is on its way until then still counts.
    (spec.Channel.CloseOk, _CLIENT): lambda self, number, _: self._channel_gone(number),
    (spec.Channel.CloseOk, _BROKER): lambda self, number, _: self._channel_gone(number),
    (spec.Queue.Declare, _CLIENT): Conversation._declare,
    (spec.Queue.DeclareOk, _BROKER): Conversation._declare_ok,
    (spec.Queue.Bind, _CLIENT): Conversation._bind,
    (spec.Confirm.Select, _CLIENT): Conversation._select,
    (_B.Qos, _CLIENT): Conversation._qos,
    (_B.Consume, _CLIENT): Conversation._consume,
    (_B.ConsumeOk, _BROKER): Conversation._consume_ok,
    (_B.CancelOk, _BROKER): Conversation._cancelled,
    (_B.Cancel, _BROKER): Conversation._cancelled,
    (_B.Get, _CLIENT): Conversation._get,
    (_B.GetEmpty, _BROKER): Conversation._get_empty,
    (_B.Publish, _CLIENT): lambda self, number, method: self._expect(number, method, True),
    (_B.Return, _BROKER): lambda self, number, method: self._expect(number, method, False),
    (_B.Deliver, _BROKER): lambda self, number, method: self._expect(number, method, False),
    (_B.GetOk, _BROKER): lambda self, number, method: self._expect(number, method, False),
    (_B.Ack, _CLIENT): Conversation._answer,
    (_B.Nack, _CLIENT): Conversation._answer,
    (_B.Reject, _CLIENT): Conversation._answer,
    (_B.Ack, _BROKER): Conversation._confirm,
    (_B.Nack, _BROKER): Conversation._confirm,
    (_B.Recover, _CLIENT): Conversation._recover,
    (_B.RecoverAsync, _CLIENT): Conversation._recover,
}
