"""The cells of `iocp-sock matrix` across a path with a delay, beside the model's."""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench import documents, report
from bench.agreement import MAX_DEVIATION, Compared, compare, largest_deviation
from bench.machine import Cpus, describe
from bench.relay import FAR_ADDRESS, Relay, RelayUnavailable, Traffic
from iocp_sock import Sim
from iocp_sock.cli.matrix.cell import CELLS, PATTERNS, Cell, Measured, Pattern
from iocp_sock.cli.matrix.path import Path
from iocp_sock.cli.matrix.quiet import unwarned
from iocp_sock.cli.matrix.sender import Effort, chosen_backend, measure

_MESSAGES: dict[Pattern, int] = {
    "one_way": 200, "write_write_read": 40, "gathered": 100, "bulk": 20,
}  # fmt: skip
_SECONDS = 10.0
_QUICK_PART = 5
_MAX_DELAY = 0.02
"""The maximum delay in seconds. With a longer one a bulk message through the smallest window
exceeds a cell's time limit."""


def _delay(text: str) -> float:
    delay = float(text)
    if not 0 <= delay <= _MAX_DELAY:
        raise argparse.ArgumentTypeError(
            f"delay must be from 0 to {_MAX_DELAY} seconds, not {text}"
        )
    return delay


def _patterns(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in PATTERNS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"patterns must be among {', '.join(PATTERNS)}, not {text!r}"
        )
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="a fifth of the messages")
    parser.add_argument(
        "--delay", type=_delay, default=0.01, help="seconds each way (0.01), at most 0.02"
    )
    parser.add_argument("--patterns", type=_patterns, metavar="A,B", help="only these patterns")
    parser.add_argument("--backend", choices=("uring", "epoll"), help="of the measured ends")
    parser.add_argument(
        "--congestion", default="reno", help="congestion control of the measured ends (reno)"
    )


def measured_cells(
    cells: Iterable[Cell],
    relay: Relay,
    effort: Effort,
    backend: Any = None,
    done: Callable[[Measured], object] = lambda _: None,
) -> list[Measured]:
    """Measure cells between the two ends of a relay; call `done` with each result."""
    path = path_of(relay)
    found: list[Measured] = []
    with unwarned(), relay.near.entered():
        for cell in cells:
            found.append(measure(cell, backend, effort, path))
            done(found[-1])
    return found


def modelled_cells(cells: Iterable[Cell], sim: Sim, effort: Effort) -> list[Measured]:
    """Run the same cells on the model, each in a new world (see Sim)."""
    with unwarned():
        return [measure(cell, dataclasses.replace(sim), effort) for cell in cells]


def path_of(relay: Relay) -> Path:
    """The path from a sender in the relay's near namespace to a receiver in its far namespace."""
    return Path(FAR_ADDRESS, relay.far.entered, relay.delay * 1e6)


def _progress(one: Measured) -> None:
    report.progress(f"{one.cell.name:<70} {one.median_us / 1000:>10,.1f} ms")


def _run(
    cells: Sequence[Cell], effort: Effort, options: argparse.Namespace
) -> tuple[list[Compared], Traffic]:
    with Relay(delay=options.delay, congestion=options.congestion) as relay:
        measured = measured_cells(cells, relay, effort, options.backend, _progress)
        modelled = modelled_cells(cells, Sim(preset="linux", delay=options.delay), effort)
        return compare(measured, modelled, path_of(relay)), relay.close()


def main(options: argparse.Namespace) -> int:
    wanted = options.patterns or list(PATTERNS)
    cells = [cell for cell in CELLS if cell.pattern in wanted]
    messages = {name: count // (_QUICK_PART if options.quick else 1)
                for name, count in _MESSAGES.items()}  # fmt: skip
    environment = describe(Cpus.choose(options.cpus))
    del environment["server_cpu"], environment["client_cpu"]  # nothing is pinned
    try:
        compared, traffic = _run(cells, Effort(messages, _SECONDS), options)
    except RelayUnavailable as error:
        report.progress(f"no relay: {error}")
        return 2
    told = documents.figures()
    deviation = largest_deviation(compared)
    result = {
        "benchmark": "matrix",
        "environment": environment | chosen_backend(options.backend),
        "settings": {
            "delay": options.delay,
            "congestion": options.congestion,
            "messages": messages,
            "patterns": wanted,
        },
        "relay": dataclasses.asdict(traffic),
        "cells": [one.figures() for one in compared],
        "agreeing": sum(one.agrees for one in compared),
        "largest_deviation": None if deviation is None else round(deviation, 3),
        "documents": [dataclasses.asdict(one) | {"agrees": one.agrees} for one in told],
    }
    report.write(result, as_json=options.json, out=options.out)
    if not options.json:
        _print_cells(compared, traffic, options)
        _print_documents(told)
    return 0 if all(one.agrees for one in [*compared, *told]) else 1


_COLUMNS = [
    "pattern", "send", "recv", "Nagle", "median", "p99", "model", "p99", "ratio", "stalls",
    "agree",
]  # fmt: skip
_WORDS = {None: "-", "delayed_ack": "ACK", "other": "other"}


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:,.1f}"


def _print_cells(
    compared: Sequence[Compared], traffic: Traffic, options: argparse.Namespace
) -> None:
    lines: list[list[str] | None] = []
    for one in compared:
        cell = one.cell
        if lines and lines[-1] and lines[-1][0] != cell.pattern:
            lines.append(None)
        times = [
            each
            for end in (one.measured, one.modelled)
            for each in (_milliseconds(end.median_us), _milliseconds(end.p99_us))
        ]
        verdicts = dict.fromkeys(_WORDS[each] for each in (one.measured_stall, one.modelled_stall))
        lines.append([
            cell.pattern, cell.send_buffer, cell.receive_buffer, "on" if cell.nagle else "off",
            *times, f"{one.ratio:.2f}", "/".join(verdicts), "yes" if one.agrees else "NO",
        ])  # fmt: skip
    deviation = largest_deviation(compared)
    largest = "none" if deviation is None else f"{deviation:.1%}"
    report.table(
        f"Matrix at {options.delay * 1000:g} ms each way, milliseconds: measured, then the model",
        _COLUMNS, lines, names=4,
        notes=[
            "stalls: ACK: for a delayed acknowledgement; other: not Nagle's; measured/model if not "
            "the same.",
            f"{sum(one.agrees for one in compared)} of {len(compared)} cells agree: the same "
            f"verdict, and where one stalls medians within {MAX_DEVIATION:.0%}; the largest "
            f"deviation of those is {largest}.",
            f"The relay passed {traffic.packets:,} packets, at most {traffic.late_us:,} us late.",
        ],
    )  # fmt: skip


def _print_documents(told: Sequence[documents.Figure]) -> None:
    rows = [
        [one.source, one.preset, one.what, f"{one.told:,.4g}", f"{one.model:,.4g}", one.unit,
         "yes" if one.agrees else "NO"]
        for one in told
    ]  # fmt: skip
    columns = ["source", "preset", "what", "told", "model", "unit", "agrees"]
    report.table(
        "Figures of documents on Windows, and the model's", columns, rows, names=3, notes=[]
    )
