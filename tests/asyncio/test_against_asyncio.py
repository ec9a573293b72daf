"""Random programs on one stream transport, run on the library's loop and on asyncio's own.

asyncio's loop is the oracle. On both loops the protocol must get the same calls, and each call of
the program must return or raise alike. The peer must receive the same bytes and the same end.
"""

import asyncio
import contextlib
import socket
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from iocp_sock.asyncio import EventLoop
from support import linux_only, pattern

pytestmark = linux_only("the pair of sockets has to move everything at once, as AF_UNIX does")

TURNS = 12
"""Turns of the loop after each step: enough for data to reach the other end of an AF_UNIX pair."""

SIZES = st.sampled_from([0, 1, 3, 1000, 70_000, 300_000])
STEPS = st.one_of(
    st.tuples(st.just("write"), SIZES),
    # No size near that of the system's buffer, which takes a little more of many sends than of one.
    st.tuples(st.just("write_several"), st.lists(st.sampled_from([1, 10, 300_000]), max_size=4)),
    # The pieces are not empty: from Python 3.12 on an empty one blocks asyncio's own queue.
    st.tuples(st.just("writelines"), st.lists(st.sampled_from([1, 2000]), min_size=1, max_size=4)),
    st.tuples(st.just("limits"), st.sampled_from([(0, 0), (1000, 10), (100_000, 1000), None])),
    st.tuples(st.just("peer_sends"), st.sampled_from([1, 10, 5000])),
    st.tuples(st.just("peer_reads"), st.sampled_from([1, 1000, 1 << 20])),
    st.tuples(st.sampled_from(["peer_shuts", "peer_closes"]), st.none()),
    st.tuples(st.sampled_from(["pause", "resume", "write_eof", "close", "abort"]), st.none()),
)
REACTIONS = st.sampled_from(
    ["nothing", "pause", "close", "abort", "write", "write_eof", "raise", "keep_open"]
)


@dataclass(frozen=True)
class Reactions:
    """The action that the protocol takes in each of its callbacks."""

    made: str
    data: str
    eof: str
    paused: str
    resumed: str
    buffered: bool


@dataclass
class Outcome:
    """The observable outcome of a program on one loop."""

    calls: list[str] = field(default_factory=list)
    received: int = 0
    digest: int = 0  # of what was received
    steps: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    peer_sent: int = 0
    peer_got: int = 0
    peer_end: str = "open"
    aborted: bool = False  # or ended by an exception of the protocol
    late: bool = False  # something was written while the transport was closing

    def normalized(self) -> "Outcome":
        """Clear the fields that depend on how much a loop had read or sent when it ended."""
        if self.aborted:
            return replace(self, peer_got=0, peer_end="")
        # A late write goes only if earlier ones still wait for the system.
        seen = replace(self, peer_got=0) if self.late else self
        if self.received != self.peer_sent and self.peer_end != "closed":
            return replace(seen, peer_end="")  # unread data makes the system reset the connection
        return seen


class Protocol(asyncio.Protocol):
    """Records its callbacks, and reacts to them. Successive calls with data count as one."""

    def __init__(self, reactions: Reactions, outcome: Outcome) -> None:
        self.reactions = reactions
        self.outcome = outcome
        self.transport: Any = None

    def note(self, name: str) -> None:
        if name != "data" or self.outcome.calls[-1:] != ["data"]:
            self.outcome.calls.append(name)

    def react(self, reaction: str) -> bool:
        if reaction == "pause":
            self.transport.pause_reading()
        elif reaction == "close":
            self.transport.close()
        elif reaction == "abort":
            self.outcome.aborted = True
            self.transport.abort()
        elif reaction == "write":
            self.outcome.late |= self.transport.is_closing()
            with contextlib.suppress(RuntimeError):  # after write_eof()
                self.transport.write(b"!" * 100)
        elif reaction == "write_eof":
            self.transport.write_eof()
        elif reaction == "raise":
            self.outcome.aborted = True
            raise ValueError("of the test")
        return reaction == "keep_open"

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")
        self.react(self.reactions.made)

    def data_received(self, data: bytes) -> None:
        self.note("data")
        self.outcome.received += len(data)
        self.outcome.digest = zlib.crc32(data, self.outcome.digest)
        self.react(self.reactions.data)

    def eof_received(self) -> bool:
        self.note("eof")
        return self.react(self.reactions.eof)

    def pause_writing(self) -> None:
        self.note("pause")
        self.react(self.reactions.paused)

    def resume_writing(self) -> None:
        self.note("resume")
        self.react(self.reactions.resumed)

    def connection_lost(self, exc: BaseException | None) -> None:
        # After a reset a send may fail with EPIPE before a receive fails with ECONNRESET. So all
        # connection errors count as the same.
        kind = ConnectionError if isinstance(exc, ConnectionError) else type(exc)
        self.note(f"lost {kind.__name__}")


class Buffered(Protocol, asyncio.BufferedProtocol):
    """The recording protocol as a BufferedProtocol, which supplies the memory for the data."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.memory = bytearray(4000)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.memory[:nbytes]))


class Play:
    """One run of a random program on one event loop."""

    def __init__(self, steps: list[tuple[str, Any]], reactions: Reactions) -> None:
        self.steps = steps
        self.outcome = Outcome()
        self.ours, self.peer = socket.socketpair()
        for end in (self.ours, self.peer):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 40_000)
        kind = Buffered if reactions.buffered else Protocol
        self.protocol = kind(reactions, self.outcome)

    async def run(self) -> Outcome:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _loop, context: self.outcome.errors.append(
                type(context.get("exception")).__name__
            )
        )
        transport, _ = await loop.connect_accepted_socket(lambda: self.protocol, self.ours)
        await self.pass_turns()
        for name, argument in self.steps:
            self.outcome.late |= name.startswith("write") and transport.is_closing()
            try:
                getattr(self, name)(transport, argument)
            except Exception as exc:
                self.outcome.steps.append(f"{name}: {type(exc).__name__}")
            await self.pass_turns()
        for _ in range(20):
            self.read_on()
            await self.pass_turns()
        with contextlib.suppress(AttributeError):  # asyncio's ended transport raises it
            transport.abort()
        await self.pass_turns()
        self.read_on()
        self.peer.close()
        return self.outcome

    async def pass_turns(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def read_on(self, limit: int = 1 << 30) -> None:
        """Read the data that has arrived at the peer, and record the end of its stream."""
        while limit > 0 and self.outcome.peer_end == "open":
            try:
                data = self.peer.recv(min(limit, 1 << 16))
            except BlockingIOError:
                return
            except OSError as exc:
                self.outcome.peer_end = type(exc).__name__
                return
            limit -= len(data)
            self.outcome.peer_got += len(data)
            if not data:
                self.outcome.peer_end = "end"

    # --- the steps of a program: the methods that STEPS names -------------------------------------

    def write(self, transport: Any, size: int) -> None:
        transport.write(pattern(size))

    def write_several(self, transport: Any, sizes: list[int]) -> None:
        for size in sizes:
            transport.write(pattern(size))

    def writelines(self, transport: Any, sizes: list[int]) -> None:
        transport.writelines([pattern(size) for size in sizes])

    def limits(self, transport: Any, limits: tuple[int, int] | None) -> None:
        high, low = limits or (None, None)
        transport.set_write_buffer_limits(high=high, low=low)

    def peer_sends(self, _transport: Any, size: int) -> None:
        self.outcome.peer_sent += self.peer.send(pattern(size))

    def peer_reads(self, _transport: Any, size: int) -> None:
        self.read_on(size)

    def peer_shuts(self, _transport: Any, _nothing: None) -> None:
        self.peer.shutdown(socket.SHUT_WR)

    def peer_closes(self, _transport: Any, _nothing: None) -> None:
        self.outcome.peer_end = "closed"
        self.peer.close()

    def pause(self, transport: Any, _nothing: None) -> None:
        transport.pause_reading()

    def resume(self, transport: Any, _nothing: None) -> None:
        transport.resume_reading()

    def write_eof(self, transport: Any, _nothing: None) -> None:
        transport.write_eof()

    def close(self, transport: Any, _nothing: None) -> None:
        transport.close()

    def abort(self, transport: Any, _nothing: None) -> None:
        self.outcome.aborted = True
        transport.abort()


def play(loop: asyncio.AbstractEventLoop, program: Any, reactions: Reactions) -> Outcome:
    try:
        return loop.run_until_complete(Play(program, reactions).run())
    finally:
        loop.close()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    program=st.lists(STEPS, max_size=10),
    reactions=st.builds(
        Reactions, REACTIONS, REACTIONS, REACTIONS, REACTIONS, REACTIONS, st.booleans()
    ),
)
def test_a_stream_behaves_as_on_asyncios_loop(backend, program, reactions):
    """R33: after any calls, a transport's protocol and peer see the same as on asyncio's loop."""
    expected = play(asyncio.SelectorEventLoop(), program, reactions)
    # Skip programs that meet a bug of asyncio: its ended transport sets its loop and socket to
    # None, so that a later call raises AttributeError or TypeError.
    assume("AttributeError" not in str(expected) and "TypeError" not in str(expected))
    outcome = play(EventLoop(backend=backend), program, reactions)
    note(f"asyncio: {expected}")
    note(f"ours:    {outcome}")
    assert outcome.normalized() == expected.normalized()
