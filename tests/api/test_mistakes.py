"""Classic mistakes with overlapped operations, and the error of each."""

import socket

import pytest

import iocp_sock
from iocp_sock import Event, sleep, thread_port
from support import Recorder, finish, run_until


def test_memory_of_a_pending_receive_is_resized(port, pair):
    """R03 R05: the buffer of a pending receive cannot be resized, and gets the bytes."""
    sock, peer = pair
    buffer = bytearray(8)
    op = sock.recv_into(buffer)
    port.run_once(0)
    for wrong in (lambda: buffer.extend(b"more"), buffer.clear, lambda: buffer.pop()):
        with pytest.raises(BufferError, match="re-sized"):
            wrong()
    peer.sendall(b"in time")
    finish(port, op)
    assert buffer == b"in time\0"
    buffer.clear()  # the buffer is free again


def test_memory_of_a_pending_receive_is_dropped(port, pair):
    """R03 R05: a pending receive stays alive with its buffer, even if the program drops both."""
    sock, peer = pair
    told = Recorder()
    sock.recv_into(bytearray(8), callback=told)
    port.run_once(0)
    peer.sendall(b"nobody's")
    run_until(port, lambda: told)
    assert told[0].transferred == 8


def test_one_buffer_in_two_pending_receives(port, pair):
    """R30: two receives may share a buffer; they complete in order, so the second overwrites it."""
    sock, peer = pair
    buffer = bytearray(4)
    first, second = sock.recv_into(buffer), sock.recv_into(buffer)
    port.run_once(0)
    peer.sendall(b"12345678")
    finish(port, first, second)
    assert (first.transferred, second.transferred) == (4, 4)
    assert buffer == b"5678"


def test_an_operation_is_not_posted_again(port, pair):
    """R28: every post makes an operation; a program can neither make nor post one."""
    sock, _peer = pair
    first, second = sock.recv(4), sock.recv(4)
    assert first is not second
    with pytest.raises(TypeError):
        type(first)()
    with pytest.raises(TypeError):
        sock.recv(first)
    sock.cancel()
    finish(port, first, second)


def test_an_event_of_two_pending_operations(port, pair):
    """R25: a second post with the event of a pending operation is refused; the first goes on."""
    sock, peer = pair
    event = Event()
    op = sock.recv(4, event=event)
    with pytest.raises(iocp_sock.ArgumentError):
        sock.recv(4, event=event)
    assert sock.outstanding == 1
    peer.sendall(b"once")
    assert event.wait(60)
    assert op.result() == (4, 0)


def test_a_routine_without_an_alertable_wait(backend):
    """R26: no routine runs before the next alertable wait."""
    told = Recorder()
    with thread_port(backend=backend) as port:
        ours, theirs = socket.socketpair()
        with theirs, port.adopt(ours) as sock:
            theirs.sendall(b"due")
            op = sock.recv(4, routine=told)
            sleep(0.01)
            assert op.result()[0] == 3
            assert not told
            sleep(60, alertable=True)
            assert [given[:2] for given in told] == [(None, 3)]


def test_a_routine_on_a_socket_of_a_port(port, pair):
    """R26: a routine on a socket of a port is refused, as on Windows; nothing is posted."""
    sock, _peer = pair
    with pytest.raises(iocp_sock.ArgumentError):
        sock.recv(4, routine=print)
    assert (sock.outstanding, port.ledger.now) == (0, 0)


def test_an_event_and_a_routine(port, pair):
    """R26: an operation takes an event or a routine, not both."""
    sock, _peer = pair
    with pytest.raises(iocp_sock.ArgumentError):
        sock.recv(4, event=Event(), routine=print)
    assert sock.outstanding == 0


def test_closing_while_pending(port, pair):
    """R03 R05: after close() a pending operation ends once, with Cancelled; posts are refused."""
    sock, _peer = pair
    told = Recorder()
    op = sock.recv(4, callback=told)
    port.run_once(0)
    sock.close()
    with pytest.raises(iocp_sock.SocketClosed):
        sock.recv(4)
    run_until(port, lambda: told)
    port.run_once(0)
    assert len(told) == 1
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert port.ledger.now == 0


def test_the_result_of_what_is_pending_or_was_refused(port, pair):
    """R25: the result of a pending operation is StillPending; a refused post has no result."""
    sock, peer = pair
    op = sock.recv(4)
    with pytest.raises(iocp_sock.StillPending):
        op.result(wait=False)
    peer.sendall(b"data")
    assert op.result(timeout=60) == (4, 0)
    sock.close()
    refused = None
    with pytest.raises(iocp_sock.SocketClosed):
        refused = sock.recv(4)
    assert refused is None
