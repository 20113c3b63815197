"""Pictures of a run, for a projector: each is one call, and says in a sentence what is seen.

``loads``       what the broker counted for every worker
``timeline``    who worked on what, and when
``backlog``     what waited, and what was unacknowledged
``comparison``  strategies side by side
``survival``    what outlived a broker's death
``amounts``     measured numbers side by side, with their spread
``sweep``       a prefetch for long tasks and for tiny ones: both sides of the trade

Each returns a ``Chart``, which shows itself in a notebook; ``savefig`` writes it to a file.
"""

from labkit.charts.amounts_chart import amounts
from labkit.charts.backlog_chart import backlog
from labkit.charts.chart import Chart
from labkit.charts.comparison_chart import comparison
from labkit.charts.loads_chart import loads
from labkit.charts.survival_chart import survival
from labkit.charts.sweep_chart import sweep
from labkit.charts.timeline_chart import timeline

__all__ = ["Chart", "amounts", "backlog", "comparison", "loads", "survival", "sweep", "timeline"]
