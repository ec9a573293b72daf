"""Round-trip times, counted so that memory does not grow with the number of messages."""

from collections.abc import Sequence
from math import ceil

BIN_SHIFT = 8
BINS = 1 << 17


class Latencies:
    """Counts per bin of 256 ns up to 33 ms. Longer times are kept one by one, in nanoseconds."""

    def __init__(self) -> None:
        self.counts = [0] * BINS
        self.slow: list[int] = []

    @property
    def total(self) -> int:
        """The number of counted round trips."""
        return sum(self.counts) + len(self.slow)

    def add(self, nanoseconds: int) -> None:
        """Count one round trip."""
        try:
            self.counts[nanoseconds >> BIN_SHIFT] += 1
        except IndexError:
            self.slow.append(nanoseconds)

    def merge(self, other: "Latencies") -> None:
        """Add the counts of other Latencies."""
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]
        self.slow += other.slow

    def percentile(self, percent: float) -> float:
        """Return the microseconds that `percent` of all did not exceed, exact to one bin."""
        rank = max(1, ceil(self.total * percent / 100))
        passed = 0
        for index, count in enumerate(self.counts):
            passed += count
            if passed >= rank:
                return ((index << BIN_SHIFT) + (1 << BIN_SHIFT) / 2) / 1000
        return sorted(self.slow)[rank - passed - 1] / 1000


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the quantile of the ordered times: the time at index part * n, at most the last."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
