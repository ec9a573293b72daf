"""Waiting for room to send, without a buffer and without a charge (R15)."""

import socket

import pytest

import iocp_sock
from support import Recorder, fill, finish, read, read_all, reset, run_until


def try_for_ever(sock):
    while True:
        sock.try_send(b"more")


def test_room_is_there_at_once(port, pair):
    """R15: with room in the send buffer wait_writable() is done when the post returns."""
    sock, _peer = pair
    op = sock.wait_writable()
    assert op.outcome == "done"
    finish(port, op)
    assert (op.error, op.transferred, op.kind) == (None, 0, "writable")


def test_waits_until_the_peer_reads(port, peers):
    """R15: without room wait_writable() is pending without a charge; room completes it."""
    sock, peer = peers.tcp(port, buffers=8192)
    filled = fill(sock)
    got = Recorder()
    op = sock.wait_writable(callback=got)
    port.run_once(0)
    assert op.pending
    assert (port.ledger.now, sock.charged) == (0, 0)
    taken = 0
    while not got and taken < filled:
        taken += len(read(port, peer, min(4096, filled - taken)))
    run_until(port, lambda: got)
    assert op.error is None
    sent = 0
    while not sent:
        run_until(port, lambda: True)
        sent = sock.try_send(b"more") or 0
        if not sent:
            finish(port, sock.wait_writable())
    sock.shutdown(socket.SHUT_WR)
    assert len(read_all(port, peer)) == filled - taken + sent


def test_follows_the_sends_before_it(port, peers):
    """R15: a wait for room is queued behind earlier sends, and completes after them."""
    sock, peer = peers.tcp(port, buffers=8192)
    order = []
    send = sock.send(bytes(1 << 20), callback=lambda _: order.append("send"))
    room = sock.wait_writable(callback=lambda _: order.append("room"))
    last = sock.send(b"behind", callback=lambda _: order.append("last"))
    assert room.outcome == "queued"
    assert len(read(port, peer, (1 << 20) + 6)) == (1 << 20) + 6
    finish(port, send, room, last)
    assert order == ["send", "room", "last"]


def test_cancelled_and_timed_out(port, peers):
    """R31: a wait for room ends by a cancel or its timeout, and leaves nothing."""
    sock, _peer = peers.tcp(port, buffers=8192)
    fill(sock)
    cancelled = sock.wait_writable()
    port.run_once(0)
    assert cancelled.cancel()
    finish(port, cancelled)
    assert isinstance(cancelled.error, iocp_sock.Cancelled)
    late = sock.wait_writable(timeout=0.01)
    finish(port, late)
    assert isinstance(late.error, iocp_sock.TimedOut)


def test_a_reset_ends_the_wait(port, peers):
    """R15: a reset completes a wait for room, and the next send raises the error."""
    sock, peer = peers.tcp(port, buffers=8192)
    fill(sock)
    op = sock.wait_writable()
    port.run_once(0)
    assert op.pending
    reset(peer)
    finish(port, op)
    with pytest.raises((ConnectionResetError, BrokenPipeError, iocp_sock.SocketClosed)):
        try_for_ever(sock)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_ends_with_its_socket(port, peers, how):
    """R03: closing the socket completes a wait for room once."""
    sock, _peer = peers.tcp(port, buffers=8192)
    fill(sock)
    got = Recorder()
    sock.wait_writable(callback=got)
    port.run_once(0)
    if how == "close":
        sock.close(timeout=0)
    else:
        sock.abort()
    run_until(port, lambda: sock.closed and got)
    assert len(got) == 1


def test_close_sends_what_stands_behind_it(port, peers):
    """R03: close() sends queued data out, even behind a wait for room."""
    sock, peer = peers.tcp(port, buffers=8192)
    filled = fill(sock)
    sock.wait_writable()
    sock.send(b"the end")
    sock.close(timeout=20)
    taken = read_all(port, peer)
    assert len(taken) == filled + 7
    assert taken.endswith(b"the end")


def test_bad_arguments(port, pair):
    """R01: a wait_writable() that raises posts nothing."""
    sock, _peer = pair
    with pytest.raises(iocp_sock.ArgumentTypeError):
        sock.wait_writable(callback=3)
    with pytest.raises(iocp_sock.ArgumentError):
        sock.wait_writable(timeout=-1)
    sock.close()
    with pytest.raises(iocp_sock.SocketClosed):
        sock.wait_writable()
