"""A teaching lab for RabbitMQ work queues: real broker, real connections, real figures.

Each room imports only from those above it:

=====================  ==================================================================================
``errors`` ``checks``  what can go wrong and be mended; values are refused at the door, by name
``words`` ``notebook`` turns of phrase; how something is shown in a notebook and elsewhere
``setup``              a fresh machine made ready (standard library only)
``tasks``              tasks, ready-made workloads of them, and what is done for each
``management``         what RabbitMQ says over HTTP
``brokers``            where RabbitMQ runs: a private node, compose.yaml, or any URL
``ledger``             what became of every task
``clients``            who speaks AMQP: producers and workers
``tap``                between any client and the broker: what passes, told to the ledger, and its faults
``loads``              what the broker counted for every worker, held against the ledger
``results``            what an experiment leaves: runs, comparisons, and tables of them
``charts``             pictures of a run, a file each
``compare``            the same tasks with one strategy after another
``lab``                the bench: queues, producers and workers, set up, run and cleared away
``live``               the picture while it runs, and a saved run played back
``lesson``             predictions, and the cards that a lesson speaks with
``exercises``          a check, hints and a solution for each exercise
``playground``         the controls for comparing strategies, and the same from code
``bench``              what the lab itself costs, beside bare pika and other clients
``commands``           the subcommands of ``python3 -m labkit``
=====================  ==================================================================================

Nothing is imported here, so that ``python3 -m labkit`` works before anything is installed.
"""

import importlib

__version__ = "0.1.0"

_ROOMS = {"schedule": "compare", "survival": "lab", "tables": "results"}  # what lessons import from here


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"labkit.{_ROOMS[name]}.{name}")
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")
