"""Promises of the package that concern more than one call."""

import contextlib
import copy
import functools
import gc
import os
import pickle
import socket
import sys
import threading
import weakref

import pytest

import iocp_sock
from support import (
    BACKENDS,
    LOCALHOST,
    Recorder,
    finish,
    linux_only,
    needs_unix,
    pattern,
    read,
    read_all,
    run_until,
    settled,
    was_reset,
)


def test_names():
    """Every public name exists and is documented."""
    for name in iocp_sock.__all__:
        thing = getattr(iocp_sock, name)
        assert name == "PAGE_SIZE" or (thing.__doc__ or "").strip(), name
    for kind in (
        iocp_sock.Port,
        iocp_sock.Socket,
        iocp_sock.Operation,
        iocp_sock.Completion,
        iocp_sock.Buffer,
        iocp_sock.Timer,
    ):
        for name in dir(kind):
            if not name.startswith("_"):
                attribute = getattr(kind, name)
                assert (getattr(attribute, "__doc__", None) or "").strip(), f"{kind}.{name}"


def test_backend_is_told(port, backend):
    """port.backend names the backend, and port.backend_reason gives the reason."""
    assert port.backend == ("sim" if isinstance(backend, iocp_sock.Sim) else backend)
    assert port.backend_reason
    with iocp_sock.Port() as automatic:
        assert automatic.backend in BACKENDS
        assert automatic.backend_reason


def test_probe_and_features(backend):
    """probe() and features() describe each backend."""
    assert set(iocp_sock.probe()) == set(BACKENDS)
    assert all(isinstance(value, bool) for value in iocp_sock.features(backend).values())
    assert iocp_sock.compiler()
    assert iocp_sock.version() == iocp_sock.__version__


@pytest.mark.parametrize("strategy", ["pooled", "direct", "zero_byte"])
@pytest.mark.parametrize("when", ["before", "after", "with data"])
def test_end_of_stream_exactly_once(port, pair, strategy, when):
    """The end of the stream reaches the callback exactly once, whenever the peer half-closes."""
    sock, peer = pair
    got = []
    closed = Recorder()
    if when == "before":
        peer.shutdown(socket.SHUT_WR)
    elif when == "with data":
        peer.sendall(b"data")
        peer.shutdown(socket.SHUT_WR)
    op = sock.receive(
        lambda _conn, data: got.append(bytes(data)), receive=strategy, on_close=closed
    )
    if when == "after":
        port.run_once(0)
        peer.shutdown(socket.SHUT_WR)
    run_until(port, lambda: got[-1:] == [b""])
    finish(port, op)
    for _ in range(5):
        port.run_once(0)
    assert got == ([b"data"] if when == "with data" else []) + [b""]
    assert op.error is None
    sock.send(b"answer")
    sock.close()
    assert read_all(port, peer) == b"answer"
    run_until(port, lambda: closed)
    assert closed == [(sock, None)]


def test_close_sends_then_abort_does_not(port, peers):
    """close() sends queued data within its deadline; abort() does not."""
    polite, polite_peer = peers.tcp(port, buffers=8192)
    rude, rude_peer = peers.tcp(port, buffers=8192)
    data = pattern(2 << 20)
    polite.send(data)
    rude.send(data)
    polite.close()
    rude.abort()
    assert read_all(port, polite_peer) == data
    run_until(port, lambda: port.stats().sockets == 0)
    got = bytearray()
    assert was_reset(rude_peer, got)
    assert len(got) < len(data)


def test_one_client_at_a_time_of_an_echo_server(port, peers):
    """A whole server runs in callbacks, with a client on the same port."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    listener.accept_each(
        lambda conn: conn.receive(lambda c, data: c.send(data) if data else c.close())
    )
    for i in range(20):
        got = []
        ended = Recorder()
        op = port.connect(listener.getsockname())
        client = op.socket
        finish(port, op)
        client.receive(lambda _c, data, got=got: got.append(bytes(data)), on_close=ended)
        message = pattern(10_000 * i + 1, i)
        client.send(message)
        client.shutdown(socket.SHUT_WR)
        run_until(port, lambda got=got: got[-1:] == [b""])
        assert b"".join(got) == message
        client.close()
        run_until(port, lambda ended=ended: ended)
    run_until(port, lambda: port.stats().sockets == 1)


def test_run_until_stop(port, pair):
    """run() serves until stop() is called in a callback, and can be called again."""
    sock, peer = pair
    for i in range(3):
        sock.recv(10, callback=lambda _c: port.stop())
        peer.sendall(b"%d" % i)
        port.run()
    assert not port.closed


def test_objects_are_not_copied_by_accident(port, pair):
    """pickle, by any protocol, and copy refuse the objects of a port."""
    sock, peer = pair
    peer.send(b"x")
    received = sock.recv(1)
    completion = port.get(5)
    things = [port, sock, received, received.data, completion, port.call_later(1000, print)]
    things += [iocp_sock.Event(), iocp_sock.Sim().world]
    ways = [functools.partial(pickle.dumps, protocol=number) for number in range(6)]
    for thing in things:
        for way in [*ways, copy.copy, copy.deepcopy]:
            with pytest.raises(TypeError, match="cannot pickle"):
                way(thing)


def test_a_port_before_its_init(backend):
    """Every call on a Port before its __init__() raises an error that names __init__()."""

    class Early(iocp_sock.Port):
        def __init__(self, **options):
            for call in (self.stats, self.stop, self.close, self.run, lambda: self.ledger):
                with pytest.raises(TypeError, match=r"Port.__init__\(\) has to be called before"):
                    call()
            super().__init__(**options)

    with Early(backend=backend) as made:
        assert made.run_once(0) == 0
    settled(made)


def test_repr(port, pair):
    """The repr shows the kind of an operation or completion, and the state of a socket."""
    sock, _peer = pair
    op = sock.recv(1)
    assert "pending" in repr(op)
    assert "receive" in repr(op)
    assert "connected" in repr(sock)
    sent = sock.send(b"x")
    completion = port.get(1)
    assert completion.operation is sent
    assert "send" in repr(completion)
    sock.close()
    assert "clos" in repr(sock)


def test_repr_of_a_socket(port, peers):
    """The repr has the state, the descriptor, and the addresses that the socket has."""
    with port.socket() as fresh:
        assert repr(fresh).startswith(
            f"<iocp_sock.Socket open, fd={fresh.fileno()}, family={socket.AF_INET:d},"
            f" type={socket.SOCK_STREAM:d}, laddr="
        )
        assert "raddr" not in repr(fresh)
    with port.listen(LOCALHOST) as listener:
        assert f"laddr={listener.getsockname()}>" in repr(listener)
        accept, op = listener.accept(), port.connect(listener.getsockname())
        finish(port, accept, op)
        with op.socket as sock, accept.accepted as other:
            names = f"laddr={sock.getsockname()}, raddr={sock.getpeername()}>"
            assert repr(sock).startswith("<iocp_sock.Socket connected, ")
            assert repr(sock).endswith(names)
            assert f"raddr={sock.getsockname()}>" in repr(other)
    assert repr(sock).startswith("<iocp_sock.Socket clos")
    run_until(port, lambda: repr(sock).startswith("<iocp_sock.Socket closed, fd=-1, "))


@needs_unix
def test_repr_of_a_named_socket(port, tmp_path):
    if port.backend == "sim":
        pytest.skip("not in the model: AF_UNIX")
    with port.listen(str(tmp_path / "name")) as listener:
        assert repr(listener).endswith(f"laddr={str(tmp_path / 'name')!r}>")


def test_repr_of_a_timer(port):
    timer = port.call_later(60, print)
    assert repr(timer) == f"<iocp_sock.Timer active, when={timer.when!r}>"
    timer.cancel()
    assert repr(timer) == f"<iocp_sock.Timer over, when={timer.when!r}>"


def test_repr_of_a_port(make_port, backend):
    port = make_port()
    with port.listen(LOCALHOST) as listener:
        op = listener.accept()
        assert repr(port) == f"<iocp_sock.Port {port.backend}, open, sockets=1, outstanding=1>"
    finish(port, op)
    port.close()
    assert repr(port) == f"<iocp_sock.Port {port.backend}, closed>"
    assert "before" in repr(iocp_sock.Port.__new__(iocp_sock.Port))


@linux_only("os.fork()")
def test_repr_in_a_forked_child(port, pair):
    """The repr in a forked child makes no system call, and does not raise."""
    sock, _peer = pair
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writable, f"{port!r} {sock!r}".encode())
        finally:
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        shown = pipe.read().decode()
    os.waitpid(child, 0)
    assert "of the parent process" in shown or "closed" in shown
    assert "<iocp_sock.Socket closed, fd=-1" in shown


def test_user(port, pair):
    """Socket.user holds any object of the caller, even after the socket is closed."""
    sock, peer = pair
    assert sock.user is None
    token = Recorder()
    sock.user = token
    assert sock.user is token
    sock.receive(lambda conn, data: conn.user.append(bytes(data)))
    peer.sendall(b"x")
    run_until(port, lambda: token)
    sock.close(0)
    run_until(port, lambda: port.stats().sockets == 0)
    assert sock.user is token
    del sock.user
    assert sock.user is None


def test_user_of_what_is_accepted(port, peers):
    """An accepted connection does not inherit the attribute `user` of its listener."""
    listener = peers.own(port.listen(LOCALHOST))
    listener.user = "the listener's"
    got = Recorder()
    listener.accept_each(got)
    for _ in range(2):
        peers.connect(listener.getsockname())
    run_until(port, lambda: len(got) == 2)
    for number, conn in enumerate(got):
        peers.own(conn)
        assert conn.user is None
        conn.user = number
    assert [conn.user for conn in got] == [0, 1]


def test_user_is_seen_by_the_collector(port):
    """An open socket keeps `user` alive; the collector frees a cycle through a closed socket."""
    sock = port.listen(LOCALHOST)

    class Session:
        pass

    session = Session()
    session.conn = sock
    sock.user = session
    alive = weakref.ref(session)
    sock.accept_each(Recorder())
    del session, sock
    gc.collect()
    assert alive() is not None
    alive().conn.close(0)
    run_until(port, lambda: (port.outstanding, port.stats().ready) == (0, 0))
    gc.collect()
    assert alive() is None


def test_large_messages_over_both_ways(port, pair):
    """Large transfers go in both directions at once; neither waits for the other."""
    sock, peer = pair
    out, back = pattern(3_000_000, 1), pattern(3_000_000, 2)
    got = []
    sock.receive(lambda _c, data: got.append(bytes(data)))
    sock.send(out)
    peer.setblocking(False)
    sent, received = 0, b""
    while sent < len(back) or len(received) < len(out) or sum(map(len, got)) < len(back):
        with contextlib.suppress(BlockingIOError):
            sent += peer.send(back[sent : sent + 100_000])
        with contextlib.suppress(BlockingIOError):
            received += peer.recv(1 << 20)
        port.run_once(0)
    assert received == out
    assert b"".join(got) == back
    peer.settimeout(20)


def test_no_thread_is_started(port, pair):
    """The package starts threads only for lookups of names."""
    sock, peer = pair
    sock.send(b"x")
    assert read(port, peer, 1) == b"x"
    # Without SIGALRM pytest-timeout has a thread of its own.
    own = ("pytest_timeout", "iocp_sock-names")
    others = [t for t in threading.enumerate() if not t.name.startswith(own)]
    assert len(others) == 1 or sys.gettrace() is not None
