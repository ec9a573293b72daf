"""Whether the model says of a cell of the matrix what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iocp_sock.cli.matrix.cell import Cell, Measured, Stall, stalls
from iocp_sock.cli.matrix.path import Path

MOST_DEVIATION = 0.25
"""By how much of the measured median the model may be off where a cell stalls."""


@dataclass(frozen=True)
class Compared:
    """One cell, measured and modelled, each with its verdict (None: it does not stall)."""

    measured: Measured
    modelled: Measured
    measured_stall: Stall | None
    modelled_stall: Stall | None

    @property
    def cell(self) -> Cell:
        return self.measured.cell

    @property
    def ratio(self) -> float:
        """The model's median in measured medians."""
        return self.modelled.median_us / self.measured.median_us

    @property
    def deviation(self) -> float | None:
        """How far the ratio is from 1; None where neither stalls."""
        stalled = self.measured_stall or self.modelled_stall
        return abs(self.ratio - 1) if stalled else None

    @property
    def agrees(self) -> bool:
        """The same verdict, and medians within 25 % where it is a stall."""
        same = self.measured_stall == self.modelled_stall
        return same and (self.deviation or 0.0) <= MOST_DEVIATION

    def figures(self) -> dict[str, Any]:
        """The cell as JSON shows it; times in microseconds."""
        cell = self.cell
        deviation = self.deviation
        return {
            "pattern": cell.pattern,
            "send_buffer": cell.send_buffer,
            "receive_buffer": cell.receive_buffer,
            "nagle": cell.nagle,
            "measured": _of(self.measured, self.measured_stall),
            "model": _of(self.modelled, self.modelled_stall),
            "ratio": round(self.ratio, 3),
            "deviation": None if deviation is None else round(deviation, 3),
            "agrees": self.agrees,
        }


def compare(
    measured: Sequence[Measured], modelled: Sequence[Measured], path: Path
) -> list[Compared]:
    """Put the same cells side by side, in the order of the measured ones.

    Raises ValueError if they are not the same cells.
    """
    by_cell = {one.cell: one for one in modelled}
    if len(by_cell) != len(modelled) or by_cell.keys() != {one.cell for one in measured}:
        raise ValueError("not the same cells were measured and modelled")
    measured_stalls = stalls(list(measured), path)
    modelled_stalls = stalls(list(modelled), path)
    return [
        Compared(
            one, by_cell[one.cell], measured_stalls.get(one.cell), modelled_stalls.get(one.cell)
        )
        for one in measured
    ]


def largest_deviation(cells: Sequence[Compared]) -> float | None:
    """The largest of the cells that stall; None: none does."""
    return max((one.deviation for one in cells if one.deviation is not None), default=None)


def _of(one: Measured, stall: Stall | None) -> dict[str, Any]:
    return {
        "messages": len(one.latencies_us),
        "median_us": round(one.median_us, 1),
        "p99_us": round(one.p99_us, 1),
        "stall": stall,
    }
