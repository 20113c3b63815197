"""A lesson in JupyterLab, in a real browser: opened, run to its end, and looked at."""

import pytest
from browsing import READY, RUN, keep_notebooks_as_they_are, open_notebook, run_all, scroll_through
from waiting import until

from labkit.commands import start_command as start


@pytest.fixture(scope="module")
def jupyterlab():
    """JupyterLab as ``labkit start`` runs it; gives its address."""
    keep_notebooks_as_they_are()
    with start.jupyterlab(None, browser=False) as server:
        yield start.wait_until_ready(server)


@pytest.mark.timeout(600)
def test_lesson_01_runs_in_jupyterlab_and_shows_its_charts(page, jupyterlab, broker):
    open_notebook(page, jupyterlab, "01_round_robin")
    run_all(page)
    page.wait_for_function(  # the last cell is a code cell: it has a number when everything has run
        "() => { const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];"
        " return prompts.length && /\\[\\d+\\]/.test(prompts[prompts.length - 1].textContent) }",
        timeout=RUN,
    )

    seen = {"charts": set(), "predictions": 0, "errors": [], "reveals": 0}

    def look():
        for picture in page.locator(".jp-OutputArea img").all():
            seen["charts"].add(picture.get_attribute("alt"))
        seen["predictions"] = max(seen["predictions"], page.locator(".labkit-choice button").count())
        seen["reveals"] = max(seen["reveals"], page.get_by_text("What happened").count())
        seen["errors"] += page.locator(
            ".jp-OutputArea [data-mime-type='application/vnd.jupyter.error']"
        ).all_inner_texts()
        seen["errors"] += page.get_by_text("Error displaying widget").all_inner_texts()

    scroll_through(page, look)
    assert seen["errors"] == []
    assert page.get_by_text("Jupyter news").count() == 0  # nothing to answer before one may begin
    assert len(seen["charts"]) >= 5
    assert all(seen["charts"])  # each picture says in words what is to be seen on it
    assert seen["predictions"] >= 4
    assert seen["reveals"] >= 1


@pytest.mark.timeout(600)
def test_pressing_a_button_of_a_prediction_reaches_the_kernel(page, jupyterlab, broker):
    open_notebook(page, jupyterlab, "00_start_here")
    run_all(page)
    button = page.get_by_role("button", name="a dictionary")
    until(lambda: scroll_through(page, button.count), "the prediction to be there", timeout=RUN / 1000)
    button.first.click(timeout=READY)
    page.get_by_text("Your prediction: a dictionary").wait_for(timeout=RUN)
