"""The single controls: each with its name, and with what is wrong with it beside it."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets

from labkit.clients.consumer import ACKS
from labkit.compare.strategy import TYPES, Strategy
from labkit.errors import UsageError

ORDERS = {"workers first": False, "tasks first": True}


class Field:
    """A control with its name before it and, when it is wrong, a sentence under it."""

    def __init__(self, name: str, control: ipywidgets.Widget, unit: str = "") -> None:
        self.control = control
        if name:
            control.description, control.style.description_width = name, "initial"
            control.layout.width = f"calc({len(name)}ch + {control.layout.width})"
        self._problem = ipywidgets.HTML()
        self._problem.add_class("lkp-problem")
        row = ipywidgets.HBox([control, *([ipywidgets.Label(unit)] if unit else [])])
        self.widget = ipywidgets.VBox([row, self._problem])
        self.widget.add_class("lkp-field")

    def say(self, problem: str) -> None:
        """Show what is wrong with it; nothing if it is right."""
        text = f'<span role="alert">✕ {html.escape(problem)}</span>' if problem else ""
        if self._problem.value != text:
            self._problem.value = text
            (self.widget.add_class if problem else self.widget.remove_class)("lkp-wrong")


def entry(value: object, width: str = "4.6em", **more: object) -> ipywidgets.Text:
    """A field to type in; what is typed counts at once."""
    return ipywidgets.Text(value=str(value), continuous_update=True, layout={"width": width}, **more)


def choice(options, value, width: str, name: str = "") -> ipywidgets.Dropdown:
    """A list to choose from; its name is for those who do not see where it stands."""
    made = ipywidgets.Dropdown(options=options, value=value, layout={"width": width}, description=name)
    made.add_class("lkp-named")
    return made


class StrategyRow:
    """One of the four lines of strategies."""

    def __init__(self, number: int, strategy: Strategy | None) -> None:
        self.used = ipywidgets.Checkbox(
            value=strategy is not None,
            description=str(number),
            indent=False,
            tooltip=f"use strategy {number}",
            layout={"width": "36px"},
        )
        self.prefetch = entry(
            "", "68px", placeholder="no limit", description=f"prefetch of strategy {number}"
        )
        self.prefetch.add_class("lkp-named")
        self.ack = choice(ACKS, "manual", "90px", f"acknowledgement of strategy {number}")
        self.order = choice(ORDERS, False, "104px", f"who is first in strategy {number}")
        self.type = choice(TYPES, "classic", "74px", f"type of queue of strategy {number}")
        self.controls = (self.used, self.prefetch, self.ack, self.order, self.type)
        self._problem = ipywidgets.HTML()
        self._problem.add_class("lkp-problem")
        row = ipywidgets.HBox(self.controls)
        row.add_class("lkp-strategy")
        self.widget = ipywidgets.VBox([row, self._problem])
        self._more: dict = {}
        if strategy is not None:
            self.put(strategy)

    def put(self, strategy: Strategy | None) -> None:
        """Show this strategy, or none."""
        self.used.value = strategy is not None
        if strategy is not None:
            self.prefetch.value = "" if strategy.prefetch is None else str(strategy.prefetch)
            self.ack.value, self.order.value = strategy.ack, strategy.publish_first
            self.type.value = strategy.queue_type
            # What has no control here is kept as it was given in code.
            self._more = {
                "priorities": strategy.priorities,
                "confirms": strategy.confirms,
                "name": strategy.name,
            }

    def read(self) -> Strategy | None:
        """The strategy; None if the line is not used, or wrong (which it then says)."""
        if not self.used.value:
            self.say("")
            return None
        typed = self.prefetch.value.strip().lower()
        prefetch: Any = None if typed in ("", "none", "no limit") else typed
        if typed.lstrip("-").isdigit():
            prefetch = int(typed)
        try:
            strategy = Strategy(
                prefetch=prefetch,
                ack=self.ack.value,
                publish_first=self.order.value,
                queue_type=self.type.value,
                **self._more,
            )
        except UsageError as error:
            self.say(f"{error.what} {error.do}")
            return None
        self.say("")
        return strategy

    def say(self, problem: str) -> None:
        """Show what is wrong with it."""
        self._problem.value = f'<span role="alert">✕ {html.escape(problem)}</span>' if problem else ""

    @property
    def wrong(self) -> bool:
        """Whether it is used and makes no sense."""
        return self.used.value and bool(self._problem.value)
