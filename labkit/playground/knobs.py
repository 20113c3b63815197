"""The controls on the left: what is chosen there, as ``Settings``, with what is wrong beside each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from labkit.playground.fields import Field, StrategyRow, choice, entry
from labkit.playground.happening import Happening
from labkit.playground.settings import MOST_STRATEGIES, MOST_WORKERS, Settings
from labkit.tasks.workloads import SECONDS, WORKLOADS

MISHAPS: dict[str, tuple[str, str | None] | None] = {
    "nothing": None,
    "worker-1 crashes": ("crash", "worker-1"),
    "worker-1 is paused": ("pause", "worker-1"),
    "worker-1 slows down": ("slow down", "worker-1"),
    "the broker restarts": ("restart broker", None),
    "the broker is killed": ("kill broker", None),
}
NAMES = {"seconds_per_dot": "1 dot is", "every": "one every", "speeds": "speeds", "count": "how many"}


class Controls:
    """All of them; ``settings`` is what is chosen, None while something is wrong."""

    def __init__(self, settings: Settings, changed: Callable[[], object]) -> None:
        self.settings: Settings | None = settings
        self._changed: Callable[[], object] = lambda: None
        self._quiet = True
        self.workload = choice(list(WORKLOADS), settings.workload, "9em")
        self.options: dict[str, Field] = {}
        self._options = ipywidgets.HBox()
        self._options.add_class("lkp-options")
        self.dot = Field("1 dot is", entry("0.1", "4em"), "s")
        self.count = ipywidgets.BoundedIntText(min=1, max=MOST_WORKERS, value=1, layout={"width": "4em"})
        self.workers = Field("workers", self.count)
        self.speeds = Field("speeds", entry("1", "11em"))
        self.rows = [StrategyRow(number, None) for number in range(1, MOST_STRATEGIES + 1)]
        self.mishap = choice(list(MISHAPS), "nothing", "11em")
        self.after = Field("meanwhile", self.mishap)
        self.seconds = entry("1", "3em")
        after = Field("after", self.seconds, "s").widget
        self.after.widget.children[0].children += after.children[0].children
        self._strategies = Field("", ipywidgets.HTML())
        self.put(settings)
        for control in (
            self.workload,
            self.dot.control,
            self.count,
            self.speeds.control,
            self.mishap,
            self.seconds,
            *(control for row in self.rows for control in row.controls),
        ):
            control.observe(self._touched, "value")
        heads = "<span></span><span>prefetch</span><span>acks</span><span>first</span><span>queue</span>"
        self.widget = ipywidgets.VBox(
            [
                _head("Tasks <small>(their cost in dots)</small>"),
                ipywidgets.HBox([Field("workload", self.workload).widget, self.dot.widget]),
                self._options,
                _head("Workers"),
                ipywidgets.HBox([self.workers.widget, self.speeds.widget]),
                _head("Strategies", f'<div class="lkp-heads">{heads}</div>'),
                *(row.widget for row in self.rows),
                self._strategies.widget,
                self.after.widget,
            ]
        )
        self._quiet = False
        self.read()
        self._changed = changed

    def put(self, settings: Settings) -> None:
        """Show these settings."""
        quiet, self._quiet = self._quiet, True
        self.workload.value = settings.workload
        self._make_options(settings.options)
        self.dot.control.value = f"{settings.seconds_per_dot:g}"
        self.count.value = len(settings.speeds)
        self.speeds.control.value = ", ".join(f"{speed:g}" for speed in settings.speeds)
        for row, strategy in zip(self.rows, [*settings.strategies, *[None] * MOST_STRATEGIES], strict=False):
            row.put(strategy)
        first = settings.happenings[0] if settings.happenings else None
        known = {what: name for name, what in MISHAPS.items()}
        self.mishap.value = known.get((first.what, first.worker), "nothing") if first else "nothing"
        self.seconds.value = f"{first.after:g}" if first else self.seconds.value
        self._quiet = quiet
        if not quiet:
            self.read()

    def _make_options(self, options) -> None:
        self.options = {}
        for name, value in options.items():
            made = Field(NAMES.get(name, name), entry(f"{value:g}", "3.6em"), "s" if name in SECONDS else "")
            made.control.observe(self._touched, "value")
            self.options[name] = made
        self._options.children = tuple(one.widget for one in self.options.values())

    def _touched(self, change: dict) -> None:
        if self._quiet:
            return
        self._quiet = True
        try:
            if change["owner"] is self.workload:
                self._make_options(WORKLOADS[self.workload.value].example)
            elif change["owner"] is self.count:
                typed = [part for part in self.speeds.control.value.replace(",", " ").split() if part]
                self.speeds.control.value = ", ".join([*typed, *["1"] * self.count.value][: self.count.value])
            elif change["owner"] is self.speeds.control:
                number = len(self.speeds.control.value.replace(",", " ").split())
                if 1 <= number <= MOST_WORKERS:
                    self.count.value = number
        finally:
            self._quiet = False
        self.read()

    def read(self) -> Settings | None:
        """Take over what is chosen and say beside each control what is wrong with it."""
        strategies = [row.read() for row in self.rows]
        what = MISHAPS[self.mishap.value]
        after = _number(self.seconds.value)
        settings = Settings(
            workload=self.workload.value,
            options={name: _number(one.control.value) for name, one in self.options.items()},
            speeds=tuple(map(_number, self.speeds.control.value.replace(",", " ").split())),
            strategies=tuple(one for one in strategies if one is not None),
            seconds_per_dot=_number(self.dot.control.value),
            happenings=(Happening(what[0], what[1], after),) if what else (),
        )
        problems = settings.problems()
        for name, one in self.options.items():
            one.say(problems.get(name, ""))
        self.dot.say(problems.get("seconds_per_dot", ""))
        self.speeds.say(problems.get("speeds", ""))
        self.after.say(problems.get("happenings", ""))
        wrong = any(row.wrong for row in self.rows)
        self._strategies.say("" if wrong else problems.get("strategies", ""))
        self.settings = None if problems or wrong else settings
        self._changed()
        return self.settings

    def freeze(self, frozen: bool) -> None:
        """While a comparison runs, its settings stay as they are."""
        for control in (
            self.workload,
            self.dot.control,
            self.count,
            self.speeds.control,
            self.mishap,
            self.seconds,
            *(control for row in self.rows for control in row.controls),
            *(one.control for one in self.options.values()),
        ):
            if control.disabled != frozen:
                control.disabled = frozen


def _head(text: str, more: str = "") -> ipywidgets.HTML:
    return ipywidgets.HTML(f"<h3>{text}</h3>{more}")


def _number(text: str) -> Any:
    """The number that was typed, or what was typed: it is then refused by name."""
    text = text.strip()
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
