"""What a modelled system may be like while a program runs, and the search for what explains a run.

A real system decides from moment to moment how much it takes, how soon what was sent is there, and
whether a program comes to its port before a timeout has passed. Circumstances are one choice of all
that, step by step. When a real run shows what no run of the model has shown, circumstances are
sought under which the model shows it: some at large, most near those that came nearest so far.
"""

import random
from typing import NamedTuple

CALM = 1.0
"""Seconds that pass after a step: all that can happen does."""
HURRIED = 0.0003
"""Seconds in which what is sent arrives, and no timeout, and no patience, is over."""
AT_LARGE = 0.6
"""The part of the search that is made anywhere, and not near the nearest runs."""
KEPT = 6
"""How many of the nearest runs the search goes on from."""


class Rooms(NamedTuple):
    """The buffers of one side, in bytes."""

    side: int
    send_buffer: int
    receive_buffer: int


class Moment(NamedTuple):
    """How it is while a program makes one step."""

    rooms: tuple[Rooms, ...] = ()
    """Buffers that are given another size before the step."""
    lags: bool = False
    """Whether timeouts pass after the step before the port looks."""
    pace: float = CALM
    """Seconds that pass before the next step."""


class Circumstances(NamedTuple):
    """How it is while a program runs: a system of a number, and every moment."""

    system: int
    moments: tuple[Moment, ...]

    def at(self, step: int) -> Moment:
        """How it is at a step: beyond the moments that are known, calm."""
        return self.moments[step] if step < len(self.moments) else Moment()


class Search:
    """Proposes circumstances, and learns how near the run under them came."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._proposed = 0
        self._nearest: list[tuple[float, Circumstances]] = []

    def propose(self, steps: int, sides: list[int], amounts: list[int]) -> Circumstances:
        """Circumstances of so many steps, in which rooms change on some sides.

        `amounts` are bytes that were moved in the real run: what a room is likely to hold.
        """
        self._proposed += 1
        if not self._nearest or self._random.random() < AT_LARGE:
            found = self._at_large(steps)
        else:
            nearest = self._random.choice(self._nearest)[1]
            found = nearest._replace(moments=tuple(map(nearest.at, range(steps))))
        for _ in range(self._random.choice([1, 1, 2, 3])):
            found = self._changed(found, sides, amounts)
        # What is compared is seen when nothing can happen any more.
        return found._replace(moments=(*found.moments[:-1], found.moments[-1]._replace(pace=CALM)))

    def learn(self, tried: Circumstances, distance: float) -> None:
        """Take note of how far from the real run the one under these circumstances was."""
        nearer = [one for one in self._nearest if one[0] < distance]
        rest = self._nearest[len(nearer) :]
        self._nearest = [*nearer, (distance, tried), *rest][:KEPT]

    def _at_large(self, steps: int) -> Circumstances:
        always = Moment(
            lags=self._random.random() < 0.3, pace=self._random.choice([CALM, CALM, HURRIED])
        )
        return Circumstances(self._proposed, (always,) * steps)

    def _changed(self, found: Circumstances, sides: list[int], amounts: list[int]) -> Circumstances:
        chosen = self._random
        kind = chosen.random()
        if kind < 0.1:
            return found._replace(system=chosen.randrange(1000))
        at = chosen.randrange(len(found.moments))
        moment = found.moments[at]
        if kind < 0.2:
            moment = moment._replace(lags=not moment.lags)
        elif kind < 0.35:
            moment = moment._replace(pace=chosen.choice([CALM, HURRIED, 0.0]))
        elif kind < 0.45:
            moment = Moment()
        else:
            side = chosen.choice(sides)
            if chosen.random() < 0.4:
                at, moment = 0, found.moments[0]  # no window shrinks once it was offered
            rooms = [one for one in moment.rooms if one.side != side]
            rooms.append(Rooms(side, self._room(amounts), self._room(amounts)))
            moment = moment._replace(rooms=tuple(rooms))
        moments = (*found.moments[:at], moment, *found.moments[at + 1 :])
        return found._replace(moments=moments)

    def _room(self, amounts: list[int]) -> int:
        """A size of a buffer: something was moved by being all that there was room for."""
        if amounts and self._random.random() < 0.6:
            size = self._random.choice(amounts) - self._random.choice([0, 0, 1, *amounts])
            if self._random.random() < 0.3:
                size = int(size * self._random.random())
            return max(size, 2)
        return int(2 ** self._random.uniform(1, 19))
