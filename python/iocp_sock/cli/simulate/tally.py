"""The figures of a group of connections."""

from __future__ import annotations

from collections import Counter
from typing import Any

from iocp_sock.cli.latency import quantile


class Tally:
    """The counts of a group, and the virtual durations of its messages."""

    def __init__(self) -> None:
        self.opened = 0
        self.sent = 0
        self.bytes = 0
        """The bytes of messages and answers that arrived."""
        self.refused = 0
        """The sends that the budget or the machine refused for lack of memory."""
        self.errors: Counter[str] = Counter()
        self._latencies: list[int] = []

    def arrived(self, nanoseconds: int) -> None:
        """Note a complete message, and the time since its first send was posted."""
        self._latencies.append(nanoseconds)

    @property
    def delivered(self) -> int:
        """The number of complete messages, or, with an answer, of complete answers."""
        return len(self._latencies)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON: times in microseconds, None if nothing arrived."""
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
