"""What happened to a group of connections."""

from __future__ import annotations

from collections import Counter
from typing import Any

from iocp_sock.cli.latency import quantile


class Tally:
    """Counts of a group, and how long its messages took in virtual time."""

    def __init__(self) -> None:
        self.opened = 0
        self.sent = 0
        self.bytes = 0
        """Of messages and answers that arrived."""
        self.refused = 0
        """Sends that the budget or the machine had no memory for."""
        self.errors: Counter[str] = Counter()
        self._latencies: list[int] = []

    def arrived(self, nanoseconds: int) -> None:
        """A message is complete, so long after its first send was posted."""
        self._latencies.append(nanoseconds)

    @property
    def delivered(self) -> int:
        """Messages that were there as a whole, or, with an answer, whose answer was."""
        return len(self._latencies)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; times in microseconds, None where nothing arrived."""
        ordered = sorted(self._latencies)
        return {
            "opened": self.opened,
            "sent": self.sent,
            "delivered": self.delivered,
            "under_way": self.sent - self.delivered,
            "bytes": self.bytes,
            "p50_us": _microseconds(ordered, 0.5),
            "p99_us": _microseconds(ordered, 0.99),
            "longest_us": _microseconds(ordered, 1.0),
            "refused": self.refused,
            "errors": dict(sorted(self.errors.items())),
        }


def _microseconds(ordered: list[int], part: float) -> float | None:
    return round(quantile(ordered, part) / 1000, 3) if ordered else None
