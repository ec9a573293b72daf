"""The result of the matrix as a table and in words."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from iocp_sock.cli.matrix.cell import PATTERNS, Measured, stalls

_WORDS = {"delayed_ack": "delayed ACK", "other": "not Nagle's"}
_COLUMNS = [
    "pattern", "send buf.", "recv buf.", "Nagle", "median", "p99", "segments", "wire B",
    "charged B", "stalls",
]  # fmt: skip
_TEXT = ("pattern", "Nagle", "stalls")


def cells(measured: list[Measured], backend: str) -> Table:
    """Return a table with one row for each cell, in sections by pattern."""
    drawn = Table(title=f"Buffers, Nagle and four patterns, on {backend}", title_justify="left")
    for column in _COLUMNS:
        drawn.add_column(column, justify="left" if column in _TEXT else "right", no_wrap=True)
    stalling = stalls(measured)
    pattern = measured[0].cell.pattern
    for one in measured:
        if one.cell.pattern != pattern:
            pattern = one.cell.pattern
            drawn.add_section()
        why = stalling.get(one.cell)
        drawn.add_row(
            one.cell.pattern,
            f"{one.send_buffer_bytes:,}",
            f"{one.receive_buffer_bytes:,}",
            "on" if one.cell.nagle else "off",
            _time(one.median_us),
            _time(one.p99_us),
            *_wire(one),
            f"{one.charged_bytes_peak:,}",
            _WORDS[why] if why else "",
            style="bold red" if why == "delayed_ack" else None,
        )
    return drawn


def findings(measured: list[Measured]) -> Iterator[str]:
    """Yield the meaning of the columns and patterns, and the cells that stall."""
    yield (
        "Buffers: the bytes in effect at the sender and at the receiver. Segments, wire B: the "
        "sender's, for each message."
    )
    copies = {one.copies for one in measured}
    yield f"Data between the application and the kernel: {', '.join(sorted(copies))}."
    for name, text in PATTERNS.items():
        yield f"{name}: {text}."
    found = [cell.name for cell, why in stalls(measured).items() if why == "delayed_ack"]
    if not found:
        yield "No cell stalls for a delayed ACK."
        return
    yield "Stalls for a delayed ACK (median over 20 ms, without Nagle under 5 ms):"
    yield from (f"  {name}" for name in found)
    yield "Gather the parts (sendmsg), pass MSG_MORE to all but the last, or set nodelay."


def _time(microseconds: float) -> str:
    if microseconds < 1000:
        return f"{microseconds:,.0f} µs"
    return f"{microseconds / 1000:,.1f} ms"


def _wire(one: Measured) -> tuple[str, str]:
    if one.wire is None:
        return "-", "-"
    messages = len(one.latencies_us)
    return f"{one.wire.segments / messages:,.1f}", f"{one.wire.wire_bytes / messages:,.0f}"
