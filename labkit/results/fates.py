"""What became of messages when their broker died, by the kinds of queue and message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

OUTCOMES = ("kept", "messages lost", "queue lost")

Cell = tuple[str, str]  # a kind of queue, a kind of message


@dataclass(frozen=True)
class Fate:
    """What became of the messages in one queue.

    ``kept`` is None when the queue itself is gone. ``refused`` says that this RabbitMQ does not even let
    the queue be declared: nothing was sent then.
    """

    sent: int
    kept: int | None
    redelivered: int = 0  # of those kept, how many came with the redelivered flag
    refused: bool = False

    @property
    def outcome(self) -> str:
        """In words: one of OUTCOMES, or "some lost", or "refused"."""
        if self.refused:
            return "refused"
        if self.kept is None:
            return "queue lost"
        if self.kept < self.sent:
            return "some lost" if self.kept else "messages lost"
        return "kept"


@dataclass(frozen=True)
class Matrix(Mapping[Cell, Fate]):
    """The fates by queue and message, and the ``name`` of what the broker went through.

    ``confirmed`` says whether every message had been confirmed to the publisher before that.
    """

    name: str
    fates: Mapping[Cell, Fate] = field(default_factory=dict)
    confirmed: bool = True

    @property
    def outcomes(self) -> dict[Cell, str]:
        """Every cell in words."""
        return {cell: fate.outcome for cell, fate in self.items()}

    def __getitem__(self, cell: Cell) -> Fate:
        return self.fates[cell]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.fates)

    def __len__(self) -> int:
        return len(self.fates)
