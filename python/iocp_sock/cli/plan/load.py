"""The load that a plan is made for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """The load of a server; sizes in bytes, times in seconds."""

    connections: int
    active: float
    """The fraction of the connections that is active at a time."""
    message: int
    rate: float
    """The messages a second on an active connection, each way."""
    rtt: float
    budget: int
    """The maximum of locked bytes; 0: no limit."""
    preset: str

    @property
    def block(self) -> int:
        """The bytes of a posted receive's block."""
        return min(self.message, 65536)

    @property
    def busy(self) -> int:
        """The number of active connections."""
        return min(self.connections, max(1, round(self.connections * self.active)))
