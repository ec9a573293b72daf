"""Programs run on a backend and on the model at once: what really happens is among what may.

What may happen is what some run of the model shows, with buffers of different sizes, short
operations, wake-ups out of order and late ones, and segments of different sizes: those that have
all arrived before the reader looks are one to it. A system whose buffers lie between two of these
runs may show what none of them does: then more runs of the model are made before it counts as a
failure, half of them with room for as much as the send in question would have to find, and some
with a program that comes late to its port, so that timeouts pass before anything is tried, and
some with one that makes its steps while what is held has not lost its patience yet.
"""

import gc
import itertools
import random
import time
from typing import Any

import iocp_sock
from stream_program import Room, Run
from support import SLOWNESS

PRESETS = ("linux", "windows-10", "windows-2000")
FIRST = 4
"""Runs of the model that are made in any case."""
MOST = 60
"""Runs that are made where these do not show what was seen."""
OVER_BUDGET = ": refused: BudgetExceeded; on the model"
"""How much the system has taken decides this to the page; that it is right is checked apart."""
HURRIED = 0.0003
"""Seconds between two steps of a program that does not wait for the budget queue's patience."""
SOON = 0.05 * SLOWNESS
LATE = 5.0 * SLOWNESS


def variant(number: int) -> iocp_sock.Sim:
    """The n-th way in which a system as the real one may be made."""
    chosen = random.Random(number)
    buffers = [(8192, 8192, 1460), (200_000, 200_000, 65_483), (40_000, 40_000, 1460)]
    if number < len(buffers):
        send, receive, mss = buffers[number]
    else:
        send, receive = (int(2 ** chosen.uniform(11, 19)) for _ in range(2))
        mss = chosen.choice([1460, 4096, 20_000, 65_483])
    late = number == 1 or (number >= len(buffers) and chosen.random() < 0.5)
    # Linux takes a whole piece of a send while there is any room: the next byte has none.
    whole = number >= FIRST and number % 2 == 0 and chosen.random() < 0.4
    return iocp_sock.Sim(
        seed=number,
        preset="linux",
        nagle=False,
        send_buffer=send,
        least_send_buffer=0,
        one_more_send=whole,
        send_piece=0,  # on loopback a segment is as large as a piece
        receive_window=receive,
        window_limit=0,
        mss=mss,
        short_operations=0.3 if number > 1 and number % 2 else 0.0,
        shuffle_wakeups=number % 2 == 1,
        wake_delay=0.001 if late else 0.0,
    )


def wild(number: int) -> iocp_sock.Sim:
    """A system of another kind, with faults: nothing is compared there, but all promises hold."""
    chosen = random.Random(number)
    return iocp_sock.Sim(
        seed=number,
        preset=PRESETS[number % len(PRESETS)],
        nagle=chosen.random() < 0.5,
        send_buffer=chosen.choice([0, 1000, None]),
        loss=chosen.choice([0.0, 0.1]),
        reorder=chosen.choice([0.0, 0.1]),
        short_operations=chosen.choice([0.0, 0.3]),
        shuffle_wakeups=chosen.random() < 0.5,
        wake_delay=chosen.choice([0.0, 0.001]),
        lock_limit=chosen.choice([0, 0, 5, 30]),
        refuse_charge=chosen.choice([0, 0, chosen.randrange(4, 40)]),
        reset_rate=chosen.choice([0.0, 0.3]),
        stall_rate=chosen.choice([0.0, 0.3]),
        vanish_rate=chosen.choice([0.0, 0.3]),
        mishap_span=10.0,
    )


class Differential:
    """One program on all of them: step() by step(), and end().

    `backend` is a real one's name, or 'sim': the model alone, with wild systems beside it.
    """

    def __init__(self, backend: str, **options: Any) -> None:
        self.backend = backend
        self.options = options
        self.steps: list[tuple[str, tuple[Any, ...]]] = []
        self._shown: list[dict[str, Any]] = []
        self._apart = False
        """What the budget refused shows in no run of the model: nothing is compared any more."""
        self.models = [Run(variant(number), **options) for number in range(FIRST)]
        self.real = None if backend == "sim" else Run(backend, **options)
        self.wild = []
        if self.real is None:
            self.wild = [Run(wild(number), **options) for number in range(12)]

    def step(self, name: str, *arguments: Any) -> None:
        """Make one step in every run, and compare what has come of it."""
        self.steps.append((name, arguments))
        for run in self.models + self.wild:
            self._modelled_step(run, name, arguments)
        self._shown = [run.seen() for run in self.models]
        if self.real is not None:
            getattr(self.real, name)(*arguments)
            self._compare(self.real)

    def end(self) -> None:
        """Close every port, with all that is still outstanding: nothing may be left."""
        runs = self._runs()
        for run in runs:
            run.end()
        gc.collect()
        for run in runs:
            stats = run.port.stats()
            assert (stats.slots_free, stats.blocks_out) == (stats.slots, 0)
        self._forget()

    def abandon(self) -> None:
        """Close every port after a failure, and check nothing more."""
        for run in self._runs():
            run.port.close(0)
            if run.elsewhere is not None:
                run.elsewhere.close(0)
        self._forget()

    @property
    def model_runs(self) -> int:
        """How many runs on the model it took so far."""
        return len(self.models) + len(self.wild)

    def script(self) -> str:
        """The program as a plain script, to be run with this directory on the path."""
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        lines = [
            "from differential import Differential",
            "",
            f"program = Differential({self.backend!r}{options})",
        ]
        for name, arguments in self.steps:
            lines.append(f"program.step({', '.join(map(repr, (name, *arguments)))})")
        return "\n".join([*lines, "program.end()", ""])

    def _runs(self) -> list[Run]:
        return [*self.models, *self.wild, *([self.real] if self.real is not None else [])]

    def _forget(self) -> None:
        self.models.clear()
        self.wild.clear()
        self.real = None

    @staticmethod
    def _modelled_step(run: Run, name: str, arguments: tuple[Any, ...]) -> None:
        getattr(run, name)(*arguments)
        run.lag()
        run.pass_time(run.pace)
        run.check()

    def _compare(self, real: Run) -> None:
        """Wait until what is seen may be; only then is the next step made."""
        began = time.monotonic()
        calm = 0
        while True:
            busy = real.port.run_once(0.001 if calm else 0)
            real.check()
            strange = self._strange(real)
            calm = 0 if busy else calm + 1
            if not strange and calm:
                return
            waited = time.monotonic() - began
            if waited > SOON and strange and len(self.models) < MOST:
                self._widen(real, strange)
            elif strange and all(OVER_BUDGET in seen for seen in strange.values()):
                self._apart = True
                return
            elif waited > LATE:
                raise AssertionError(
                    "\n".join(["the model shows nothing like this:", *strange.values()])
                )

    def _strange(self, real: Run) -> dict[str, str]:
        """What is seen that no run of the model shows: a count may lie between two of theirs."""
        found: dict[str, str] = {}
        if self._apart:
            return found
        for name, value in real.seen().items():
            may = sorted({shown[name] for shown in self._shown})
            between = type(value) is int and may[0] <= value <= may[-1]
            if value not in may and not between:
                found[name] = f"{name}: {value}; on the model {', '.join(map(str, may))}"
        return found

    @staticmethod
    def _room(real: Run, strange: dict[str, str], number: int) -> Room | None:
        """Whose bytes, and how many, may have been kept for what is strange to be what it is.

        It is a send, or follows from one that the room ended within, or from a receive that found
        the room full.
        """
        chosen = random.Random(number)
        sends = [(number, post) for number, post in enumerate(real.posts) if post.kind == "send"]
        asked = [post for number, post in sends if f"post {number}" in strange]
        cut = [post for _, post in sends if post.fate().endswith("in part")]
        for at, post in enumerate(real.posts):
            if f"post {at}" in strange and post.kind == "receive" and number % 4 == 1:
                # Nothing is on its way that the receives before it did not find.
                return Room(real.sides.index(post.side) ^ 1, 2, 1 << chosen.randrange(11, 20))
        for post in asked + cut:
            earlier = [one for one in post.side.posts if one.kind == "send"]
            before = sum(one.went() for one in earlier[: earlier.index(post)])
            kept = before if post in cut else max(before - len(post.side.other.received), 0)
            total = kept + chosen.randrange(post.size)
            half = int(total * chosen.uniform(0.1, 0.9)) // 2
            return Room(real.sides.index(post.side), 2 * half, total - 2 * half)
        for side, end in enumerate(real.sides):
            found = [post.operation.transferred for post in end.posts if post.fate() == "received"]
            if f"bytes received at side {side}" in strange and found:
                kept = chosen.choice(found + list(itertools.accumulate(found)))
                return Room(side ^ 1, 1 << chosen.randrange(11, 20), kept)
        return None

    def _widen(self, real: Run, strange: dict[str, str]) -> None:
        number = len(self.models)
        room = self._room(real, strange, number) if number % 2 else None
        refused = any(OVER_BUDGET in seen for seen in strange.values())
        hurries = refused and number % 2 == 0
        run = Run(
            variant(number),
            room=room,
            lags=number % 4 == 0 and not hurries,
            pace=HURRIED if hurries else 1.0,
            **self.options,
        )
        for name, arguments in self.steps:
            self._modelled_step(run, name, arguments)
        self.models.append(run)
        self._shown.append(run.seen())
