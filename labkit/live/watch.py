"""Follows a bench and draws: one thread looks at the ledger a dozen times a second, and nobody waits for it."""

from __future__ import annotations

import threading
import time

from labkit.errors import UsageError
from labkit.lab import Lab
from labkit.ledger import Ledger, Seat
from labkit.live import captions as words
from labkit.live import scene as scenes
from labkit.live import screen as screens
from labkit.live.moment import State
from labkit.loads import Sample

FPS = 12  # looks a second; 10 are promised, and each costs about a thousandth of a second
TERMINAL_FPS = 6
ALIVE = 1.0  # seconds: at least so often a scene is sent while a run goes on, so that the clock goes on


class Watch:
    """The picture of what goes on at ``lab``. Made by ``watch``."""

    def __init__(
        self, lab: Lab, *, title: str = "", fps: float = FPS, screen=None, follow: bool = False
    ) -> None:
        if not isinstance(lab, Lab):
            raise UsageError(f"{lab!r} is no bench.", do="Give live.watch the lab, for example Lab('01').")
        if not 0 < fps <= 60:
            raise UsageError(f"fps is {fps!r}.", do="Use 1 to 60 pictures a second.")
        self.title = title
        self.frames = 0  # scenes that were drawn
        self.seconds = 0.0  # of processor time that drawing took
        self.problem: Exception | None = None  # why it stopped drawing, if it did
        self._lab, self._fps, self._follow = lab, fps, follow
        self._screen = screen or screens.here()
        if isinstance(self._screen, screens.Terminal):
            self._fps = min(fps, TERMINAL_FPS)
        self._bar, lab.progress = lab.progress, False  # the picture is the progress
        self._begin(lab.ledger)
        self._draw()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)
        self._thread.start()

    def _begin(self, ledger: Ledger) -> None:
        self._ledger, self._state = ledger, State(ledger)
        self._layout = scenes.Layout(self._state)
        self._progress: dict[str, list[float]] = {}  # worker -> when its task started, work done, last look
        self._drawn = 0.0
        self._samples: list[Sample] = []  # what the broker counted: this list goes on to grow
        self._ended: float | None = None  # when the experiment was over

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            due = time.monotonic()
            while not self._stopping.wait(max(0.0, due - time.monotonic())):
                due = max(due + 1 / self._fps, time.monotonic())
                before = time.thread_time()
                self._look()
                self.seconds += time.thread_time() - before
        except Exception as error:  # a picture must never be the end of a run
            self.problem = error
        finally:
            self._end()

    def _look(self) -> None:
        ledger = self._lab.ledger
        if ledger is not self._ledger and (self._state.seen or len(ledger)):
            if self._ended is None:
                self._ended = self._last_event()
                self._draw()  # the last of it
                if not self._follow and self._state.seen:
                    self._stopping.set()
                    return
            if not len(ledger):
                return  # a still until the next experiment begins
            self._begin(ledger)
        if (samples := self._lab.samples) and self._lab.ledger is self._ledger:
            self._samples = samples
        counted = bool(self._samples) and self._samples[-1] is not self._sample
        if self._state.read() or counted or time.monotonic() - self._drawn > ALIVE:
            self._draw()

    def _draw(self) -> None:
        self._state.read()
        self._sample = self._samples[-1] if self._samples else None
        self._active = {worker.name: worker for worker in self._lab.active}
        self._dot = self._lab.seconds_per_dot
        now = self._ended if self._ended is not None else self._ledger.now()
        self._now = now
        over = self._ended is not None or not self._state.seen
        scene = self._layout.scene(now=now, pace=self._pace, title=self._title(), sample=self._sample)
        scene |= {"now": round(now if self._state.seen else 0, 2), "rate": 0 if over else 1}
        self._scene, self._drawn = scene, time.monotonic()
        self._screen.draw(scene, self.text)
        self.frames += 1

    def _last_event(self) -> float:
        times = self._ledger.columns(max(0, len(self._ledger) - 1))[0]
        return times[0] if times else 0.0

    def _title(self) -> str:
        if self._ended is None:  # a title that is set later is the next experiment's
            lesson = f"Lesson {self._lab.lesson}" if self._lab.lesson[:1].isdigit() else ""
            self._named = self.title or lesson
        return self._named

    def _pace(self, seat: Seat) -> tuple[float, float]:
        """How far the worker is, from the time it took and the speeds it had."""
        worker = self._active.get(seat.name)
        speed = worker.speed if worker is not None and not seat.paused else 0.0
        known = self._progress.get(seat.name)
        if seat.current is None or (since := seat.current.begun) is None:
            return 0.0, 0.0
        if known is None or known[0] != since:
            known = self._progress[seat.name] = [since, 0.0, since]
        known[1] += (self._now - known[2]) * speed
        known[2] = self._now
        dots = self._state.cost(seat.current.task)
        seconds = (dots or 0) * (worker.seconds_per_dot if worker is not None else self._dot)
        return (min(1.0, known[1] / seconds), speed / seconds) if seconds else (0.0, 0.0)

    def _end(self) -> None:
        self._lab.progress = self._bar
        if self._ended is None:
            self._ended = self._last_event()
        try:
            if self.problem is None:
                self._draw()
            self._screen.end(self._scene, self.text)
        except Exception as error:
            self.problem = error

    # --- what others may call ----------------------------------------------------------------

    @property
    def scene(self) -> dict:
        """What was drawn last, as plain data."""
        return self._scene

    def text(self) -> str:
        """What is drawn, as lines of text."""
        return words.text(self._state, self._pace, self._title())

    def stop(self, timeout: float = 10) -> None:
        """Draw the last picture and leave it standing; harmless when repeated."""
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def __enter__(self) -> Watch:
        self._follow = True  # one experiment after the other, until the block ends
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ipython_display_(self) -> None:
        """Already shown; a cell that ends with it must not show it twice."""


def watch(lab: Lab, *, title: str = "", fps: float = FPS) -> Watch:
    """Show what goes on at the bench, live, from now on; returns at once.

    ``title`` is written above; ``fps`` is how often a second it looks. The picture ends with the experiment,
    or with ``stop()``, and its last frame stays. As a context manager it goes on through every experiment of
    the block::

        with live.watch(lab):
            run = lab.run(tasks.equal(20), queue)

    UsageError for something that is no bench.
    """
    return Watch(lab, title=title, fps=fps)
