"""Exercises: a check, graded hints and a solution; each lesson's own are in a module beside this one.

Nothing that a learner writes makes a traceback here: an answer is right, wrong or not attempted. An
exercise has the name of its answer in the notebook, ``lesson_01.deal.check(deal)``, and its solution
defines that name.
"""

from __future__ import annotations

import ctypes
import dis
import html
import linecache
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel

from labkit.errors import LabError
from labkit.lesson import card, lines
from labkit.notebook import show
from labkit.words import brief

ANSWER_TIMEOUT = 5.0  # seconds that a learner's function may take


class Mark(Enum):
    RIGHT = "right"
    WRONG = "wrong"
    NOT_ATTEMPTED = "not attempted"


class Wrong(Exception):
    """Raised by a check: the sentence says what is wrong, without giving the answer away."""


class NotAttempted(Exception):
    """Raised by a check: the answer is still the empty stub."""


@dataclass(frozen=True)
class Graded:
    """What became of an answer; it was shown already."""

    mark: Mark
    message: str

    def _ipython_display_(self) -> None:
        """Already shown."""


class Exercise:
    """A question with a check, graded hints and a solution.

    ``checker(answer)`` returns a sentence for a right answer and raises Wrong or NotAttempted otherwise.
    """

    def __init__(
        self,
        title: str,
        checker: Callable[[Any], str | None],
        *,
        hints: Iterable[str],
        solution: str,
        why: str = "",
    ) -> None:
        self.title = title
        self._checker = checker
        self.hints = tuple(hints)
        self.solution_code = solution
        self.why = why

    def check(self, answer: object = None) -> Graded:
        """Say whether the answer is right, wrong (and why) or not attempted.

        Errors of the lab itself, such as BrokerDownError, pass through.
        """
        try:
            if _is_stub(answer):
                raise NotAttempted
            message = self._checker(answer) or ""
            result = Graded(Mark.RIGHT, message)
        except NotAttempted:
            said = "Fill in your answer and run the cell again; .hint(1) helps."
            result = Graded(Mark.NOT_ATTEMPTED, said)
        except Wrong as wrong:
            result = Graded(Mark.WRONG, str(wrong))
        except LabError:
            raise
        except Exception as error:  # an answer of a shape that the check did not think of
            said = f"The check can make nothing of {brief(answer)} ({type(error).__name__}: {error})."
            result = Graded(Mark.WRONG, said)
        look, word = {
            Mark.RIGHT: ("right", "✔ Right"),
            Mark.WRONG: ("wrong", "✘ Not yet"),
            Mark.NOT_ATTEMPTED: ("neutral", "○ Not attempted"),
        }[result.mark]
        text = f"{word} – {self.title}"
        show(f"{text}\n{result.message}", card(look, html.escape(text), lines(result.message)))
        return result

    def hint(self, number: int = 1) -> None:
        """Show hint 1, 2, … folded: each says more than the one before it."""
        if not isinstance(number, int) or not 1 <= number <= len(self.hints):
            have = f"There are {len(self.hints)} hints here: .hint(1) to .hint({len(self.hints)})."
            show(have, card("hint", have))
            return
        last = number == len(self.hints)
        after = "\nThe next step is .solution()." if last else f"\nThere is more in .hint({number + 1})."
        hint = self.hints[number - 1]
        title = f"Hint {number} of {len(self.hints)} – {self.title}"
        show(f"{title}\n{hint}{after}", _folded("hint", title, lines(hint + after)))

    def solution(self) -> None:
        """Show a solution, folded, and why it is one."""
        title = f"Solution – {self.title}"
        inside = _code(self.solution_code) + lines(self.why)
        show(f"{title}\n\n{self.solution_code}\n\n{self.why}".rstrip(), _folded("neutral", title, inside))

    def __repr__(self) -> str:
        return f"<Exercise {self.title!r}: .check(answer), .hint(1…{len(self.hints)}), .solution()>"


def _folded(look: str, title: str, inside: str) -> str:
    summary = f'<summary style="cursor:pointer; font-weight:700">{html.escape(title)}</summary>'
    return card(look, "", f"<details>{summary}<div style='margin-top:.4em'>{inside}</div></details>")


def _is_stub(answer: Any) -> bool:
    """Whether nothing was filled in: ``...``, None, a list of nothing else, a function without a body."""
    if answer is None or answer is ... or answer == "":
        return True
    if isinstance(answer, Mapping):
        return _is_stub(list(answer.values()))
    if isinstance(answer, list | tuple | set):
        return all(item is None or item is ... for item in answer)
    if not hasattr(answer, "__code__"):
        return False
    steps = [step for step in dis.get_instructions(answer) if step.opname not in ("RESUME", "NOP")]
    return len(steps) <= 2 and steps[-1].opname.startswith("RETURN") and steps[0].argval in (None, ...)


def _code(text: str) -> str:
    return (
        '<pre style="font-size:.95em; line-height:1.4; margin:.5em 0; padding:.2em 0; background:transparent;'
        f' color:inherit; white-space:pre-wrap">{html.escape(text)}</pre>'
    )


# ---------------------------------------------------------------- calling what a learner wrote


class _TooLong(BaseException):
    """Thrown into a learner's function that does not end; no ``except Exception`` of theirs catches it."""


def attempt(function: Callable, *arguments: object, timeout: float = ANSWER_TIMEOUT) -> object:
    """Call a learner's function and return its result.

    Raises Wrong when it is no function, raises, or takes longer than ``timeout`` seconds, and NotAttempted
    when it returns ``...``.
    """
    if not callable(function):
        raise Wrong(f"The answer should be a function, and this is {brief(function)}. Leave the () out.")
    value: Any = None
    error: BaseException | None = None

    def call() -> None:
        nonlocal value, error
        try:
            value = function(*arguments)
        except _TooLong:
            pass
        except BaseException as raised:
            error = raised

    thread = threading.Thread(target=call, name="learner's function", daemon=True)
    thread.start()
    thread.join(timeout)
    name = getattr(function, "__name__", "your function")
    if thread.is_alive():
        _interrupt(thread)
        raise Wrong(f"{name}(…) had not returned after {timeout:g} seconds. Does it wait or loop for ever?")
    if isinstance(error, Wrong | NotAttempted):
        raise error
    if error is not None:
        raise Wrong(f"{name}(…) raised {type(error).__name__}: {error}{_where(function, error)}") from error
    if value is ...:
        raise NotAttempted
    return value


def own_queue(channel: BlockingChannel) -> str:
    """The name of a fresh classic queue that goes with the channel's connection."""
    declared = channel.queue_declare("", exclusive=True, arguments={"x-queue-type": "classic"})
    return declared.method.queue


def _interrupt(thread: threading.Thread, tries: int = 3) -> None:
    """End a thread that runs Python code for ever; one that sleeps for ever is left behind, harmless."""
    for _ in range(tries):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TooLong)
        )
        thread.join(0.2)
        if not thread.is_alive():
            return


def _where(function: Callable, error: BaseException) -> str:
    """The learner's own line in which it happened."""
    filename = getattr(getattr(function, "__code__", None), "co_filename", None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == filename:
            line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
            return f"\nin its line: {line}" if line else ""
    return ""
