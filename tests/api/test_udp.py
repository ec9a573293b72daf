"""Datagrams: borders are kept, sends are not coalesced, and a cancelled send ends no socket."""

import socket

import pytest

from support import Recorder, finish, linux_only, needs_unix, pattern, run_until


@pytest.fixture(params=["inet", "inet6", pytest.param("unix", marks=needs_unix)])
def datagrams(request, port, peers):
    """A port's datagram socket and a raw one, connected to each other."""
    if request.param == "unix":
        return peers.pair(port, socket.SOCK_DGRAM)
    family = socket.AF_INET if request.param == "inet" else socket.AF_INET6
    host = "127.0.0.1" if request.param == "inet" else "::1"
    sock = peers.own(port.socket(family, socket.SOCK_DGRAM))
    sock.bind((host, 0))
    peer = peers.raw(family, socket.SOCK_DGRAM)
    peer.bind((host, 0))
    peer.connect(sock.getsockname())
    finish(port, sock.connect(peer.getsockname()))
    run_until(port, lambda: port.outstanding == 0)
    return sock, peer


def test_borders_are_kept(port, datagrams):
    """R22 R30: each receive gets one datagram, in order."""
    sock, peer = datagrams
    ops = [sock.recv(100) for _ in range(5)]
    for i in range(5):
        peer.send(b"%d" % i * (i + 1))
    finish(port, *ops)
    assert [bytes(op.data) for op in ops] == [b"%d" % i * (i + 1) for i in range(5)]


def test_sends_are_not_coalesced(port, datagrams):
    """R22: each send is one datagram, a gathered one too."""
    sock, peer = datagrams
    for i in range(5):
        sock.send(b"%d" % i)
    sock.sendmsg([b"a", b"b", b"c"])
    assert [peer.recv(100) for _ in range(6)] == [b"0", b"1", b"2", b"3", b"4", b"abc"]


def test_empty_datagram(port, datagrams):
    """R22: an empty datagram is received and sent as such."""
    sock, peer = datagrams
    op = sock.recv(100)
    port.run_once(0)
    peer.send(b"")
    finish(port, op)
    assert (op.error, bytes(op.data)) == (None, b"")
    sock.send(b"")
    assert peer.recv(100) == b""


def test_long_datagram_is_cut(port, datagrams):
    """R22: a long datagram is truncated; the next receive gets the next datagram."""
    sock, peer = datagrams
    ops = [sock.recv(10), sock.recv(10)]
    peer.send(pattern(1000))
    peer.send(b"next")
    finish(port, *ops)
    assert [bytes(op.data) for op in ops] == [pattern(1000)[:10], b"next"]


@linux_only("MSG_TRUNC as an argument")
@pytest.mark.parametrize("pending", [True, False])
def test_true_length_never_passes_the_block(port, datagrams, pending):
    """R29: with MSG_TRUNC the count may pass the requested size; the Buffer never does."""
    sock, peer = datagrams
    if pending:
        op = sock.recv(10, flags=socket.MSG_TRUNC)
        port.run_once(0)
        peer.send(pattern(9000))
    else:
        peer.send(pattern(9000))
        finish(port, sock.recv_zero())
        op = sock.recv(10, flags=socket.MSG_TRUNC)
    finish(port, op)
    assert op.transferred in (10, 9000)
    assert bytes(op.data) == pattern(9000)[:10]


def test_peek_leaves_the_datagram(port, datagrams):
    """R29: MSG_PEEK reads a datagram and leaves it for the next receive."""
    sock, peer = datagrams
    op = sock.recv(100, flags=socket.MSG_PEEK)
    port.run_once(0)
    peer.send(b"abc")
    finish(port, op)
    after = sock.recv(100)
    finish(port, after)
    assert bytes(op.data) == bytes(after.data) == b"abc"


def test_many_datagrams(port, datagrams):
    """R03 R22: with four receives outstanding at a time, every datagram is received once."""
    sock, peer = datagrams
    got = Recorder()

    def again(completion):
        got.append(bytes(completion.data))
        if len(got) + 4 <= 500:
            sock.recv(100, callback=again)

    for _ in range(4):
        sock.recv(100, callback=again)
    for i in range(500):
        peer.send(b"%d" % i)
        run_until(port, lambda i=i: len(got) >= i - 3)
    run_until(port, lambda: len(got) == 500)
    assert got == [b"%d" % i for i in range(500)]


@needs_unix
def test_full_queue_waits(port, peers):
    """R02: a datagram without room in the peer's queue is pending until there is room."""
    sock, peer = peers.pair(port, socket.SOCK_DGRAM)
    ops = []
    while not ops or ops[-1].done:
        ops.append(sock.send(b"%d" % len(ops)))
        assert len(ops) < 10_000
    last = sock.send(b"last")
    assert last.queued
    received = [peer.recv(100)]
    while not last.done or len(received) < len(ops) + 1:
        port.run_once(0)
        received.append(peer.recv(100))
    assert received == [b"%d" % i for i in range(len(ops))] + [b"last"]


@needs_unix
def test_cancelled_datagram_send_does_not_end_the_socket(port, peers):
    """R31: a cancelled datagram is not sent; the next one is."""
    sock, peer = peers.pair(port, socket.SOCK_DGRAM)
    ops = []
    while not ops or ops[-1].done:
        ops.append(sock.send(b"x"))
    ops[-1].cancel()
    finish(port, *ops)
    for _ in ops[:-1]:
        assert peer.recv(10) == b"x"
    after = sock.send(b"after")
    finish(port, after)
    assert peer.recv(10) == b"after"
