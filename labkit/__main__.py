"""``python3 -m labkit``: the command line."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - before anything that an older Python cannot read
    version = ".".join(map(str, sys.version_info[:2]))
    sys.exit(
        "labkit needs Python 3.10 or later; this is "
        + version
        + ".\nStart it with a newer one: python3.12 -m labkit"
    )

from labkit.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
