"""A strategy: the few settings with which the same tasks go differently over the same workers."""

from __future__ import annotations

from dataclasses import dataclass, fields

from labkit import checks
from labkit.clients.consumer import ACKS
from labkit.errors import UsageError

TYPES = ("classic", "quorum")
_WORDS = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


@dataclass(frozen=True, slots=True)
class Strategy:
    """How tasks are handed out. What is not named is as in a program that sets nothing.

    ``prefetch``       how many unacknowledged tasks the broker may send to a worker; None: no limit
    ``ack``            "manual", "automatic" (``auto_ack=True``; the broker then ignores the prefetch) or "forgotten"
    ``queue_type``     "classic" or "quorum"
    ``publish_first``  whether all tasks wait in the queue before the first worker subscribes
    ``priorities``     consumer priorities (``x-priority``), one a worker; workers beyond them have 0
    ``confirms``       whether the producer waits for the broker's confirm of each message
    ``name``           for tables and charts; made of the settings if it is omitted

    UsageError for a setting that makes no sense.
    https://www.rabbitmq.com/docs/consumer-prefetch
    """

    prefetch: int | None = None
    ack: str = "manual"
    queue_type: str = "classic"
    publish_first: bool = False
    priorities: tuple[int, ...] = ()
    confirms: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        checks.prefetch(self.prefetch)
        checks.one_of("ack", self.ack, ACKS)
        checks.one_of("queue_type", self.queue_type, TYPES)
        for name in ("publish_first", "confirms"):
            checks.boolean(name, getattr(self, name))
        if not isinstance(self.priorities, tuple | list) or not all(
            isinstance(one, int) and not isinstance(one, bool) for one in self.priorities
        ):
            raise checks.refused("priorities", self.priorities, "Use whole numbers, for example (10, 0).")
        object.__setattr__(self, "priorities", tuple(self.priorities))  # a list was given, perhaps

    @property
    def label(self) -> str:
        """Its name in tables and charts."""
        if self.name:
            return self.name
        parts = ["no prefetch limit" if self.prefetch is None else f"prefetch {self.prefetch}"]
        if self.ack != "manual":
            parts.append("automatic ack" if self.ack == "automatic" else "forgotten ack")
        if self.queue_type != "classic":
            parts.append(self.queue_type)
        if self.publish_first:
            parts.append("published first")
        if self.priorities:
            parts.append("priorities " + "/".join(map(str, self.priorities)))
        if not self.confirms:
            parts.append("no confirms")
        return ", ".join(parts)

    @classmethod
    def parse(cls, text: str) -> Strategy:
        """The strategy that ``"prefetch=1,ack=automatic"`` says; ``"default"`` is one that sets nothing.

        UsageError if it is no strategy.
        """
        known = {field.name: field.type for field in fields(cls)}
        settings: dict[str, object] = {}
        for part in () if text.strip() in ("", "default") else text.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or name not in known:
                raise UsageError(
                    f"A strategy has no setting {part.strip()!r}.",
                    do=f"Write name=value, with one of {', '.join(known)}; for example prefetch=1,ack=manual.",
                )
            settings[name] = _value(name, value)
        return cls(**settings)  # type: ignore[arg-type]


def _value(name: str, text: str) -> object:
    if name in ("publish_first", "confirms"):
        return _WORDS.get(text.lower(), text)
    try:
        if name == "prefetch":
            return None if text.lower() in ("none", "unlimited", "0") else int(text)
        if name == "priorities":
            return tuple(int(one) for one in text.split("/"))
    except ValueError:
        return text  # refused with a sentence of its own
    return text
