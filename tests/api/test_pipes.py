"""Windows alone: named pipes that a port adopts."""

import errno
import socket

import pytest

import iocp_sock
from support import WINDOWS, descriptors, finish, pattern, run_until, windows_only

if WINDOWS:
    import _winapi
    from asyncio import windows_utils

pytestmark = windows_only("named pipes")


@pytest.fixture
def pipe():
    """Make a pipe: its reading end and its writing end, both for overlapped I/O."""
    ends = [windows_utils.PipeHandle(handle) for handle in windows_utils.pipe(duplex=True)]
    yield ends
    for end in ends:
        end.close()


def test_bytes_through_a_pipe(port, pipe):
    """The ends of a pipe are streams: bytes arrive in order, before and behind the receive."""
    reader, writer = (port.adopt(end.fileno(), borrow=True) for end in pipe)
    early = reader.recv(10)
    finish(port, writer.send(b"one"))
    finish(port, early)
    assert bytes(early.data) == b"one"
    finish(port, writer.send(b"two"))
    late = reader.recv(10)
    finish(port, late)
    assert bytes(late.data) == b"two"
    for sock in (reader, writer):
        sock.close()
    run_until(port, lambda: reader.closed and writer.closed)
    assert port.ledger.now == 0


@pytest.mark.parametrize("receive", ["pooled", "direct", "zero_byte", "adaptive"])
def test_a_long_stream(port, pipe, receive):
    """A subscription receives a megabyte, and then the end."""
    reader, writer = (port.adopt(end.fileno(), borrow=True) for end in pipe)
    got = bytearray()
    ends = []

    def taken(_sock, buffer):
        got.extend(bytes(buffer))
        if not len(buffer):
            ends.append(len(got))

    reader.receive(taken, receive=receive)
    data = pattern(1 << 20)
    ops = [writer.send(data[at : at + 50_000]) for at in range(0, len(data), 50_000)]
    run_until(port, lambda: all(op.done for op in ops))
    writer.close()
    run_until(port, lambda: writer.closed)
    pipe[1].close()
    run_until(port, lambda: ends)
    assert bytes(got) == data
    assert ends == [len(data)]
    reader.close()


def test_an_empty_write_is_no_end(port, pipe):
    """A writer may write nothing: the receive goes on."""
    reader = port.adopt(pipe[0].fileno(), borrow=True)
    op = reader.recv(10)
    _winapi.WriteFile(pipe[1].fileno(), b"", overlapped=True)[0].GetOverlappedResult(True)
    port.run_once(0.01)
    assert op.pending
    _winapi.WriteFile(pipe[1].fileno(), b"x", overlapped=True)[0].GetOverlappedResult(True)
    finish(port, op)
    assert bytes(op.data) == b"x"
    reader.close()


def test_the_readers_end(port, pipe):
    """A send to a pipe without a reader fails with EPIPE, and the Socket closes."""
    writer = port.adopt(pipe[1].fileno(), borrow=True)
    pipe[0].close()
    op = writer.send(b"x")
    finish(port, op)
    assert isinstance(op.error, BrokenPipeError)
    run_until(port, lambda: writer.closed)


def test_readiness_of_a_pipe(port, pipe):
    """recv_zero() completes when the pipe has bytes, and at its end; they stay in it."""
    reader = port.adopt(pipe[0].fileno(), borrow=True)
    op = reader.recv_zero()
    port.run_once(0.01)
    assert op.pending
    _winapi.WriteFile(pipe[1].fileno(), b"ab", overlapped=True)[0].GetOverlappedResult(True)
    finish(port, op)
    assert reader.available() == 2
    assert reader.try_recv(10) == b"ab"
    assert reader.try_recv(10) is None
    op = reader.recv_zero()
    port.run_once(0.01)
    assert op.pending
    pipe[1].close()
    finish(port, op)
    assert reader.try_recv(10) == b""
    reader.close()


@pytest.mark.parametrize("way", ["recv", "send"])
def test_cancelled_requests_of_a_pipe(port, pipe, way):
    """Cancelled requests complete once, and the port charges nothing behind them."""
    sock = port.adopt(pipe[0 if way == "recv" else 1].fileno(), borrow=True)
    op = sock.recv(10) if way == "recv" else sock.send(bytes(1 << 20))
    port.run_once(0.01)
    assert op.pending
    assert port.ledger.now > 0
    assert op.cancel()
    run_until(port, lambda: op.done)
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert port.ledger.now == 0
    sock.close()
    run_until(port, lambda: sock.closed)


def test_an_owned_pipe_is_closed(port):
    """Without borrow the port owns the handle, and close() closes it."""
    ours, theirs = windows_utils.pipe(duplex=True)
    before = descriptors()
    sock = port.adopt(ours)
    sock.close()
    run_until(port, lambda: sock.closed)
    assert len(before - descriptors()) == 1
    _winapi.CloseHandle(theirs)


def test_what_a_pipe_has_not(port, pipe):
    """What only sockets have is refused, and the pipe goes on."""
    sock = port.adopt(pipe[0].fileno(), borrow=True)
    for refused in (
        lambda: sock.wait_writable(),
        lambda: sock.accept(),
        lambda: sock.connect(("127.0.0.1", 1)),
        lambda: sock.shutdown(1),
        lambda: sock.getsockname(),
        lambda: sock.recv(1, flags=socket.MSG_PEEK),
    ):
        with pytest.raises(OSError, match=r"."):
            refused()
    _winapi.WriteFile(pipe[1].fileno(), b"x", overlapped=True)[0].GetOverlappedResult(True)
    assert sock.try_recv(1) == b"x"
    sock.close()


def test_a_pipe_that_would_wait(port):
    """A pipe that was not opened for overlapped I/O is refused: its calls would wait."""
    ours, theirs = windows_utils.pipe(overlapped=(False, True))
    with pytest.raises(OSError, match=r".") as caught:
        port.adopt(ours)
    assert caught.value.errno == errno.EINVAL
    _winapi.CloseHandle(ours)
    _winapi.CloseHandle(theirs)
