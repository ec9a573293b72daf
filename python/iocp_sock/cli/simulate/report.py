"""An outcome as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from iocp_sock.cli.simulate.outcome import Outcome

_GROUP = ("connections", "opened", "sent", "delivered", "bytes", "p50", "p99", "longest", "failed")
_HOST = ("host", "ledger now", "ledger peak", "locked now", "locked peak", "pool peak", "stalls")
_TEXT = ("connections", "host", "failed")


def tables(outcome: Outcome) -> Iterator[Table]:
    """Yield a table of the connections and a table of the machines."""
    report = outcome.as_dict()
    title = f"{report['title']}: {report['duration']:g} s on {report['preset']}"
    connections = _empty(f"{title}, seed {report['seed']}", _GROUP)
    for name, one in report["connections"].items():
        connections.add_row(
            name,
            f"{one['opened']:,}",
            f"{one['sent']:,}",
            f"{one['delivered']:,}",
            f"{one['bytes']:,}",
            *(_time(one[key]) for key in ("p50_us", "p99_us", "longest_us")),
            _errors(one),
        )
    yield connections
    hosts = _empty("Memory of the machines, in bytes", _HOST)
    for name, one in report["hosts"].items():
        figures = ("ledger_now", "ledger_peak", "locked_now", "locked_peak", "pool_peak")
        hosts.add_row(name, *(f"{one[key]:,}" for key in figures), f"{one['nagle_stalls']:,}")
    yield hosts


def lines(outcome: Outcome) -> Iterator[str]:
    """Yield the faults and the counts in words."""
    for fault, injected in zip(outcome.scenario.faults, outcome.injected, strict=True):
        yield f"{fault.at:g} s: {fault.what} hit {injected:,} connections of {fault.group}"
    counts = outcome.counts
    yield (
        f"{counts['segments']:,} segments, {counts['retransmissions']:,} sent again,"
        f" {counts['lost']:,} lost, {counts['delayed_acks']:,} delayed ACKs;"
        f" {counts['events']:,} events; trace {outcome.trace_hash}"
    )


def _empty(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in _TEXT else "right")
    return table


def _time(microseconds: float | None) -> str:
    if microseconds is None:
        return "-"
    return f"{microseconds:,.0f} µs" if microseconds < 1000 else f"{microseconds / 1000:,.1f} ms"


def _errors(one: dict[str, Any]) -> str:
    found = [f"{count:,} {name}" for name, count in one["errors"].items()]
    if one["refused"]:
        found.append(f"{one['refused']:,} sends refused")
    return ", ".join(found)
