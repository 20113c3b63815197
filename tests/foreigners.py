"""Small runs of workers whose work is not seen, as a tap tells them."""

from labkit.ledger import Kind, Ledger

SAID = {
    "on": Kind.CONNECTED, "to": Kind.DELIVERED, "again": Kind.REDELIVERED, "ack": Kind.ACKNOWLEDGED,
    "requeue": Kind.REQUEUED, "reject": Kind.REJECTED, "dead": Kind.DEAD_LETTERED, "crash": Kind.CRASHED,
    "stop": Kind.STOPPED, "cut": Kind.DISCONNECTED, "start": Kind.STARTED, "finish": Kind.FINISHED,
    "publish": Kind.PUBLISHED,
}  # fmt: skip


def ledger(*said, published=0):
    """A ledger of (time, worker, what, number of the task and the delivery, or a note)."""
    rows = [(0.0, Kind.PUBLISHED, f"message#{n}", None, None, 0) for n in range(1, published + 1)]
    for at, who, what, *more in said:
        number = more[0] if more and isinstance(more[0], int) else 0
        note = more[0] if more and isinstance(more[0], str) else None
        rows.append((at, SAID[what], f"message#{number}" if number else None, who, note, number))
    return Ledger.of_the_past(sorted(rows, key=lambda row: row[0]))


def killed():
    """Two tutorial workers: the second one is killed in a task, which the first one is sent then."""
    return ledger(
        (0, "worker.py", "on", "foreign 1"), (0, "worker.py 2", "on", "foreign 1"),
        (0, "worker.py", "to", 1), (0, "worker.py 2", "to", 2), (1, "worker.py", "ack", 1),
        (1, "worker.py", "to", 3), (2, "worker.py 2", "ack", 2), (2, "worker.py 2", "to", 4),
        (3, "worker.py 2", "crash", "its connection ended without a word"), (4, "worker.py", "ack", 3),
        (4, "worker.py", "again", 4), (6, "worker.py", "ack", 4), published=4,
    )  # fmt: skip


def several(prefetch=5):
    """A client with a large prefetch and nobody knows how many tasks at a time; its answers show two."""
    first = [(0, "celery", "to", n) for n in range(1, prefetch + 1)]
    return ledger(
        (0, "celery", "on", "foreign"), *first, (1, "celery", "ack", 2), (2, "celery", "ack", 1),
        (2, "celery", "again", prefetch + 1), (4, "celery", "ack", 3), published=prefetch + 1,
    )  # fmt: skip


def two_at_once():
    """A client that is said to do two at a time, beside a worker of the lab."""
    return ledger(
        (0, "node", "on", "foreign 2"), *((0, "node", "to", n) for n in (1, 2, 3)), (1, "node", "ack", 1),
        (2, "node", "ack", 2), (3, "node", "ack", 3),
        (0, "Ada", "on", "manual"), (0, "Ada", "to", 4), (0, "Ada", "start", 4), (3, "Ada", "finish", 4),
        (3, "Ada", "ack", 4), published=4,
    )  # fmt: skip


def handed_over():
    """A client with automatic acks, killed at 3 s."""
    return ledger(
        (0, "auto.py", "on", "handed over"), *((0.001 * n, "auto.py", "to", n) for n in range(1, 13)),
        (1.5, "auto.py", "to", 13), (2, "auto.py", "again", 14), (3, "auto.py", "crash"), published=14,
    )  # fmt: skip


def swallowed():
    """The acknowledgement of the second task is swallowed at the tap, which cuts the connection then."""
    return ledger(
        (0, "a.py", "on", "foreign 1"), (0, "a.py", "to", 1), (1, "a.py", "ack", 1), (1, "a.py", "to", 2),
        (2, "a.py", "cut", "cut at the tap"), (2.2, "a.py", "on", "foreign 1"), (2.2, "a.py", "again", 2),
        (3.2, "a.py", "ack", 2), published=2,
    )  # fmt: skip


def forgetful():
    """A client that never acknowledges what it has, in a run that still goes on."""
    return ledger(
        (0, "003.py", "on", "foreign 1"), (0, "003.py", "to", 1), (2, None, "publish", 2), published=1
    )


def cleared_away():
    """The tap is closed while the client still holds a task."""
    return ledger(
        (0, "a.py", "on", "foreign 1"), (0, "a.py", "to", 1), (1, "a.py", "ack", 1), (1, "a.py", "to", 2),
        (2, "a.py", "stop", "the tap was closed"), published=2,
    )  # fmt: skip


ALL = (killed, several, two_at_once, handed_over, swallowed, forgetful, cleared_away)
