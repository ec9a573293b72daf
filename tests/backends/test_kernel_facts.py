"""Measured behaviour of the Linux kernel, and the port's answer to it."""

import ctypes
import mmap
import os
import socket
import time
from pathlib import Path

import pytest

import iocp_sock
from support import (
    OVERFLOW,
    PAGE,
    WINDOWS,
    Recorder,
    arrived,
    finish,
    linux_only,
    no_descriptor_left,
    pattern,
    read,
    run_until,
)


def test_several_receives_are_not_filled_in_reverse(port, peers):
    """Kernel fact: io_uring fills pending receives in reverse order; a port keeps their order."""
    sock, peer = peers.tcp(port)
    for round_number in range(50):
        ops = [sock.recv(4) for _ in range(8)]
        port.run_once(0)
        data = pattern(32, round_number)
        peer.sendall(data)
        finish(port, *ops)
        assert b"".join(bytes(op.data) for op in ops) == data


def test_sends_in_flight_do_not_interleave(port, peers):
    """Kernel fact: two sends in flight can interleave their data; a port's sends never do."""
    sock, peer = peers.tcp(port, buffers=16384)
    parts = [bytes([i]) * 700_000 for i in range(4)]
    ops = [sock.send(part) for part in parts]
    assert read(port, peer, 2_800_000) == b"".join(parts)
    finish(port, *ops)


def test_a_send_of_64_mib_goes_whole(port, peers):
    """Kernel fact: send(2) of 64 MiB sends only a part; a port's send operation sends all of it."""
    sock, peer = peers.tcp(port)
    area = mmap.mmap(-1, 64 << 20)
    area[::PAGE] = b"\x5a" * (len(area) // PAGE)
    op = sock.send(area)
    got = 0
    view = memoryview(bytearray(1 << 20))
    peer.setblocking(False)
    while got < len(area):
        try:
            got += peer.recv_into(view)
        except BlockingIOError:
            port.run_once(0.01)
    finish(port, op)
    assert op.transferred == 64 << 20
    run_until(port, lambda: port.outstanding == 0)
    area.close()


def test_zero_byte_receives_eat_no_datagram(port, peers):
    """Kernel fact: a zero-length recv(2) consumes a datagram; recv_zero() leaves it in place."""
    sock, peer = peers.pair(port, socket.SOCK_DGRAM)
    op = sock.recv_zero()
    port.run_once(0)
    peer.send(b"whole")
    finish(port, op)
    assert sock.available() == 5
    assert bytes(sock.recv(10).data) == b"whole"


def test_cancel_never_hits_a_reused_descriptor(port, peers):
    """Kernel fact: a cancel by descriptor may hit a new socket with its number; a port's cannot."""
    hits = 0
    for _ in range(100):
        ours, theirs = socket.socketpair()
        old = port.adopt(ours)
        number = old.fileno()
        stale = old.recv(10)
        port.run_once(0)
        old.close()
        run_until(port, lambda: port.stats().sockets == 0)
        fresh_ours, fresh_theirs = socket.socketpair()
        fresh = port.adopt(fresh_ours)
        hits += fresh.fileno() == number
        op = fresh.recv(10)
        port.run_once(0)
        assert not stale.cancel()
        port.run_once(0)
        assert op.pending
        fresh_theirs.sendall(b"fresh")
        finish(port, op)
        assert bytes(op.data) == b"fresh"
        fresh.close()
        theirs.close()
        fresh_theirs.close()
    assert hits > 50 or WINDOWS, "POSIX gives the lowest free number, here the old one"


def test_an_empty_buffer_ring_stops_nobody(make_port, peers):
    """Kernel fact: a multishot receive fails with ENOBUFS if the buffer ring is empty.

    The port then provides more buffers, or copies the data, and no subscription ends.
    """
    port = make_port(region_size=65536, region_limit=1)
    pairs = [peers.pair(port) for _ in range(10)]
    hoard = Recorder()
    for sock, _peer in pairs:
        sock.receive(hoard)
    total = 0
    for seed in range(40):
        for _sock, peer in pairs:
            peer.sendall(pattern(4000, seed))
            total += 4000
        run_until(port, lambda total=total: sum(len(d) for _c, d in hoard) == total)
    assert all(sock.outstanding == 1 for sock, _peer in pairs)


@pytest.mark.filterwarnings("ignore::iocp_sock.UnpostedReceiveWarning")
def test_a_standing_receive_is_not_lost_behind_the_least_window(port, peers):
    """Kernel fact: io_uring may lose the 128th wake-up of a multishot receive, and later ones.

    The port therefore polls the socket, and starts such a receive again.
    """
    listener = port.listen(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    conns = []
    data = pattern(256 << 10)
    got = bytearray()

    def accepted(conn):
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        conn.receive(lambda _, some: got.extend(some))
        conns.append(conn)

    listener.accept_each(accepted)
    for _ in range(30):
        peer = peers.connect(listener.getsockname())
        run_until(port, lambda: conns)
        for _ in range(3):
            peer.sendall(data)
            run_until(port, lambda: len(got) >= len(data))
            assert got == data
            got.clear()
        conns.pop().abort()
        peer.close()


def test_completion_queue_overflow_loses_nothing(make_port, peers):
    """Kernel fact: the kernel keeps completions that a full completion queue cannot take."""
    port = make_port(ring_entries=32)
    pairs = [peers.pair(port) for _ in range(300)]
    got = Recorder()
    for _ in range(3):
        for sock, _peer in pairs:
            sock.recv(10, callback=got)
    port.run_once(0)
    for _sock, peer in pairs:
        peer.sendall(b"x")
    run_until(port, lambda: len(got) >= 300)
    for sock, _peer in pairs:
        sock.cancel()
    run_until(port, lambda: len(got) == 900)


def test_submission_queue_overflow_is_retried(make_port, peers):
    """Kernel fact: a full submission queue has no free entry; posts and cancels wait for one."""
    port = make_port(ring_entries=32)
    pairs = [peers.pair(port) for _ in range(300)]
    ops = [sock.recv(10) for sock, _peer in pairs]
    assert all(op.cancel() for op in ops)
    finish(port, *ops)
    assert all(isinstance(op.error, iocp_sock.Cancelled) for op in ops)


@linux_only("VmPin and VmLck in /proc/self/status")
def test_nothing_is_locked_by_plain_operations(port, peers):
    """Kernel fact: pending sends and receives without zero-copy lock no memory (VmPin, VmLck)."""
    sock, _peer = peers.pair(port)
    before = locked_kilobytes()
    sock.recv(1 << 20)
    sock.send(bytes(OVERFLOW))
    port.run_once(0)
    assert port.ledger.now > OVERFLOW
    assert port.ledger.kernel_locked == 0
    assert port.ledger.registered == 0
    assert locked_kilobytes() == before
    sock.close(0)


def locked_kilobytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith(("VmPin", "VmLck"))]


def test_a_write_write_read_has_no_delayed_ack_stall(port, peers):
    """Kernel fact: a message in two sends stalls for 44 ms under Nagle's algorithm.

    The port sends what one callback posts as one request, so that nothing stalls.
    """
    sock, peer = peers.tcp(port)
    sock.receive(lambda conn, data: (conn.send(b"a" * 16), conn.send(b"b" * 48)))
    times = []
    for _ in range(20):
        began = time.monotonic()
        peer.sendall(b"?")
        assert len(read(port, peer, 64)) == 64
        times.append(time.monotonic() - began)
    assert sorted(times)[len(times) // 2] < 0.03


@linux_only("the minimum send buffer of the Linux kernel")
def test_send_buffer_of_zero_is_4608(port, peers):
    """Kernel fact: Linux raises SO_SNDBUF 0 to 4608 bytes. A larger send still sends every byte."""
    sock, peer = peers.pair(port)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 4608
    data = pattern(100_000)
    op = sock.send(data)
    assert read(port, peer, len(data)) == data
    finish(port, op)


def test_page_rule_of_the_ledger(port, pair):
    """R06: the ledger charges every page that a buffer touches: two bytes can touch two pages."""
    sock, peer = pair
    area = mmap.mmap(-1, 4 * PAGE)
    with memoryview(area) as view, view[PAGE - 1 : PAGE + 1] as two:
        op = sock.recv_into(two)
        assert port.ledger.now == 2 * PAGE
        peer.sendall(b"x")
        finish(port, op)
        run_until(port, lambda: port.outstanding == 0)
    area.close()


UNPRIVILEGED = """
import os, resource, socket
resource.setrlimit(resource.RLIMIT_MEMLOCK, (BYTES, BYTES))
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with iocp_sock.Port(ring_entries=ENTRIES) as port:
    ours, theirs = socket.socketpair()
    sock = port.adopt(ours)
    op = sock.recv(10)
    theirs.sendall(b"abc")
    while not op.done:
        port.run_once(1)
    assert bytes(op.data) == b"abc"
    theirs.close()
    print(port.backend, port.backend_reason)
"""


@linux_only("io_uring and RLIMIT_MEMLOCK")
@pytest.mark.skipif(
    iocp_sock.probe().get("uring") != "ok", reason="io_uring is refused here anyway"
)
@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0,
    reason="a user's own rings count against the same limit",
)
@pytest.mark.parametrize(("limit", "backend"), [(0, "epoll"), (40 << 10, "uring")])
def test_lock_limit_at_setup(in_subprocess, limit, backend):
    """Kernel fact: io_uring_setup(2) fails with ENOMEM beyond RLIMIT_MEMLOCK.

    The port then tries a smaller ring, then epoll; its backend_reason names the limit.
    """
    package = Path(iocp_sock.__file__)
    if not all(parent.stat().st_mode & 0o005 == 0o005 for parent in package.parents):
        pytest.skip("other users cannot read the package")
    program = UNPRIVILEGED.replace("BYTES", str(limit)).replace("ENTRIES", "2048")
    output = in_subprocess(program)
    assert output.split()[0] == backend
    if backend == "epoll":
        assert "RLIMIT_MEMLOCK" in output
    else:
        assert "2048" not in output


@linux_only("lowers RLIMIT_NOFILE")
def test_open_file_limit(port):
    """R10: without a free descriptor socket() raises ResourceExhausted and shows the ledger."""
    with no_descriptor_left(), pytest.raises(iocp_sock.ResourceExhausted) as caught:
        port.socket()
    assert caught.value.ledger["now"] == 0
    assert port.stats().sockets == 0
    assert ctypes.get_errno() == 0


def test_end_of_stream_with_the_last_bytes(port, peers):
    """Kernel fact: one event may report data and the end of stream; the port delivers both."""
    for strategy in ("pooled", "direct", "zero_byte"):
        sock, peer = peers.tcp(port)
        got = []
        sock.receive(lambda _conn, data, got=got: got.append(bytes(data)), receive=strategy)
        port.run_once(0)
        peer.sendall(b"last")
        peer.shutdown(socket.SHUT_WR)
        run_until(port, lambda got=got: got[-1:] == [b""])
        assert got == [b"last", b""]


def test_stale_edges_do_not_complete_anything(port, peers):
    """Kernel fact: readiness may be for data already read; the receive then stays pending."""
    sock, peer = peers.tcp(port)
    for _ in range(20):
        peer.sendall(b"x")
        arrived(sock)
        sock.try_recv(10)
        op = sock.recv(10)
        port.run_once(0)
        assert op.pending
        peer.sendall(b"y")
        finish(port, op)
        assert bytes(op.data) == b"y"
