"""The picture of a run while it runs, and of a saved run played back.

``watch(lab)`` follows the bench; ``replay(run)`` plays a run, saved or not, with no broker needed.

Worker threads only append to the ledger. One thread reads what is new there (``state``), lays out the
picture (``scene``) and hands it to the browser or the terminal (``screen``).
"""

from labkit.live.replay import Replay, replay
from labkit.live.watch import Watch, watch

__all__ = ["Replay", "Watch", "replay", "watch"]
