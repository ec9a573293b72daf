"""The agreement of the model with the measured cells of the matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iocp_sock.cli.matrix.cell import Cell, Measured, Stall, stalls
from iocp_sock.cli.matrix.path import Path

MAX_DEVIATION = 0.25
"""The maximum deviation of the model's median, as a fraction of the measured median, if a cell
stalls."""


@dataclass(frozen=True)
class Compared:
    """One cell of the matrix, measured and modelled, each with its stall (None: no stall)."""

    measured: Measured
    modelled: Measured
    measured_stall: Stall | None
    modelled_stall: Stall | None

    @property
    def cell(self) -> Cell:
        return self.measured.cell

    @property
    def ratio(self) -> float:
        """The model's median, divided by the measured median."""
        return self.modelled.median_us / self.measured.median_us

    @property
    def deviation(self) -> float | None:
        """The distance of `ratio` from 1; None if neither the measurement nor the model stalls."""
        stalled = self.measured_stall or self.modelled_stall
        return abs(self.ratio - 1) if stalled else None

    @property
    def agrees(self) -> bool:
        """Whether measurement and model stall alike, and a stall's medians are within 25 %."""
        same = self.measured_stall == self.modelled_stall
        return same and (self.deviation or 0.0) <= MAX_DEVIATION

    def figures(self) -> dict[str, Any]:
        """The comparison in the form of the JSON; times in microseconds."""
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
    """Pair each measured cell with the modelled one, in the order of the measured cells.

    Raises ValueError unless `measured` and `modelled` have the same cells, each once.
    """
    by_cell = {one.cell: one for one in modelled}
    if len(by_cell) != len(modelled) or by_cell.keys() != {one.cell for one in measured}:
        raise ValueError("measured and modelled must have the same cells, each once")
    measured_stalls = stalls(list(measured), path)
    modelled_stalls = stalls(list(modelled), path)
    return [
        Compared(
            one, by_cell[one.cell], measured_stalls.get(one.cell), modelled_stalls.get(one.cell)
        )
        for one in measured
    ]


def largest_deviation(cells: Sequence[Compared]) -> float | None:
    """The largest deviation of the stalling cells; None: no cell stalls."""
    return max((one.deviation for one in cells if one.deviation is not None), default=None)


def _of(one: Measured, stall: Stall | None) -> dict[str, Any]:
    return {
        "messages": len(one.latencies_us),
        "median_us": round(one.median_us, 1),
        "p99_us": round(one.p99_us, 1),
        "stall": stall,
    }
