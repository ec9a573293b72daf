"""Figures of Windows from documents, and the same programs' figures on the model's Windows.

'003, 2.3' is section 2.3 of the document on the architecture of sockets that the model follows.
KB 214397 (small segments over TCP with Winsock) and KB 823764 (slow copies to a TCP server) are
articles of Microsoft.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench import winsock_programs as programs
from bench.agreement import MAX_DEVIATION
from iocp_sock import Sim
from iocp_sock.cli.matrix.quiet import unwarned

WINDOWS = ("windows-2000", "windows-10")


@dataclass(frozen=True)
class Figure:
    """One figure of a document beside the model's, in the same unit.

    If `at_least` is set, the document's figure is a lower bound.
    """

    source: str
    preset: str
    what: str
    told: float
    model: float
    unit: str
    at_least: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the model deviates by at most 25 %, or reaches the lower bound."""
        if self.at_least:
            return self.model >= self.told
        return abs(self.model - self.told) <= MAX_DEVIATION * self.told


@dataclass(frozen=True)
class _Claim:
    source: str
    what: str
    told: float
    unit: str
    program: Callable[[Sim], float]
    parameters: Mapping[str, Any]
    presets: tuple[str, ...] = WINDOWS
    at_least: bool = False


_BARE = {"send_buffer": 0, "dynamic_send_buffer": False}
_BARE_NODELAY = _BARE | {"nagle": False}
_BLOCKING = _BARE | {"blocking_sends": True}

_CLAIMS = [
    _Claim("003, 2.3", "the window", 17, "KiB", programs.kibibytes_that_nobody_reads,
           {"receive_buffer": 0}, ("windows-2000",)),
    _Claim("003, 4.1", "no buffer, blocking: before an ACK", 1, "segments",
           programs.segments_before_an_ack, _BLOCKING),
    _Claim("003, 4.2", "no buffer, nodelay: ten sends", 10, "segments",
           programs.segments_of_small_sends, _BARE_NODELAY),
    _Claim("003, 8.2(1)", "no buffer, nodelay: ten sends wait for", 0, "delayed ACKs",
           programs.acks_that_small_sends_wait_for, _BARE_NODELAY),
    _Claim("003, 8.2(2)", "buffer, nodelay: ten sends wait for", 0, "delayed ACKs",
           programs.acks_that_small_sends_wait_for, {"nagle": False}),
    _Claim("003, 8.2(3)", "no buffer, Nagle: a small send waits", 200, "ms",
           programs.wait_of_small_sends, _BARE),
    _Claim("KB 214397, 1", "no buffer, Nagle, blocking: records", 5, "a second",
           programs.records_a_second, _BLOCKING),
    _Claim("KB 214397, 1", "10,000 records take (more than)", 1800, "s",
           programs.seconds_for_records(10_000), _BLOCKING, at_least=True),
    _Claim("KB 214397, 2", "answers on a second connection: quotes", 5, "a second",
           programs.quotes_a_second, {}),
    _Claim("KB 214397, 2", "answers on the same: all wait for", 0, "delayed ACKs",
           programs.acks_that_quotes_wait_for, {}),
    _Claim("KB 823764", "64 KiB: the last segment", 1296, "bytes",
           programs.last_segment_of_a_block, {}),
    _Claim("KB 823764", "64 KiB, buffer 32 KiB: each waits", 200, "ms",
           programs.wait_of_blocks, {"send_buffer": 32 << 10, "dynamic_send_buffer": False}),
    _Claim("KB 823764", "64 KiB, buffer a byte larger: wait for", 0, "delayed ACKs",
           programs.acks_that_blocks_wait_for,
           {"send_buffer": (64 << 10) + 1, "dynamic_send_buffer": False}),
]  # fmt: skip


def figures() -> list[Figure]:
    """Run every program on every preset that its document describes."""
    with unwarned():
        return [_figure(claim, preset) for claim in _CLAIMS for preset in claim.presets]


def _figure(claim: _Claim, preset: str) -> Figure:
    model = round(claim.program(Sim(preset=preset, **claim.parameters)), 3)
    return Figure(claim.source, preset, claim.what, claim.told, model, claim.unit, claim.at_least)
