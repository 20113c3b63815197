"""The playground's page: controls on the left; on the right the live view, and under it what came of it."""

from __future__ import annotations

import html
import threading
from pathlib import Path

import ipywidgets

from labkit import charts
from labkit.errors import LabError
from labkit.ledger import Ledger
from labkit.live import Replay, screen
from labkit.live.buttons import Controls as ReplayControls
from labkit.live.moment import State
from labkit.live.scene import Layout
from labkit.playground.knobs import Controls, choice
from labkit.playground.playground import Playground

STYLE = Path(__file__).with_name("panel.css")
PAUSE, GO_ON = "❚❚ Pause", "▶ Go on"
RESULTS = ("Timeline", "Loads", "Comparison", "Table", "Code")


class Panel:
    """The controls of a playground, in a notebook or on a page of their own."""

    def __init__(self, playground: Playground) -> None:
        self.playground = playground
        self._view = screen.widget()
        playground.screen = screen.Embedded(self._view)
        empty = Layout(State(Ledger())).scene(
            now=0.0, pace=lambda _: (0.0, 0.0), title="Choose, and press Run"
        )
        screen.draw(self._view, empty | {"now": 0, "rate": 0})
        self._replay: Replay | None = None
        self._drawing = 0  # which set of results is to be drawn
        self._drawn: object = None  # the results that were
        self._lock = threading.RLock()
        self._make()
        playground.on_change = self.update
        self.update()

    # --- what is on the page -----------------------------------------------------------------

    def _make(self) -> None:
        self.run = _button("▶ Run", self._run, "success")
        self.stop = _button("■ Stop", self._stop, "danger")
        self.message = ipywidgets.HTML()
        self.message.add_class("lkp-message")
        self.worker = choice(self.playground.workers, self.playground.workers[0], "7.4em", "which worker")
        self.acts = {
            "crash": _button("✕ Crash", lambda _: self._act("crash", self.worker.value)),
            "pause": _button(PAUSE, self._pause),
            "slow down": _button("½ Slower", lambda _: self._act("slow down", self.worker.value)),
            "restart broker": _button("↻ Restart broker", lambda _: self._act("restart broker")),
            "kill broker": _button("✕ Kill broker", lambda _: self._act("kill broker")),
        }
        self.save = _button("Save", self._save)
        self.saved = choice([], None, "11em", "what was saved")
        self.load = _button("Load", self._load)
        self.which = choice([], None, "13em", "which run")
        self.play = _button("▶ Play back", self._play_back)
        self.controls = Controls(self.playground.settings, self.update)
        left = ipywidgets.VBox(
            [
                self.controls.widget,
                ipywidgets.HBox([self.run, self.stop]),
                self.message,
                ipywidgets.HTML("<h3>While it runs</h3>"),
                ipywidgets.HBox([self.worker, *list(self.acts.values())[:3]]),
                ipywidgets.HBox(list(self.acts.values())[3:]),
                ipywidgets.HTML("<h3>Afterwards</h3>"),
                ipywidgets.HBox([self.which, self.play]),
                ipywidgets.HBox([self.save, self.saved, self.load]),
            ]
        )
        left.add_class("lkp-left")
        self._under = ipywidgets.VBox()  # the buttons of a replay
        view = ipywidgets.VBox([self._view, self._under])
        view.add_class("lkp-view")
        self.worker.observe(lambda _: self.update(), "value")
        later = "<p>The charts come when the comparison is done.</p>"
        self.pages = {name: ipywidgets.HTML(later) for name in RESULTS}
        self.results = ipywidgets.Tab(list(self.pages.values()), titles=RESULTS)
        self.results.add_class("lkp-results")
        right = ipywidgets.VBox([view, self.results])
        right.add_class("lkp-right")
        style = ipywidgets.HTML(
            f"<style>{STYLE.read_text(encoding='utf-8')}</style>", layout={"display": "none"}
        )
        self.widget = ipywidgets.HBox([style, left, right])
        self.widget.add_class("lkp")
        self._list_saved()

    def show(self) -> Playground:
        """Show it here; returns the playground."""
        from IPython.display import display

        display(self.widget)
        return self.playground

    # --- what the buttons do -----------------------------------------------------------------

    def _tried(self, action) -> None:
        """What a button does, or why not."""
        try:
            action()
        except LabError as error:
            self._say(str(error), bad=True)

    def _run(self, _: object) -> None:
        self._end_replay()
        self._tried(lambda: self.playground.start(self.controls.settings))
        self.update()

    def _stop(self, _: object) -> None:
        self.stop.disabled = True
        threading.Thread(target=self.playground.stop, name="stop", daemon=True).start()

    def _act(self, what: str, worker: str | None = None) -> None:
        self._tried(lambda: self.playground.act(what, worker))

    def _pause(self, _: object) -> None:
        """Pause the worker, or let it go on."""
        self._act("resume" if self.playground.paused(self.worker.value) else "pause", self.worker.value)

    def _save(self, _: object) -> None:
        def save() -> None:
            directory = self.playground.save()
            self._list_saved(directory.name)
            self._say(f"Saved in {directory}.")

        self._tried(save)

    def _load(self, _: object) -> None:
        def load() -> None:
            self.playground.load(Path("runs") / self.saved.value)
            self.controls.put(self.playground.settings)
            self.update()
            self._play_back(None)

        if self.saved.value:
            self._tried(load)

    def _list_saved(self, chosen: str | None = None) -> None:
        there = sorted((one.name for one in Path("runs").glob("*") if one.is_dir()), reverse=True)
        self.saved.options = there
        self.saved.value = chosen if chosen in there else next(iter(there), None)

    def _play_back(self, _: object) -> None:
        def play() -> None:
            self._end_replay()
            replay = self.playground.replay(self.which.value)
            controls = ReplayControls(replay)
            replay.on_draw = controls.show
            self._replay, self._under.children = replay, controls.widgets

        self._tried(play)

    def _end_replay(self) -> None:
        replay, self._replay = self._replay, None
        self._under.children = ()
        if replay is not None:
            replay.stop()

    # --- what it shows -----------------------------------------------------------------------

    def update(self) -> None:
        """Show what is so now. From any thread."""
        with self._lock:
            playground, running = self.playground, self.playground.running
            settings = self.controls.settings
            self.controls.freeze(running)
            self.run.disabled, self.stop.disabled = running or settings is None, not running
            for button in self.acts.values():
                button.disabled = not running
            self.acts["pause"].description = GO_ON if playground.paused(self.worker.value) else PAUSE
            results = playground.results
            over = not running and results is not None
            for button in (self.save, self.play):
                button.disabled = not over
            self.load.disabled = running
            self._offer(self.worker, playground.workers)
            names = [(result.name, number) for number, result in enumerate(results or (), 1)]
            self._offer(self.which, names)
            if playground.problem is not None:
                self._say(str(playground.problem), bad=True)
            elif running or playground.message:
                self._say(playground.message)
            elif settings is not None:
                self._say(f"About {max(settings.estimate()):.0f} s a strategy.")
            program = playground if running or settings in (None, playground.settings) else settings
            code = (program or playground).code()
            self._put("Code", f"<pre><code>{html.escape(code)}</code></pre>")
            complete = results is not None and len(results) == len(playground.settings.strategies)
            if (over or complete) and results is not self._drawn:
                self._drawn, self._drawing = results, self._drawing + 1
                threading.Thread(
                    target=self._draw, args=(results, self._drawing), name="charts", daemon=True
                ).start()

    def _offer(self, control: ipywidgets.Dropdown, options: list) -> None:
        if list(control.options) != options:
            values = [one[1] if isinstance(one, tuple) else one for one in options]
            value = control.value if control.value in values else next(iter(values), None)
            control.options = options
            control.value = value

    def _draw(self, results, which: int) -> None:
        """Draw the charts, the one that is looked at first; given up when there are newer results."""
        pages = {
            "Timeline": lambda: charts.timeline(results.runs),
            "Loads": lambda: charts.loads(results.runs),
            "Comparison": lambda: charts.comparison(results),
            "Table": lambda: results,
        }
        seen = RESULTS[self.results.selected_index or 0]
        for name in sorted(pages, key=lambda name: name != seen):
            if which != self._drawing:
                return
            try:
                made = pages[name]()
                bundle = getattr(made, "_repr_mimebundle_", None)
                self._put(name, bundle()["text/html"] if bundle else made._repr_html_())
            except Exception as error:  # a chart that fails must not take the others with it
                self._put(name, f"This could not be drawn: {html.escape(str(error))}")

    def _put(self, page: str, markup: str) -> None:
        if self.pages[page].value != markup:
            self.pages[page].value = markup

    def _say(self, text: str, *, bad: bool = False) -> None:
        look = ' class="lkp-bad"' if bad else ""
        self.message.value = f'<div role="status"{look}>{html.escape(text)}</div>'


def _button(text: str, action, style: str = "") -> ipywidgets.Button:
    button = ipywidgets.Button(description=text, button_style=style)
    button.on_click(action)
    return button
