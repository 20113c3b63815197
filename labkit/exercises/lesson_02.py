"""Exercises of lesson 02: what is lost with ``auto_ack=True``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from labkit import tasks
from labkit.exercises.exercise import Exercise, Wrong, attempt
from labkit.lab import Lab

RUN_TIMEOUT = 30.0  # seconds that the check's own run on the broker may take; it takes about one
SECONDS_PER_DOT = 0.05


def _numbers(answer: object, what: str) -> list[int]:
    if isinstance(answer, Mapping | str) or not isinstance(answer, Iterable):
        raise Wrong(f"{what} should be a list of task numbers; this is {answer!r}.")
    numbers = list(answer)
    if any(not isinstance(number, int) or isinstance(number, bool) for number in numbers):
        raise Wrong(f"{what} should hold nothing but task numbers; this is {answer!r}.")
    return sorted(numbers)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"


# ---------------------------------------------------------------- gone

_BEN = [2, 4, 6, 8, 10, 12]  # takes 0.4, 0.2, 0.4, 0.2 … seconds and crashes after 0.9
_GONE = [6, 8, 10, 12]


def _check_gone(gone: Iterable[int]) -> str:
    numbers = _numbers(gone, "gone")
    if any(number % 2 for number in numbers):
        raise Wrong("The odd ones are Ada's, and nothing has happened to her.")
    if numbers == _BEN:
        raise Wrong("Not all of them: in 0.9 seconds Ben did get something done.")
    if numbers == [6]:
        raise Wrong("That is the one he was working on. What else had the broker pushed to him already?")
    if numbers == [8, 10, 12]:
        raise Wrong("Those had not been begun. And what became of the one that was begun and not finished?")
    if numbers != _GONE:
        raise Wrong("Add up Ben's seconds, task by task: what is finished by 0.9, and what is not?")
    return "2 and 4 were done after 0.6 seconds; 6 was under way, and 8, 10 and 12 were already his."


gone = Exercise(
    "What is gone?",
    _check_gone,
    hints=[
        "Ben had six tasks from the start: 2, 4, 6, 8, 10, 12. Only those can be lost.",
        "He is through with task 2 after 0.4 s, with task 4 after 0.6 s, and would be with task 6 after 1.0 s.",
        "Lost is everything of his that was not finished by 0.9 s, begun or not.",
    ],
    solution="gone = [6, 8, 10, 12]",
    why="With auto_ack=True a task is the worker's alone from the moment it is sent.",
)

# ---------------------------------------------------------------- lost

_DISPATCH = {"Ada": [1, 3, 5, 7], "Ben": [2, 4, 6, 8]}
_SECONDS = {1: 0.1, 2: 0.3, 3: 0.1, 4: 0.1, 5: 0.1, 6: 0.4, 7: 0.1, 8: 0.2}
_CASES: tuple[tuple[str, float, list[int]], ...] = (  # who crashes, and when; what is lost then
    ("Ben", 0.6, [6, 8]),
    ("Ben", 0.05, [2, 4, 6, 8]),
    ("Ben", 0.95, [8]),
    ("Ben", 5.0, []),
    ("Ada", 0.35, [7]),
)


def _check_lost(lost: Callable) -> str:
    dispatch, seconds, at, really = _real_run(lost)
    said = _answer(lost, dispatch, seconds, "Ben", at)
    if said != sorted(really):
        _explain(said, dispatch["Ben"], sorted(really), f"In a run on your broker just now, after {at:g} s,")
    for crashed, when, right in _CASES:
        said = _answer(lost, _DISPATCH, _SECONDS, crashed, when)
        if said != right:
            _explain(said, _DISPATCH[crashed], right, f"When {crashed} crashes after {when:g} s,")
    return (
        f"The broker agrees: in a run just now Ben crashed after {at:g} s and lost {_listed(really)}. "
        "Your function said so, too."
    )


def _answer(lost: Callable, dispatch: dict, seconds: dict, crashed: str, at: float) -> list[int]:
    answer = attempt(lost, {who: list(had) for who, had in dispatch.items()}, dict(seconds), crashed, at)
    if answer is None:
        raise Wrong("lost(…) returned nothing. Did you forget return, or print instead?")
    return _numbers(answer, "What lost(…) returns")


def _explain(said: list[int], had: list[int], right: list[int], case: str) -> None:
    begins = f"{case} your function says {_listed(said)}; really lost is {_listed(right)}."
    if set(said) - set(had):
        raise Wrong(f"{begins} Only what the crashed worker had been sent can be lost.")
    if said == sorted(had):
        raise Wrong(f"{begins} What it had finished before the crash is not lost.")
    if said == right[:1]:
        raise Wrong(f"{begins} Not only the task under way: what else did it have?")
    if said == right[1:]:
        raise Wrong(f"{begins} The task under way is not finished either.")
    raise Wrong(f"{begins} Tasks take different times: add them up in order.")


def _real_run(lost: Callable) -> tuple[dict[str, list[int]], dict[int, float], float, list[int]]:
    """A run on the broker in which Ben crashes: dispatch table, seconds a task, time of the crash, the lost."""
    _answer(lost, _DISPATCH, _SECONDS, "Ben", 0.6)  # a stub, or an error, needs no run
    workload = tasks.workload([2, 1, 1, 4, 2, 3, 1, 2, 1, 5, 2, 1])
    with Lab("02-check", seconds_per_dot=SECONDS_PER_DOT, progress=False, say=lambda *_: None) as lab:
        queue = lab.queue("lost")
        lab.workers(1, queue, names=["Ada"], ack="automatic")
        (ben,) = lab.workers(1, queue, names=["Ben"], ack="automatic", crash_in=3)
        ben.pause()  # until he has all of his tasks, so that this run is as clear as a table
        lab.publish(queue, workload)
        lab.wait(lambda: ben.buffered == len(workload) // 2, "Ben to be sent his tasks", RUN_TIMEOUT)
        ben.resume()
        lab.wait(lambda: ben.state == "crashed", "Ben's crash in his third task", RUN_TIMEOUT)
        ledger = lab.ledger
        number = {task.id: int(task.label) for task in workload}
        dispatch = {who: [number[task_id] for task_id in ledger.delivered_to(who)] for who in ("Ada", "Ben")}
        really = [number[task_id] for task_id in ledger.lost()]
    seconds = {number[task.id]: round(task.cost * SECONDS_PER_DOT, 3) for task in workload}
    first, second, third = (seconds[task] for task in dispatch["Ben"][:3])
    return dispatch, seconds, round(first + second + third / 2, 3), really


lost = Exercise(
    "Name the lost",
    _check_lost,
    hints=[
        "Only dispatch[crashed] matters: go through it in order, and add up the seconds as you go.",
        "A task is finished if the sum up to and including it is at most the time of the crash.",
        "Keep a running total. When total + seconds[task] is more than at, this task and all after it are lost.",
    ],
    solution="""def lost(dispatch, seconds, crashed, at):
    gone, finished = [], 0.0
    for task in dispatch[crashed]:
        finished += seconds[task]
        if finished > at:
            gone.append(task)
    return gone""",
    why="The broker appears nowhere in this function: it had forgotten all of these tasks as it sent them.",
)
