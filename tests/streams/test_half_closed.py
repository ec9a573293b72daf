"""Waits for room or errors on a half-closed connection do not make the port spin (R15, R30)."""

import socket
from pathlib import Path

import pytest

import iocp_sock
from support import QUIET, fill, finish, linux_only, packets_of_turns, read

MORE = 300_000
LITTLE = 8000
"""io_uring gets a send of at most this size at once, without a first try by a system call."""


def fill_for_good(port, sock):
    """Send until there is no room, even after acknowledgements; return the number of bytes."""
    total = 0
    while True:
        total += fill(sock)
        room = sock.wait_writable()
        packets_of_turns(port)
        if room.cancel():
            finish(port, room)
            return total


def read_until_done(port, op, peer, sent):
    """Let the peer read the bytes sent before, and those of a send, until `op` is done."""
    left = sent + MORE * (op.kind == "send")
    while left and not op.done:
        left -= len(read(port, peer, min(left, 4096)))
    finish(port, op)


def send_when_writable(sock, _path):
    sock.send_strategy = "when_writable"
    return sock.send(bytes(MORE))


def send_file(sock, path):
    path.write_bytes(bytes(MORE))
    with path.open("rb") as file:
        return sock.send_file(file)


WAITS = {
    "wait_writable": lambda sock, _path: sock.wait_writable(),
    "send": lambda sock, _path: sock.send(bytes(MORE)),
    "when_writable": send_when_writable,
    "send_file": send_file,
}


@pytest.fixture
def half_closed(port, peers):
    """Return a socket without room to send, its half-closed peer, and the count of sent bytes."""
    sock, peer = peers.tcp(port, buffers=8192)
    sent = fill_for_good(port, sock)
    peer.shutdown(socket.SHUT_WR)
    finish(port, sock.recv_zero())
    return sock, peer, sent


@pytest.mark.parametrize("wait", WAITS)
def test_waits_for_room_alone(port, half_closed, tmp_path, wait):
    """R15: the peer's half-close does not wake a wait for room; a read by the peer does."""
    sock, peer, sent = half_closed
    op = WAITS[wait](sock, tmp_path / "file")
    assert packets_of_turns(port) < QUIET
    assert not op.done
    read_until_done(port, op, peer, sent)
    assert op.error is None


@pytest.mark.parametrize("wait", WAITS)
def test_cancel_of_a_wait(port, half_closed, tmp_path, wait):
    """R31: a cancel ends a send that waits for room, and refunds its charge."""
    sock, _peer, _sent = half_closed
    op = WAITS[wait](sock, tmp_path / "file")
    packets_of_turns(port)
    assert op.cancel()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert sock.charged == 0


@pytest.mark.parametrize("wait", WAITS)
def test_close_of_a_wait(port, half_closed, tmp_path, wait):
    """R30: a close ends a send that waits for room."""
    sock, _peer, _sent = half_closed
    op = WAITS[wait](sock, tmp_path / "file")
    packets_of_turns(port)
    sock.abort()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)


@linux_only("threads of the kernel are counted in /proc")
def test_no_thread_waits(half_closed):
    """R15: a send that waits for room occupies no kernel thread, as a retry by io_uring would."""
    sock, peer, _sent = half_closed
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir()))
    sock.send(bytes(MORE))
    packets_of_turns(sock.port)
    assert len(list(tasks.iterdir())) == before
    while sock.queued_bytes > LITTLE:
        read(sock.port, peer, 1000)
    packets_of_turns(sock.port)
    assert len(list(tasks.iterdir())) == before


@linux_only("MSG_ERRQUEUE")
def test_waits_for_errors_alone(port, half_closed):
    """R29: the peer's half-close does not wake a wait for errors."""
    sock, _peer, _sent = half_closed
    op = sock.recv(1, flags=socket.MSG_ERRQUEUE)
    assert packets_of_turns(port) < QUIET
    assert op.cancel()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)


@linux_only("MSG_ERRQUEUE")
def test_waits_for_errors_of_what_is_over(port, peers):
    """R29: the end of the connection does not wake a wait for errors, nor spin the port."""
    sock, peer = peers.tcp(port)
    peer.shutdown(socket.SHUT_WR)
    sock.shutdown(socket.SHUT_WR)
    finish(port, sock.recv_zero())
    op = sock.recv(1, flags=socket.MSG_ERRQUEUE)
    assert packets_of_turns(port) < QUIET
    assert op.cancel()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)


def test_a_peer_that_ends_during_the_wait(port, peers):
    """R15: the peer's half-close does not wake a wait for room that began before it."""
    sock, peer = peers.tcp(port, buffers=8192)
    sent = fill_for_good(port, sock)
    op = send_when_writable(sock, None)
    peer.shutdown(socket.SHUT_WR)
    finish(port, sock.recv_zero())
    assert packets_of_turns(port) < QUIET
    assert not op.done
    read_until_done(port, op, peer, sent)
    assert op.error is None
