"""The one way in which a test waits: for a condition, never for a fixed time."""

import time

POLL = 0.02  # seconds between two looks
PATIENCE = 60  # seconds, generous for a busy machine: only a test that fails takes so long


def until(condition, what, timeout=PATIENCE):
    """Return what ``condition()`` returns as soon as that is true.

    AssertionError after ``timeout`` seconds; it says ``what`` was waited for: a text, or a function that makes it then.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {timeout:g} s for {what() if callable(what) else what}.")
        time.sleep(POLL)
    return value
