"""Turns of phrase that sentences under charts and tables share: lists, numbers with nouns, durations, names."""

from __future__ import annotations

import re
from collections.abc import Sequence


def listed(parts: Sequence[str], last: str = "and") -> str:
    """The parts as in a sentence: "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}" if parts else ""


def some(parts: Sequence[str], most: int = 8) -> str:
    """The parts as in a sentence, with those beyond ``most`` only counted."""
    if len(parts) <= most:
        return listed(parts)
    return f"{', '.join(parts[: most - 1])} and {len(parts) - most + 1} more"


def plural(number: int, one: str, many: str | None = None) -> str:
    """The number with its noun: "1 task", "2 tasks"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def seconds(value: float) -> str:
    """A duration in words: "4.2 s", "35 ms"."""
    if value >= 100:
        return f"{value:,.0f} s"
    return f"{value:.1f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"


def called(name: str, most: int = 24) -> str:
    """A name as it is written in a title or a sentence: cut if it has more than ``most`` characters."""
    return name if len(name) <= most else cut(name, most - 1)


def cut(text: str, keep: int) -> str:
    """So many characters of the text, with "…" where its middle was."""
    tail = keep // 2
    return f"{text[: keep - tail]}…{text[len(text) - tail :] if tail else ''}"


def brief(value: object, most: int = 80) -> str:
    """A value as an error quotes it: its repr, cut after ``most`` characters."""
    try:
        text = repr(value)
    except Exception:  # a number of thousands of digits, or an object that fails at it
        return f"a {type(value).__name__} that cannot be written"
    return text if len(text) <= most else f"{text[:most]}…"


def natural(name: str) -> list[tuple[int, int, str]]:
    """The key that sorts worker-2 before worker-10."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]
