"""Whether this runs in a notebook, and how something is shown there and elsewhere. Imports nothing heavy."""

from __future__ import annotations

import sys


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def show(text: str, markup: str) -> None:
    """The markup in a notebook, the text anywhere else."""
    if in_notebook():
        from IPython.display import display

        display({"text/html": markup, "text/plain": text}, raw=True)
    else:
        print(text)
