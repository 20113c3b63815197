"""What the broker counted for every worker, and how that compares with the ledger."""

from labkit.loads.load import COUNTED, Load, Meter, total
from labkit.loads.loads import Loads, Sample
from labkit.loads.reconcile import Reconciliation, expected_loads, reconcile
from labkit.loads.sampler import LoadSampler

__all__ = [
    "COUNTED", "Load", "LoadSampler", "Loads", "Meter", "Reconciliation", "Sample", "expected_loads", "reconcile",
    "total",
]  # fmt: skip
