"""The figures of a ledger at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Ledger"]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The memory that unfinished operations of a port keep locked, in bytes of whole pages.

    The charge of an operation is every page that its buffers touch, on every backend. `now` is the
    sum over the accepted, unfinished operations.
    """

    now: int
    """The charge now, which the budget limits."""

    peak: int
    """The maximum of `now` so far."""

    budget: int
    """The port's budget; 0: no limit."""

    internal: int
    """The core's own control storage that the system locks."""

    kernel_locked: int
    """The memory that this system really locks for the operations; it may be less than `now`."""

    registered: int
    """Memory registered with the kernel, counted against the budget once."""

    by_kind: Mapping[str, int]
    """The charge by kind of operation: 'receive', 'send'."""

    by_state: Mapping[str, int]
    """The charge by state: 'queued', 'pending', 'cancelling'."""
