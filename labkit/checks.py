"""Values are refused at the door, with a sentence that names them, and not somewhere inside a thread.

Each takes ``what`` the value is called and the value, and returns the value if it is good. Otherwise it raises
UsageError, whose ``field`` is what the value is called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from labkit.errors import UsageError
from labkit.words import brief

LONGEST_NAME = 255  # bytes: what AMQP allows for the name of a queue, a consumer or a connection
MOST_WORKERS = 1000  # at a time in one bench: each is a thread and a connection


def refused(what: str, value: object, do: str) -> UsageError:
    """The error for a value that cannot be used, to be raised; ``do`` says what could be."""
    return UsageError(f"{what} is {brief(value)}.", do=do, field=what)


def text(what: str, value: object) -> str:
    """A name that AMQP can carry."""
    if not isinstance(value, str) or not value:
        raise refused(what, value, "Use a text that is not empty.")
    try:
        long = len(value.encode()) > LONGEST_NAME
    except UnicodeEncodeError:  # half of a pair: a file's name that was no UTF-8, for example
        raise refused(what, value, "Use a text of whole characters.") from None
    if long:
        short = f"{what} is longer than {LONGEST_NAME} bytes: {value[:20]}…."
        raise UsageError(short, do="Use a shorter name.", field=what)
    return value


def is_number(value: object) -> bool:
    """Whether it is a finite number; True and False are none."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and float("-inf") < value < float("inf")
    )


def number(
    what: str, value: Any, *, above: float | None = None, most: float | None = None, unit: str = ""
) -> float:
    """A finite number of at least 0 (or ``above`` another one), and at ``most`` so much."""
    least = 0 if above is None else above
    good = is_number(value) and (value > least if above is not None else value >= least)
    if not good or (most is not None and value > most):
        limit = "0 or more" if above is None else f"more than {above:g}"
        if most is not None:
            limit = f"0 to {most:g}" if above is None else f"{limit} and at most {most:g}"
        raise refused(what, value, f"Use {limit} {unit}".rstrip() + ".")
    return value


def seconds(what: str, value: object) -> float:
    """A time in seconds."""
    return number(what, value, unit="seconds")


def whole(what: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A whole number, from ``least`` to ``most`` where these are given."""
    good = isinstance(value, int) and not isinstance(value, bool)
    if not good or (least is not None and value < least) or (most is not None and value > most):
        limits = (
            "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
        )
        raise refused(what, value, f"Use a whole number{limits}.")
    return value


def boolean(what: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise refused(what, value, "Use True or False.")
    return value


def mapping(what: str, value: object) -> Mapping[Any, Any]:
    """A dictionary."""
    if not isinstance(value, Mapping):
        raise refused(what, value, "Use a dictionary.")
    return value


def function(what: str, value: object) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(value):
        raise refused(what, value, "Use a function.")
    return value


def one_of(what: str, value: Any, known: Collection[str]) -> str:
    """One of the known words."""
    if not isinstance(value, str) or value not in known:
        raise refused(what, value, f"Use one of {', '.join(known)}.")
    return value


def prefetch(value: object) -> int | None:
    """A prefetch count that AMQP can carry, or None for no limit."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise refused("prefetch", value, "Use 1 to 65535, or None for no limit.")
    return value


def workers(value: Any) -> list[float]:
    """The speed of each worker, of how many or the speeds themselves; 1 is the normal speed."""
    if isinstance(value, int):
        value = [1.0] * whole("The number of workers", value, 1, MOST_WORKERS)
    if not isinstance(value, Collection) or isinstance(value, str | bytes | Mapping) or not value:
        raise refused("workers", value, "Say how many, or give a list of their speeds.")
    return [float(number("The speed of a worker", speed, above=0)) for speed in value]
