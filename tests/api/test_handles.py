"""Windows alone: waits for objects of the system (Port.watch_handle())."""

import errno
import subprocess
import sys

import pytest

import iocp_sock
from support import WINDOWS, Recorder, descriptors, finish, run_until, windows_only

if WINDOWS:
    import _overlapped
    import _winapi
    from asyncio import windows_utils

pytestmark = windows_only("waits for handles")


@pytest.fixture
def event():
    """Make an event of Windows that stays signalled once it is."""
    handle = _overlapped.CreateEvent(None, True, False, None)
    yield handle
    _winapi.CloseHandle(handle)


def test_an_event(port, event):
    """recv_zero() completes once the event is signalled, and again while it is."""
    watch = port.watch_handle(event)
    op = watch.recv_zero()
    port.run_once(0.01)
    assert op.pending
    _overlapped.SetEvent(event)
    finish(port, op, watch.recv_zero())
    assert op.error is None
    watch.close()
    run_until(port, lambda: watch.closed)


def test_the_end_of_a_process(port):
    """The handle of a process is signalled when it has ended."""
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    watch = port.watch_handle(int(child._handle))
    op = watch.recv_zero()
    port.run_once(0.01)
    assert op.pending
    child.kill()
    finish(port, op)
    assert child.poll() is not None
    watch.close()
    run_until(port, lambda: watch.closed)
    child.communicate()


@pytest.mark.parametrize("end", ["cancel", "close", "abort", "detach"])
def test_a_wait_that_is_cancelled(port, event, end):
    """A cancelled wait completes once, leaves the object alone, and leaves no handle."""
    before = descriptors()
    for _ in range(20):
        watch = port.watch_handle(event)
        op = watch.recv_zero()
        getattr(op if end == "cancel" else watch, end)()
        run_until(port, lambda op=op: op.done)
        assert isinstance(op.error, iocp_sock.Cancelled)
        watch.close()
        run_until(port, lambda watch=watch: watch.closed)
    assert port.ledger.now == 0
    assert descriptors() == before
    assert _winapi.WaitForSingleObject(event, 0) == _winapi.WAIT_TIMEOUT


def test_a_cancel_that_meets_the_signal(port, event):
    """A wait that is cancelled while its object is signalled completes exactly once."""
    for _ in range(200):
        watch = port.watch_handle(event)
        done = Recorder()
        op = watch.recv_zero(callback=done)
        _overlapped.SetEvent(event)
        op.cancel()
        run_until(port, lambda op=op: op.done)
        assert len(done) == 1
        _overlapped.ResetEvent(event)
        watch.close()
    run_until(port, lambda: not port.outstanding)


def test_a_wait_times_out(port, event):
    """A wait has a timeout like any operation."""
    watch = port.watch_handle(event)
    op = watch.recv_zero(timeout=0.01)
    run_until(port, lambda: op.done)
    assert isinstance(op.error, iocp_sock.TimedOut)
    watch.close()


def test_an_object_has_no_room(port, event):
    """An object takes recv_zero() only."""
    watch = port.watch_handle(event)
    with pytest.raises(OSError, match=r".") as caught:
        watch.wait_writable()
    assert caught.value.errno == errno.EOPNOTSUPP
    with pytest.raises(iocp_sock.ArgumentError):
        watch.recv(1)
    watch.close()


def test_what_is_no_object(port):
    """Handles that are not open, and those of files and sockets, are refused."""
    with pytest.raises(OSError, match=r".") as caught:
        port.watch_handle(1 << 20)
    assert caught.value.errno == errno.EBADF
    for handle in windows_utils.pipe():
        with pytest.raises(OSError, match=r".") as caught:
            port.watch_handle(handle)
        assert caught.value.errno == errno.EOPNOTSUPP
        _winapi.CloseHandle(handle)
    with pytest.raises(iocp_sock.ArgumentTypeError):
        port.watch_handle("x")
