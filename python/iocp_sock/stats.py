"""What a port shows of itself at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from iocp_sock.errors import ArgumentError
from iocp_sock.ledger import Ledger

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Histogram", "SocketStats", "Stats"]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Durations in nanoseconds, in buckets that are never wider than a sixteenth of them."""

    count: int
    """Durations counted."""

    sum: int
    """Nanoseconds, of all of them together."""

    max: int
    """The longest, in nanoseconds."""

    buckets: tuple[tuple[int | None, int], ...]
    """Upper bound in nanoseconds, which is part of the bucket, and how many lie in it; only the
    buckets that hold any, in ascending order. None: longer than 4.9 hours."""

    def percentile(self, percent: float) -> int:
        """The upper bound, in nanoseconds, of the bucket that holds that percentile; 0 when empty.

        Raises ArgumentError for a percent that is not from 0 to 100.
        """
        if not 0 <= percent <= 100:
            raise ArgumentError(22, f"percent is a number from 0 to 100, not {percent!r}")
        wanted = self.count * percent / 100
        seen = 0
        for bound, count in self.buckets:
            seen += count
            if seen >= wanted and seen:
                return self.max if bound is None else min(bound, self.max)
        return self.max


@dataclass(frozen=True, kw_only=True)
class SocketStats:
    """One open socket's part of a port's figures."""

    id: int
    """Names the socket for as long as the port lives; no other socket ever has it."""

    fileno: int
    """Its descriptor, or handle."""

    family: int
    """As socket.AF_INET and its like."""

    type: int
    """As socket.SOCK_STREAM and its like."""

    state: str
    """'open'; 'draining' while queued sends go out after close(); 'cancelling' until the kernel
    has given back what it holds."""

    charged: int
    """Bytes of whole pages that its operations keep locked."""

    queued_bytes: int
    """Bytes of its sends that are still to go."""

    outstanding: int
    """Accepted operations whose completion was not handed out."""

    receives: int
    """Unfinished operations of the receiving direction, subscriptions included."""

    sends: int
    """Unfinished operations of the sending direction."""

    accepts: bool
    """accept_each() stands."""

    receiving_by: str | None
    """How receive() receives now: 'pooled', 'direct' or 'zero_byte'; 'datagrams': receive_from().

    None: neither stands."""

    adaptive: bool
    """That strategy follows the traffic."""

    send_strategy: str
    """The strategy of sends: 'buffered', 'when_writable' or 'direct'."""

    send_paused: bool
    """The sender was asked to pause, and not yet to go on."""


@dataclass(frozen=True, kw_only=True)
class Stats:
    """The figures of a port, all of one moment: taken under one hold of its lock.

    Counts are since the port was made. Sizes are in bytes.
    """

    ledger: Ledger
    """The account of locked memory."""

    operations_by_state: Mapping[str, int]
    """Unfinished operations: 'queued', 'pending', 'cancelling'."""

    operations_by_kind: Mapping[str, int]
    """Unfinished operations by Operation.kind."""

    outstanding: int
    """Accepted operations whose completion was not handed out; finished ones too, until then."""

    budget_queue: int
    """Operations that the budget or a cap holds back, uncharged."""

    lane_queue: int
    """Operations queued behind others of their direction, for the next flush, or for a pause."""

    send_queue_bytes: int
    """Bytes of all unfinished sends that are still to go."""

    ready: int
    """Results that wait to be handed out by the next turn."""

    sockets: int
    """Open sockets."""

    slots: int
    """Slots for operations; the table grows with them and keeps them."""

    slots_free: int
    """Slots that no operation has."""

    blocks: int
    """Blocks of the buffer pool, in use or not."""

    blocks_out: int
    """Blocks in use: by operations, or by received buffers that somebody keeps."""

    block_bytes: int
    """Memory of all blocks."""

    block_bytes_out: int
    """Memory of the blocks in use."""

    regions_out: int
    """Blocks in use that pooled receives share; `region_limit` is about these."""

    waits: int
    """Turns that asked the kernel."""

    packets: int
    """Events that the kernel reported."""

    late: int
    """Events of operations that were gone, recognised and dropped."""

    flushes: int
    """Requests that carried sends."""

    sends: int
    """Sends they carried."""

    drains: int
    """Times a socket that had become readable was read."""

    refusals: int
    """Posts refused by the budget or a cap, and by the system for lack of something."""

    degraded: int
    """Receives that wait without the buffer they were posted with."""

    switches: int
    """Changes of an adaptive subscription's strategy."""

    pauses: int
    """Times a sender was asked to pause, by its high mark."""

    evictions: int
    """Connections closed for making no progress."""

    nagle_stalls: int
    """Sockets whose sends waited for delayed acknowledgements."""

    latency: Mapping[str, Histogram] | None
    """How long operations took by Operation.kind, from their post until their completion was
    handed out, without subscriptions; None unless the port was made with latency=True."""

    by_socket: tuple[SocketStats, ...]
    """The sockets that stats(sockets=n) asked for, those with the largest charge first."""

    @classmethod
    def taken(cls, figures: dict[str, Any]) -> Self:
        """Give the core's figures their types."""
        latency = figures["latency"]
        return cls(
            **{
                **figures,
                "ledger": Ledger(**figures["ledger"]),
                "latency": latency and {kind: Histogram(**one) for kind, one in latency.items()},
                "by_socket": tuple(SocketStats(**one) for one in figures["by_socket"]),
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """The same figures as dicts, lists and numbers, as JSON can hold them."""
        return asdict(self)
