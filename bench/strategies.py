"""The strategies benchmark: the cost of each receive and send strategy, busy and idle."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from bench import report
from bench.cell import Cell
from bench.crowd import Crowd, gather
from bench.idle import idle_client, wait_accepted
from bench.load import NOISY, QUIET, Measurement, RunFailed, measure
from bench.machine import Cpus, describe
from bench.server import RunningServer, ServerSilent, ServerUnavailable
from bench.strategy import Strategy, charges, strategies

BYTES = {"receive": 64, "send": 16384}
"""The message size for each direction: small to show the cost of a receive, large to show the copy
of a send."""

_CONNECTIONS, _QUICK_CONNECTIONS = [100, 1000, 9000], [100, 1000]
_IDLE, _QUICK_IDLE = 100_000, 2_000
_LIMIT_SECONDS = 60.0

_Result = TypeVar("_Result")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick", action="store_true", help="fewer connections, one short round, in a minute or so"
    )
    parser.add_argument("--connections", help="busy connections (100,1000,9000; quick: 100,1000)")
    parser.add_argument("--idle", type=int, help="idle connections (100000, quick: 2000); 0: none")
    parser.add_argument("--backends", help="such as uring,epoll (both, quick: uring)")
    parser.add_argument("--rounds", type=int, help="runs of each strategy (3, quick: 1)")
    parser.add_argument("--seconds", type=float, help="measured window of a run (2.0, quick: 0.5)")
    parser.add_argument("--plot", metavar="DIR", help="draw the results too (needs matplotlib)")


@dataclass(frozen=True)
class Run:
    """One server with N connections: idle, after a message on each, and busy; sizes in bytes."""

    bytes_per_idle_connection: float
    bytes_per_connection_after_echo: float
    idle_charged_bytes: int
    idle_kernel_locked_bytes: int
    charged_bytes_peak: int
    busy: Measurement

    def figures(self) -> dict[str, float]:
        """All figures in one dict."""
        own = asdict(self)
        busy = own.pop("busy")
        return {name: round(figure, 3) for name, figure in {**own, **busy}.items()}


class Strategies:
    """The results so far: of rounds of every strategy in turn, and of many idle connections."""

    def __init__(self, chosen: Sequence[Strategy], cpus: Cpus, seconds: float) -> None:
        self.chosen = list(chosen)
        self.cpus = cpus
        self.seconds = seconds
        self.runs: dict[tuple[Strategy, int], list[Run]] = {}
        self.crowds: dict[Strategy, Crowd] = {}
        self.skipped: dict[str, str] = {}
        self.failures: list[dict[str, Any]] = []

    def run(self, connections: Sequence[int], rounds: int) -> None:
        """Run each strategy with each number of connections."""
        for number in range(1, rounds + 1):
            for count in connections:
                for strategy in list(self.chosen):
                    seen = self._try(f"round {number}/{rounds}", strategy, count, self._measure)
                    if seen is not None:
                        self.runs.setdefault((strategy, count), []).append(seen)

    def gather(self, connections: int) -> None:
        """Measure each strategy with idle connections, on more servers if one cannot hold all."""
        for strategy in list(self.chosen):
            seen = self._try("idle", strategy, connections, self._gather)
            if seen is not None:
                self.crowds[strategy] = seen

    def _try(
        self,
        phase: str,
        strategy: Strategy,
        connections: int,
        work: Callable[[Strategy, int], tuple[_Result, str]],
    ) -> _Result | None:
        seen, outcome = None, ""
        try:
            seen, outcome = work(strategy, connections)
        except ServerUnavailable as error:
            self.chosen.remove(strategy)
            self.skipped[strategy.label] = str(error)
            outcome = f"skipped: {error}"
        except (RunFailed, ServerSilent) as error:
            self.failures.append(
                {"strategy": strategy.label, "connections": connections, "error": str(error)}
            )
            outcome = f"failed: {error}"
        report.progress(f"{phase:<10} {connections:>7,} {strategy.label:<28} {outcome}")
        return seen

    def _gather(self, strategy: Strategy, connections: int) -> tuple[Crowd, str]:
        crowd = gather(strategy, connections, self.cpus)
        return crowd, f"{crowd.bytes_per_idle_connection:>10,.0f} B per connection"

    def _measure(self, strategy: Strategy, connections: int) -> tuple[Run, str]:
        """Measure one server, first with idle connections and then with busy ones."""
        with strategy.server.start(self.cpus.server) as server:
            listening = server.settled_anonymous_bytes()
            files = server.open_files()
            with idle_client(server, connections, self.cpus.client) as client:
                client.expect("connected")
                wait_accepted(server, files + connections)
                idle = server.settled_anonymous_bytes()
                ledger = charges(server)
                client.echo()
                echoed = server.settled_anonymous_bytes()
            _wait_closed(server, files)
            cell = Cell(BYTES[strategy.direction], connections)
            busy = measure(
                server, cell, self.cpus.client, seconds=self.seconds, warmup=self.seconds / 2
            )
            run = Run(
                (idle - listening) / connections,
                (echoed - listening) / connections,
                ledger.now,
                ledger.kernel_locked,
                charges(server).peak,
                busy,
            )
        return run, f"{busy.messages_per_second:>10,.0f}/s"

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row for each strategy and number of connections: medians over the rounds."""
        for (strategy, connections), runs in self.runs.items():
            figures = [run.figures() for run in runs]
            yield {
                **strategy.fields(),
                "connections": connections,
                "size": BYTES[strategy.direction],
                **{
                    name: round(statistics.median(each[name] for each in figures), 3)
                    for name in figures[0]
                },
                "runs": figures,
            }

    def idle_rows(self) -> Iterator[dict[str, Any]]:
        """One row for each strategy with many idle connections."""
        for strategy, crowd in self.crowds.items():
            yield {**strategy.fields(), **asdict(crowd)}


def _wait_closed(server: RunningServer, files: int) -> None:
    end = time.monotonic() + _LIMIT_SECONDS
    while server.open_files() > files:
        if time.monotonic() > end:
            raise RunFailed(f"{server.open_files() - files} connections are still open")
        time.sleep(0.05)


_COLUMNS = [
    "direction", "strategy", "backend", "conns", "messages/s", "CPU us/msg", "p99 us",
    "idle charge", "peak charge", "B/idle",
]  # fmt: skip
_IDLE_COLUMNS = [
    "direction", "strategy", "backend", "conns", "processes", "charge", "B/idle", "after echo",
]  # fmt: skip


def _print_tables(result: dict[str, Any]) -> None:
    lines = [
        [
            row["direction"], row["strategy"], row["backend"], f"{row['connections']:,}",
            f"{row['messages_per_second']:,.0f}", f"{row['cpu_us_per_message']:.2f}",
            f"{row['p99_us']:,.0f}", f"{row['idle_charged_bytes']:,.0f}",
            f"{row['charged_bytes_peak']:,.0f}", f"{row['bytes_per_idle_connection']:,.0f}",
        ]
        for row in result["rows"]
    ]  # fmt: skip
    notes = [f"skipped {name}: {why}" for name, why in result["skipped"].items()]
    notes += [f"FAILED {at['strategy']}: {at['error']}" for at in result["failures"]]
    if any(row["other_busy"] > QUIET for row in result["rows"]):
        notes.insert(0, NOISY)
    report.table("Strategies, medians", _COLUMNS, lines, names=3, notes=notes)
    if result["idle"]:
        idle = [
            [
                row["direction"], row["strategy"], row["backend"], f"{row['connections']:,}",
                str(row["processes"]), f"{row['charged_bytes']:,}",
                f"{row['bytes_per_idle_connection']:,.0f}",
                f"{row['bytes_per_connection_after_echo']:,.0f}",
            ]
            for row in result["idle"]
        ]  # fmt: skip
        report.table("Idle connections", _IDLE_COLUMNS, idle, names=3, notes=[])


def main(options: argparse.Namespace) -> int:
    quick = options.quick
    if options.plot:
        from bench import strategies_plot
    counts = [int(count) for count in options.connections.split(",")] if options.connections else []
    counts = counts or (_QUICK_CONNECTIONS if quick else _CONNECTIONS)
    backends = (options.backends or ("uring" if quick else "uring,epoll")).split(",")
    idle = options.idle if options.idle is not None else (_QUICK_IDLE if quick else _IDLE)
    rounds: int = options.rounds or (1 if quick else 3)
    seconds: float = options.seconds or (0.5 if quick else 2.0)
    cpus = Cpus.choose(options.cpus)
    environment = describe(cpus)
    work = Strategies(strategies(backends, options.servers), cpus, seconds)
    work.run(counts, rounds)
    if idle:
        work.gather(idle)
    result = {
        "benchmark": "strategies",
        "environment": environment,
        "settings": {"rounds": rounds, "seconds": seconds, "connections": counts, "idle": idle},
        "rows": list(work.rows()),
        "idle": list(work.idle_rows()),
        "skipped": work.skipped,
        "failures": work.failures,
    }
    report.write(result, as_json=options.json, out=options.out)
    if options.plot:
        strategies_plot.draw(result, options.plot)
    if not options.json:
        _print_tables(result)
    return 1 if work.failures or not result["rows"] else 0
