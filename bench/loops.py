"""The primitives of event loops: calls, timers, tasks, futures, beside uvloop and asyncio."""

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import report
from bench.loop_primitives import PRIMITIVES
from bench.machine import Cpus, describe, pinned
from bench.selection import choose

_ROOT = Path(__file__).parent.parent
_SECONDS = 120.0
_COUNT = 100_000


@dataclass(frozen=True)
class _Loop:
    """A loop: its name in reports, its name for the program, another tree of the package."""

    name: str
    kind: str
    tree: str | None = None


_LOOPS = (
    _Loop("loop-uring", "uring"),
    _Loop("loop-epoll", "epoll"),
    _Loop("uvloop", "uvloop"),
    _Loop("asyncio", "asyncio"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baseline", default="uvloop", help="the loop to compare with (uvloop)")
    parser.add_argument("--primitives", help="only these, such as call_soon_chain,sleep_0")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each loop (5)")
    parser.add_argument("--count", type=int, default=_COUNT, help="steps of a run (100000)")


def _loops(options: argparse.Namespace) -> list[_Loop]:
    known = list(_LOOPS)
    if options.before:
        known += [
            _Loop(f"before-{one.kind}", one.kind, options.before)
            for one in _LOOPS
            if one.name.startswith("loop-")
        ]
    if not options.servers:
        return known
    return choose("loop", {one.name: one for one in known}, options.servers)


def _measure(loop: _Loop, primitive: str, count: int, cpu: int) -> float | str:
    """Run one primitive in a fresh process. Return nanoseconds a step, or what failed."""
    environment = dict(os.environ)
    if loop.tree is not None:
        environment["PYTHONPATH"] = loop.tree
    command = [sys.executable, "-m", "bench.loop_primitives", loop.kind, primitive, str(count)]
    with pinned(cpu):
        done = subprocess.run(
            command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=_SECONDS
        )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"it ended with {done.returncode}"
    return float(done.stdout)


def _rows(runs: dict[tuple[str, str], dict[int, float]], baseline: str) -> list[dict[str, Any]]:
    """Return a row for each primitive and loop. Ratios are between runs of one round."""
    rows = []
    for (primitive, loop), times in runs.items():
        base = runs.get((primitive, baseline), {})
        ratios = [base[number] / time for number, time in times.items() if number in base]
        rows.append(
            {
                "primitive": primitive,
                "loop": loop,
                "ns": statistics.median(times.values()),
                "ratio": statistics.median(ratios) if ratios else None,
                "runs": list(times.values()),
            }
        )
    return rows


def _table(rows: list[dict[str, Any]], loops: list[str], baseline: str, notes: list[str]) -> None:
    found = {(row["primitive"], row["loop"]): row for row in rows}
    lines = []
    for primitive in dict.fromkeys(row["primitive"] for row in rows):
        cells = [primitive]
        for loop in loops:
            row = found.get((primitive, loop))
            ratio = "" if row is None or row["ratio"] is None else f" ({row['ratio']:.2f})"
            cells.append("-" if row is None else f"{row['ns']:,.0f}{ratio}")
        lines.append(cells)
    title = f"ns a step (times as fast as {baseline}, median of the rounds)"
    report.table(title, ["primitive", *loops], lines, names=1, notes=notes)


def main(options: argparse.Namespace) -> int:
    loops = _loops(options)
    wanted = options.primitives.split(",") if options.primitives else list(PRIMITIVES)
    primitives = choose("primitive", {name: name for name in PRIMITIVES}, wanted)
    cpus = Cpus.choose(options.cpus)
    runs: dict[tuple[str, str], dict[int, float]] = {}
    failures: dict[str, str] = {}
    for number in range(1, options.rounds + 1):
        for primitive in primitives:
            for loop in loops:
                outcome = _measure(loop, primitive, options.count, cpus.server)
                label = f"round {number}/{options.rounds}  {primitive:<20} {loop.name:<12}"
                if isinstance(outcome, str):
                    failures[f"{loop.name} {primitive}"] = outcome
                    report.progress(f"{label} {outcome}")
                else:
                    runs.setdefault((primitive, loop.name), {})[number] = outcome
                    report.progress(f"{label} {outcome:8,.0f} ns")
    rows = _rows(runs, options.baseline)
    result = {"machine": describe(cpus), "count": options.count, "rows": rows, "failures": failures}
    report.write(result, as_json=options.json, out=options.out)
    if not options.json:
        notes = [f"{name}: {reason}" for name, reason in failures.items()]
        _table(rows, [loop.name for loop in loops], options.baseline, notes)
    return 1 if failures else 0
