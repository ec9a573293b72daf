"""Random sequences of posts, cancels, closes and half-closes over real sockets.

Each step is checked: received bytes are a prefix of those sent, each post has one completion, and
the ledger is exact.
"""

import contextlib
import socket
from typing import Any

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

import iocp_sock
from support import address_of, block, fuzzing, pages, pattern, run_until, span

SIZES = st.sampled_from([1, 2, 100, 4095, 4096, 4097, 20_000, 70_000, 400_000])
STORED = pattern(405_000, 12345)
"""The content of the file that send_file() sends parts of."""
SMALL = st.sampled_from([1, 2, 100, 4095, 4096, 4097, 20_000, 70_000])


class Post(fuzzing.Post):
    """One accepted operation on a stream, with the buffer it fills or the data it sends."""

    def __init__(self, charge: int) -> None:
        super().__init__(charge)
        self.target: bytearray | None = None
        self.data = b""

    def forget(self) -> None:
        super().forget()
        self.target = None


class Side:
    """One end of a connection, with its posts in posting order."""

    def __init__(self, sock: iocp_sock.Socket) -> None:
        self.sock = sock
        self.sends: list[Post] = []
        self.receives: list[Post] = []
        self.streamed: list[bytes] = []
        self.ends = 0
        self.closed_told = 0
        self.closing = False
        self.subscribed = False
        self.shut = False
        self.other: Side

    def posted(self) -> list[Post]:
        return self.sends + self.receives

    def sent(self) -> bytes:
        """Return the data of every send of which bytes may have been sent."""
        return b"".join(post.data for post in self.sends if not skipped(post))

    def received(self) -> bytes:
        parts = []
        for post in self.receives:
            if post.operation.done and post.operation.error is None:
                if post.target is not None:
                    parts.append(bytes(post.target[: post.operation.transferred]))
                elif post.operation.data is not None:
                    parts.append(bytes(post.operation.data))
        return b"".join(parts + self.streamed)


def skipped(post: Post) -> bool:
    """Return whether the send ended with an error before any byte was sent."""
    return bool(post.operation.done and post.operation.transferred == 0 and post.operation.error)


class Sockets(fuzzing.PortMachine):
    """A state machine of random programs: a port, and connections between its own sockets."""

    path = ""
    sides = Bundle("sides")

    @initialize()
    def begin(self) -> None:
        self.open_port(close_timeout=0.5)
        self.all: list[Side] = []

    def posts(self) -> list[Post]:
        return [post for side in self.all for post in side.posted()]

    def connect(self, how: str) -> tuple[Side, Side]:
        if how == "unix":
            ours, theirs = socket.socketpair()
            first, second = self.port.adopt(ours), self.port.adopt(theirs)
        else:
            with self.port.listen(("127.0.0.1", 0)) as listener:
                accept = listener.accept()
                connect = self.port.connect(listener.getsockname())
                run_until(self.port, lambda: accept.done and connect.done)
                first, second = accept.accepted, connect.socket
        one, two = Side(first), Side(second)
        one.other, two.other = two, one
        self.all += [one, two]
        return one, two

    @rule(target=sides, how=st.sampled_from(["unix", "tcp"]))
    def open(self, how: str) -> Any:
        if len(self.all) >= 8:
            return multiple()
        return multiple(*self.connect(how))

    def receive_post(self, side: Side, post: Post, call: Any) -> None:
        try:
            post.posted(call())
        except OSError:
            return
        side.receives.append(post)

    @rule(side=sides, size=SMALL)
    def recv(self, side: Side, size: int) -> None:
        post = Post(block(size))
        self.receive_post(side, post, lambda: side.sock.recv(size, callback=post))

    @rule(side=sides, size=SMALL, offset=st.integers(0, 50))
    def recv_into(self, side: Side, size: int, offset: int) -> None:
        whole = bytearray(size + offset)
        post = Post(pages(address_of(whole) + offset, size))
        post.target = bytearray(0)
        view = memoryview(whole)[offset:]

        def call() -> Any:
            return side.sock.recv_into(view, callback=post)

        self.receive_post(side, post, call)
        post.target = view  # type: ignore[assignment]

    @rule(side=sides)
    def recv_zero(self, side: Side) -> None:
        post = Post(0)
        self.receive_post(side, post, lambda: side.sock.recv_zero(callback=post))

    @rule(side=sides, how=st.sampled_from(["pooled", "zero_byte"]))
    def subscribe(self, side: Side, how: Any) -> None:
        def data(_conn: Any, buffer: iocp_sock.Buffer) -> None:
            assert not side.ends
            if buffer:
                side.streamed.append(bytes(buffer))
            else:
                side.ends += 1

        def closed(_conn: Any, _error: Any) -> None:
            side.closed_told += 1

        if side.subscribed:
            return
        with contextlib.suppress(iocp_sock.SocketClosed, iocp_sock.ArgumentError):
            side.sock.receive(data, receive=how, on_close=closed)
            side.subscribed = True

    @rule(side=sides, size=SIZES, mutable=st.booleans())
    def send(self, side: Side, size: int, mutable: bool) -> None:
        data: Any = pattern(size, len(side.sends))
        data = bytearray(data) if mutable else data
        self.post_send(side, data, [data], lambda post: side.sock.send(data, callback=post))

    @rule(side=sides, sizes=st.lists(st.sampled_from([0, 1, 50, 4096, 5000, 90_000]), min_size=1))
    def sendmsg(self, side: Side, sizes: list[int]) -> None:
        parts = [bytearray(pattern(size, len(side.sends) + i)) for i, size in enumerate(sizes)]
        self.post_send(
            side, b"".join(parts), parts, lambda post: side.sock.sendmsg(parts, callback=post)
        )

    @rule(side=sides, sizes=st.lists(SMALL, min_size=2, max_size=6))
    def answer(self, side: Side, sizes: list[int]) -> None:
        """Make several sends in one callback; the port coalesces them if the side is subscribed."""
        ran = []

        def send_all(_completion: iocp_sock.Completion) -> None:
            for size in sizes:
                self.send(side, size, False)
            ran.append(True)

        self.port.post(callback=send_all)
        run_until(self.port, lambda: ran)

    @rule(side=sides, offset=st.integers(0, 5000), size=SIZES)
    def send_file(self, side: Side, offset: int, size: int) -> None:
        data = STORED[offset : offset + size]
        self.post_send(
            side, data, [], lambda post: side.sock.send_file(self.path, offset, size, callback=post)
        )

    def post_send(self, side: Side, data: Any, parts: list[Any], call: Any) -> None:
        post = Post(0)
        before = side.sock.queued_bytes
        try:
            post.operation = call(post)
        except OSError:
            return
        post.data = bytes(data)
        if post.operation.outcome != "done":
            went = len(data) - (side.sock.queued_bytes - before)
            for part in parts:
                skip = min(went, len(part))
                went -= skip
                if len(part) > skip:
                    post.charge += span(part, skip)
        side.sends.append(post)

    @rule(side=sides, which=st.integers(0, 1000))
    def cancel(self, side: Side, which: int) -> None:
        posts = [post for post in side.posted() if not post.operation.done]
        if posts:
            posts[which % len(posts)].operation.cancel()

    @rule(side=sides)
    def cancel_all(self, side: Side) -> None:
        if not side.subscribed:
            side.sock.cancel()

    @rule(side=sides)
    def half_close(self, side: Side) -> None:
        with contextlib.suppress(OSError):
            side.sock.shutdown(socket.SHUT_WR)
            side.shut = True

    @rule(side=sides, how=st.sampled_from(["close", "now", "abort"]))
    def close(self, side: Side, how: str) -> None:
        side.closing = True
        if how == "abort":
            side.sock.abort()
        else:
            side.sock.close(None if how == "close" else 0)

    @rule(turns=st.integers(1, 5))
    def run(self, turns: int) -> None:
        for _ in range(turns):
            self.port.run_once(0)

    @rule(side=sides)
    def recv_now(self, side: Side) -> None:
        with contextlib.suppress(OSError):
            data = side.sock.try_recv(1000)
            if data:
                post = Post(0)
                post.operation = _Done(data)
                post.completions = 1
                side.receives.append(post)

    @precondition(lambda self: bool(getattr(self, "all", None)))
    @invariant()
    def exact(self) -> None:
        self.check_ledger((side.sock, side.posted()) for side in self.all)
        for side in self.all:
            assert side.ends <= 1
            assert side.closed_told <= 1
            self.check_bytes(side)

    def check_bytes(self, side: Side) -> None:
        received = side.received()
        sent = side.other.sent()
        assert sent[: len(received)] == received, "received bytes are no prefix of those sent"

    def check_end(self) -> None:
        for side in self.all:
            if side.closing or side.other.closing:
                event("closed connection")
            assert side.closed_told == (1 if side.subscribed else 0)
            self.check_bytes(side)


class _Done:
    """The result of try_recv(), with the interface of a done operation."""

    done = True
    error = None

    def __init__(self, data: iocp_sock.Buffer) -> None:
        self.data = data
        self.transferred = len(data)


def test_sequences(backend, fuzz, tmp_path):
    """R03 R04 R06 R09 R30 R31: after any steps, bytes, completions and ledger are right."""
    Sockets.backend = backend
    stored = tmp_path / "stored"
    stored.write_bytes(STORED)
    Sockets.path = str(stored)
    fuzz(Sockets, 60)
