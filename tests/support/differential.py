"""Programs that run on a backend and on the model at once, and must have the same outcome.

An outcome is valid if some run of the model has it. These runs differ in the sizes of buffers and
segments, in partial reads and writes, and in wake-ups that are late or out of order. A real system
may lie between two of these runs and have the outcome of neither. Then a search tries further
circumstances, before the program counts as failed (circumstances.py).
"""

import gc
import itertools
import random
import time
from typing import Any

import iocp_sock
from support import SLOWNESS
from support.circumstances import Circumstances, Search
from support.stream_program import Run

Step = tuple[str, tuple[Any, ...]]
"""A step of a program: its name and its arguments."""

PRESETS = ("linux", "windows-10", "windows-2000")
FIRST = 4
"""The number of runs of the model that every program has at least."""
MOST = 600
"""The maximum number of further runs of the model, made if no run has the real outcome."""
OVER_BUDGET = ": refused: BudgetExceeded; on the model"
"""The text of a budget refusal, which is valid: it depends on the bytes that the system took."""
STRANGE = 20.0
"""The weight of an outcome that no run of the model has; other differences weigh 1."""
SOON = 0.05 * SLOWNESS
LATE = 5.0 * SLOWNESS


def variant(number: int) -> iocp_sock.Sim:
    """Return a model of Linux; the number chooses its buffers, segments and wake-ups."""
    chosen = random.Random(number)
    buffers = [(8192, 8192, 1460), (200_000, 200_000, 65_483), (40_000, 40_000, 1460)]
    if number < len(buffers):
        send, receive, mss = buffers[number]
    else:
        send, receive = (int(2 ** chosen.uniform(11, 19)) for _ in range(2))
        mss = chosen.choice([1460, 4096, 20_000, 65_483])
    late = number == 1 or (number >= len(buffers) and chosen.random() < 0.5)
    # Linux takes a whole piece of a send if its buffer has any room, and nothing if it has none.
    whole = number >= FIRST and number % 2 == 0 and chosen.random() < 0.4
    return iocp_sock.Sim(
        seed=number,
        preset="linux",
        nagle=False,
        send_buffer=send,
        min_send_buffer=0,
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
    """Return a model with faults; the number chooses its preset, parameters and faults.

    Its run must pass Run.check(), but is not compared with a backend, which has no such faults.
    """
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
        fault_span=10.0,
    )


class Modelled:
    """A run of the model under some circumstances."""

    def __init__(self, sim: iocp_sock.Sim, under: Circumstances, options: dict[str, Any]) -> None:
        self.run = Run(sim, **options)
        self.under = under
        self.shown: dict[str, Any] = {}
        """The outcome after the last step of the run."""
        self._made = 0

    def go_on(self, steps: list[Step]) -> None:
        """Run these steps, the next ones of the program."""
        for name, arguments in steps:
            moment = self.under.at(self._made)
            self._made += 1
            for rooms in moment.rooms:
                self.run.resize(*rooms)
            getattr(self.run, name)(*arguments)
            if moment.lags:
                self.run.lag()
            self.run.pass_time(moment.pace)
            self.run.check()
        self.shown = self.run.seen()


class Differential:
    """Runs one program on a backend and on several models, by step() and end().

    `backend` is the name of a backend. With 'sim' only models run, some of them with faults.
    """

    def __init__(self, backend: str, **options: Any) -> None:
        self.backend = backend
        self.options = options
        self.steps: list[Step] = []
        self._apart = False
        """Whether the budget refused a post, after which the outcomes are not comparable."""
        self.models = [self._modelled(Circumstances(number, ())) for number in range(FIRST)]
        self.real = None if backend == "sim" else Run(backend, **options)
        self.wild = []
        if self.real is None:
            self.wild = [
                Modelled(wild(number), Circumstances(number, ()), options) for number in range(12)
            ]
        self.model_runs = len(self.models) + len(self.wild)
        """The number of runs on the model so far."""

    def step(self, name: str, *arguments: Any) -> None:
        """Make one step in every run, and compare the outcomes."""
        step = (name, arguments)
        self.steps.append(step)
        for modelled in self.models + self.wild:
            modelled.go_on([step])
        if self.real is not None:
            getattr(self.real, name)(*arguments)
            self._compare(self.real)

    def end(self) -> None:
        """Close every port with operations still outstanding, and check for leaks."""
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

    def script(self) -> str:
        """Return the program as a plain script, which needs the directory tests in PYTHONPATH."""
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        lines = [
            "from support.differential import Differential",
            "",
            f"program = Differential({self.backend!r}{options})",
        ]
        for name, arguments in self.steps:
            lines.append(f"program.step({', '.join(map(repr, (name, *arguments)))})")
        return "\n".join([*lines, "program.end()", ""])

    def _modelled(self, under: Circumstances) -> Modelled:
        return Modelled(variant(under.system), under, self.options)

    def _runs(self) -> list[Run]:
        modelled = [one.run for one in self.models + self.wild]
        return [*modelled, *([self.real] if self.real is not None else [])]

    def _forget(self) -> None:
        self.models.clear()
        self.wild.clear()
        self.real = None

    def _compare(self, real: Run) -> None:
        """Wait until the real outcome is one of the model's."""
        began = time.monotonic()
        search: Search | None = None
        calm = looks = 0
        while True:
            busy = real.port.run_once(0.001 if calm else 0)
            real.check()
            strange = self._strange(real)
            calm = 0 if busy else calm + 1
            if not strange and calm:
                return
            waited = time.monotonic() - began
            if waited > SOON and strange and looks < MOST:
                if search is None:
                    search = Search(len(self.steps))
                    for made in self.models:
                        search.learn(made.under, self._distance(real, made, strange))
                looks += 1
                self._look(search, real, strange)
            elif strange and all(OVER_BUDGET in seen for seen in strange.values()):
                self._apart = True
                return
            elif waited > LATE:
                raise AssertionError(
                    "\n".join(["no run on the model has these outcomes:", *strange.values()])
                )

    def _strange(self, real: Run) -> dict[str, str]:
        """Return the real outcomes that no run of the model has, except counts between two runs."""
        found: dict[str, str] = {}
        if self._apart:
            return found
        for name, value in real.seen().items():
            may = sorted({made.shown[name] for made in self.models})
            between = type(value) is int and may[0] <= value <= may[-1]
            if value not in may and not between:
                found[name] = f"{name}: {value}; on the model {', '.join(map(str, may))}"
        return found

    def _look(self, search: Search, real: Run, strange: dict[str, str]) -> None:
        """Make one more run of the model, and keep it if it has an outcome in `strange`."""
        sides, amounts = self._concerned(real, strange), _amounts(real)
        made = self._modelled(search.propose(len(self.steps), sides, amounts))
        made.go_on(self.steps)
        self.model_runs += 1
        self.models.append(made)
        if len(self._strange(real)) == len(strange):
            self.models.pop()
            made.run.end()
        search.learn(made.under, self._distance(real, made, strange))

    @staticmethod
    def _distance(real: Run, made: Modelled, strange: dict[str, str]) -> float:
        """Return how far a model's run is from the real run; outcomes in `strange` weigh most."""
        far = sum(map(_difference, real.moved(), made.run.moved()))
        for name, value in real.seen().items():
            shown = made.shown[name]
            if value != shown:
                far += STRANGE if name in strange else 1.0
                far += _difference(value, shown) if type(value) is int else 0.0
        return far

    def _concerned(self, real: Run, strange: dict[str, str]) -> list[int]:
        """Return both sides of each connection in `strange`, or all sides under a budget."""
        if self.options:
            return list(range(len(real.sides)))  # all sides share a budget
        found = set()
        for number, post in enumerate(real.posts):
            if f"post {number}" in strange:
                found.add(real.sides.index(post.side) // 2)
        for side in range(len(real.sides)):
            if any(f"side {side}" in name for name in strange):
                found.add(side // 2)
        return [side for pair in sorted(found) for side in (2 * pair, 2 * pair + 1)]


def _amounts(real: Run) -> list[int]:
    """Return byte counts of the real run: of each post, and running sums of each side and kind."""
    found = set()
    for side in real.sides:
        for kind in ("send", "receive"):
            moved = [
                post.operation.transferred
                for post in side.posts
                if post.kind == kind and post.operation
            ]
            found.update(moved)
            found.update(itertools.accumulate(moved))
        found.add(len(side.received))
    return sorted(found - {0})


def _difference(one: int, other: int) -> float:
    """Return the difference of two numbers, relative to the larger."""
    return abs(one - other) / max(one, other) if one != other else 0.0
