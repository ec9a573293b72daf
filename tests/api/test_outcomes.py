"""R01: the outcome of a post, as the caller sees it when the post returns."""

import errno
import socket

import pytest

import iocp_sock
from support import (
    OVERFLOW,
    Recorder,
    arrived,
    finish,
    read,
    reset,
    run_until,
    span,
)


def test_receive_is_pending_while_nothing_is_there(port, pair):
    """R01 R02: a receive on an empty socket is pending, and done later."""
    sock, peer = pair
    op = sock.recv(100)
    assert (op.outcome, op.state, op.pending, op.queued, op.done) == (
        "pending",
        "pending",
        True,
        False,
        False,
    )
    assert (op.transferred, op.data, op.error, op.kind) == (0, None, None, "receive")
    peer.sendall(b"abc")
    finish(port, op)
    assert (op.outcome, op.state, op.pending, op.done) == ("pending", "completed", False, True)
    assert (op.transferred, bytes(op.data), op.error) == (3, b"abc", None)


def test_receive_is_done_when_data_is_there(port, pair):
    """R01: a receive that finds data is done when the post returns, and locks nothing."""
    sock, peer = pair
    peer.sendall(b"abc")
    arrived(sock, 3)
    op = sock.recv(100)
    assert (op.outcome, op.done, op.pending, op.transferred) == ("done", True, False, 3)
    assert bytes(op.data) == b"abc"
    assert port.ledger.now == 0
    assert port.ledger.peak == 0


def test_receive_into_is_done_when_data_is_there(port, pair):
    """R01: recv_into() that finds data is done when the post returns; the buffer has the bytes."""
    sock, peer = pair
    peer.sendall(b"abc")
    arrived(sock, 3)
    target = bytearray(8)
    op = sock.recv_into(target)
    assert (op.outcome, op.transferred, op.data) == ("done", 3, None)
    assert target == b"abc\0\0\0\0\0"
    assert port.ledger.now == 0


def test_send_is_done_when_it_fits(port, pair):
    """R01: a send that fits the socket's buffer is done when the post returns."""
    sock, peer = pair
    op = sock.send(b"abc")
    assert (op.outcome, op.done, op.transferred, op.error) == ("done", True, 3, None)
    assert port.ledger.now == 0
    assert read(port, peer, 3) == b"abc"


def test_send_is_pending_when_it_does_not_fit(port, pair):
    """R01 R02: a send larger than the socket's buffer is pending until the rest is sent."""
    sock, peer = pair
    data = bytearray(OVERFLOW)
    op = sock.send(data)
    assert (op.outcome, op.pending, op.done, op.transferred) == ("pending", True, False, 0)
    left = sock.queued_bytes
    assert 0 < left < len(data)
    assert port.ledger.now == sock.charged == span(data, len(data) - left)
    assert len(read(port, peer, len(data))) == len(data)
    finish(port, op)
    assert (op.transferred, op.error) == (len(data), None)
    assert port.ledger.now == 0


def test_operation_behind_another_is_queued(port, pair):
    """R01: an operation behind another of its direction is queued, then pending."""
    sock, peer = pair
    first = sock.recv(3)
    second = sock.recv(3)
    assert (first.outcome, second.outcome) == ("pending", "queued")
    assert second.queued
    assert not second.pending
    peer.sendall(b"abc")
    run_until(port, lambda: first.done and second.pending)
    assert second.outcome == "queued"
    peer.sendall(b"def")
    finish(port, second)
    assert bytes(first.data) + bytes(second.data) == b"abcdef"


def test_failed_post_raises_and_leaves_nothing(port, peers):
    """R01: a post that the system refuses raises; nothing is outstanding or charged."""
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_STREAM))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is checked
        sock.recv(10)
    assert caught.value.errno == errno.ENOTCONN
    target = bytearray(10)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at
        sock.recv_into(target)
    assert caught.value.errno == errno.ENOTCONN
    target.append(0)
    assert port.outstanding == 0
    assert port.ledger.now == 0
    assert port.stats().slots_free == port.stats().slots


def test_fatal_error_in_a_post_releases_what_the_socket_holds(port, peers):
    """R01 R05: a send on a reset connection raises, and the pending receive ends with the error."""
    sock, peer = peers.tcp(port)
    got = Recorder()
    pending = sock.recv(100, callback=got)
    reset(peer)
    with pytest.raises((ConnectionResetError, BrokenPipeError, iocp_sock.SocketClosed)):
        send_for_ever(sock)
    run_until(port, lambda: got)
    assert isinstance(pending.error, (ConnectionResetError, BrokenPipeError))
    run_until(port, lambda: sock.closed and port.stats().sockets == 0)
    assert len(got) == 1
    assert port.ledger.now == 0


def send_for_ever(sock):
    while True:
        sock.send(b"x")


def test_zero_byte_receive_outcomes(port, pair):
    """R01 R11: a zero-byte receive is pending without data, and done at once if there is data."""
    sock, peer = pair
    waiting = sock.recv_zero()
    assert waiting.outcome == "pending"
    peer.sendall(b"abc")
    finish(port, waiting)
    ready = sock.recv_zero()
    assert (ready.outcome, ready.transferred, ready.data) == ("done", 0, None)


def test_accept_outcomes(port, peers):
    """R01: an accept is pending without a connection, and done at once if one waits."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    waiting = listener.accept()
    assert waiting.outcome == "pending"
    peers.connect(listener.getsockname())
    finish(port, waiting)
    peers.connect(listener.getsockname())
    probe = listener.recv_zero()
    finish(port, probe)
    ready = listener.accept()
    assert ready.outcome == "done"
    waiting.accepted.close()
    ready.accepted.close()


def test_posts_of_the_kernels_pending_operation_from_another_state(port, pair):
    """R01: the state is cancelling while the kernel's request is being cancelled."""
    sock, _peer = pair
    op = sock.recv(10)
    port.run_once(0)
    assert op.cancel()
    assert op.state == "cancelling"
    assert op.pending
    assert not op.done
    finish(port, op)
    assert op.state == "completed"
