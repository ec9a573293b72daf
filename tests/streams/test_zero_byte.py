"""R11 and R12: zero-byte receives, and draining the socket after them."""

import socket

import pytest

import iocp_sock
from support import (
    arrived,
    finish,
    reset,
)


def test_waits_for_data_and_leaves_it(port, pair):
    """R11: a zero-byte receive completes once data is there, and leaves the data."""
    sock, peer = pair
    op = sock.recv_zero()
    port.run_once(0)
    assert op.pending
    assert port.ledger.now == 0
    peer.sendall(b"abc")
    finish(port, op)
    assert (op.kind, op.transferred, op.data, op.error) == ("zero_byte", 0, None, None)
    assert sock.available() == 3
    assert bytes(sock.recv(10).data) == b"abc"


def test_is_no_end_of_stream(port, pair):
    """R11: the end of the stream completes a zero-byte receive; the next read is empty."""
    sock, peer = pair
    peer.shutdown(socket.SHUT_WR)
    op = sock.recv_zero()
    finish(port, op)
    assert (op.error, op.transferred, op.data) == (None, 0, None)
    assert sock.available() == 0
    end = sock.recv(10)
    assert (end.outcome, bytes(end.data)) == ("done", b"")


def test_completes_on_an_error(port, peers):
    """R11: an error completes a zero-byte receive; the next read reports the error."""
    sock, peer = peers.tcp(port)
    op = sock.recv_zero()
    port.run_once(0)
    reset(peer)
    finish(port, op)
    if op.error is None:
        with pytest.raises(ConnectionResetError):
            sock.recv(10)
    else:
        assert isinstance(op.error, ConnectionResetError)


@pytest.mark.parametrize("how", ["inet", "pair"])
def test_eats_no_datagram(port, peers, how):
    """R11: a zero-byte receive on a datagram socket leaves the datagram."""
    if how == "pair":
        sock, peer = peers.pair(port, socket.SOCK_DGRAM)
    else:
        sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind(("127.0.0.1", 0))
        peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
        peer.connect(sock.getsockname())
    op = sock.recv_zero()
    port.run_once(0)
    assert op.pending
    peer.send(b"datagram")
    finish(port, op)
    again = sock.recv_zero()
    finish(port, again)
    assert bytes(sock.recv(100).data) == b"datagram"
    pending = sock.recv_zero()
    port.run_once(0)
    assert pending.pending
    pending.cancel()


def test_drain_by_asking(port, pair):
    """R12: available() counts the bytes that one read then takes."""
    sock, peer = pair
    peer.sendall(b"x" * 5000)
    arrived(sock, 5000)
    assert len(sock.recv(sock.available()).data) == 5000
    assert sock.available() == 0


def test_drain_until_it_would_block(port, pair):
    """R12: try_recv() until None empties the socket and leaves nothing pending."""
    sock, peer = pair
    peer.sendall(b"x" * 5000)
    arrived(sock, 5000)
    total = 0
    while (data := sock.try_recv(1000)) is not None:
        total += len(data)
    assert total == 5000
    assert sock.outstanding == 0


def test_spurious_readiness_is_none(port, pair):
    """R11: data that another read took away does not complete a later zero-byte receive."""
    sock, peer = pair
    first = sock.recv_zero()
    peer.sendall(b"abc")
    finish(port, first)
    assert bytes(sock.try_recv(10)) == b"abc"
    second = sock.recv_zero()
    port.run_once(0.05)
    assert second.pending
    peer.sendall(b"d")
    finish(port, second)


def test_many_zero_byte_receives(port, pair):
    """R11: several zero-byte receives of one socket complete in order."""
    sock, peer = pair
    ops = [sock.recv_zero() for _ in range(5)]
    peer.sendall(b"x")
    finish(port, *ops)
    assert all(op.error is None for op in ops)
    assert not isinstance(ops[0].error, iocp_sock.Error)
