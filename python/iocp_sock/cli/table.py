"""The result tables of the commands."""

import platform
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from iocp_sock import PAGE_SIZE
from iocp_sock.cli.experiment import Run

TITLES = {"direct": "posted receives", "zero_byte": "zero-byte receives"}
_WIDTH = 60
_PLAIN_WIDTH = 120
_BUSY = 0.8


def wide_console() -> Console:
    """Return a console on standard output, wide enough for many columns if it is no terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def charge(count: int) -> str:
    """Return charged memory as pages and bytes."""
    return f"{count // PAGE_SIZE:,} pages, {count:,} B"


def facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def comparison(runs: Sequence[Run]) -> Table:
    """Return a table with the runs of a demo side by side."""
    first = runs[0]
    size = f"{first.connections:,} connections, {first.hot:,} hot"
    title = f"{size}, on {first.backend} ({first.backend_reason})"
    table = Table(title=Text(title), title_justify="left", caption=_caption(runs))
    table.add_column("")
    for run in runs:
        table.add_column(TITLES[run.receive], justify="right")
    for name, cells in _rows(runs):
        table.add_row(name, *cells)
    return table


def _caption(runs: Sequence[Run]) -> str | None:
    """Return a warning if the server had time to spare, so that the run measured the load."""
    if min(run.server_busy for run in runs) >= _BUSY:
        return None
    return "The server had time to spare: messages/s is the speed of the load, not of the server."


def _rows(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    return [
        ("messages/s", [f"{run.messages_per_second:,.0f}" for run in runs]),
        ("round trip p50 / p99", [f"{run.p50_us:,.0f} / {run.p99_us:,.0f} µs" for run in runs]),
        ("charged now", [charge(run.charged_bytes) for run in runs]),
        ("charged peak", [charge(run.charged_bytes_peak) for run in runs]),
        ("memory per idle connection", [_memory(run.rss_bytes_per_connection) for run in runs]),
        (
            "server CPU per message",
            [f"{run.server_cpu_us:,.1f} µs ({run.server_busy:.0%} busy)" for run in runs],
        ),
    ]


def _memory(count: float | None) -> str:
    return f"not available on {platform.system()}" if count is None else f"{count:,.0f} B"
