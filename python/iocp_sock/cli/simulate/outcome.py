"""What a scenario came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iocp_sock import Port, Trace
from iocp_sock.cli.simulate.scenario import Scenario
from iocp_sock.cli.simulate.tally import Tally
from iocp_sock.sim import TraceLine


@dataclass(frozen=True)
class HostOutcome:
    """A machine at the end, before its port is closed; sizes in bytes."""

    ledger_now: int
    ledger_peak: int
    locked_now: int
    """Pages that the modelled system has locked."""
    locked_peak: int
    pool_now: int
    pool_peak: int
    refusals: int
    """Posts that the budget or a cap refused."""
    nagle_stalls: int
    """Sockets on which two small sends and a wait for data were held up by Nagle's algorithm."""
    trace: Trace | None

    @classmethod
    def of(cls, port: Port, machine: Mapping[str, int], trace: Trace | None) -> HostOutcome:
        """The figures of a port and of its machine."""
        stats = port.stats()
        return cls(
            ledger_now=stats.ledger.now,
            ledger_peak=stats.ledger.peak,
            locked_now=machine["locked"],
            locked_peak=machine["locked_peak"],
            pool_now=machine["pool"],
            pool_peak=machine["pool_peak"],
            refusals=stats.refusals,
            nagle_stalls=stats.nagle_stalls,
            trace=trace,
        )

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return {name: value for name, value in vars(self).items() if name != "trace"}


@dataclass(frozen=True)
class Outcome:
    """Everything about one run."""

    scenario: Scenario
    hosts: Mapping[str, HostOutcome]
    tallies: Mapping[str, Tally]
    befell: tuple[int, ...]
    """Connections that each fault befell."""
    counts: Mapping[str, int]
    """Of the model, as Sim.counts()."""
    trace_hash: str
    lines: Sequence[TraceLine]
    """Of the model, where a trace was asked for."""
    ends: Mapping[int, str]
    """What the socket of each fileno() is; the last one that had it."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        scenario = self.scenario
        return {
            "title": scenario.title,
            "preset": scenario.preset,
            "seed": scenario.seed,
            "duration": scenario.duration,
            "connections": {
                name: {"count": scenario.groups[name].count, **tally.as_dict()}
                for name, tally in self.tallies.items()
            },
            "hosts": {name: host.as_dict() for name, host in self.hosts.items()},
            "faults": [
                {"at": fault.at, "what": fault.what, "connections": fault.group, "befell": befell}
                for fault, befell in zip(scenario.faults, self.befell, strict=True)
            ],
            "counts": dict(self.counts),
            "trace_hash": self.trace_hash,
        }
