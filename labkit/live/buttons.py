"""The buttons under a replay."""

from __future__ import annotations

from typing import Any, Protocol

import ipywidgets

SPEEDS = (0.5, 1.0, 2.0, 5.0, 10.0)  # times as fast as it was


class Player(Protocol):
    """What the buttons ask of a replay; times in seconds since its run's ledger began."""

    speed: float

    @property
    def began(self) -> float: ...

    @property
    def length(self) -> float: ...

    @property
    def playing(self) -> bool: ...

    @property
    def position(self) -> float: ...

    def play(self) -> object: ...

    def pause(self) -> object: ...

    def step(self) -> object: ...

    def go_to(self, position: float, /) -> object: ...


class Controls:
    """Play or pause, step, how fast, and where in the run."""

    def __init__(self, replay: Player) -> None:
        self._replay = replay
        self._moving = False  # the slider is being moved by the replay, not by the learner
        speeds = sorted({*SPEEDS, replay.speed})
        self._play = ipywidgets.Button(description="❚❚ Pause", layout={"width": "7em"})
        self._step = ipywidgets.Button(
            description="❙▶ Step", tooltip="to the next event", layout={"width": "7em"}
        )
        self._speed = ipywidgets.Dropdown(
            options=[(f"{speed:g} ×", speed) for speed in speeds], value=replay.speed, layout={"width": "6em"}
        )
        self._where = ipywidgets.FloatSlider(
            min=replay.began,
            max=replay.length,
            step=0.01,
            readout_format=".1f",
            description="seconds",
            continuous_update=True,
            layout={"flex": "1 1 20em"},
        )
        self._play.on_click(lambda _: replay.pause() if replay.playing else replay.play())
        self._step.on_click(lambda _: replay.step())
        self._speed.observe(lambda change: setattr(replay, "speed", change["new"]), "value")
        self._where.observe(self._moved, "value")
        row = ipywidgets.HBox([self._play, self._step, self._speed, self._where])
        row.layout.max_width = "1180px"
        row.layout.flex_flow = "row wrap"
        self.widgets = (row,)

    def _moved(self, change: dict[str, Any]) -> None:
        if not self._moving:
            self._replay.go_to(change["new"])

    def show(self) -> None:
        """Take over where the replay is."""
        playing = self._replay.playing
        self._play.description = "❚❚ Pause" if playing else "▶ Play"
        self._moving = True
        try:
            self._where.value = round(self._replay.position, 2)
        finally:
            self._moving = False
