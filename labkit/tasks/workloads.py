"""Ready-made workloads: plain lists of tasks, and ``WORKLOADS``, where all of them are listed with their options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from secrets import token_hex

from labkit import checks
from labkit.errors import UsageError
from labkit.tasks.task import MAX_COUNT, Task, dots


def workload(items: Iterable[Task | int]) -> list[Task]:
    """Tasks (or costs in dots) as one workload: with fresh ids that count from 1.

    >>> [task.label for task in workload([5, 1, 5, 1])]
    ['1', '2', '3', '4']
    """
    if not isinstance(items, Iterable) or isinstance(items, str | bytes):
        raise checks.refused(
            "items", items, "Give a list of tasks or of costs in dots, for example [5, 1, 5]."
        )
    run = token_hex(3)  # fresh for each workload, so that no id ever repeats
    tasks = []
    for number, item in enumerate(items, start=1):
        task = item if isinstance(item, Task) else dots(item, f"task {number}")
        tasks.append(replace(task, id=f"{run}-{number}"))
    return tasks


def equal(count: int, cost: int = 1) -> list[Task]:
    """``count`` tasks of ``cost`` dots each."""
    return workload([checks.whole("cost", cost, 0)] * _count(count))


def growing(count: int, first: int = 1, step: int = 1) -> list[Task]:
    """Each task costs ``step`` dots more than the one before it; the first costs ``first``."""
    checks.whole("first", first, 0)
    checks.whole("step", step)
    if first + step * (_count(count) - 1) < 0:
        raise checks.refused("step", step, f"Use one with which all {count} tasks cost 0 dots or more.")
    return workload(first + step * index for index in range(count))


def alternating(count: int, heavy: int = 5, light: int = 1) -> list[Task]:
    """The 1st, 3rd, 5th… task costs ``heavy`` dots, the others ``light``."""
    pair = checks.whole("heavy", heavy, 0), checks.whole("light", light, 0)
    return workload(pair[index % 2] for index in range(_count(count)))


def random(count: int, seed: int, low: int = 1, high: int = 10) -> list[Task]:
    """Costs drawn evenly from ``low`` to ``high`` dots; the same ``seed`` gives the same costs everywhere."""
    checks.whole("low", low, 0)
    checks.whole("high", high, 0)
    if low > high:
        raise checks.refused("low", low, f"Use one that is not above high, {high}.")
    generator = Random(checks.whole("seed", seed))
    return workload(generator.randint(low, high) for _ in range(_count(count)))


def bursts(count: int, size: int, pause: float, cost: int = 1) -> list[Task]:
    """``count`` tasks in bursts of ``size``, with ``pause`` seconds between two bursts."""
    checks.whole("size", size, 1)
    checks.seconds("pause", pause)
    tasks = equal(count, cost)
    for index in range(size, len(tasks), size):
        tasks[index] = replace(tasks[index], delay=pause)
    return tasks


def steady(count: int, every: float, cost: int = 1) -> list[Task]:
    """``count`` tasks, one published ``every`` so many seconds."""
    checks.seconds("every", every)
    first, *others = equal(count, cost)
    return [first, *(replace(task, delay=every) for task in others)]


def _count(value: object) -> int:
    return checks.whole("count", value, 1, MAX_COUNT)


# ---------------------------------------------------------------- all of them, with their options

SECONDS = ("pause", "every")  # options that are times; all others are whole numbers


@dataclass(frozen=True)
class Recipe:
    """How a workload is made: ``make(**options)``. ``example`` has every option, with a value worth watching.

    Called, it makes the workload with these options; those that are not named are as in the example.
    """

    make: Callable[..., list[Task]]
    example: Mapping[str, float]

    @property
    def name(self) -> str:
        """The name of the function in ``labkit.tasks``."""
        return self.make.__name__

    def __call__(self, **options: float) -> list[Task]:
        """The workload. UsageError for an option that there is not, or that makes no sense."""
        return self.make(**{**self.example, **self.known(options)})

    def known(self, options: Mapping[str, float]) -> Mapping[str, float]:
        """``options``, if there is each of them; UsageError that names the first one otherwise."""
        for name in options:
            if name not in self.example:
                raise UsageError(
                    f"The workload {self.name} has no option {name!r}.",
                    do=f"Use some of {', '.join(self.example)}.",
                    field=name,
                )
        return options

    def code(self, options: Mapping[str, float] | None = None) -> str:
        """The call that makes it with these options, or with those of the example: ``tasks.equal(24, cost=2)``."""
        count, *others = ({**self.example, **(options or {})}).items()
        return f"tasks.{self.name}({', '.join([f'{count[1]!r}', *(f'{name}={value!r}' for name, value in others)])})"


WORKLOADS: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(equal, {"count": 24, "cost": 2}),
        Recipe(growing, {"count": 12, "first": 1, "step": 1}),
        Recipe(alternating, {"count": 32, "heavy": 5, "light": 1}),
        Recipe(random, {"count": 24, "seed": 1, "low": 1, "high": 10}),
        Recipe(bursts, {"count": 24, "size": 6, "pause": 1.0, "cost": 2}),
        Recipe(steady, {"count": 24, "every": 0.2, "cost": 2}),
    )
}


def recipe(name: str) -> Recipe:
    """The workload of this name. UsageError if there is none."""
    return WORKLOADS[checks.one_of("workload", name, WORKLOADS)]


def from_text(text: str) -> list[Task]:
    """The workload that ``"alternating"`` or ``"alternating:count=20,heavy=8"`` says.

    UsageError if there is none, or for an option that makes no sense.
    """
    name, _, rest = text.partition(":")
    made = recipe(name.strip())
    options: dict[str, float] = {}
    for part in rest.split(",") if rest.strip() else ():
        key, _, value = (piece.strip() for piece in part.partition("="))
        made.known({key: 0})
        try:
            options[key] = float(value) if "." in value else int(value)
        except ValueError as error:
            raise checks.refused(key, value, f"Give a number, for example {key}=5.") from error
    return made(**options)
