"""The bench where an experiment is set up, run, and cleared away."""

from labkit.lab.lab import PATIENCE, Lab

__all__ = ["PATIENCE", "Lab"]
