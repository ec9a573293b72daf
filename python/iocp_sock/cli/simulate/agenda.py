"""What is to be done, and when."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Agenda:
    """Actions at virtual times in nanoseconds; those of one time in the order they came."""

    def __init__(self) -> None:
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Do it then."""
        heapq.heappush(self._actions, (when, next(self._numbers), action))

    def run_due(self, now: int) -> int:
        """Do what is due, but not what that makes due; returns how many actions that were."""
        due = []
        while self._actions and self._actions[0][0] <= now:
            due.append(heapq.heappop(self._actions)[2])
        for action in due:
            action()
        return len(due)

    @property
    def next(self) -> int | None:
        """When the next action is due; None: there is none."""
        return self._actions[0][0] if self._actions else None
