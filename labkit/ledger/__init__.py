"""What became of every task: events, what they add up to, and runs of them as files."""

from labkit.ledger.events import Counts, Event, Kind, Outcome, Span
from labkit.ledger.ledger import Ledger

__all__ = ["Counts", "Event", "Kind", "Ledger", "Outcome", "Span"]
