"""Predictions before a run, shown beside the outcome after it: widgets in a notebook, plain text in a terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from labkit.errors import UsageError
from labkit.lesson.cards import card, lines
from labkit.notebook import in_notebook, show


class Prediction:
    """What a learner expects, taken before the run and shown beside the outcome afterwards."""

    def __init__(self, question: str) -> None:
        self.question = question
        self.answer: Any = None  # None until the learner answers; may be set from code as well

    def reveal(self, outcome: Any, why: str = "") -> None:
        """Show the prediction beside the ``outcome``, and ``why`` it came so."""
        verdict, look = self._verdict(outcome)
        mine, real = self._say(self.answer), self._say(outcome)
        text = f"{self.question}\n  predicted: {mine}\n  happened:  {real}\n{verdict}"
        boxes = "".join(
            f'<div style="flex:1 1 14em"><div style="opacity:.75">{title}</div>'
            f'<div style="font-size:1.3em; font-weight:700">{html.escape(value)}</div></div>'
            for title, value in (("You predicted", mine), ("What happened", real))
        )
        inside = f'<div style="display:flex; flex-wrap:wrap; gap:.4em 2em; margin:.4em 0">{boxes}</div>'
        inside += lines(verdict) + lines(why)
        show(f"{text}\n{why}" if why else text, card(look, html.escape(self.question), inside))

    def _say(self, answer: Any) -> str:
        return "–" if answer is None else str(answer)

    def _verdict(self, outcome: Any) -> tuple[str, str]:
        if self.answer is None:
            return "You made no prediction this time.", "neutral"
        if self._agrees(outcome):
            return "✔ Just as you predicted.", "right"
        return "✘ Not what you predicted: now it is worth finding out why.", "wrong"

    def _agrees(self, outcome: Any) -> bool:
        return str(self.answer) == str(outcome)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.question!r}: {self._say(self.answer)}>"

    def _ipython_display_(self) -> None:
        """Already shown; a cell that ends with it must not show it twice."""

    # What follows needs a notebook.

    def _widgets(self) -> list:
        raise NotImplementedError

    def _ask(self) -> None:
        if in_notebook():
            try:
                import ipywidgets
                from IPython.display import display
            except ImportError:
                pass
            else:
                self._note = ipywidgets.HTML()
                title = ipywidgets.HTML(card("question", f"Predict: {html.escape(self.question)}"))
                box = ipywidgets.VBox([title, *self._widgets(), self._note])
                box.layout.overflow = "visible"
                self._tell()
                display(box)
                return
        print(self._plain())

    def _plain(self) -> str:
        return f"Predict: {self.question}"

    def _tell(self, problem: str = "") -> None:
        said = f"Your prediction: <b>{html.escape(self._say(self.answer))}</b>. Now run the next cell."
        message = problem or (said if self.answer is not None else "No prediction yet.")
        self._note.value = f'<div style="font-size:1.1em; padding:.2em 0 .5em 1em">{message}</div>'


class _Choice(Prediction):
    def __init__(self, question: str, options: Sequence[str]) -> None:
        super().__init__(question)
        self.options = options

    def _plain(self) -> str:
        return f"Predict: {self.question}\n" + "\n".join(f"  - {option}" for option in self.options)

    def _widgets(self) -> list:
        import ipywidgets

        buttons = ipywidgets.ToggleButtons(options=self.options, value=None)
        buttons.style.button_width = "auto"
        buttons.add_class("labkit-choice")

        def chosen(change: dict) -> None:
            self.answer = change["new"]
            self._tell()

        buttons.observe(chosen, "value")
        style = (
            "<style>.labkit-choice button {font-size:1.1em; height:auto; padding:.35em 1em; line-height:1.5}"
            ".labkit-choice button.mod-active {outline:.18em solid #0072B2; font-weight:700}</style>"
        )
        return [ipywidgets.HTML(style, layout={"height": "0", "margin": "0"}), buttons]


class _Number(Prediction):
    def __init__(self, question: str, within: float, unit: str) -> None:
        super().__init__(question)
        self.within, self.unit = within, unit

    def _say(self, answer: Any) -> str:
        if answer is None:
            return super()._say(answer)
        number = f"{answer:,.6g}" if isinstance(answer, float) else f"{answer:,}"
        return f"{number} {self.unit}".strip()

    def _agrees(self, outcome: Any) -> bool:
        return bool(abs(self.answer - outcome) <= self.within * abs(outcome))

    def _widgets(self) -> list:
        import ipywidgets

        entry = ipywidgets.Text(placeholder="a number")
        entry.layout.width = "10em"

        def typed(change: dict) -> None:
            text = change["new"].strip()
            thousands = re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+", text)
            try:
                number = float(text.replace(",", "" if thousands else ".")) if text else None
                self.answer = int(number) if number is not None and number == int(number) else number
                self._tell()
            except (ValueError, OverflowError):  # no number, or one without end
                self.answer = None
                self._tell(f"“{html.escape(text)}” is not a number yet.")

        entry.observe(typed, "value")
        return [ipywidgets.HBox([entry, ipywidgets.Label(self.unit)])]


class _Grid(Prediction):
    """An answer for each cell of a table: ``{(row, column): option}`` for the cells that were answered."""

    def __init__(
        self, question: str, rows: Sequence[str], columns: Sequence[str], options: Sequence[str]
    ) -> None:
        super().__init__(question)
        self.rows, self.columns, self.options = rows, columns, options

    def _plain(self) -> str:
        return (
            f"Predict: {self.question}\n  {' | '.join(self.rows)}  ×  {' | '.join(self.columns)}: "
            + " or ".join(self.options)
        )

    def _say(self, answer: Any) -> str:
        if not answer:
            return super()._say(None)
        cells = ((row, column) for row in self.rows for column in self.columns)
        return "; ".join(
            f"{row}, {column}: {answer[row, column]}" for row, column in cells if (row, column) in answer
        )

    def _widgets(self) -> list:
        import ipywidgets

        def cell(row: str, column: str) -> ipywidgets.Dropdown:
            choice = ipywidgets.Dropdown(options=["?", *self.options], layout={"width": "9em"})

            def chosen(change: dict) -> None:
                answers = dict(self.answer or {})
                answers.pop((row, column), None)
                if change["new"] != "?":
                    answers[row, column] = change["new"]
                self.answer = answers or None
                total = len(self.rows) * len(self.columns)
                self._tell(f"{len(answers)} of {total} predicted.")

            choice.observe(chosen, "value")
            return choice

        def words(text: str) -> ipywidgets.HTML:
            return ipywidgets.HTML(f'<b style="font-size:1.1em">{html.escape(text)}</b>')

        cells = [words(""), *map(words, self.columns)]
        for row in self.rows:
            cells += [words(row), *(cell(row, column) for column in self.columns)]
        columns = f"max-content repeat({len(self.columns)}, max-content)"
        return [ipywidgets.GridBox(cells, layout={"grid_template_columns": columns, "grid_gap": "4px 16px"})]

    def reveal(self, outcome: Any, why: str = "") -> None:
        """Show a table of what happened, the ``outcome`` by (row, column), with what was predicted in each cell."""
        mine = self.answer or {}
        right = sum(mine.get(key) == value for key, value in outcome.items())
        head = "".join(
            f'<th style="text-align:left; padding:.2em .8em">{html.escape(c)}</th>' for c in self.columns
        )
        body, text = "", [self.question]
        cell = 'style="text-align:left; padding:.2em .8em"'
        for row in self.rows:
            body += f"<tr><th {cell}>{html.escape(row)}</th>"
            for column in self.columns:
                real, guess = outcome.get((row, column), "–"), mine.get((row, column))
                mark = "" if guess is None else ("✔ " if guess == real else "✘ ")
                said = "" if guess is None else f"<br><small>you: {html.escape(guess)}</small>"
                body += f"<td {cell}>{mark}<b>{html.escape(str(real))}</b>{said}</td>"
                text.append(f"  {row}, {column}: {mark}{real}" + (f" (you: {guess})" if guess else ""))
            body += "</tr>"
        verdict = (
            f"{right} of {len(outcome)} as you predicted." if mine else "You made no prediction this time."
        )
        look = "neutral" if not mine else ("right" if right == len(outcome) else "wrong")
        table = f'<table style="font-size:1em; margin:.4em 0"><tr><th></th>{head}</tr>{body}</table>'
        markup = card(look, html.escape(self.question), table + lines(verdict) + lines(why))
        show("\n".join([*text, verdict, *([why] if why else [])]), markup)


def predict(
    question: str,
    *,
    options: Sequence[str] | None = None,
    number: bool = False,
    grid: tuple[Sequence[str], Sequence[str]] | None = None,
    within: float = 0.1,
    unit: str = "",
) -> Prediction:
    """Ask for a prediction, at once; nothing waits for the answer.

    One of: ``options`` to choose from; ``number=True`` (right ``within`` this share of the outcome, named
    with its ``unit``); ``grid=(rows, columns)`` with one of ``options`` (default kept, lost) for each cell.
    The answer is in ``.answer``, None when there is none.
    """
    if grid is not None:
        rows, columns = grid
        prediction: Prediction = _Grid(question, list(rows), list(columns), list(options or ("kept", "lost")))
    elif number:
        prediction = _Number(question, within, unit)
    elif options:
        prediction = _Choice(question, [str(option) for option in options])
    else:
        raise UsageError("A prediction needs options=[…], number=True or grid=(rows, columns).")
    prediction._ask()
    return prediction
