"""The echo benchmark: rate, CPU per message and latency of each server in each cell."""

import argparse
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

from bench import report
from bench.cell import ALL, QUICK, WINDOWS, Cell, select_cells
from bench.load import NOISY, QUIET, Measurement, RunFailed, measure
from bench.machine import Cpus, describe
from bench.server import (
    ECHO_SERVERS,
    PROACTOR,
    UVLOOP,
    WINDOWS_SERVERS,
    Server,
    ServerUnavailable,
    select_servers,
    with_before,
)

_QUICK_SERVERS = ["iocp_sock-uring", "iocp_sock-epoll", "uvloop", "c-epoll"]
_FIELDS = [field.name for field in fields(Measurement)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick", action="store_true", help="fewer cells and servers, in about a minute"
    )
    parser.add_argument("--baseline", help="the server to which the others are compared")
    parser.add_argument("--cells", help="only these cells, such as 64Bx100,8x64Bx100")
    parser.add_argument("--rounds", type=int, help="runs of each server in each cell (5, quick: 3)")
    parser.add_argument("--seconds", type=float, help="measured window of a run (2.0, quick: 0.7)")
    parser.add_argument(
        "--warmup", type=float, help="load before the window, in seconds (0.5, quick: 0.25)"
    )


class Echo:
    """The results so far. A round runs every server in turn, in every cell."""

    def __init__(
        self, cells: Sequence[Cell], servers: Sequence[Server], baseline: Server, cpus: Cpus
    ) -> None:
        self.cells = cells
        self.servers = list(servers)
        self.baseline = baseline.name
        self.cpus = cpus
        self.runs: dict[tuple[Cell, str], dict[int, Measurement]] = {}
        self.skipped: dict[str, str] = {}
        self.failures: list[dict[str, str]] = []

    def run(self, *, rounds: int, seconds: float, warmup: float) -> None:
        for number in range(1, rounds + 1):
            for cell in self.cells:
                for server in list(self.servers):
                    if server.pieces_only if cell.pieces == 1 else server.whole_only:
                        continue
                    outcome = self._run_one(number, cell, server, seconds, warmup)
                    label = f"round {number}/{rounds}  {cell.name:<12} {server.name:<18}"
                    report.progress(f"{label} {outcome}")

    def _run_one(
        self, number: int, cell: Cell, server: Server, seconds: float, warmup: float
    ) -> str:
        cpus = self.cpus
        try:
            with server.start(cpus.server, pieces=cell.pieces, size=cell.size) as running:
                seen = measure(running, cell, cpus.client, seconds=seconds, warmup=warmup)
        except ServerUnavailable as error:
            self.servers.remove(server)
            self.skipped[server.name] = str(error)
            return f"skipped: {error}"
        except RunFailed as error:
            self.failures.append({"cell": cell.name, "server": server.name, "error": str(error)})
            return f"failed: {error}"
        self.runs.setdefault((cell, server.name), {})[number] = seen
        return f"{seen.messages_per_second:>10,.0f}/s"

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per cell and server: medians over the rounds of all figures and ratios."""
        for cell in self.cells:
            baseline = self.runs.get((cell, self.baseline), {})
            for server in self.servers:
                runs = self.runs.get((cell, server.name), {})
                pairs = [(run, baseline[at]) for at, run in runs.items() if at in baseline]
                if runs:
                    yield {
                        "cell": cell.name,
                        **asdict(cell),
                        "server": server.name,
                        **_medians(runs.values()),
                        f"rate_vs_{self.baseline}": _median(
                            own.messages_per_second / base.messages_per_second
                            for own, base in pairs
                        ),
                        f"cpu_vs_{self.baseline}": _median(
                            base.cpu_us_per_message / own.cpu_us_per_message for own, base in pairs
                        ),
                        "runs": [{"round": at, **_rounded(run)} for at, run in runs.items()],
                    }


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return round(statistics.median(known), 3) if known else None


def _medians(runs: Iterable[Measurement]) -> dict[str, float | None]:
    known = list(runs)
    return {name: _median(getattr(run, name) for run in known) for name in _FIELDS}


def _rounded(run: Measurement) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(run).items()}


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


_COLUMNS = [
    "cell", "server", "messages/s", "CPU us/msg", "p50 us", "p99 us", "rate", "CPU", "busy s/c/o",
]  # fmt: skip


def _print_table(result: dict[str, Any], baseline: str) -> None:
    lines: list[list[str] | None] = []
    for row in result["rows"]:
        if lines and lines[-1] and lines[-1][0] != row["cell"]:
            lines.append(None)
        line = [
            row["cell"], row["server"], f"{row['messages_per_second']:,.0f}",
            f"{row['cpu_us_per_message']:.2f}", f"{row['p50_us']:,.0f}", f"{row['p99_us']:,.0f}",
            _times(row[f"rate_vs_{baseline}"]), _times(row[f"cpu_vs_{baseline}"]),
            f"{row['server_busy']:.0%}/{row['client_busy']:.0%}/{row['other_busy']:.0%}",
        ]  # fmt: skip
        lines.append(line)
    notes = [f"rate, CPU: relative to {baseline}, above 1 is better; busy: server/client/others"]
    if any(row["other_busy"] > QUIET for row in result["rows"]):
        notes.append(NOISY)
    notes += [f"skipped {name}: {why}" for name, why in result["skipped"].items()]
    notes += [f"FAILED {at['cell']} {at['server']}: {at['error']}" for at in result["failures"]]
    report.table("Echo, medians", _COLUMNS, lines, names=2, notes=notes)


def main(options: argparse.Namespace) -> int:
    quick = options.quick
    under_wine = options.command == "windows"
    known, baseline = (WINDOWS_SERVERS, PROACTOR) if under_wine else (ECHO_SERVERS, UVLOOP)
    known = with_before(known, options.before)
    if options.baseline:
        (baseline,) = select_servers(known, [options.baseline])
    usual = WINDOWS if under_wine else QUICK if quick else ALL
    cells = select_cells(options.cells.split(",")) if options.cells else usual
    names = options.servers or (_QUICK_SERVERS if quick and not under_wine else None)
    cpus = Cpus.choose(options.cpus)
    rounds: int = options.rounds or (3 if quick else 5)
    seconds: float = options.seconds or (0.7 if quick else 2.0)
    warmup: float = options.warmup or (0.25 if quick else 0.5)
    environment = describe(cpus)
    echo = Echo(cells, select_servers(known, names), baseline, cpus)
    echo.run(rounds=rounds, seconds=seconds, warmup=warmup)
    result = {
        "benchmark": options.command,
        "environment": environment,
        "settings": {"rounds": rounds, "seconds": seconds, "warmup": warmup},
        "rows": list(echo.rows()),
        "skipped": echo.skipped,
        "failures": echo.failures,
    }
    report.write(result, as_json=options.json, out=options.out)
    if not options.json:
        _print_table(result, baseline.name)
    return 1 if echo.failures or not result["rows"] else 0
