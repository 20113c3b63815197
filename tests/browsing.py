"""JupyterLab in a browser: a notebook opened, run and looked through."""

from labkit.commands import servers

READY = 120_000  # milliseconds until JupyterLab shows a notebook with its kernel, on a busy machine
RUN = 240_000  # milliseconds for a lesson of half a minute


def keep_notebooks_as_they_are():
    """JupyterLab saves what is open after two minutes; what the tests open is the checkout's own."""
    setting = servers.HOME / "settings/@jupyterlab/docmanager-extension/plugin.jupyterlab-settings"
    setting.parent.mkdir(parents=True, exist_ok=True)
    setting.write_text('{"autosave": false}')


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
