"""What the tests share: the broker that this checkout uses."""

import pytest

from labkit import brokers


@pytest.fixture(scope="session")
def broker():
    """The broker, running; it is stopped at the end if it was not running before."""
    found = brokers.find()
    was_running = found.running()
    found.start()
    yield found
    if not was_running and found.can_restart:
        found.stop()
