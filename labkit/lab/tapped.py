"""A tap that belongs to a bench: what passes is in the ledger of the present experiment."""

from __future__ import annotations

from collections.abc import Callable

from labkit.tap import Tap, TapParameters


class BenchTap(Tap):
    """``with lab.tap() as parameters:``; ``over`` is told when it is closed."""

    over: Callable[[BenchTap], object] = staticmethod(lambda _: None)

    def __enter__(self) -> TapParameters:  # type: ignore[override]
        return self.parameters

    def close(self) -> None:
        """Close every connection that goes through it. Harmless when repeated."""
        super().close()
        over, self.over = self.over, lambda _: None
        over(self)
