"""A lesson in JupyterLab, in a real browser: opened, run to its end, and looked at."""

import pytest
from terminal import wait_until

from labkit.commands import start_command as start

READY = 120_000  # milliseconds until JupyterLab shows a notebook with its kernel, on a busy machine
RUN = 240_000  # milliseconds for a lesson of half a minute


@pytest.fixture(scope="module")
def jupyterlab():
    """JupyterLab as ``labkit start`` runs it; gives its address."""
    with start.jupyterlab(None, browser=False) as server:
        yield start.wait_until_ready(server)


def open_notebook(page, url, name):
    """Open a notebook and wait until its kernel is idle."""
    page.goto(url.replace("00_start_here", name) + "&reset")  # without the tabs of the test before
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=READY)
    # The status bar's word: the indicator in the toolbar says "idle" before there is a kernel, too.
    page.get_by_text("| Idle").first.wait_for(timeout=READY)


def run_all(page):
    """Run → Run All Cells, and wait for the last code cell to have a number."""
    page.locator(".jp-Notebook").first.click(position={"x": 5, "y": 5})
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def scroll_through(page, look):
    """Look at all cells, from the top, until something is found: those out of sight may not be rendered."""
    page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
    for _ in range(200):
        page.wait_for_timeout(50)
        if look():
            return True
        moved = page.evaluate(
            "() => { const e = document.querySelector('.jp-WindowedPanel-outer'); const before = e.scrollTop;"
            " e.scrollTop += 500; return e.scrollTop > before }"
        )
        if not moved:
            break
    return False


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
    wait_until(
        lambda: scroll_through(page, button.count), timeout=RUN / 1000, what="the prediction to be there"
    )
    button.first.click(timeout=READY)
    page.get_by_text("Your prediction: a dictionary").wait_for(timeout=RUN)
