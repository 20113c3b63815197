"""Exercises: a check, graded hints and a solution; each lesson's own are in a module beside this one."""

from labkit.exercises.exercise import ANSWER_TIMEOUT, Exercise, Graded, Mark, NotAttempted, Wrong, attempt

__all__ = ["ANSWER_TIMEOUT", "Exercise", "Graded", "Mark", "NotAttempted", "Wrong", "attempt"]
