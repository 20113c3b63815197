"""Values are refused at the door, with a sentence that names them, and not somewhere inside a thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from pika.connection import Parameters

from labkit.errors import UsageError

LONGEST_NAME = 255  # bytes: what AMQP allows for the name of a queue, a consumer or a connection
MOST_WORKERS = 1000  # at a time in one bench: each is a thread and a connection


def text(what: str, value: object) -> str:
    """``value`` if it is a name that AMQP can carry; UsageError otherwise."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{what} is {value!r}.", do="Use a text that is not empty.")
    if len(value.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        raise UsageError(
            f"{what} is longer than {LONGEST_NAME} bytes: {value[:20]}….", do="Use a shorter name."
        )
    return value


def number(what: str, value: object, *, above: float | None = None, unit: str = "") -> float:
    """``value`` if it is a finite number of at least 0 (or ``above`` another one); UsageError otherwise."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    if not good or (above is not None and value <= above):
        limit = "0 or more" if above is None else f"more than {above:g}"
        raise UsageError(f"{what} is {value!r}.", do=f"Use {limit} {unit}".rstrip() + ".")
    return value


def seconds(what: str, value: object) -> float:
    """``value`` if it is a time in seconds."""
    return number(what, value, unit="seconds")


def whole(what: str, value: object, least: int, most: int) -> int:
    """``value`` if it is a whole number from ``least`` to ``most``; UsageError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{what} is {value!r}.", do=f"Use a whole number from {least} to {most}.")
    return value


def mapping(what: str, value: object) -> Mapping:
    """``value`` if it is a dictionary; UsageError otherwise."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} is {value!r}.", do="Use a dictionary.")
    return value


def function(what: str, value: object) -> Callable:
    """``value`` if it can be called; UsageError otherwise."""
    if not callable(value):
        raise UsageError(f"{what} is {value!r}.", do="Use a function.")
    return value


def one_of(what: str, value: object, known: Collection[str]) -> str:
    """``value`` if it is one of the known words; UsageError otherwise."""
    if value not in known:
        raise UsageError(f"{what} is {value!r}.", do=f"Use one of {', '.join(known)}.")
    return value


def prefetch(value: object) -> int | None:
    """``value`` if it is a prefetch count that AMQP can carry, or None for no limit; UsageError otherwise."""
    if value is not None and (type(value) is not int or not 1 <= value <= 65535):
        raise UsageError(f"prefetch is {value!r}.", do="Use 1 to 65535, or None for no limit.")
    return value


def connection(value: object) -> Parameters:
    """``value`` if pika can connect with it; UsageError otherwise."""
    if not isinstance(value, Parameters):
        raise UsageError(f"parameters is {value!r}.", do="Use lab.parameters(name).")
    return value
