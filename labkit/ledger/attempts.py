"""Attempts at tasks: what is known of each delivery's work, as spans of time.

Of the lab's own workers everything is known. Of a foreign one only what passes: with so many tasks at a time, work is
what lies between the delivery (or the answer before) and the answer; with an unknown number of them, all that is
known is that a task was held; with automatic acknowledgements, only that it was handed over.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence

from labkit.ledger.events import Kind, Span
from labkit.ledger.seat import FOREIGN, Delivery, at_once

# How a foreign worker's delivery ended; whatever else did, the task went back to the queue.
_HOW = {
    0: "held",
    int(Kind.ACKNOWLEDGED): "acknowledged",
    int(Kind.REJECTED): "rejected",
    int(Kind.DEAD_LETTERED): "rejected",
}


def spans(
    deliveries: Sequence[Delivery], task_ids: Sequence[str], workers: Sequence[str], now: float
) -> list[Span]:
    """Every attempt at a task, in the order they were started; one under way ends ``now``."""
    found = []
    unknown: defaultdict[int, list[Span]] = defaultdict(
        list
    )  # by worker: who knows how many it does at a time
    for one in deliveries:
        begun, ended = one.begun, one.ended
        if one.mode.startswith(FOREIGN):
            how, begun = _HOW.get(one.end, "back"), one.delivered if begun is None else begun
        elif one.end == Kind.HANDED_OVER:
            how, begun, ended = "handed over", one.delivered, one.delivered
        elif begun is not None:
            how = one.how
        else:
            continue
        ended = max(now, begun) if ended is None else ended
        span = Span(task_ids[one.task], workers[one.worker], one.delivered, begun, ended, how, one.again)
        found.append(span)
        if one.mode.startswith(FOREIGN):
            span.lane = one.lane
            if at_once(one.mode) is None:
                unknown[one.worker].append(span)
    for held in unknown.values():
        if _side_by_side(held) > 1:
            for span in held:
                span.how = "back" if span.how == "back" else "held"
    return sorted(found, key=lambda span: span.started)


def _side_by_side(spans: Sequence[Span]) -> int:
    """Give each span the lowest lane that is free, and return how many lanes that takes."""
    taken: list[tuple[float, int]] = []  # until when, which lane
    free: list[int] = []
    for span in spans:  # in the order of delivery
        while taken and taken[0][0] <= span.started:
            heapq.heappush(free, heapq.heappop(taken)[1])
        span.lane = heapq.heappop(free) if free else len(taken)
        heapq.heappush(taken, (span.ended, span.lane))
    return len(taken) + len(free)
