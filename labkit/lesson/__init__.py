"""What a lesson speaks with: cards, and predictions that are shown beside the outcome."""

from labkit.lesson.cards import card, lines
from labkit.lesson.predictions import Prediction, predict

__all__ = ["Prediction", "card", "lines", "predict"]
