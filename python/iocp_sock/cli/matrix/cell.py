"""The cells of the matrix and their results."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from typing import Any, Literal

from iocp_sock.cli.latency import quantile
from iocp_sock.cli.matrix.path import LOOPBACK, Path
from iocp_sock.cli.matrix.wire import Wire

Pattern = Literal["one_way", "write_write_read", "gathered", "bulk"]
Stall = Literal["delayed_ack", "other"]

SIZES: dict[str, int | None] = {"least": 0, "default": None, "large": 4 << 20}
"""The requested buffer sizes, in bytes; None keeps the system's size."""

PATTERNS: dict[Pattern, str] = {
    "one_way": "16 B every 5 ms, without an answer; from the send to the receiver",
    "write_write_read": "16 B and 48 B in two sends, then the wait for 64 B; round trip",
    "gathered": "the same 64 B in one gathered send; round trip",
    "bulk": "256 KiB in one send, then the wait for 64 B; round trip",
}
"""The traffic of each pattern, and the meaning of its latency."""

STALLED_US = 20_000.0
FLOWING_US = 5_000.0


@dataclass(frozen=True)
class Cell:
    """A choice of buffers, of Nagle's algorithm on the sending side, and of a pattern."""

    pattern: Pattern
    send_buffer: str
    receive_buffer: str
    nagle: bool

    @property
    def name(self) -> str:
        """A name such as 'write_write_read, send buffer least, receive buffer default, Nagle'."""
        nagle = "Nagle" if self.nagle else "nodelay"
        return (
            f"{self.pattern}, send buffer {self.send_buffer}, "
            f"receive buffer {self.receive_buffer}, {nagle}"
        )

    @property
    def without_nagle(self) -> Cell:
        """The same cell with nodelay."""
        return Cell(self.pattern, self.send_buffer, self.receive_buffer, False)


CELLS = [
    Cell(pattern, send_buffer, receive_buffer, nagle)
    for pattern, send_buffer, receive_buffer, nagle in itertools.product(
        PATTERNS, SIZES, ("least", "default"), (True, False)
    )
]


@dataclass(frozen=True)
class Measured:
    """The results of one cell; buffer sizes are those in effect, in bytes.

    `send_buffer_bytes` is read at the end, because a default send buffer grows. `wire` and
    `charged_bytes_peak` are the sender's. `noticed` is whether the sender's port has seen the
    stalling pattern (NagleStallWarning).
    """

    cell: Cell
    send_buffer_bytes: int
    receive_buffer_bytes: int
    latencies_us: tuple[float, ...]
    wire: Wire | None
    charged_bytes_peak: int
    noticed: bool

    @property
    def median_us(self) -> float:
        """The time in microseconds that half of the messages did not exceed."""
        return self._quantile(0.5)

    @property
    def p99_us(self) -> float:
        """The time that 99 % of the messages did not exceed (with fewer than 100: all of them)."""
        return self._quantile(0.99)

    def _quantile(self, part: float) -> float:
        return quantile(sorted(self.latencies_us), part)

    @property
    def copies(self) -> Literal["copied", "not known"]:
        """Whether data is copied between the application and the kernel, as far as it is known.

        Linux copies every plain send into the kernel and every receive out of it. Windows without a
        send buffer is said to send from the caller's memory; this program cannot verify that.
        """
        lies_bare = sys.platform == "win32" and 0 in (
            self.send_buffer_bytes,
            self.receive_buffer_bytes,
        )
        return "not known" if lies_bare else "copied"

    def figures(self, stall: Stall | None) -> dict[str, Any]:
        """Return the cell in the form of the JSON."""
        wire = self.wire
        return {
            "pattern": self.cell.pattern,
            "send_buffer": self.cell.send_buffer,
            "send_buffer_bytes": self.send_buffer_bytes,
            "receive_buffer": self.cell.receive_buffer,
            "receive_buffer_bytes": self.receive_buffer_bytes,
            "nagle": self.cell.nagle,
            "messages": len(self.latencies_us),
            "median_us": round(self.median_us, 1),
            "p99_us": round(self.p99_us, 1),
            "segments": None if wire is None else wire.segments,
            "data_segments": None if wire is None else wire.data_segments,
            "resent_segments": None if wire is None else wire.resent_segments,
            "data_bytes": None if wire is None else wire.data_bytes,
            "wire_bytes": None if wire is None else wire.wire_bytes,
            "copies": self.copies,
            "charged_bytes_peak": self.charged_bytes_peak,
            "noticed": self.noticed,
            "stall": stall,
        }


def stalls(cells: list[Measured], path: Path = LOOPBACK) -> dict[Cell, Stall]:
    """Return the cells that stall. The delay of the path itself is not part of a stall.

    'delayed_ack': the median is over 20 ms, and that of the same cell without Nagle under 5 ms.
    'other': the median is over 20 ms for another reason.
    """
    medians = {one.cell: one.median_us - under_way_us(one.cell, path) for one in cells}
    found: dict[Cell, Stall] = {}
    for cell, median in medians.items():
        if median > STALLED_US:
            flows = cell.nagle and medians.get(cell.without_nagle, median) < FLOWING_US
            found[cell] = "delayed_ack" if flows else "other"
    return found


def under_way_us(cell: Cell, path: Path) -> float:
    """Return the delay of the path for a message of the cell: one way, or there and back."""
    return path.one_way_us * (1 if cell.pattern == "one_way" else 2)
