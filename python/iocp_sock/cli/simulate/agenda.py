"""The agenda of a scenario: actions and their times."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Agenda:
    """Actions at virtual times in nanoseconds. Actions of the same time run in order of entry."""

    def __init__(self) -> None:
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Add an action at a time."""
        heapq.heappush(self._actions, (when, next(self._numbers), action))

    def run_due(self, now: int) -> int:
        """Run the actions that are due now, but none that they add; return the number."""
        due = []
        while self._actions and self._actions[0][0] <= now:
            due.append(heapq.heappop(self._actions)[2])
        for action in due:
            action()
        return len(due)

    @property
    def next(self) -> int | None:
        """Return the time of the next action; None: there is none."""
        return self._actions[0][0] if self._actions else None
