"""R29: MSG_WAITALL on a stream waits for a full buffer, on every backend."""

import socket

import pytest

import iocp_sock
from support import OVERFLOW, Recorder, arrived, finish, needs_unix, pattern, reset, run_until, span

ALL = socket.MSG_WAITALL


@pytest.mark.parametrize("first", [0, 1, 4000])
def test_receive_waits_for_every_byte(port, pair, first):
    """R29: the receive completes once, with the last byte, however the bytes arrive."""
    sock, peer = pair
    data = pattern(10_000)
    peer.sendall(data[:first])
    arrived(sock, first) if first else None
    got = Recorder()
    op = sock.recv(10_000, flags=ALL, callback=got)
    assert op.outcome == "pending"
    peer.sendall(data[first:9_999])
    run_until(port, lambda: sock.available() == 0)
    assert not op.done
    peer.sendall(data[9_999:])
    run_until(port, lambda: got)
    assert (op.transferred, op.error, bytes(op.data)) == (10_000, None, data)
    assert port.ledger.now == 0
    port.run_once(0)
    assert len(got) == 1


def test_what_is_there_whole_is_done(port, pair):
    """R01 R29: a receive with MSG_WAITALL is done at once if all its bytes have arrived."""
    sock, peer = pair
    peer.sendall(b"abcdef")
    arrived(sock, 6)
    op = sock.recv(4, flags=ALL)
    assert (op.outcome, bytes(op.data)) == ("done", b"abcd")


def test_only_what_is_still_to_come_is_charged(port, pair):
    """R02 R06: a receive with MSG_WAITALL is charged only for the bytes still to come."""
    sock, peer = pair
    peer.sendall(bytes(5000))
    arrived(sock, 5000)
    target = bytearray(20_000)
    op = sock.recv_into(target, flags=ALL)
    assert op.outcome == "pending"
    assert port.ledger.now == sock.charged == span(target, 5000)
    peer.sendall(bytes(15_000))
    finish(port, op)
    assert port.ledger.now == 0


def test_large_receive_from_a_peer_that_sends_in_pieces(port, pair):
    """R29: a receive with MSG_WAITALL takes far more bytes than the socket's buffer, in order."""
    sock, peer = pair
    data = pattern(OVERFLOW)
    target = bytearray(len(data))
    op = sock.recv_into(target, flags=ALL)
    peer.setblocking(False)
    sent = 0

    def feed():
        nonlocal sent
        while sent < len(data):
            try:
                sent += peer.send(data[sent : sent + 70_000])
            except BlockingIOError:
                break
        return op.done

    run_until(port, feed)
    assert (op.transferred, op.error) == (len(data), None)
    assert target == data


def test_receives_keep_their_order(port, pair):
    """R30: later receives wait until the buffer of an earlier MSG_WAITALL receive is full."""
    sock, peer = pair
    ops = [sock.recv(100, flags=ALL) for _ in range(5)]
    data = pattern(500)
    for at in range(0, 500, 7):
        peer.sendall(data[at : at + 7])
        port.run_once(0)
    finish(port, *ops)
    assert b"".join(bytes(op.data) for op in ops) == data
    assert {op.transferred for op in ops} == {100}


def test_end_of_stream_ends_it(port, pair):
    """R29: the end of the stream completes the receive with the received bytes."""
    sock, peer = pair
    op = sock.recv(100, flags=ALL)
    behind = sock.recv(100, flags=ALL)
    peer.sendall(b"part")
    run_until(port, lambda: sock.available() == 0)
    peer.shutdown(socket.SHUT_WR)
    finish(port, op, behind)
    assert (op.error, bytes(op.data)) == (None, b"part")
    assert (behind.error, bytes(behind.data)) == (None, b"")


def part_taken(port, sock, peer):
    """Post a receive of 100 bytes that takes 4 and waits for the rest."""
    peer.sendall(b"part")
    arrived(sock, 4)
    op = sock.recv(100, flags=ALL)
    port.run_once(0)
    assert op.pending
    return op


def test_cancel_keeps_what_came(port, pair):
    """R31: a receive that is cancelled part-way has the received bytes and their count."""
    sock, peer = pair
    op = part_taken(port, sock, peer)
    assert op.cancel()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert (op.transferred, bytes(op.data)) == (4, b"part")
    assert port.ledger.now == 0
    peer.sendall(b"rest")
    rest = sock.recv(4, flags=ALL)
    finish(port, rest)
    assert bytes(rest.data) == b"rest"


def test_timeout_keeps_what_came(port, pair):
    """R31: a receive that times out part-way has the received bytes and their count."""
    sock, peer = pair
    peer.sendall(b"part")
    arrived(sock, 4)
    op = sock.recv(100, flags=ALL, timeout=0.01)
    finish(port, op)
    assert isinstance(op.error, iocp_sock.TimedOut)
    assert (op.transferred, bytes(op.data)) == (4, b"part")


def test_cancel_before_the_first_byte_has_no_data(port, pair):
    """A receive that is cancelled before its first byte has data None."""
    sock, _peer = pair
    op = sock.recv(100, flags=ALL)
    op.cancel()
    finish(port, op)
    assert (op.transferred, op.data) == (0, None)


def test_reset_after_a_part_is_an_error(port, peers):
    """R05 R29: a reset part-way ends the receive with an error, not as the end of the stream."""
    sock, peer = peers.tcp(port)
    op = part_taken(port, sock, peer)
    reset(peer)
    finish(port, op)
    assert isinstance(op.error, ConnectionResetError)
    assert (op.transferred, bytes(op.data)) == (4, b"part")
    run_until(port, lambda: sock.closed)


def test_close_keeps_what_came(port, pair):
    """R03: closing the socket completes a receive part-way, with the received bytes."""
    sock, peer = pair
    op = part_taken(port, sock, peer)
    sock.close(0)
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert (op.transferred, bytes(op.data)) == (4, b"part")


def test_peek_takes_what_is_there(port, pair):
    """R29: a peek completes with the available bytes, because it cannot wait for more."""
    sock, peer = pair
    flags = ALL | socket.MSG_PEEK
    waiting = sock.recv(100, flags=flags)
    assert waiting.outcome == "pending"
    peer.sendall(b"part")
    finish(port, waiting)
    there = sock.recv(100, flags=flags)
    assert there.outcome == "done"
    assert bytes(waiting.data) == bytes(there.data) == b"part"
    assert bytes(sock.recv(100).data) == b"part"


@pytest.mark.parametrize(
    "kind", [socket.SOCK_DGRAM, pytest.param(socket.SOCK_SEQPACKET, marks=needs_unix)]
)
def test_messages_keep_their_borders(port, peers, kind):
    """R29: a socket with message borders completes a receive with one message."""
    sock, peer = peers.pair(port, kind)
    waiting = sock.recv(100, flags=ALL)
    peer.send(b"one")
    peer.send(b"two")
    finish(port, waiting)
    arrived(sock, 3)
    there = sock.recv(100, flags=ALL)
    assert there.outcome == "done"
    assert (bytes(waiting.data), bytes(there.data)) == (b"one", b"two")
