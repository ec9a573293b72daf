"""``iocp-sock top``: a running server's figures, live."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from iocp_sock.cli import table
from iocp_sock.control import MAX_SOCKETS, ControlClient, running

_RATES = ("waits", "packets", "flushes", "sends", "drains", "late")
_EVENTS = ("refusals", "degraded", "switches", "pauses", "evictions", "nagle_stalls")


def top(
    pid: Annotated[
        int | None,
        typer.Option(min=1, help="The process id of the server.", show_default="the only server"),
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="The path of its control socket, in place of the process id."
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between two readings.")
    ] = 1.0,
    sockets: Annotated[
        int,
        typer.Option(
            min=0, max=MAX_SOCKETS, help="Sockets to list, those with the largest charge first."
        ),
    ] = 10,
    once: Annotated[bool, typer.Option("--once", help="Print one reading and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only a line of JSON for each reading.")
    ] = False,
) -> None:
    """Watch a running echo or demo server of this user: memory, operations, queues, rates.

    Ends with Ctrl-C, or with the server. Exit code 3: there is no control socket on this system.
    """
    with ControlClient(control or _only(pid)) as client:
        first = client.ask(sockets)
        if once:
            _print(first, None, as_json)
            return
        try:
            _follow(client, first, sockets, interval, as_json)
        except KeyboardInterrupt:
            return
        except ConnectionError as error:
            print(f"iocp-sock: {error.strerror or error}", file=sys.stderr)


def _only(pid: int | None) -> Path:
    """Return the control socket of the server `pid`, or of the only server."""
    found = running()
    if pid is not None:
        if pid not in found:
            raise SystemExit(
                f"iocp-sock: --pid {pid} names no server with a control socket of this user "
                f"({_list(found)})"
            )
        return found[pid]
    if len(found) != 1:
        raise SystemExit(
            f"iocp-sock: {_list(found)}" + ("; choose one with --pid" if found else "")
        )
    return next(iter(found.values()))


def _list(found: dict[int, Path]) -> str:
    if not found:
        return "no server of this user is running; start one with 'iocp-sock echo'"
    return "running: " + ", ".join(f"process {pid}" for pid in sorted(found))


def _follow(
    client: ControlClient, first: dict[str, Any], sockets: int, interval: float, as_json: bool
) -> None:
    console = Console()
    before, now = None, first
    if as_json or not console.is_terminal:
        while True:
            _print(now, before, as_json)
            time.sleep(interval)
            before, now = now, client.ask(sockets)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_tables(now, before), refresh=True)
            time.sleep(interval)
            before, now = now, client.ask(sockets)


def _print(now: dict[str, Any], before: dict[str, Any] | None, as_json: bool) -> None:
    if as_json:
        print(json.dumps(now), flush=True)
    else:
        Console().print(_tables(now, before))


def _tables(now: dict[str, Any], before: dict[str, Any] | None) -> Group:
    stats = now["stats"]
    title = f"{now['name']}, process {now['pid']}, on {now['backend']} ({now['backend_reason']})"
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        table.facts("Memory", _memory(stats)),
        table.facts("Operations", _operations(stats)),
        _rates(now, before),
    ]
    if stats["latency"]:
        parts.append(_latencies(stats["latency"]))
    if stats["by_socket"]:
        parts.append(_sockets(stats["by_socket"], stats["sockets"]))
    return Group(*parts)


def _memory(stats: dict[str, Any]) -> list[tuple[str, str]]:
    ledger = stats["ledger"]
    budget = f" of {ledger['budget']:,} B" if ledger["budget"] else ", no budget"
    return [
        ("charged now", table.charge(ledger["now"]) + budget),
        ("charged peak", table.charge(ledger["peak"])),
        ("by kind", _parts(ledger["by_kind"], " B")),
        ("by state", _parts(ledger["by_state"], " B")),
        ("locked by the kernel", f"{ledger['kernel_locked']:,} B"),
        ("registered, internal", f"{ledger['registered']:,} B, {ledger['internal']:,} B"),
        (
            "pool",
            f"{stats['blocks_out']:,} of {stats['blocks']:,} blocks,"
            f" {stats['block_bytes_out']:,} of {stats['block_bytes']:,} B in use",
        ),
    ]


def _operations(stats: dict[str, Any]) -> list[tuple[str, str]]:
    used = stats["slots"] - stats["slots_free"]
    return [
        ("sockets", f"{stats['sockets']:,}"),
        ("unfinished", _parts(stats["operations_by_state"])),
        ("by kind", _parts(stats["operations_by_kind"])),
        ("waiting for the budget", f"{stats['budget_queue']:,}"),
        ("waiting in lanes", f"{stats['lane_queue']:,}"),
        ("to send", f"{stats['send_queue_bytes']:,} B"),
        ("slots", f"{used:,} of {stats['slots']:,}"),
        ("what happened", _parts({name.replace("_", " "): stats[name] for name in _EVENTS})),
    ]


def _parts(parts: dict[str, int], unit: str = "") -> str:
    return ", ".join(f"{name} {value:,}{unit}" for name, value in parts.items() if value) or "none"


def _rates(now: dict[str, Any], before: dict[str, Any] | None) -> Table:
    shown = Table(title="Counts", title_justify="left")
    shown.add_column("")
    for name in _RATES:
        shown.add_column(name, justify="right")
    counts = [now["stats"][name] for name in _RATES]
    shown.add_row("in all", *(f"{count:,}" for count in counts))
    if before is not None:
        elapsed = now["time"] - before["time"]
        last = [before["stats"][name] for name in _RATES]
        rates = [(count - old) / elapsed for count, old in zip(counts, last, strict=True)]
        shown.add_row("per second", *(f"{rate:,.0f}" for rate in rates))
    return shown


def _latencies(latency: dict[str, Any]) -> Table:
    shown = Table(title="Time from post to hand-out, µs", title_justify="left")
    for name in ("kind", "operations", "mean", "longest"):
        shown.add_column(name, justify="left" if name == "kind" else "right")
    for kind, one in latency.items():
        mean, longest = one["sum"] / one["count"] / 1000, one["max"] / 1000
        shown.add_row(kind, f"{one['count']:,}", f"{mean:,.1f}", f"{longest:,.1f}")
    return shown


def _sockets(listed: list[dict[str, Any]], of: int) -> Table:
    shown = Table(
        title=f"The {len(listed)} heaviest of {of:,} sockets", title_justify="left", min_width=60
    )
    for name in ("descriptor", "state", "receives by", "sends by"):
        shown.add_column(name, justify="right" if name == "descriptor" else "left")
    for name in ("charged", "to send", "operations"):
        shown.add_column(name, justify="right")
    for one in listed:
        shown.add_row(
            str(one["fileno"]),
            "paused" if one["send_paused"] else one["state"],
            _receives_by(one),
            one["send_strategy"],
            f"{one['charged']:,} B",
            f"{one['queued_bytes']:,} B",
            f"{one['outstanding']:,}",
        )
    return shown


def _receives_by(one: dict[str, Any]) -> str:
    if one["accepts"]:
        return "accepts"
    if one["receiving_by"] is None:
        return "single posts"
    return f"adaptive, now {one['receiving_by']}" if one["adaptive"] else str(one["receiving_by"])
