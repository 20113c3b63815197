"""The same tasks with one strategy after another, and what would have been best on paper."""

from labkit.compare.compare import compare, measure, save
from labkit.compare.strategy import TYPES, Strategy
from labkit.results.comparison import Comparison, Result

__all__ = ["TYPES", "Comparison", "Result", "Strategy", "compare", "measure", "save"]
