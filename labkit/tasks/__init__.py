"""What is sent: tasks, and ready-made workloads of them.

A task is a message with a meaning. There are three kinds of bodies:

- text: every dot in it is one unit of work (``b"task 3 ..."`` costs 3);
- ``{"task": "sum", "start": 1, "end": 100}``, or ``"multiply"``: really computed, and exact;
- ``{"job_id": "…", "operation": "send-email", "payload": {"user_id": 42}}``; the other operations are
  ``resize-image`` (``image_id``, and ``width`` and ``height`` in pixels) and ``generate-report`` (``month``).

JSON may carry a ``cost`` in dots as well. A workload is a plain list of tasks; ``WORKLOADS`` has
all ready-made ones, with their options and an example. How a message becomes a task
again, whoever sent it, and what is done for it, is in ``labkit.tasks.handlers``.
"""

from labkit.tasks.task import JOB_COST, JSON, MAX_COST, MAX_COUNT, TEXT, Task, arithmetic, dots, fresh_id, job
from labkit.tasks.workloads import (
    WORKLOADS,
    Recipe,
    alternating,
    bursts,
    equal,
    from_text,
    growing,
    random,
    recipe,
    steady,
    workload,
)

__all__ = [
    "JOB_COST", "JSON", "MAX_COST", "MAX_COUNT", "TEXT", "WORKLOADS", "Recipe", "Task", "alternating", "arithmetic",
    "bursts", "dots", "equal", "fresh_id", "from_text", "growing", "job", "random", "recipe", "steady", "workload",
]  # fmt: skip
