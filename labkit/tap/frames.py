"""Bytes as AMQP 0-9-1 frames: cut by hand, and decoded with pika where somebody wants to know.

https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, section 4.2
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from pika import spec
from pika.amqp_object import Method

HEADER = b"AMQP\x00\x00\x09\x01"  # what an AMQP 0-9-1 client begins with
METHOD, CONTENT, BODY = spec.FRAME_METHOD, spec.FRAME_HEADER, spec.FRAME_BODY
_HEAD = struct.Struct(">BHI")  # type, channel, size of the payload
_END = spec.FRAME_END
_KINDS = (METHOD, CONTENT, BODY, spec.FRAME_HEARTBEAT)
LARGEST = 1 << 29  # bytes of a message that RabbitMQ takes at most, and so of a frame
WANTED = {  # the methods that change what is known of tasks; all others pass undecoded
    cls.INDEX: cls
    for cls in (
        spec.Connection.StartOk, spec.Connection.OpenOk, spec.Connection.Close, spec.Connection.Blocked,
        spec.Channel.Close, spec.Channel.CloseOk, spec.Confirm.Select,
        spec.Queue.Declare, spec.Queue.DeclareOk, spec.Queue.Bind,
        spec.Basic.Qos, spec.Basic.Consume, spec.Basic.ConsumeOk, spec.Basic.Cancel, spec.Basic.CancelOk,
        spec.Basic.Publish, spec.Basic.Return, spec.Basic.Deliver,
        spec.Basic.Get, spec.Basic.GetOk, spec.Basic.GetEmpty,
        spec.Basic.Ack, spec.Basic.Nack, spec.Basic.Reject, spec.Basic.Recover, spec.Basic.RecoverAsync,
    )
}  # fmt: skip


class Frame(NamedTuple):
    """One frame; ``raw`` is all of it, as it is to be forwarded."""

    kind: int
    channel: int
    payload: bytes
    raw: bytes


class NotAmqpError(ValueError):
    """The bytes are not AMQP 0-9-1; the text says what they are."""


class Splitter:
    """Cuts one direction of a connection into frames; ``client`` says that it begins with the protocol header."""

    def __init__(self, *, client: bool) -> None:
        self._greeting = client
        self._first = True
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes of a frame that is not whole yet have come in."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Take in what was read; returns the frames that are whole now. NotAmqpError ends it.

        What came before the bytes that are none is returned first; the next call raises then.
        """
        buffer = self._buffer
        buffer += data
        if self._first:
            if len(buffer) < len(HEADER):
                if self._greeting and not HEADER.startswith(bytes(buffer[:4])):
                    raise NotAmqpError(_what(bytes(buffer)))
                return []
            self._first = False
            if self._greeting or buffer.startswith(b"AMQP"):
                if bytes(buffer[:8]) != HEADER or not self._greeting:
                    raise NotAmqpError(_what(bytes(buffer[:8])))
                del buffer[:8]
        frames: list[Frame] = []
        at, there = 0, len(buffer)
        while there - at >= 8:
            kind, channel, size = _HEAD.unpack_from(buffer, at)
            end = at + size + 8
            sound = kind in _KINDS and size <= LARGEST
            if sound and end > there:
                break
            if not sound or buffer[end - 1] != _END:
                if frames:
                    break
                raise NotAmqpError("bytes that are no AMQP frame")
            raw = bytes(buffer[at:end])
            frames.append(Frame(kind, channel, raw[7:-1], raw))
            at = end
        del buffer[:at]
        return frames


def _what(first: bytes) -> str:
    """What begins like this."""
    if first[:1] == b"\x16":
        return "TLS"
    if first[:4] == b"AMQP":
        return f"AMQP {first[5]}.{first[6]}" if len(first) >= 7 and first[5] else "another version of AMQP"
    return "another protocol"


def method_of(payload: bytes) -> Method | None:
    """The method in a frame's payload, if it is one that is wanted."""
    cls: Any = WANTED.get(int.from_bytes(payload[:4], "big"))
    if cls is None:
        return None
    method = cls()
    return method.decode(payload, 4)


def properties_of(payload: bytes) -> spec.BasicProperties:
    """The message's properties, in the payload of its content header."""
    properties = spec.BasicProperties()
    properties.decode(payload, 12)
    return properties
