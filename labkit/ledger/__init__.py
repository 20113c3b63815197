"""What became of every task: events, what they add up to, and runs of them as files."""

from labkit.ledger.account import Account
from labkit.ledger.events import Counts, Event, Kind, Outcome, Span
from labkit.ledger.ledger import Ledger
from labkit.ledger.seat import Delivery, Seat

__all__ = ["Account", "Counts", "Delivery", "Event", "Kind", "Ledger", "Outcome", "Seat", "Span"]
