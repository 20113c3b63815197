"""Predictions: taken before, shown beside the outcome, in a notebook and in a terminal."""

import subprocess
import sys

import pytest

from labkit import lesson
from labkit.errors import UsageError


def shown(prediction, outcome, capsys, why=""):
    capsys.readouterr()
    prediction.reveal(outcome, why)
    return capsys.readouterr().out


def test_a_prediction_asks_at_once_and_waits_for_nothing(capsys):
    prediction = lesson.predict("Who gets more?", options=["Ada", "Ben"])
    assert capsys.readouterr().out == "Predict: Who gets more?\n  - Ada\n  - Ben\n"
    assert prediction.answer is None


def test_the_prediction_stands_beside_the_outcome(capsys):
    prediction = lesson.predict("Who gets more?", options=["Ada", "Ben"])
    prediction.answer = "Ben"
    text = shown(prediction, "Ada", capsys, why="She was first.")
    assert "predicted: Ben" in text
    assert "happened:  Ada" in text
    assert "✘" in text
    assert "She was first." in text


def test_a_prediction_that_came_true_is_praised(capsys):
    prediction = lesson.predict("Who gets more?", options=["Ada", "Ben"])
    prediction.answer = "Ada"
    assert "✔" in shown(prediction, "Ada", capsys)


def test_no_prediction_is_no_mistake(capsys):
    for prediction in (
        lesson.predict("Who?", options=["Ada"]),
        lesson.predict("How many?", number=True),
    ):
        text = shown(prediction, 5, capsys)
        assert "no prediction" in text
        assert "✘" not in text


def test_a_number_is_right_when_it_is_near_enough(capsys):
    prediction = lesson.predict("How many?", number=True, within=0.1, unit="tasks")
    prediction.answer = 95
    assert "✔" in shown(prediction, 100, capsys)
    assert "95 tasks" in shown(prediction, 100, capsys)
    prediction.answer = 80
    assert "✘" in shown(prediction, 100, capsys)


def test_a_grid_is_compared_cell_by_cell(capsys):
    prediction = lesson.predict("What survives?", grid=(["durable", "not"], ["message"]))
    outcome = {("durable", "message"): "kept", ("not", "message"): "lost"}
    assert "no prediction" in shown(prediction, outcome, capsys)
    prediction.answer = {("durable", "message"): "kept", ("not", "message"): "kept"}
    text = shown(prediction, outcome, capsys)
    assert "1 of 2 as you predicted" in text
    assert "not, message: ✘ lost (you: kept)" in text


def test_a_prediction_of_nothing_is_refused():
    with pytest.raises(UsageError, match="options"):
        lesson.predict("What?")


# ---------------------------------------------------------------- in a notebook


class FakeNotebook:
    def __init__(self, monkeypatch):
        import IPython.display

        self.shown = []
        for module in ("labkit.lesson.predictions", "labkit.notebook"):
            monkeypatch.setattr(f"{module}.in_notebook", lambda: True)
        monkeypatch.setattr(IPython.display, "display", lambda thing, **more: self.shown.append(thing))

    def widget(self, kind):
        box = self.shown[-1]
        found = [box]
        while found:
            here = found.pop()
            if type(here).__name__ == kind:
                return here
            found += getattr(here, "children", ())
        raise AssertionError(f"no {kind} shown")


@pytest.fixture
def notebook(monkeypatch):
    return FakeNotebook(monkeypatch)


def test_pressing_a_button_is_the_answer(notebook):
    prediction = lesson.predict("Who?", options=["Ada", "Ben"])
    buttons = notebook.widget("ToggleButtons")
    assert buttons.value is None
    buttons.value = "Ben"
    assert prediction.answer == "Ben"
    assert "Ben" in prediction._note.value


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("10", 10),
        (" 2.5 ", 2.5),
        ("2,5", 2.5),
        ("3,050", 3050),
        ("ten", None),
        ("", None),
        ("1e999", None),
        ("nan", None),
    ],
)
def test_a_typed_number_is_the_answer_and_anything_else_is_not(notebook, typed, answer):
    prediction = lesson.predict("How many?", number=True)
    notebook.widget("Text").value = typed
    assert prediction.answer == answer


def test_a_cell_of_a_grid_can_be_answered_and_taken_back(notebook):
    prediction = lesson.predict("What survives?", grid=(["durable"], ["message"]))
    choice = notebook.widget("Dropdown")
    choice.value = "lost"
    assert prediction.answer == {("durable", "message"): "lost"}
    choice.value = "?"
    assert prediction.answer is None


def test_what_is_shown_has_text_for_those_who_see_no_html(notebook):
    prediction = lesson.predict("Is 1 < 2?", options=["yes"])
    prediction.reveal("yes", "for <all>")
    bundle = notebook.shown[-1]
    assert "happened:  yes" in bundle["text/plain"]
    assert "1 &lt; 2" in bundle["text/html"]
    assert "for &lt;all&gt;" in bundle["text/html"]


def test_nothing_for_notebooks_is_imported_in_a_terminal():
    program = (
        "import sys; from labkit import lesson, exercises; from labkit.exercises import lesson_01\n"
        "lesson.predict('q', options=['a']).reveal('a'); lesson_01.deal.check(...); lesson_01.deal.hint(1)\n"
        "print([name for name in ('IPython', 'ipywidgets', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
