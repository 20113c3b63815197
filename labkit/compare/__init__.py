"""The same tasks with one strategy after another, and what would have been best on paper."""

from labkit.compare.compare import Comparison, Result, compare, measure
from labkit.compare.strategy import TYPES, Strategy

__all__ = ["TYPES", "Comparison", "Result", "Strategy", "compare", "measure"]
