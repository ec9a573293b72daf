"""The result of a scenario."""

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
    """The figures of a machine at the end, before its port is closed; sizes in bytes."""

    ledger_now: int
    ledger_peak: int
    locked_now: int
    """The pages that the modelled system has locked."""
    locked_peak: int
    pool_now: int
    pool_peak: int
    refusals: int
    """The posts that the budget or a cap refused."""
    nagle_stalls: int
    """The sockets on which Nagle's algorithm held the second of two small sends back."""
    trace: Trace | None

    @classmethod
    def of(cls, port: Port, machine: Mapping[str, int], trace: Trace | None) -> HostOutcome:
        """Take the figures of a port and of its machine."""
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
        """Return the figures for JSON."""
        return {name: value for name, value in vars(self).items() if name != "trace"}


@dataclass(frozen=True)
class Outcome:
    """The whole result of one run."""

    scenario: Scenario
    hosts: Mapping[str, HostOutcome]
    tallies: Mapping[str, Tally]
    injected: tuple[int, ...]
    """For each fault, the number of connections that it hit."""
    counts: Mapping[str, int]
    """The model's counts, as Sim.counts()."""
    trace_hash: str
    lines: Sequence[TraceLine]
    """The model's trace, if it was requested."""
    ends: Mapping[int, str]
    """A name for the socket of each fileno(): the last socket that had it."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
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
                {
                    "at": fault.at,
                    "what": fault.what,
                    "connections": fault.group,
                    "injected": injected,
                }
                for fault, injected in zip(scenario.faults, self.injected, strict=True)
            ],
            "counts": dict(self.counts),
            "trace_hash": self.trace_hash,
        }
