"""Helpers of all tests: waits for conditions, raw peer sockets, and the expected charges."""

import contextlib
import ctypes
import errno
import gc
import mmap
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import iocp_sock
from support.windows_handles import handles

WINDOWS = sys.platform == "win32"
WINE = WINDOWS and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
BACKENDS = ("iocp",) if WINDOWS else ("uring", "epoll")
AF_UNIX: int | None = getattr(socket, "AF_UNIX", None)

PAGE = mmap.PAGESIZE
SLOWNESS = float(os.environ.get("IOCP_SOCK_SLOWNESS") or 1)
"""The factor by which waits for a condition are longer than on a quiet machine."""
PATIENCE = 20.0 * SLOWNESS
OVERFLOW = 8 << 20
"""More bytes than a connection's buffers take on any system, so that a send of them waits."""
RECEIVE_BUFFER = 1 << 20
"""The receive buffer of a raw peer, in bytes."""
QUIET = 6
"""Ten turns of a quiet port take fewer packets than this; a port that spins takes far more."""
LOCALHOST = ("127.0.0.1", 0)


def _locks_little() -> bool:
    if sys.platform != "linux" or os.geteuid() == 0:
        return False
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return limit != resource.RLIM_INFINITY and limit < 8 << 20


LOCKS_LITTLE = _locks_little()
"""Whether RLIMIT_MEMLOCK allows this user only the memory of a few io_uring rings."""


def lock_refused(error: BaseException) -> bool:
    """Return whether the error is the system's refusal to lock memory for this user."""
    ring = isinstance(error, iocp_sock.BackendUnavailable) and "RLIMIT_MEMLOCK" in str(error)
    refused = isinstance(error, iocp_sock.ResourceExhausted) and error.errno == errno.ENOMEM
    return LOCKS_LITTLE and (ring or refused)


def linux_only(reason: str) -> pytest.MarkDecorator:
    """Skip a test unless the system is Linux; the reason names the feature of Linux."""
    return pytest.mark.skipif(sys.platform != "linux", reason=f"Linux only: {reason}")


def windows_only(reason: str) -> pytest.MarkDecorator:
    """Skip a test unless the system is Windows; the reason names the feature of Windows."""
    return pytest.mark.skipif(not WINDOWS, reason=f"Windows only: {reason}")


needs_unix = pytest.mark.skipif(AF_UNIX is None, reason="Python has no AF_UNIX on this system")

FAMILIES = ["tcp"] if AF_UNIX is None else ["tcp", "unix"]
"""The families of streams on this system."""


def pages(address: int, length: int) -> int:
    """Return the bytes of the whole pages that `length` bytes from `address` touch."""
    if length == 0:
        return 0
    return ((address + length - 1) // PAGE - address // PAGE + 1) * PAGE


def address_of(data: Any) -> int:
    """Return the address of the first byte of an object with a buffer."""
    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    with memoryview(data) as view:
        if view.readonly:
            raise TypeError("address_of() needs bytes or a writable buffer, not a read-only view")
        window = (ctypes.c_char * view.nbytes).from_buffer(view)
        address = ctypes.addressof(window)
        del window
    return address


def span(data: Any, skip: int = 0) -> int:
    """Return the charge of a buffer without its first `skip` bytes."""
    return pages(address_of(data) + skip, len(data) - skip)


def block(nbytes: int) -> int:
    """Return the charge of a page-aligned block of `nbytes`."""
    return pages(0, nbytes)


def pattern(nbytes: int, seed: int = 0) -> bytes:
    """Return random bytes, which reveal shifts and swaps; long results begin with shorter ones."""
    words = (nbytes + 3) // 4
    return random.Random(seed).randbytes(4 * words)[:nbytes]


@contextlib.contextmanager
def no_descriptor_left(spare: int = 0) -> Iterator[None]:
    """Lower the limit of open files so that only `spare` more can be opened (POSIX only)."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Recorder(list):
    """A callback that collects its arguments."""

    def __call__(self, *given: Any) -> None:
        self.append(given[0] if len(given) == 1 else given)


def run_until(
    port: iocp_sock.Port, condition: Callable[[], Any], patience: float = PATIENCE
) -> None:
    """Run the port until the condition holds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"the condition did not hold within {patience} s: {port.stats()}")
        port.run_once(0.02)


clock: Callable[[float], None] = time.sleep
"""Sleeps for some seconds; on the model it advances the virtual time instead."""


def moment() -> None:
    """Sleep for a moment, so that data in flight arrives."""
    clock(0.001)


def wait_for(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait for a condition that another thread or the system fulfils."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"the condition did not hold within {patience} s")
        moment()


def finish(port: iocp_sock.Port, *operations: iocp_sock.Operation) -> None:
    """Run the port, in whole turns, until the operations are done."""
    run_until(port, lambda: all(op.done for op in operations))


def readable(peer: socket.socket, patience: float = PATIENCE) -> None:
    """Wait until a read from the socket would not block."""
    assert is_readable(peer, patience), "nothing to read"


def fill(sock: iocp_sock.Socket) -> int:
    """Send until the system takes no more bytes; return the number of sent bytes."""
    total = 0
    while went := sock.try_send(bytes(65536)):
        total += went
        moment()
    return total


def packets_of_turns(port: iocp_sock.Port) -> int:
    """Return the number of packets in ten turns: less than QUIET unless the port spins."""
    before = port.stats().packets
    for _ in range(10):
        port.run_once(0.01)
    return port.stats().packets - before


def is_readable(peer: socket.socket, patience: float = 0) -> bool:
    """Return whether a read from the raw peer would not block, after at most `patience` seconds."""
    if not isinstance(peer, socket.socket):
        return peer.readable(patience)
    return bool(select.select([peer], [], [], patience)[0])


def reset(peer: socket.socket) -> None:
    """Close a raw TCP socket so that its peer gets a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger(0))
    peer.close()


def arrived(sock: iocp_sock.Socket, nbytes: int = 1) -> None:
    """Wait until this many bytes can be read from the port's socket, without reading them."""
    wait_for(lambda: sock.available() >= nbytes)


def read(port: iocp_sock.Port, peer: socket.socket, nbytes: int) -> bytes:
    """Read this many bytes from a raw peer, or all up to the end, while the port runs."""
    chunks = []
    got = 0

    def some() -> bool:
        nonlocal got
        while got < nbytes:
            if not is_readable(peer):
                return False
            chunk = peer.recv(min(nbytes - got, 1 << 20))
            if not chunk:
                return True
            chunks.append(chunk)
            got += len(chunk)
        return True

    deadline = time.monotonic() + PATIENCE
    while not some():
        assert time.monotonic() < deadline, f"{got} of {nbytes} bytes arrived"
        port.run_once(0)
    return b"".join(chunks)


def read_all(port: iocp_sock.Port, peer: socket.socket) -> bytes:
    """Read from a raw peer up to the end of the stream."""
    return read(port, peer, 1 << 40)


def drain_get(port: iocp_sock.Port, count: int) -> list[iocp_sock.Completion]:
    """Get this many completions of operations without callback."""
    taken: list[iocp_sock.Completion] = []
    deadline = time.monotonic() + PATIENCE
    while len(taken) < count:
        assert time.monotonic() < deadline, f"{len(taken)} of {count} completions were handed out"
        completion = port.get(0.05)
        if completion is not None:
            taken.append(completion)
    return taken


def _of_symbolizer(found: set[str]) -> set[str]:
    """Return the entries of pipes to the symbolizer, which ThreadSanitizer starts for a report."""
    pipes = set()
    if "TSAN_OPTIONS" in os.environ:
        for children in Path("/proc/self/task").glob("*/children"):
            for process in children.read_text().split():
                with contextlib.suppress(OSError):
                    if "symbolizer" in Path(f"/proc/{process}/comm").read_text():
                        pipes |= {
                            str(end.readlink()) for end in Path(f"/proc/{process}/fd").iterdir()
                        }
    return {entry for entry in found if entry.split(" ", 1)[1] in pipes and "pipe:" in entry}


def descriptors() -> set[str]:
    """Return the open descriptors, or handles, with their targets."""
    if WINDOWS:
        return handles()
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {entry for entry in found - _of_symbolizer(found) if "/proc/" not in entry}


def settled(port: iocp_sock.Port) -> None:
    """Check that a closed port left nothing behind."""
    gc.collect()
    stats = port.stats()
    ledger = port.ledger
    assert port.closed
    assert port.outstanding == 0
    assert stats.slots_free == stats.slots
    assert stats.sockets == 0
    assert set(stats.operations_by_state.values()) == {0}
    assert set(stats.operations_by_kind.values()) == {0}
    assert (stats.budget_queue, stats.lane_queue, stats.send_queue_bytes) == (0, 0, 0)
    assert ledger.now == 0
    assert ledger.kernel_locked == 0
    assert set(ledger.by_kind.values()) == {0}
    assert set(ledger.by_state.values()) == {0}
    assert stats.blocks_out == 0


def socket_pair(kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
    """Make a socket.socketpair(); without AF_UNIX, a datagram pair is two connected UDP sockets."""
    if AF_UNIX is not None or kind == socket.SOCK_STREAM:
        return socket.socketpair(type=kind)
    one, other = (socket.socket(socket.AF_INET, kind) for _ in range(2))
    for sock in (one, other):
        sock.bind(LOCALHOST)
    one.connect(other.getsockname())
    other.connect(one.getsockname())
    return one, other


def linger(seconds: int | None) -> bytes:
    """Return the value of SO_LINGER; with 0 seconds close() resets the connection."""
    return struct.pack("HH" if WINDOWS else "ii", seconds is not None, seconds or 0)


def was_reset(peer: socket.socket, got: bytearray | None = None) -> bool:
    """Read a raw socket to its end, into `got`; return whether the end was a reset.

    Wine reports a reset only to a read that waits when the reset arrives. Later reads get the end
    of the stream, but a poll still sees the error.
    """
    try:
        while chunk := peer.recv(1 << 20):
            if got is not None:
                got += chunk
    except ConnectionResetError:
        return True
    return WINE and isinstance(peer, socket.socket) and _has_an_error(peer)


class _PollEntry(ctypes.Structure):
    _fields_ = (
        ("socket", ctypes.c_size_t),
        ("events", ctypes.c_short),
        ("happened", ctypes.c_short),
    )


def _has_an_error(peer: socket.socket) -> bool:
    """Return whether WSAPoll() sees an error on the socket."""
    readable, error = 0x0100, 0x0001
    entry = _PollEntry(peer.fileno(), readable, 0)
    ctypes.WinDLL("ws2_32").WSAPoll(ctypes.byref(entry), 1, 0)
    return bool(entry.happened & error)


def interrupt() -> None:
    """Interrupt this process as Ctrl-C does, from any thread."""
    if WINDOWS:
        signal.raise_signal(signal.SIGINT)  # os.kill() would end the process
    else:
        os.kill(os.getpid(), signal.SIGINT)


class Peers:
    """Raw sockets on the far side, closed with the test."""

    def __init__(self) -> None:
        self.open = contextlib.ExitStack()
        self.ours: list[iocp_sock.Socket] = []

    def own(self, sock: iocp_sock.Socket) -> iocp_sock.Socket:
        """Keep a socket of a port until the port is closed."""
        self.ours.append(sock)
        return sock

    def keep(self, sock: socket.socket) -> socket.socket:
        sock.settimeout(PATIENCE)
        return self.open.enter_context(sock)

    def raw(self, *arguments: Any) -> socket.socket:
        return self.keep(socket.socket(*arguments))

    def listening(self, backlog: int = 128) -> socket.socket:
        """Make a raw TCP socket that listens on loopback."""
        peer = self.raw()
        peer.bind(LOCALHOST)
        peer.listen(backlog)
        return peer

    def datagrams(self) -> socket.socket:
        """Make a raw UDP socket with an address on loopback."""
        peer = self.raw(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind(LOCALHOST)
        return peer

    def unreachable(self) -> socket.socket:
        """Make a raw UDP socket at whose address datagrams of others cause an ICMP error.

        The socket owns the address, but it is connected to the discard port, so it takes no others.
        """
        peer = self.datagrams()
        peer.connect((LOCALHOST[0], 9))
        return peer

    def connect(
        self, address: Any, family: int = socket.AF_INET, buffers: int = 0
    ) -> socket.socket:
        """Connect a raw socket, with a small receive window if `buffers` is given.

        A receive buffer of a given size does not grow. Otherwise Linux may let it grow beyond
        OVERFLOW bytes, and a send of that size would not wait.
        """
        peer = self.raw(family, socket.SOCK_STREAM)
        if buffers or not WINDOWS:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers or RECEIVE_BUFFER)
        peer.connect(address)
        return peer

    def tcp(
        self, port: iocp_sock.Port, buffers: int = 0, family: int = socket.AF_INET
    ) -> tuple[iocp_sock.Socket, socket.socket]:
        """Make a TCP connection: the port's accepted end and a raw one."""
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        before = port.outstanding
        with port.listen((host, 0)) as listener:
            if buffers:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            peer = self.connect(listener.getsockname()[:2], family, buffers)
            post = listener.accept()
            finish(port, post)
            sock = post.accepted
            assert sock is not None
        port.run_once(0)  # the listener's end
        run_until(port, lambda: port.outstanding <= before)
        return self.own(sock), peer

    def pair(
        self, port: iocp_sock.Port, kind: int = socket.SOCK_STREAM
    ) -> tuple[iocp_sock.Socket, socket.socket]:
        """Make an AF_UNIX or loopback pair; the port adopts one end, and the other is raw."""
        ours, theirs = socket_pair(kind)
        return self.own(port.adopt(ours)), self.keep(theirs)

    def both(
        self, port: iocp_sock.Port, how: str, buffers: int = 0
    ) -> tuple[iocp_sock.Socket, socket.socket]:
        """Make a connection of the family called 'tcp' or 'unix'."""
        if how == "tcp":
            return self.tcp(port, buffers)
        sock, peer = self.pair(port)
        if buffers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        return sock, peer


@contextlib.contextmanager
def closing(port: iocp_sock.Port) -> Iterator[iocp_sock.Port]:
    """Close the port at once when the block ends, and check for leaks."""
    try:
        yield port
    finally:
        port.close(0)
    settled(port)
