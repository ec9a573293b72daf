"""The estimate for the whole load from the figures of a connection, and the best choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from iocp_sock.cli.plan.load import Load
from iocp_sock.cli.plan.modelled import Figures

_NOTICED = 0.001
"""The seconds of delay below which choices count as equal."""
_ALIKE = 1.25
"""The factor of processor time up to which choices count as equal: short runs vary as much."""


@dataclass(frozen=True)
class Estimate:
    """One strategy under the whole load; sizes in bytes."""

    strategy: str
    locked_typical: int
    locked_worst: int
    """The bytes locked if all connections become active at once."""
    copies_per_byte: float
    calls_per_message: float
    added_delay: float
    """The median seconds beyond half a round trip."""
    memory: int
    """The memory that may be locked, and the sockets' non-paged pool or their measured memory."""
    cpu: float | None
    """The processor seconds for a message, if they were measured."""
    breaks_first: str

    @classmethod
    def of(cls, strategy: str, load: Load, figures: Figures) -> Estimate:
        """Scale the figures of a connection to all connections."""
        idle = load.connections - load.busy
        typical = round(idle * figures.idle_charge + load.busy * figures.active_charge)
        worst = load.connections * figures.worst_charge
        return cls(
            strategy=strategy,
            locked_typical=typical,
            locked_worst=worst,
            copies_per_byte=round(figures.copies, 2),
            calls_per_message=round(figures.calls, 2),
            added_delay=figures.delay,
            memory=worst + round(load.connections * _beside(figures)),
            cpu=figures.cpu,
            breaks_first=_breaks(load, typical, worst, figures),
        )

    def fits(self, load: Load) -> bool:
        """Return whether even the worst case stays within the budget."""
        return not load.budget or self.locked_worst <= load.budget

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON: the delay in microseconds, without the processor time."""
        figures = asdict(self)
        del figures["cpu"]
        figures["added_delay_us"] = round(figures.pop("added_delay") * 1e6, 1)
        return figures


def _beside(figures: Figures) -> float:
    """Return the bytes of a connection that are not locked."""
    return figures.pool if figures.memory is None else figures.memory


def _breaks(load: Load, typical: int, worst: int, figures: Figures) -> str:
    if load.budget and typical > load.budget:
        return f"the budget, at {load.budget * load.connections // typical:,} connections"
    if figures.cpu is not None and load.busy * load.rate * figures.cpu > 1:
        most = int(1 / (figures.cpu * load.rate))
        return f"one processor, at {most:,} active connections"
    if not load.budget or worst <= load.budget:
        return "nothing within this load"
    if figures.worst_charge <= figures.idle_charge:
        return f"the budget, at {load.budget // figures.worst_charge:,} connections"
    idle = load.connections * figures.idle_charge
    most = int((load.budget - idle) / (figures.worst_charge - figures.idle_charge))
    return f"the budget, when {most:,} connections are active at once"


def best(estimates: Sequence[Estimate], load: Load) -> tuple[Estimate, str]:
    """Return the best estimate and why: within the budget, least delay, work, then memory.

    Work is the processor time, if it was measured, and then copies and calls.
    """
    fitting = [one for one in estimates if one.fits(load)]
    if not fitting:
        least = min(estimates, key=lambda one: one.locked_worst)
        return least, "no strategy stays within the budget at its worst; this one locks least"
    quickest = min(one.cpu or 0.0 for one in fitting)
    chosen = min(
        fitting,
        key=lambda one: (
            one.added_delay > _NOTICED and one.added_delay,
            one.cpu is not None and one.cpu > _ALIKE * quickest and one.cpu,
            one.copies_per_byte,
            one.calls_per_message,
            one.locked_typical,
        ),
    )
    left_out = [one.strategy for one in estimates if one not in fitting]
    reason = (
        f"{chosen.copies_per_byte:g} copies of each byte and {chosen.calls_per_message:g} calls"
    )
    if chosen.cpu is not None:
        reason += f", {chosen.cpu * 1e6:,.1f} µs of the processor"
    if left_out:
        reason += f"; {' and '.join(left_out)} may lock more than the budget"
    elif chosen.locked_worst:
        reason += f"; the {chosen.locked_worst:,} B it may lock are within the budget"
    return chosen, reason
