"""What the ledger says at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Ledger"]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The memory that unfinished operations of a port keep locked, in bytes of whole pages.

    The charge of an operation is every page its buffers touch; the sum over the operations that
    are accepted and unfinished is `now`, on every backend alike.
    """

    now: int
    """Charged now; what the budget bounds."""

    peak: int
    """The most that was ever charged at once."""

    budget: int
    """The port's budget; 0: no limit."""

    internal: int
    """The core's own control storage that the system locks."""

    kernel_locked: int
    """What this system really locks for these operations, which may be less than the charge."""

    registered: int
    """Memory registered with the kernel, counted against the budget once."""

    by_kind: Mapping[str, int]
    """The charge by kind of operation: 'receive', 'send'."""

    by_state: Mapping[str, int]
    """The charge by state: 'queued', 'pending', 'cancelling'."""
