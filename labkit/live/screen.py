"""Where the picture is shown: a widget in a notebook, lines in a terminal.

A notebook's widget is drawn by live.js in the browser; nothing is fetched from the network. When it ends,
a still picture takes its place in the notebook, which needs no kernel any more.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

from labkit.live.scene import WIDTH
from labkit.live.still import picture
from labkit.notebook import in_notebook

HERE = Path(__file__).parent
_widget_class = None


def widget():
    """A widget that draws the scene ``draw(widget, scene)`` gives it; anywidget is imported when first needed."""
    global _widget_class
    if _widget_class is None:
        import anywidget
        import traitlets

        class LiveView(anywidget.AnyWidget):
            """The front end is live.js; it gets whole scenes, so a page that is loaded again is right at once."""

            _esm = (HERE / "live.js").read_text(encoding="utf-8")
            _css = (HERE / "live.css").read_text(encoding="utf-8")
            # As text: ipywidgets and ipykernel would walk through every item of anything else, for each frame.
            scene = traitlets.Unicode().tag(sync=True)
            width = traitlets.Int(WIDTH).tag(sync=True)

        _widget_class = LiveView
    return _widget_class()


def draw(widget, scene: dict) -> None:
    """Hand the scene to the browser; from any thread, also while a cell runs."""
    widget.scene = json.dumps(scene, ensure_ascii=False, separators=(",", ":"))


class Notebook:
    """The widget in the output of a cell, and the still picture afterwards."""

    def __init__(self, extra: tuple = ()) -> None:
        from IPython.display import display

        self.widget = widget()
        shown = self.widget
        if extra:
            import ipywidgets

            shown = ipywidgets.VBox([self.widget, *extra])
        self._place = display(shown, display_id=True)

    def draw(self, scene: dict, text) -> None:
        draw(self.widget, scene)

    def end(self, scene: dict, text) -> None:
        """Put a still picture where the widget was."""
        clock = f"{scene['now']:.1f} s"
        bundle = {"text/html": picture(scene, clock), "text/plain": text()}
        self._place.update(bundle, raw=True)
        self.widget.close()


class Terminal:
    """Redraws the lines in place; into a pipe or a file, only the last picture."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._lines = 0

    def draw(self, scene: dict, text) -> None:
        if self._live:
            self._print(text())

    def _print(self, text: str) -> None:
        up = f"\x1b[{self._lines}F" if self._lines else ""
        lines = text.split("\n")
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone
            sys.stdout.write(up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
            sys.stdout.flush()
        self._lines = len(lines)

    def end(self, scene: dict, text) -> None:
        self._print(text()) if self._live else print(text())


class Embedded:
    """A widget that is part of something else, which shows it."""

    def __init__(self, widget) -> None:
        self.widget = widget

    def draw(self, scene: dict, text) -> None:
        draw(self.widget, scene)

    end = draw


def here():
    """The screen that fits where this runs."""
    if in_notebook():
        with contextlib.suppress(ImportError):
            return Notebook()
    return Terminal()
