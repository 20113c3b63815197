"""The playground without its controls: everything they do, from code."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from labkit.compare import Comparison, Result, Strategy, compare, measure
from labkit.errors import CancelledError, LabError, SavedRunError, UsageError
from labkit.lab import Lab
from labkit.ledger import Kind
from labkit.live import Replay, Watch
from labkit.playground.happening import TO_THE_BROKER, Happening, act, all_of
from labkit.playground.settings import LONGEST, Settings
from labkit.results.run import Run

FILE = "settings.json"
NAME = "playground"  # of its bench
ENDING = 120.0  # seconds that ending a run may take: a broker may have to come back first


class Playground:
    """Compares strategies, and lets things go wrong meanwhile.

    ``run()`` runs what ``settings`` say and returns the comparison; ``start()`` does so in a thread of its own,
    and meanwhile ``act(…)`` and ``stop()`` may be called. ``screen`` is where the live view is drawn (default:
    here); ``broker`` is the lab's if it is omitted.
    """

    def __init__(self, settings: Settings | None = None, *, screen=None, broker=None) -> None:
        self.settings = settings or Settings()
        self.results: Comparison | None = None  # of the last run, as far as it got
        self.happened: tuple[Happening, ...] = ()  # what was done by hand in the last run
        self.message = ""  # what goes on, in a sentence
        self.problem: LabError | None = None  # why the last run ended early
        self.on_change: Callable[[], object] = lambda: None  # called from any thread
        self.screen, self._broker = screen, broker
        self._ran: Settings | None = None  # the settings of the results
        self._lab: Lab | None = None
        self._number = 0  # of the strategy that runs, from 1
        self._running = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._actions: list[threading.Thread] = []

    # --- running -----------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether a comparison is under way."""
        return self._running

    def run(self, settings: Settings | None = None) -> Comparison:
        """Run the comparison and return it. UsageError for bad settings, and every error of the lab."""
        self.start(settings)
        if self._thread is not None:
            self._thread.join()
        if self.problem is not None:
            raise self.problem
        return self.results or Comparison(())

    def start(self, settings: Settings | None = None) -> None:
        """Begin the comparison; returns at once. UsageError for bad settings, or while one is under way."""
        if self.running:
            raise UsageError("A comparison is under way.", do="Stop it first.")
        self.settings = settings or self.settings
        self.settings.check()
        if self._thread is not None:
            self._thread.join(ENDING)  # the last one is saying goodbye
        self._ran = self.settings
        self.results, self.happened, self.problem = None, (), None
        self._number, self._running = 0, True
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="playground", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        settings, results = self.settings, Comparison(())
        try:
            self._say("Getting the broker ready …")
            self._lab = Lab(
                NAME,
                broker=self._broker,
                seconds_per_dot=settings.seconds_per_dot,
                progress=False,
                say=self._say,
            )
            workload, many = settings.tasks(), len(settings.strategies)
            with (
                Watch(self._lab, screen=self.screen, follow=True) as view,
                all_of(self._lab, settings.happenings),
            ):
                for number, strategy in enumerate(settings.strategies, 1):
                    self._wait_for_the_broker()
                    if self._stopping.is_set():
                        raise CancelledError("Stopped.")
                    self._number = number
                    view.title = strategy.label + (f"  ({number} of {many})" if many > 1 else "")
                    self._say(f"Running {view.title}")
                    more = compare(self._lab, [strategy], workload, settings.speeds, timeout=2 * LONGEST)
                    self.results = results = Comparison(results.results + more.results)
            self._say(results.text)
        except CancelledError:
            self._say("Stopped.")
        except LabError as error:
            self.problem = error
            self._say(str(error))
        except Exception as error:  # a mistake of the lab's own: better told than a page that stands still
            self.problem = LabError(f"The playground failed: {error!r}.", do="Run it again.")
            self.problem.__cause__ = error
            self._say(str(self.problem))
        finally:
            try:
                self._close()
            finally:
                self._running = False
                self.on_change()

    def _wait_for_the_broker(self) -> None:
        for action in self._actions:
            action.join(ENDING)
        self._actions.clear()

    def _close(self) -> None:
        lab, self._lab = self._lab, None
        self._wait_for_the_broker()
        if lab is not None:
            lab.close()

    def stop(self, timeout: float = ENDING) -> None:
        """End the comparison; returns when nothing of it is left. What was finished stays in ``results``."""
        self._stopping.set()
        if (lab := self._lab) is not None:
            lab.cancel()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _say(self, text: str) -> None:
        self.message = text
        self.on_change()

    # --- meanwhile ---------------------------------------------------------------------------

    @property
    def workers(self) -> list[str]:
        """The workers' names, whether they are at work or not."""
        return [f"worker-{number}" for number in range(1, len(self.settings.speeds) + 1)]

    def paused(self, worker: str) -> bool:
        """Whether the worker of this name is held by ``act("pause", …)``."""
        lab = self._lab
        return lab is not None and any(one.name == worker and one.paused for one in lab.active)

    def act(self, what: str, worker: str | None = None) -> None:
        """Let something happen now: see ``happen``. What concerns the broker goes on in a thread of its own.

        UsageError when nothing runs, or the worker is not at work.
        """
        lab = self._lab
        if lab is None or not lab.active:
            raise UsageError("Nothing is running.", do="Press Run first.")
        after = self._seconds(lab)
        if what in TO_THE_BROKER:
            if any(action.is_alive() for action in self._actions):
                raise UsageError("The broker is on its way already.")
            if not lab.ledger.counts().published:
                raise UsageError("Nothing is published yet.", do="Wait until the tasks are there.")
            action = threading.Thread(target=self._to_the_broker, args=(lab, what), name=what, daemon=True)
            self._actions.append(action)
            action.start()
        else:
            act(lab, what, worker)
        self.happened += (Happening(what, worker, round(after, 1), self._number),)
        self.on_change()

    def _seconds(self, lab: Lab) -> float:
        """How long ago the first task was published."""
        now = lab.ledger.now()
        return now - next((event.time for event in lab.ledger.events({Kind.PUBLISHED})), now)

    def _to_the_broker(self, lab: Lab, what: str) -> None:
        try:
            act(lab, what)
        except LabError as error:
            self._say(str(error))

    # --- keeping -----------------------------------------------------------------------------

    def code(self) -> str:
        """A program that does what the settings say, and what was done by hand in the last run."""
        same = self._ran is None or self._ran == self.settings
        return self.settings.code(self.happened if same else ())

    def save(self, directory: str | Path | None = None) -> Path:
        """Write the runs, the table and the settings into the directory (default: a new one in ``runs``)."""
        if self.results is None:
            raise UsageError("There is nothing to save yet.", do="Run a comparison first.")
        directory = Path(directory or Path("runs") / time.strftime("%Y-%m-%d %H.%M.%S"))
        directory.mkdir(parents=True, exist_ok=True)
        for number, result in enumerate(self.results, 1):
            result.run.save(directory / f"{number}.jsonl")
        self.results.to_csv(directory / "comparison.csv")
        settings = (self._ran or self.settings).to_dict() | {"happened": [vars(one) for one in self.happened]}
        (directory / FILE).write_text(json.dumps(settings, indent=1), encoding="utf-8")
        (directory / "program.py").write_text(self.code(), encoding="utf-8")
        return directory

    def load(self, path: str | Path) -> Comparison:
        """Take over what was saved: a directory of ``save``, or a single saved run. SavedRunError otherwise."""
        if self.running:
            raise UsageError("A comparison is under way.", do="Stop it first.")
        path = Path(path)
        files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not files:
            raise SavedRunError(f"{path} has no saved runs.", do="Choose a folder that the playground saved.")
        runs = [Run.load(file) for file in files]
        settings, happened = _saved_settings(path / FILE) if path.is_dir() else (None, ())
        self.results = Comparison(tuple(_measured(run, settings) for run in runs))
        self.settings = self._ran = settings or replace(
            self.settings, strategies=tuple(Strategy(**result.settings) for result in self.results)
        )
        self.happened, self.problem = happened, None
        self._say(f"Loaded {path.name}: {self.results.text}")
        return self.results

    def replay(self, number: int = 1, *, speed: float = 1.0) -> Replay:
        """Play one of the results back where the live view was; ``number`` counts from 1."""
        if self.results is None or not 1 <= number <= len(self.results):
            raise UsageError("There is no such run to play back.", do="Run or load a comparison first.")
        return Replay(self.results[number - 1].run, speed=speed, screen=self.screen)


def _saved_settings(file: Path) -> tuple[Settings | None, tuple[Happening, ...]]:
    if not file.exists():
        return None, ()
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        return Settings.from_dict(saved), tuple(Happening(**one) for one in saved.get("happened", ()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, LabError):
            raise
        raise SavedRunError(f"{file} cannot be read: {error}.", do="Choose another folder.") from error


def _measured(run: Run, settings: Settings | None) -> Result:
    """The result of a saved run; what it does not say is taken from the settings."""
    strategy = Strategy(**run.about["strategy"]) if "strategy" in run.about else Strategy(name=run.name)
    workload = [task for task in map(run.ledger.task, run.ledger.task_ids()) if task is not None]
    speeds = settings.speeds if settings else [one["speed"] for one in run.about.get("workers", ())] or [1.0]
    pace = settings.seconds_per_dot if settings else run.about.get("seconds_per_dot", 0.0)
    return measure(run, strategy, workload, list(speeds), pace)
