"""Plays a run back, from its ledger alone: faster or slower, paused, or one event at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from labkit.errors import UsageError
from labkit.ledger import Seat
from labkit.live import captions as words
from labkit.live import scene as scenes
from labkit.live import screen as screens
from labkit.live.moment import State
from labkit.live.watch import FPS, TERMINAL_FPS
from labkit.notebook import in_notebook
from labkit.results.run import Run

SLOWEST, FASTEST = 0.5, 10.0
LEAD = 0.05  # seconds of the run that are shown after its last event


class Replay:
    """A run on the screen. Made by ``replay``; every button has a method of the same name."""

    def __init__(self, run: Run, *, speed: float = 1.0, screen=None) -> None:
        self.run = run
        self.speed = speed
        self._times = run.ledger.columns()[0]
        if not self._times:
            raise UsageError(
                "This run has no events to play.", do="Choose a run in which something happened."
            )
        self.began, self.length = self._times[0], self._times[-1] + LEAD  # seconds
        self._ends = {(span.worker, span.started): span.ended for span in run.ledger.spans()}
        self._lock = threading.RLock()
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._playing = True
        self._rewind(self.began)
        self.on_draw: Callable[[], object] = lambda: None
        self._screen = screen or self._make_screen()
        self.frames = 0
        self.problem: Exception | None = None
        self._draw()
        self._thread = threading.Thread(target=self._play, name="replay", daemon=True)
        self._thread.start()

    def _make_screen(self):
        if not in_notebook():
            return screens.Terminal()
        try:
            from labkit.live.buttons import Controls

            controls = Controls(self)
            self.on_draw = controls.show
            return screens.Notebook(controls.widgets)
        except ImportError:
            return screens.Terminal()

    def _rewind(self, to: float) -> None:
        """Put the state at this moment; going back means reading from the beginning."""
        self._state = State(self.run.ledger)
        self._layout = scenes.Layout(self._state)
        self._state.read(to)
        self._position = to

    # --- what others may call ----------------------------------------------------------------

    @property
    def position(self) -> float:
        """Where it is, in seconds since the run's ledger began."""
        return self._position

    @property
    def playing(self) -> bool:
        """Whether it moves by itself."""
        return self._playing

    @property
    def speed(self) -> float:
        """How many seconds of the run pass in a second: 0.5 to 10."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        if not isinstance(speed, (int, float)) or not SLOWEST <= speed <= FASTEST:
            raise UsageError(f"speed is {speed!r}.", do=f"Use {SLOWEST:g} to {FASTEST:g}.")
        self._speed = float(speed)

    def play(self) -> None:
        """Go on; from the end, begin again."""
        with self._lock:
            if self._position >= self.length:
                self._rewind(self.began)
            self._playing = True
        self._wake.set()

    def pause(self) -> None:
        """Hold the picture."""
        with self._lock:
            self._playing = False
        self._wake.set()
        self._draw()

    def step(self) -> None:
        """Hold, and go on to the next thing that happened."""
        with self._lock:
            self._playing = False
            if self._state.seen < len(self._times):
                self._position = max(self._position, self._times[self._state.seen])
                self._state.read(self._position)
            else:
                self._position = self.length
        self._draw()

    def go_to(self, seconds: float) -> None:
        """Show this moment of the run, in seconds since its ledger began."""
        with self._lock:
            seconds = min(max(float(seconds), self.began), self.length)
            if seconds < self._position:
                self._rewind(seconds)
            else:
                self._position = seconds
                self._state.read(seconds)
        self._draw()

    def stop(self, timeout: float = 10) -> None:
        """End it: the picture that is shown stays as a still, the buttons go. Harmless when repeated."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has played to the end, at most ``timeout`` seconds; whether it has."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._position < self.length and self._thread.is_alive():
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return self._position >= self.length

    def text(self) -> str:
        """What is shown, as lines of text."""
        return words.text(self._state, self._pace, self.run.name)

    @property
    def scene(self) -> dict:
        """What was drawn last, as plain data."""
        return self._scene

    # --- the thread --------------------------------------------------------------------------

    def _play(self) -> None:
        fps = TERMINAL_FPS if isinstance(self._screen, screens.Terminal) else FPS
        last = time.monotonic()
        try:
            while not self._stopping.is_set():
                if not self._playing:
                    self._wake.wait()
                    self._wake.clear()
                    last = time.monotonic()
                    continue
                self._stopping.wait(1 / fps)
                now = time.monotonic()
                with self._lock:
                    if self._playing:
                        self._position = min(self.length, self._position + (now - last) * self._speed)
                        self._state.read(self._position)
                        self._playing = self._position < self.length
                last = now
                self._draw()
                if not self._playing and isinstance(self._screen, screens.Terminal):
                    break
        except Exception as error:
            self.problem = error
        finally:
            self._screen.end(self._scene, self.text)

    def _draw(self) -> None:
        with self._lock:
            scene = self._layout.scene(
                now=self._position, pace=self._pace, title=self.run.name, sample=self._sample()
            )
            rate = self._speed if self._playing else 0
            self._scene = scene | {"now": round(self._position, 2), "rate": rate}
            self._screen.draw(self._scene, self.text)
            self.frames += 1
        self.on_draw()

    def _sample(self):
        latest = None
        for sample in self.run.loads.samples:
            if sample.time > self._position:
                break
            latest = sample
        return latest

    def _pace(self, seat: Seat) -> tuple[float, float]:
        """How far the worker is: here it is known when it will be done."""
        since = 0.0 if seat.current is None or seat.current.begun is None else seat.current.begun
        seconds = self._ends.get((seat.name, since), self._position) - since
        if seconds <= 0:
            return 0.0, 0.0
        rate = 0.0 if seat.paused or not self._playing else self._speed / seconds
        return min(1.0, (self._position - since) / seconds), rate

    def _ipython_display_(self) -> None:
        """Already shown; a cell that ends with it must not show it twice."""


def replay(run: Run | str | Path, *, speed: float = 1.0) -> Replay:
    """Play a run, or a saved one by its file's name, at 0.5 to 10 times its ``speed``; returns at once.

    In a notebook it has buttons: play, pause, step, how fast, and where. No broker is needed.
    SavedRunError for a file that is no run; UsageError for another speed, or a run in which nothing happened.
    """
    if not isinstance(run, Run):
        run = Run.load(run)
    return Replay(run, speed=speed)
