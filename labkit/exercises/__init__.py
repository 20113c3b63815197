"""Exercises: a check, graded hints and a solution; each lesson's own are in a module beside this one."""

from labkit.exercises.exercise import ANSWER_TIMEOUT, Exercise, NotAttempted, Outcome, Result, Wrong, attempt

__all__ = ["ANSWER_TIMEOUT", "Exercise", "NotAttempted", "Outcome", "Result", "Wrong", "attempt"]
