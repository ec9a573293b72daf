"""Lookups of names, in threads of their own."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from iocp_sock.errors import ResourceExhausted

__all__ = ["Lookup"]

_PLACES = 4
"""The maximum of lookups at a time, over all ports of the process; further ones wait."""
_PATIENCE = 2.0
"""The seconds after which a lookup loses its place, so that a hanging one delays no other."""


class Lookup:
    """A call of a resolver, in a thread of its own.

    The thread calls `notify` when `answer` or `error` is set, unless the lookup was given up before
    a thread began it. Raises ResourceExhausted if no thread can be started.
    """

    def __init__(self, ask: Callable[[], list[Any]], notify: Callable[[Lookup], None]) -> None:
        self.answer: list[Any] = []
        self.error: BaseException | None = None
        self._ask = ask
        self._notify = notify
        _places.enlist(self)

    def give_up(self) -> None:
        """Give the lookup's place to others. A hanging thread goes on, but holds no place."""
        _places.leave(self)

    def _run(self) -> None:
        try:
            self.answer = self._ask()
        except BaseException as error:
            self.error = error
        self._notify(self)


class _Places:
    """The running lookups, the waiting ones, and the threads that run them.

    While lookups wait, exactly one thread waits for a place for the first of them. Without lookups
    there is no thread, so that a fork finds none idle.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Lookup] = deque()
        self._taken: dict[Lookup, float] = {}
        """The time at which each running lookup began, in that order."""
        self._attended = False
        """Whether a thread waits for a place for the first waiting lookup, or is about to."""

    def enlist(self, lookup: Lookup) -> None:
        with self._changed:
            self._waiting.append(lookup)
            if not self._attended and not self._start() and not self._taken:
                self._waiting.remove(lookup)
                raise ResourceExhausted(
                    errno.EAGAIN,
                    "the system cannot start a thread for a lookup; retry when other threads have"
                    " ended",
                )

    def leave(self, lookup: Lookup) -> None:
        with self._changed:
            if self._taken.pop(lookup, None) is None and lookup in self._waiting:
                self._waiting.remove(lookup)
            self._changed.notify()

    def _start(self) -> bool:
        try:
            threading.Thread(target=self._serve, name="iocp_sock-lookup", daemon=True).start()
        except (RuntimeError, MemoryError):
            return False
        self._attended = True
        return True

    def _serve(self) -> None:
        lookup = self._next(attending=True)
        while lookup is not None:
            try:
                lookup._run()
            finally:
                self.leave(lookup)
            lookup = self._next(attending=False)

    def _next(self, *, attending: bool) -> Lookup | None:
        with self._changed:
            if self._attended and not attending:
                return None
            self._attended = True
            while self._waiting and (delay := self._delay()) > 0:
                self._changed.wait(delay)
            self._attended = False
            if not self._waiting:
                return None
            lookup = self._waiting.popleft()
            self._taken[lookup] = time.monotonic()
            if self._waiting:
                self._start()
            return lookup

    def _delay(self) -> float:
        """Return the seconds until the first waiting lookup has a place."""
        fresh = list(self._taken.values())[-_PLACES:]
        return fresh[0] + _PATIENCE - time.monotonic() if len(fresh) == _PLACES else 0.0


_places = _Places()


def _forget() -> None:
    """Drop all lookups in a forked child, which has none of its parent's threads."""
    global _places
    _places = _Places()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
