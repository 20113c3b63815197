"""Compare strategies by turning knobs: choose tasks, workers and strategies, run them, let things go wrong.

``show()`` shows the controls in a notebook (``notebooks/playground.ipynb``; ``python3 -m labkit playground``
opens them as a page of their own). ``Playground`` does the same from code, and ``happen`` lets something go
wrong in a comparison.
"""

from labkit.playground.happening import Happening, happen
from labkit.playground.playground import Playground
from labkit.playground.settings import Settings

__all__ = ["Happening", "Playground", "Settings", "happen", "show"]


_shown: Playground | None = None  # in this kernel; a second one takes its place


def show(playground: Playground | None = None) -> Playground:
    """Show the controls here, in a notebook, and return the playground that they drive.

    One that was shown before is stopped.
    """
    global _shown
    from labkit.playground.panel import Panel

    if _shown is not None and _shown is not playground:
        _shown.stop()
    _shown = Panel(playground or Playground()).show()
    return _shown
