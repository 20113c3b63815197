"""A teaching lab for RabbitMQ work queues: real broker, real connections, real figures.

======================  ==============================================================
module                  what is in it
======================  ==============================================================
``labkit.lab``          the bench: queues, producers and workers, set up and cleared away
``labkit.experiment``   who takes part in one experiment, and when it is over
``labkit.tasks``        tasks, and ready-made workloads of them
``labkit.handlers``     what is done with a message: a handler for each kind of task
``labkit.producer``     a thread with a connection of its own that publishes
``labkit.worker``       a thread with a connection of its own that consumes
``labkit.ledger``       what became of every task
``labkit.events``       what can happen to a task, a worker and the broker
``labkit.run``          a finished experiment
``labkit.saved``        runs as files, written and read
``labkit.management``   RabbitMQ's management HTTP API
``labkit.answers``      what it answers, as dataclasses
``labkit.rest``         how it is asked, and what is said when it fails
``labkit.loads``        what the broker counted for every worker
``labkit.meters``       a worker's figures, added up over all of its channels
``labkit.reconcile``    the broker's figures held against the ledger
``labkit.watch``        notes when the broker goes away and when it is back
``labkit.survival``     what survives when the broker is restarted or killed
``labkit.schedule``     what would have been best for a workload
``labkit.strategy``     the settings with which the same tasks go differently
``labkit.compare``      strategies run on the same tasks, in a table
``labkit.relay``        puts the broker some milliseconds farther away
``labkit.leftovers``    clears away what a killed kernel left on the broker
``labkit.charts``       pictures of a run
``labkit.tables``       who had which task, and what became of it
``labkit.live``         the picture while it runs, and a saved run played back
``labkit.playground``   the controls for comparing strategies, and the same from code
``labkit.lesson``       predictions, and the cards that a lesson speaks with
``labkit.exercises``    exercises: check, hints and solution
``labkit.bench``        measures the lab against bare pika and other clients
``labkit.brokers``      where RabbitMQ runs: a private node, compose.yaml, or any URL
``labkit.bootstrap``    sets the lab up on a fresh machine (standard library only)
``labkit.machine``      what the machine has, and how it is installed
``labkit.commands``     the subcommands of ``python3 -m labkit``
``labkit.words``        lists, numbers and durations as they stand in a sentence
``labkit.checks``       values are refused at the door, by name
``labkit.errors``       everything that can go wrong and be mended
======================  ==============================================================

Nothing is imported here, so that ``python3 -m labkit`` works before anything is installed.
"""

__version__ = "0.1.0"
