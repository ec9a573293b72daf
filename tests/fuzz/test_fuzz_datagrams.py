"""Random sequences of datagram posts over real sockets.

Each step is checked: datagrams keep their borders, and arrive at most once and in sending order.
Each post has one completion, and the ledger is exact.
"""

import contextlib
import socket
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, invariant, multiple, precondition, rule

import iocp_sock
from support import AF_UNIX, address_of, block, fuzzing, pages, span

SIZES = st.sampled_from([0, 1, 2, 100, 4096, 9000, 30_000])
ROOMS = st.sampled_from([1, 3, 100, 4095, 4096, 30_000])
HEADER = 8


def datagram(sender: int, number: int, size: int) -> bytes:
    """Make a datagram that begins with the sender's number and its own, cut to `size` bytes."""
    head = sender.to_bytes(4, "little") + number.to_bytes(4, "little")
    return (head + bytes((number + i) & 255 for i in range(max(size - HEADER, 0))))[: size or 0]


class Post(fuzzing.Post):
    """One accepted operation on datagrams, with the buffers that it fills."""

    def __init__(self, charge: int = 0) -> None:
        super().__init__(charge)
        self.rooms: list[Any] = []


class End:
    """One bound socket, with its sent and received datagrams."""

    def __init__(self, number: int, sock: iocp_sock.Socket) -> None:
        self.number = number
        self.sock = sock
        self.name = sock.getsockname()
        self.sent: dict[int, list[tuple[bytes, Post]]] = {}
        self.posts: list[Post] = []
        self.receives: list[Post] = []
        self.handed: list[tuple[bytes, Any, bool]] = []
        self.taken = 0
        self.subscription: Any = None
        self.closing = False

    def collect(self) -> None:
        """Append the datagrams of finished receives to `handed`, in posting order."""
        while self.taken < len(self.receives) and self.receives[self.taken].operation.done:
            post = self.receives[self.taken]
            self.taken += 1
            op = post.operation
            if op.error is not None:
                assert op.transferred == 0
                continue
            data = (
                bytes(op.data)
                if op.data is not None
                else b"".join(bytes(room) for room in post.rooms)[: op.transferred]
            )
            assert len(data) == op.transferred
            self.handed.append((data, op.address, bool(op.flags & socket.MSG_TRUNC)))


class Datagrams(fuzzing.PortMachine):
    """A state machine of random programs: a port, and datagram sockets that send to each other."""

    ends = Bundle("ends")

    @initialize(unix=st.booleans())
    def begin(self, unix: bool) -> None:
        self.open_port(close_timeout=0.2)
        self.all: list[End] = []
        self.unix = unix and AF_UNIX is not None

    def posts(self) -> list[Post]:
        return [post for end in self.all for post in end.posts]

    @rule(target=ends)
    def open(self) -> Any:
        if len(self.all) >= 4:
            return multiple()
        end = End(len(self.all), self.bound())
        while end.name in [other.name for other in self.all]:  # one of them is closed
            end.sock.close(0)
            end = End(len(self.all), self.bound())
        self.all.append(end)
        return end

    def bound(self) -> iocp_sock.Socket:
        family = AF_UNIX if self.unix and AF_UNIX is not None else socket.AF_INET
        sock = self.port.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind("" if self.unix else ("127.0.0.1", 0))
        return sock

    def receive(self, end: End, post: Post, call: Any) -> None:
        try:
            post.posted(call())
        except (iocp_sock.SocketClosed, iocp_sock.ArgumentError):
            return
        end.posts.append(post)
        end.receives.append(post)

    @rule(end=ends, size=ROOMS)
    def recvfrom(self, end: End, size: int) -> None:
        post = Post(block(size))
        self.receive(end, post, lambda: end.sock.recvfrom(size, callback=post))

    @rule(end=ends, size=ROOMS)
    def recvfrom_into(self, end: End, size: int) -> None:
        room = bytearray(size)
        post = Post(pages(address_of(room), size))
        post.rooms = [room]
        self.receive(end, post, lambda: end.sock.recvfrom_into(room, callback=post))

    @rule(end=ends, sizes=st.lists(ROOMS, min_size=1, max_size=4))
    def recvmsg_into(self, end: End, sizes: list[int]) -> None:
        rooms = [bytearray(size) for size in sizes]
        post = Post(sum(pages(address_of(room), len(room)) for room in rooms))
        post.rooms = rooms
        self.receive(end, post, lambda: end.sock.recvmsg_into(rooms, callback=post))

    @rule(end=ends)
    def subscribe(self, end: End) -> None:
        end.collect()
        if end.subscription is not None and not end.subscription.done:
            return

        def arrived(_sock: Any, data: iocp_sock.Buffer, sender: Any) -> None:
            end.handed.append((bytes(data), sender, False))

        with contextlib.suppress(iocp_sock.SocketClosed, iocp_sock.ArgumentError):
            end.subscription = end.sock.receive_from(arrived)

    @rule(end=ends, to=ends, size=SIZES, parts=st.integers(1, 3))
    def send(self, end: End, to: End, size: int, parts: int) -> None:
        sent = end.sent.setdefault(to.number, [])
        data = bytearray(datagram(end.number, len(sent), size))
        cut = len(data) // parts
        pieces = [data[at * cut : (at + 1) * cut] for at in range(parts - 1)]
        pieces.append(data[(parts - 1) * cut :])
        post = Post(sum(span(piece) for piece in pieces if piece))
        try:
            post.posted(
                end.sock.sendto(pieces[0], to.name, callback=post)
                if parts == 1
                else end.sock.sendmsg(pieces, address=to.name, callback=post)
            )
        except OSError:
            return
        sent.append((bytes(data), post))
        end.posts.append(post)

    @rule(end=ends, which=st.integers(0, 1000))
    def cancel(self, end: End, which: int) -> None:
        posts = [post for post in end.posts if not post.operation.done]
        if posts:
            posts[which % len(posts)].operation.cancel()

    @rule(end=ends)
    def cancel_all(self, end: End) -> None:
        end.sock.cancel()

    @rule(end=ends, how=st.sampled_from(["close", "now", "abort"]))
    def close(self, end: End, how: str) -> None:
        end.closing = True
        if how == "abort":
            end.sock.abort()
        else:
            end.sock.close(None if how == "close" else 0)

    @rule(turns=st.integers(1, 5))
    def run(self, turns: int) -> None:
        for _ in range(turns):
            self.port.run_once(0)

    def check_order(self, end: End) -> None:
        """Check that each sender's datagrams arrive in order, whole or marked as truncated."""
        places = {other.number: 0 for other in self.all}
        names = {other.name: other for other in self.all}
        for data, sender, truncated in end.handed:
            source = names[sender]
            sent = source.sent[end.number]
            at = places[source.number]
            while at < len(sent):
                whole, post = sent[at]
                at += 1
                fits = (
                    whole.startswith(data) and len(whole) > len(data)
                    if truncated
                    else whole == data
                )
                if fits and not (post.operation.done and post.operation.error is not None):
                    break
            else:
                raise AssertionError(f"{data[:20]!r}: not sent to this socket, or out of order")
            places[source.number] = at

    @precondition(lambda self: bool(getattr(self, "all", None)))
    @invariant()
    def exact(self) -> None:
        self.check_ledger((end.sock, end.posts) for end in self.all)
        self.check_datagrams()

    def check_datagrams(self) -> None:
        for end in self.all:
            end.collect()
            self.check_order(end)

    def check_end(self) -> None:
        self.check_datagrams()
        for end in self.all:
            end.subscription = None


def test_sequences(backend, fuzz):
    """R03 R04 R06 R22 R23 R30: after any steps, datagrams, completions and ledger are right."""
    Datagrams.backend = backend
    fuzz(Datagrams, 40)
