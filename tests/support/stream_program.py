"""Programs of operations on streams, for any backend: their posts and outcomes."""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import iocp_sock
from support import PAGE, address_of, block, pages, pattern

_MAXIMUM = 1 << 20
_memory = bytearray(pattern(_MAXIMUM + PAGE, 54321))
_begin = -address_of(_memory) % PAGE
SOURCE = memoryview(_memory)[_begin : _begin + _MAXIMUM].toreadonly()
"""The sent data, page-aligned, so that its charge is the same in every run."""

BUFFERS = 8192
"""The size of the real sockets' buffers, which programs of moderate size fill."""

_ENDED = (ConnectionError, TimeoutError)
"""Errors of ended connections, whose names differ between systems."""


def named(error: BaseException) -> str:
    """Return the name of an error; all errors of an ended connection share one name."""
    if isinstance(error, _ENDED) and not isinstance(error, iocp_sock.TimedOut):
        return "connection lost"
    return type(error).__name__


class Post:
    """One post, accepted or refused."""

    def __init__(self, side: "Side", kind: str, size: int = 0) -> None:
        self.side = side
        self.kind = kind
        self.size = size
        self.operation: Any = None
        self.refusal = ""
        self.completions = 0
        self.charge = 0
        self.fills = False
        self.data = b""
        self.target: Any = None

    def __call__(self, completion: iocp_sock.Completion) -> None:
        self.completions += 1
        assert self.completions == 1
        assert completion.operation is self.operation
        if self.kind == "receive":
            self.side.arrived(
                bytes(completion.data or b"")
                if self.target is None
                else bytes(self.target[: completion.transferred])
            )

    @property
    def outstanding(self) -> bool:
        return self.operation is not None and not self.operation.done

    def fate(self) -> str:
        """Return the outcome so far, in words that are the same for all backends."""
        op = self.operation
        if op is None:
            return f"refused: {self.refusal}"
        if not op.done:
            return "outstanding"
        part = " in part" if op.transferred else ""
        if op.error is not None:
            return named(op.error) + part
        if self.kind == "send":
            assert op.transferred == self.size
            return "sent"
        return "received" if part else "done"


class Side:
    """One end of a connection."""

    def __init__(self, sock: iocp_sock.Socket) -> None:
        self.sock = sock
        self.posts: list[Post] = []
        self.received = bytearray()
        self.checked = 0
        self.ends = 0
        self.told: list[str] = []
        self.subscription: Post | None = None
        self.other: Side

    def arrived(self, data: bytes) -> None:
        self.received += data

    def sent(self) -> bytes:
        """Return the data of every send of which bytes may have been sent."""
        return b"".join(post.data for post in self.posts if post.kind == "send" and _went(post))


def _went(post: Post) -> bool:
    """Return false for a send that was refused, or ended with an Error before its first byte."""
    op = post.operation
    return op is not None and not (
        op.done and op.transferred == 0 and isinstance(op.error, iocp_sock.Error)
    )


class Run:
    """One run of a program: a port, its connections, and every post in order."""

    def __init__(
        self,
        backend: str | iocp_sock.Sim,
        **options: Any,
    ) -> None:
        self.rooms: dict[int, tuple[int, int]] = {}
        """The sizes of the send and the receive buffer of each side, if given."""
        self.modelled = isinstance(backend, iocp_sock.Sim)
        self.port = iocp_sock.Port(
            backend=backend, close_timeout=0.02, queue_patience=0.01, **options
        )
        self.elsewhere: iocp_sock.Port | None = None
        """A port on another machine of the model, to let time pass while `port` does not run."""
        self.errors: list[Any] = []
        self.port.error_handler = lambda error, _callback: self.errors.append(error)
        self.sides: list[Side] = []
        self.posts: list[Post] = []
        self.exact = not options
        """Whether the charge of every post is known. Under a budget it is not, because a post in
        the budget queue has no charge."""

    # The steps of programs, which name sides and posts by number. Refused posts count too.

    def connect(self) -> None:
        """Make a connection, which adds two sides; try again if the model refuses the memory."""
        for _ in range(100 if self.modelled else 1):
            with contextlib.suppress(iocp_sock.ResourceExhausted):
                if self._connected():
                    return
        raise AssertionError("the two sides did not connect: time or the model's memory ran out")

    def recv(self, side: int, size: int, timeout: float | None = None, flags: int = 0) -> None:
        post = Post(self.sides[side], "receive", size)
        post.charge = block(size)
        post.fills = bool(flags & int(socket.MSG_WAITALL))
        self._post(
            post,
            lambda: post.side.sock.recv(size, callback=post, timeout=timeout, flags=flags),
        )

    def recv_into(self, side: int, sizes: list[int]) -> None:
        whole = bytearray(sum(sizes) + PAGE)
        begin = -address_of(whole) % PAGE
        post = Post(self.sides[side], "receive", sum(sizes))
        post.target = memoryview(whole)[begin : begin + sum(sizes)]
        rooms, at = [], 0
        for size in sizes:
            rooms.append(post.target[at : at + size])
            post.charge += pages(at, size)
            at += size
        self._post(post, lambda: post.side.sock.recvmsg_into(rooms, callback=post))

    def recv_zero(self, side: int, timeout: float | None = None) -> None:
        post = Post(self.sides[side], "zero-byte")
        self._post(post, lambda: post.side.sock.recv_zero(callback=post, timeout=timeout))

    def wait_writable(self, side: int) -> None:
        post = Post(self.sides[side], "writable")
        self._post(post, lambda: post.side.sock.wait_writable(callback=post))

    def send(self, side: int, size: int, timeout: float | None = None) -> None:
        self._send(
            self.sides[side],
            [size],
            lambda post, parts: post.side.sock.send(parts[0], callback=post, timeout=timeout),
        )

    def sendmsg(self, side: int, sizes: list[int]) -> None:
        self._send(
            self.sides[side],
            sizes,
            lambda post, parts: post.side.sock.sendmsg(parts, callback=post),
        )

    def subscribe(self, side: int, receive: Any) -> None:
        """Start a subscription, once on each side."""
        end = self.sides[side]
        post = Post(end, "subscription")
        if end.subscription is not None:
            post.refusal = "subscribed before"
            self.posts.append(post)
            return

        def data(_sock: Any, buffer: iocp_sock.Buffer) -> None:
            assert not end.ends
            end.arrived(bytes(buffer))
            end.ends += not buffer

        def closed(_sock: Any, error: OSError | None) -> None:
            end.told.append(named(error) if error is not None else "no error")

        self._post(post, lambda: end.sock.receive(data, receive=receive, on_close=closed))
        if post.operation is not None:
            post.completions = 1  # a subscription has no callback
            end.subscription = post
            self.exact &= receive in ("pooled", "zero_byte")

    def receive_strategy(self, side: int, receive: Any) -> None:
        self.exact &= receive in ("pooled", "zero_byte")
        self._set(side, "receive_strategy", receive)

    def send_strategy(self, side: int, send: Any) -> None:
        self.exact &= send == "buffered"
        self._set(side, "send_strategy", send)

    def cancel(self, post: int) -> None:
        if self.posts[post].operation is not None:
            self.posts[post].operation.cancel()

    def cancel_all(self, side: int) -> None:
        self.sides[side].sock.cancel()

    def shutdown(self, side: int) -> None:
        post = Post(self.sides[side], "shutdown")
        try:
            post.side.sock.shutdown(socket.SHUT_WR)
            post.refusal = "nothing: it is no operation"
        except OSError as error:
            post.refusal = named(error)
        self.posts.append(post)

    def close(self, side: int, how: str) -> None:
        sock = self.sides[side].sock
        if how == "reset":
            sock.abort()
        else:
            sock.close(0 if how == "now" else None)

    # The helpers of the steps.

    def _connected(self) -> bool:
        with self.port.listen(("127.0.0.1", 0)) as listener:
            client = self.port.socket()
            if not self.modelled:
                for sock in (listener, client):
                    sock.send_buffer = sock.receive_buffer = BUFFERS
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
            for side, sock in enumerate((client, listener), len(self.sides)):
                self._size(side, sock)
            accept = listener.accept()
            connect = client.connect(listener.getsockname())
            # Virtual time costs nothing, and a modelled network may lose a handshake repeatedly.
            deadline = self.port.time() + (100 if self.modelled else 10)
            while not (accept.done and connect.done) and self.port.time() < deadline:
                self.port.run_once(1)
        if connect.error is not None or not connect.done or accept.accepted is None:
            client.close(0)
            return False
        ends = [Side(client), Side(accept.accepted)]
        for end, other in zip(ends, reversed(ends), strict=True):
            end.sock.nodelay = True
            end.other = other
        self.sides += ends
        return True

    def _size(self, side: int, sock: Any) -> None:
        if side in self.rooms:
            sock.send_buffer, sock.receive_buffer = self.rooms[side]

    def _set(self, side: int, name: str, value: Any) -> None:
        post = Post(self.sides[side], name)
        try:
            setattr(post.side.sock, name, value)
            post.refusal = "nothing: it is no operation"
        except OSError as error:
            post.refusal = named(error)
        self.posts.append(post)

    def _post(self, post: Post, call: Callable[[], Any]) -> None:
        charged = post.side.sock.charged
        try:
            post.operation = call()
        except OSError as error:
            post.refusal = named(error)
            if isinstance(error, iocp_sock.BudgetExceeded):
                ledger = self.port.ledger
                held = self.port.stats().budget_queue
                assert held or ledger.now + post.charge > (ledger.budget or 0), "there is room"
        if post.operation is None or post.operation.outcome == "done":
            post.charge = 0
        elif post.fills and post.outstanding:
            # How much a receive with MSG_WAITALL has taken is unknown before it is done.
            most, post.charge = post.charge, post.side.sock.charged - charged
            assert not self.exact or 0 < post.charge <= most
        self.posts.append(post)
        post.side.posts.append(post)

    def _send(self, side: Side, sizes: list[int], call: Callable[[Post, list[Any]], Any]) -> None:
        post = Post(side, "send", sum(sizes))
        at = 7 * PAGE * len(self.posts) % (_MAXIMUM // 2)
        parts = []
        for size in sizes:
            parts.append(SOURCE[at : at + size])
            at += block(size)
        post.data = b"".join(parts)
        before, charged = side.sock.queued_bytes, side.sock.charged
        post.charge = sum(map(block, sizes))
        self._post(post, lambda: call(post, parts))
        if post.outstanding:
            # More bytes may be sent between the charge and its reading, so only bounds are known.
            post.charge = side.sock.charged - charged
            left = side.sock.queued_bytes - before
            if self.exact:
                assert self._pages_of(sizes, left) <= post.charge <= sum(map(block, sizes))

    @staticmethod
    def _pages_of(sizes: list[int], left: int) -> int:
        """Return the charge of the last `left` bytes of a gathered send, by whole pages."""
        charge, went = 0, sum(sizes) - left
        for size in sizes:
            skip = min(went, size)
            went -= skip
            charge += pages(skip, size - skip)
        return charge

    # The comparison and the checks of runs.

    def seen(self) -> dict[str, Any]:
        """Return all outcomes by which runs of one program are compared."""
        found: dict[str, Any] = {}
        for number, post in enumerate(self.posts):
            found[f"post {number}"] = post.fate()
        for number, side in enumerate(self.sides):
            found[f"side {number} is closed"] = side.sock.closed
            found[f"ends of the stream at side {number}"] = side.ends
            found[f"what side {number} was told of its close"] = " ".join(side.told)
            found[f"bytes received at side {number}"] = len(side.received)
        return found

    def resize(self, side: int, send_buffer: int, receive_buffer: int) -> None:
        """Give a side's socket other buffer sizes, whether or not it is connected already."""
        self.rooms[side] = send_buffer, receive_buffer
        if side < len(self.sides) and not self.sides[side].sock.closed:
            with contextlib.suppress(OSError):
                self._size(side, self.sides[side].sock)

    def lag(self) -> None:
        """Let timeouts expire while the port does not run; only on a model."""
        if self.elsewhere is None:
            self.elsewhere = iocp_sock.Port(backend=self.port.config.backend)
        until = self.elsewhere.time() + 0.002
        while (left := until - self.elsewhere.time()) > 0:
            self.elsewhere.run_once(left)

    def moved(self) -> list[int]:
        """Return the bytes that each post has moved so far."""
        return [post.operation.transferred if post.operation else 0 for post in self.posts]

    def pass_time(self, seconds: float) -> None:
        """Run until this much time of the port's clock has passed."""
        until = self.port.time() + seconds
        while (left := until - self.port.time()) > 0:
            self.port.run_once(max(left, 1e-6))

    def check(self) -> None:
        """Check the invariants that hold after each step of every run."""
        assert self.errors == []
        charged = 0
        for side in self.sides:
            if self.exact:
                due = sum(post.charge for post in side.posts if post.outstanding)
                assert side.sock.charged == due
            charged += side.sock.charged
            assert len(side.told) <= 1
            if len(side.received) != side.checked:
                sent = side.other.sent()[: len(side.received)]
                assert sent == side.received, "the bytes are no prefix of those sent"
                side.checked = len(side.received)
        ledger = self.port.ledger
        assert ledger.now == charged
        assert sum(ledger.by_kind.values()) == sum(ledger.by_state.values()) == charged
        assert not ledger.budget or ledger.now <= ledger.budget

    def end(self) -> None:
        """Close the port, check every post, and check that nothing is left."""
        self.port.close(0.05)
        if self.elsewhere is not None:
            self.elsewhere.close(0)
        self.check()
        for post in self.posts:
            assert post.completions == (post.operation is not None), post.fate()
            assert not post.outstanding
            post.operation = post.target = None
        for side in self.sides:
            assert len(side.told) == (side.subscription is not None)
        stats = self.port.stats()
        assert (self.port.outstanding, stats.ledger.now) == (0, 0)
        assert stats.sockets == 0
        if isinstance(self.port.config.backend, iocp_sock.Sim):
            assert not any(machine["locked"] for machine in self.port.config.backend.machines())
