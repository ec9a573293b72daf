"""The load that a plan is made for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What a server has to serve; sizes in bytes, times in seconds."""

    connections: int
    active: float
    """Part of the connections that have messages at a time."""
    message: int
    rate: float
    """Messages a second on an active connection, each way."""
    rtt: float
    budget: int
    """Bytes that may be locked; 0: no limit."""
    preset: str

    @property
    def block(self) -> int:
        """Bytes of the block that a posted receive has."""
        return min(self.message, 65536)

    @property
    def busy(self) -> int:
        """Active connections."""
        return min(self.connections, max(1, round(self.connections * self.active)))
