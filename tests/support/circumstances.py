"""The circumstances of a run on the model, and the search for those that explain a real run.

A real system decides at each moment how much it takes, how soon data arrives, and whether the
program runs its port before a timeout. Circumstances are one choice of all that, step by step. A
real run may have an outcome that no run of the model had. The search then looks for circumstances
under which the model has it. It tries random ones, and variations of the best so far.
"""

import random
from typing import NamedTuple

CALM = 1.0
"""Virtual seconds after a step that are enough for all its effects, and for every timeout."""
HURRIED = 0.0003
"""Virtual seconds after a step that are enough for data to arrive, but not for a timeout."""
AT_LARGE = 0.6
"""The share of random proposals; the rest are variations of the nearest runs."""
KEPT = 6
"""The number of nearest runs that the search keeps and varies."""


class Rooms(NamedTuple):
    """The buffer sizes of one side of a connection, in bytes."""

    side: int
    send_buffer: int
    receive_buffer: int


class Moment(NamedTuple):
    """The circumstances of one step of a program."""

    rooms: tuple[Rooms, ...] = ()
    """Buffers that get another size before the step."""
    lags: bool = False
    """Whether timeouts expire after the step, before the port runs."""
    pace: float = CALM
    """Seconds that pass before the next step."""


class Circumstances(NamedTuple):
    """The circumstances of a whole run: the number of a model variant, and a moment per step."""

    system: int
    moments: tuple[Moment, ...]

    def at(self, step: int) -> Moment:
        """Return the moment of a step; a step beyond the chosen moments gets a calm one."""
        return self.moments[step] if step < len(self.moments) else Moment()


class Search:
    """Proposes circumstances, and learns how far the run under them was from the real run."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._proposed = 0
        self._nearest: list[tuple[float, Circumstances]] = []

    def propose(self, steps: int, sides: list[int], amounts: list[int]) -> Circumstances:
        """Propose circumstances of this many steps, with other buffer sizes on some of the sides.

        `amounts` are byte counts that the real run moved; they are likely buffer sizes.
        """
        self._proposed += 1
        if not self._nearest or self._random.random() < AT_LARGE:
            found = self._at_large(steps)
        else:
            nearest = self._random.choice(self._nearest)[1]
            found = nearest._replace(moments=tuple(map(nearest.at, range(steps))))
        for _ in range(self._random.choice([1, 1, 2, 3])):
            found = self._changed(found, sides, amounts)
        # The last step is calm, because runs are compared only when nothing more can happen.
        return found._replace(moments=(*found.moments[:-1], found.moments[-1]._replace(pace=CALM)))

    def learn(self, tried: Circumstances, distance: float) -> None:
        """Note how far the model's run under these circumstances was from the real run."""
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
                at, moment = 0, found.moments[0]  # an offered window does not shrink
            rooms = [one for one in moment.rooms if one.side != side]
            rooms.append(Rooms(side, self._room(amounts), self._room(amounts)))
            moment = moment._replace(rooms=tuple(rooms))
        moments = (*found.moments[:at], moment, *found.moments[at + 1 :])
        return found._replace(moments=moments)

    def _room(self, amounts: list[int]) -> int:
        """Return a random buffer size, often near an amount that the real run moved."""
        if amounts and self._random.random() < 0.6:
            size = self._random.choice(amounts) - self._random.choice([0, 0, 1, *amounts])
            if self._random.random() < 0.3:
                size = int(size * self._random.random())
            return max(size, 2)
        return int(2 ** self._random.uniform(1, 19))
