"""Port.watch(): readiness waits on descriptors that stay the caller's."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

import iocp_sock
from support import (
    WINDOWS,
    Recorder,
    descriptors,
    finish,
    linux_only,
    run_until,
    windows_only,
)

if WINDOWS:
    import msvcrt

only_files = linux_only("watches of pipes and other files")


class Pipe:
    """One way from pipe[1] to pipe[0]: a pair of sockets where the system watches no pipes."""

    def __init__(self):
        if WINDOWS:
            self.sockets = socket.socketpair()
            self.ends = [end.fileno() for end in self.sockets]
        else:
            self.ends = list(os.pipe())

    def __getitem__(self, which):
        return self.ends[which]

    def read(self, size):
        return self.sockets[0].recv(size) if WINDOWS else os.read(self.ends[0], size)

    def write(self, data):
        return self.sockets[1].send(data) if WINDOWS else os.write(self.ends[1], data)

    def set_blocking(self, blocking):
        if WINDOWS:
            self.sockets[1].setblocking(blocking)
        else:
            os.set_blocking(self.ends[1], blocking)

    def fill(self):
        """Write until the pipe is full; return the number of bytes."""
        self.set_blocking(False)
        filled = 0
        while True:
            try:
                filled += self.write(bytes(4096))
            except BlockingIOError:
                return filled

    def close(self, which):
        """Close one end."""
        if self.ends[which] == -1:
            return
        if WINDOWS:
            self.sockets[which].close()
        else:
            os.close(self.ends[which])
        self.ends[which] = -1


@pytest.fixture
def pipe():
    """Make a pipe, and close what the test has left open of it."""
    made = Pipe()
    yield made
    made.close(0)
    made.close(1)


def test_a_pipe_becomes_readable(port, pipe):
    """recv_zero() completes when the pipe has bytes, which stay for the caller."""
    watch = port.watch(pipe[0])
    op = watch.recv_zero()
    port.run_once(0.01)
    assert op.pending
    pipe.write(b"abc")
    finish(port, op)
    assert pipe.read(10) == b"abc"
    watch.close()


def test_readiness_is_a_level(port, pipe):
    """A readiness wait completes again as long as data is unread; without data it waits."""
    watch = port.watch(pipe[0])
    pipe.write(b"ab")
    for expected in (b"a", b"b"):
        finish(port, watch.recv_zero())
        assert pipe.read(1) == expected
    op = watch.recv_zero()
    port.run_once(0.01)
    assert op.pending
    pipe.write(b"c")
    finish(port, op)
    watch.close()


def test_a_pipe_has_room(port, pipe):
    """wait_writable() completes once the reader has made room."""
    filled = pipe.fill()
    watch = port.watch(pipe[1])
    op = watch.wait_writable()
    port.run_once(0.01)
    assert op.pending
    while filled:
        filled -= len(pipe.read(65536))
    finish(port, op)
    watch.close()


@pytest.mark.parametrize("which", [0, 1])
def test_the_end_of_the_other_side(port, pipe, which):
    """Closing one end of a pipe makes the other ready: to read the end of file, or to get EPIPE."""
    if which == 1:
        pipe.fill()
    watch = port.watch(pipe[which])
    op = watch.recv_zero() if which == 0 else watch.wait_writable()
    port.run_once(0.01)
    assert op.pending
    pipe.close(1 - which)
    finish(port, op)
    watch.close()


def test_both_directions_at_once(port, peers):
    """A socket of the socket module is watched for reading and writing independently."""
    ours, theirs = (peers.keep(end) for end in socket.socketpair())
    watch = port.watch(ours)
    readable = watch.recv_zero()
    finish(port, watch.wait_writable())
    assert readable.pending
    theirs.sendall(b"x")
    finish(port, readable)
    assert ours.recv(1) == b"x"
    watch.close()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="os.pidfd_open() is Linux's")
def test_the_end_of_a_process(port):
    """A pidfd becomes readable when its process has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    descriptor = os.pidfd_open(child.pid)
    try:
        watch = port.watch(descriptor)
        op = watch.recv_zero()
        port.run_once(0.01)
        assert op.pending
        child.send_signal(signal.SIGKILL)
        finish(port, op)
        watch.close()
    finally:
        os.close(descriptor)
        child.communicate()


def test_the_descriptor_stays_open_and_in_its_mode(port, pipe):
    """close() and abort() of a watch cancel its waits; the descriptor stays open and blocking."""
    for end in ("close", "abort"):
        watch = port.watch(pipe[0])
        op = watch.recv_zero()
        port.run_once(0.01)
        getattr(watch, end)()
        run_until(port, lambda watch=watch, op=op: watch.closed and op.done)
        assert isinstance(op.error, iocp_sock.Cancelled)
        assert WINDOWS or os.get_blocking(pipe[0])
        pipe.write(b"x")
        assert pipe.read(1) == b"x"


def test_detach_gives_the_same_descriptor(port, pipe):
    """detach() ends the watch and returns the number of its descriptor."""
    watch = port.watch(pipe[0])
    assert watch.fileno() == pipe[0]
    assert watch.detach() == pipe[0]


def test_an_object_with_fileno(port, pipe):
    """Any object with fileno() can be watched."""
    with pipe.sockets[0].dup() if WINDOWS else os.fdopen(os.dup(pipe[0])) as file:
        watch = port.watch(file)
        pipe.write(b"x")
        finish(port, watch.recv_zero())
        watch.close()
        run_until(port, lambda: watch.closed)


def test_several_watches_of_one_descriptor(port, pipe):
    """Two watches of one descriptor both complete; closing one leaves the other active."""
    first, second = port.watch(pipe[0]), port.watch(pipe[0])
    ops = [first.recv_zero(), second.recv_zero()]
    port.run_once(0.01)
    pipe.write(b"x")
    finish(port, *ops)
    first.close()
    pipe.read(1)
    op = second.recv_zero()
    port.run_once(0.01)
    assert op.pending
    pipe.write(b"x")
    finish(port, op)
    second.close()


def test_a_socket_of_the_port_is_watched_beside_its_operations(port, peers):
    """The descriptor of a Socket can be watched too; the Socket goes on."""
    ours, theirs = socket.socketpair()
    peer = peers.keep(theirs)
    sock = port.adopt(ours)
    got = Recorder()
    sock.receive(got)
    peer.sendall(b"x")
    run_until(port, lambda: got)
    watch = port.watch(sock)
    op = watch.wait_writable()
    finish(port, op)
    readable = watch.recv_zero()
    port.run_once(0.01)
    watch.close()
    run_until(port, lambda: watch.closed and readable.done)
    peer.sendall(b"y")
    run_until(port, lambda: len(got) == 2)
    sock.close()


@windows_only("it watches sockets, and no other files")
def test_what_is_no_socket_is_refused(port, tmp_path):
    """A descriptor of the C library is no handle, and a file's handle no socket."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        for number in (file.fileno(), msvcrt.get_osfhandle(file.fileno())):
            with pytest.raises(OSError, match=r".") as caught:
                port.watch(number)
            assert caught.value.errno == errno.ENOTSOCK


@windows_only("a wait learns of the close of its socket")
@pytest.mark.parametrize("which", [0, 1])
def test_a_socket_that_is_closed_under_its_watch(port, pipe, which):
    """On Windows the wait fails, and the watch has ended."""
    if which == 1:
        pipe.fill()
    watch = port.watch(pipe[which])
    op = watch.recv_zero() if which == 0 else watch.wait_writable()
    port.run_once(0.01)
    pipe.close(which)
    run_until(port, lambda: op.done and watch.closed)
    assert op.error.errno == errno.ENOTSOCK


@windows_only("the mode of a socket shows only in its calls")
def test_a_socket_stays_in_its_mode(port, pipe):
    """A watch leaves a blocking socket blocking, while it lives and when it has ended."""
    for end in (lambda watch: None, lambda watch: watch.close()):
        watch = port.watch(pipe[0])
        finish(port, watch.wait_writable())
        end(watch)
        got = []
        started = threading.Event()

        def read(got=got, started=started):
            started.set()
            got.append(pipe.read(1))  # raises at once where the socket does not block

        thread = threading.Thread(target=read)
        thread.start()
        started.wait()
        pipe.write(b"x")
        thread.join()
        assert got == [b"x"]
        watch.close()


@windows_only("a port gives no handle back")
def test_a_watched_socket_joins_no_port(port, pipe):
    """A socket that was watched can be adopted by another port."""
    watch = port.watch(pipe[0])
    op = watch.recv_zero()
    port.run_once(0.01)
    watch.close()
    run_until(port, lambda: watch.closed and op.done)
    with iocp_sock.Port() as other:
        sock = other.adopt(pipe.sockets[0])
        pipe.ends[0] = -1
        got = sock.recv(10)
        pipe.write(b"x")
        run_until(other, lambda: got.done)
        assert got.error is None
        sock.close()


@only_files
def test_a_regular_file_is_refused(port, tmp_path):
    """A file or directory is always ready, so that waiting for it is an error on every backend."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("rb") as file, pytest.raises(PermissionError):
        port.watch(file)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(PermissionError):
            port.watch(directory)
    finally:
        os.close(directory)
    with open(os.devnull, "wb") as null, pytest.raises(PermissionError):
        port.watch(null)


def test_a_descriptor_that_is_not_open(port):
    """A number that is not open is refused: EBADF, or ENOTSOCK on Windows."""
    for number in (1 << 20, -1):
        with pytest.raises(OSError, match=r".") as caught:
            port.watch(number)
        assert caught.value.errno == (errno.ENOTSOCK if WINDOWS else errno.EBADF)


@pytest.mark.parametrize("given", [None, "x", 1.5, object()])
def test_what_is_no_descriptor(port, given):
    """An object without a descriptor raises ArgumentTypeError."""
    with pytest.raises(iocp_sock.ArgumentTypeError):
        port.watch(given)


@pytest.mark.parametrize(
    "post",
    [
        lambda watch: watch.recv(10),
        lambda watch: watch.recv_into(bytearray(10)),
        lambda watch: watch.send(b"x"),
        lambda watch: watch.sendmsg([b"x"]),
        lambda watch: watch.accept(),
        lambda watch: watch.connect(("127.0.0.1", 1)),
        lambda watch: watch.disconnect(),
        lambda watch: watch.receive(print),
        lambda watch: watch.accept_each(print),
        lambda watch: watch.try_recv(10),
        lambda watch: watch.try_send(b"x"),
        lambda watch: watch.shutdown(socket.SHUT_WR),
    ],
)
def test_only_waits_are_posted(port, peers, post):
    """A watch refuses every post except a readiness wait, and leaves its descriptor unchanged."""
    ours, theirs = (peers.keep(end) for end in socket.socketpair())
    watch = port.watch(ours)
    with pytest.raises((iocp_sock.ArgumentError, iocp_sock.ArgumentTypeError)):
        post(watch)
    ours.sendall(b"x")
    assert theirs.recv(1) == b"x"
    watch.close()


@only_files
def test_a_duplicate_of_no_socket(port, pipe):
    """duplicate() of a watch on a pipe raises, and leaks no descriptor."""
    watch = port.watch(pipe[0])
    before = descriptors()
    with pytest.raises(OSError, match=r"."):
        watch.duplicate()
    assert descriptors() == before
    watch.close()


def test_a_wait_times_out(port, pipe):
    """A readiness wait takes a timeout, like any operation."""
    watch = port.watch(pipe[0])
    op = watch.recv_zero(timeout=0.01)
    run_until(port, lambda: op.done)
    assert isinstance(op.error, iocp_sock.TimedOut)
    watch.close()


def test_thousands_of_events(port, pipe):
    """A readiness wait that is posted again for each byte completes for each byte."""
    watch = port.watch(pipe[0])
    seen = 0

    def readable(completion):
        nonlocal seen
        seen += len(pipe.read(1))
        if seen < 2000:
            watch.recv_zero(callback=readable)

    watch.recv_zero(callback=readable)
    for _ in range(20):
        pipe.write(bytes(100))
        port.run_once(0)
    run_until(port, lambda: seen == 2000)
    watch.close()


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="os.eventfd() came with Python 3.10")
def test_the_number_of_a_closed_eventfd(port):
    """Closing a watch spares a later watch of another eventfd with the same number."""
    first = os.eventfd(0)
    old = port.watch(first)
    waiting = old.recv_zero()
    port.run_once(0)
    os.close(first)
    second = os.eventfd(0)
    try:
        assert second == first
        new = port.watch(second)
        op = new.recv_zero()
        port.run_once(0)
        old.close()
        run_until(port, lambda: old.closed and waiting.done)
        os.eventfd_write(second, 1)
        finish(port, op)
        new.close()
        run_until(port, lambda: new.closed)
    finally:
        os.close(second)


@only_files
def test_the_number_of_a_closed_descriptor(port, peers, pipe):
    """Closing a watch spares a Socket that has since got the same descriptor number."""
    watch = port.watch(pipe[0])
    waiting = watch.recv_zero()
    port.run_once(0)
    ours, theirs = socket.socketpair()
    peer = peers.keep(theirs)
    number = pipe[0]
    pipe.close(0)
    os.dup2(ours.fileno(), number)
    ours.close()
    sock = port.adopt(number)
    got = Recorder()
    sock.receive(got)
    port.run_once(0)
    watch.close()
    run_until(port, lambda: watch.closed and waiting.done)
    peer.sendall(b"x")
    run_until(port, lambda: got)
    sock.close()
