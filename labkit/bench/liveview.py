"""What the live view costs, and how many frames a second it draws."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from labkit import tasks
from labkit.bench.rounds import Figure, Ratio, Took, alternate, clock
from labkit.bench.throughput import wait_until
from labkit.brokers import Broker
from labkit.lab import Lab
from labkit.live.screen import Terminal
from labkit.live.watch import FPS, Watch

Say = Callable[[str], object]
GOAL = 0.98  # of the throughput without it


class _Screen(Terminal):
    """Takes every picture, and shows it to nobody."""

    def __init__(self) -> None:
        self._live, self._lines = False, 0

    def end(self, scene: dict, text: Callable[[], str]) -> None:
        """Nothing is left standing."""


def view(
    broker: Broker, *, rounds: int, count: int = 4000, say: Say = lambda _: None
) -> list[Ratio | Figure]:
    """The same run with the live view and without it."""
    frames: list[float] = []
    shares: list[float] = []
    with Lab("bench", broker=broker, progress=False, say=lambda _: None) as lab:

        def once(seen: bool) -> Took:
            queue = lab.queue("live")
            lab.workers(4, queue, prefetch=10, loads=False)
            view = _Watching(lab) if seen else None
            wanted = len(lab.ledger) + 5 * count  # published and four events of a worker
            with clock(count) as took:
                lab.publish(queue, tasks.equal(count, 0), wait=False, confirms=False)
                wait_until(lambda: len(lab.ledger) >= wanted, "all tasks to be done")
            if view is not None:
                view.stop()
                frames.append(view.frames / took.seconds)
                shares.append(view.seconds / took.seconds)
            lab.finish()
            return took

        ratio = alternate(
            "live view on, 4 workers", lambda: once(True), lambda: once(False),
            rounds=rounds, goal=GOAL, other="live view off",
        )  # fmt: skip
    say(f"live view: {ratio.ratio:.2f}")
    # Frames are a promise with the other sign: at least so many.
    return [
        ratio,
        Figure("live view, frames a second", median(frames), "frames/s"),
        Figure("live view, processor time of drawing", 100 * median(shares), "% of a core", 2),
    ]


class _Watching(Watch):
    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, screen=_Screen())
        self._fps = FPS  # as in a notebook
