"""Accepting: single accepts and accept_each(); no error stops a listener."""

import contextlib
import errno
import gc
import os
import socket

import pytest

import iocp_sock
from support import (
    AF_UNIX,
    PATIENCE,
    WINDOWS,
    Recorder,
    finish,
    linux_only,
    moment,
    needs_unix,
    no_descriptor_left,
    reset,
    run_until,
)


def test_accepts_take_connections_in_order(port, peers):
    """R03 R30: outstanding accepts are served in posting order, each once."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    got = Recorder()
    ops = [listener.accept(callback=got) for _ in range(5)]
    raw = [peers.connect(listener.getsockname()) for _ in range(5)]
    finish(port, *ops)
    run_until(port, lambda: len(got) == 5)
    assert [c.operation for c in got] == ops
    assert [op.accepted.getpeername() for op in ops] == [r.getsockname() for r in raw]
    assert got[0].accepted is ops[0].accepted
    for op in ops:
        assert op.accepted.getsockname() == listener.getsockname()
        op.accepted.close()


def test_a_listener_holds_its_address(port, peers):
    """A second listener on an address is refused; so is reuse_port without SO_REUSEPORT."""
    one = peers.own(port.listen(("127.0.0.1", 0)))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is checked
        port.listen(one.getsockname())
    assert caught.value.errno == errno.EADDRINUSE
    if not hasattr(socket, "SO_REUSEPORT"):
        with pytest.raises(iocp_sock.ArgumentError, match="SO_REUSEPORT"):
            port.listen(("127.0.0.1", 0), reuse_port=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_families(port, peers, host):
    """Listeners work over IPv4 and IPv6; addresses have the form of the socket module."""
    listener = peers.own(port.listen((host, 0)))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    op = listener.accept()
    peer = peers.connect(listener.getsockname(), family)
    finish(port, op)
    conn = op.accepted
    assert conn.family == listener.family == family
    assert conn.getpeername() == peer.getsockname()
    assert conn.getsockname() == peer.getpeername()
    conn.close()


@needs_unix
@pytest.mark.parametrize("abstract", [False, True])
def test_unix_paths(port, peers, tmp_path, abstract):
    """A listener takes an AF_UNIX path or an abstract name."""
    path = b"\0iocp-sock-test-%d" % os.getpid() if abstract else str(tmp_path / "socket")
    listener = peers.own(port.listen(path))
    assert listener.getsockname() == path
    accept = listener.accept()
    connect = port.connect(path)
    finish(port, accept, connect)
    connect.socket.send(b"hello")
    op = accept.accepted.recv(10)
    finish(port, op)
    assert bytes(op.data) == b"hello"
    accept.accepted.close()
    connect.socket.close()


def test_accepted_sockets_are_close_on_exec(port, peers):
    """Child processes inherit neither the listener's descriptor nor that of an accepted socket."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    got = Recorder()
    listener.accept_each(got)
    peers.connect(listener.getsockname())
    run_until(port, lambda: got)
    for sock in (listener, got[0]):
        if WINDOWS:
            assert not os.get_handle_inheritable(sock.fileno())
        else:
            assert not os.get_inheritable(sock.fileno())
    got[0].close()


@linux_only("lowers RLIMIT_NOFILE")
def test_no_descriptor_for_a_single_accept(port, peers):
    """R10: with no descriptor left an accept raises ResourceExhausted; the listener stays open."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    waiting = listener.accept()
    port.run_once(0)
    peers.connect(listener.getsockname())
    with no_descriptor_left():
        finish(port, waiting)
        assert isinstance(waiting.error, iocp_sock.ResourceExhausted)
        with pytest.raises(iocp_sock.ResourceExhausted):
            listener.accept()
        with pytest.raises(iocp_sock.ResourceExhausted):
            port.socket()
    again = listener.accept()
    finish(port, again)
    again.accepted.close()


@linux_only("lowers RLIMIT_NOFILE")
def test_accept_each_survives_the_lack_of_descriptors(port, peers):
    """R32: the error of one accept is reported and never stops the listener."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    got = Recorder()
    told = Recorder()
    op = listener.accept_each(got, on_error=told)
    port.run_once(0)
    peers.connect(listener.getsockname())
    with no_descriptor_left():
        run_until(port, lambda: told)
        turns = port.stats().waits
        run_until(port, lambda: len(told) > 1)
        assert port.stats().waits - turns < 100
    assert told[0][0] is listener
    assert isinstance(told[0][1], iocp_sock.ResourceExhausted)
    run_until(port, lambda: got)
    assert not op.done
    got[0].close()


@linux_only("lowers RLIMIT_NOFILE")
def test_close_while_accepting_pauses(port, peers):
    """R32: accept_each() can be cancelled, and its listener closed, while it lacks descriptors."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    told = Recorder()
    op = listener.accept_each(Recorder(), on_error=told)
    port.run_once(0)
    peers.connect(listener.getsockname())
    with no_descriptor_left():
        run_until(port, lambda: told)
        op.cancel()
        run_until(port, lambda: port.outstanding == 0)
        op = listener.accept_each(Recorder(), on_error=told)
        before = len(told)
        run_until(port, lambda: len(told) > before)
        listener.close()
        finish(port, op)


def test_aborted_connection_does_not_stop_the_listener(port, peers):
    """R32: a client that resets before it is accepted does not affect other clients."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    quick = peers.raw()
    quick.connect(listener.getsockname())
    reset(quick)
    got = Recorder()
    listener.accept_each(got)
    peer = peers.connect(listener.getsockname())
    run_until(port, lambda: any(_peer_of(c) == peer.getsockname() for c in got))
    for conn in got:
        conn.close()


def _peer_of(conn):
    try:
        return conn.getpeername()
    except OSError:
        return None


def test_connections_waiting_before_the_subscription(port, peers):
    """Stream level: accept_each() accepts a backlog longer than one turn takes."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    for _ in range(200):
        peers.connect(listener.getsockname())
    got = Recorder()
    listener.accept_each(got)
    run_until(port, lambda: len(got) == 200)
    for conn in got:
        conn.close()


def test_listener_closed_in_its_own_callback(port, peers):
    """Stream level: accepted but undelivered connections are closed with the listener."""
    listener = port.listen(("127.0.0.1", 0))
    raw = [peers.connect(listener.getsockname()) for _ in range(5)]
    got = []

    def first(conn):
        got.append(conn)
        conn.close()
        listener.close()

    listener.accept_each(first)
    run_until(port, lambda: port.stats().sockets == 0)
    assert len(got) == 1
    for peer in raw:
        with contextlib.suppress(ConnectionResetError):
            assert peer.recv(1) == b""


def test_accepts_at_close(port, peers):
    """R03: pending accepts complete when the listener is closed."""
    listener = port.listen(("127.0.0.1", 0))
    got = Recorder()
    ops = [listener.accept(callback=got) for _ in range(3)]
    listener.close()
    run_until(port, lambda: len(got) == 3)
    assert all(isinstance(op.error, iocp_sock.Cancelled) for op in ops)
    assert all(op.accepted is None for op in ops)


@linux_only("SO_REUSEPORT")
def test_reuse_port(port, peers):
    """With reuse_port two listeners share an address; a listener without it is refused."""
    one = peers.own(port.listen(("127.0.0.1", 0), reuse_port=True))
    two = peers.own(port.listen(one.getsockname(), reuse_port=True))
    assert two.getsockname() == one.getsockname()
    with pytest.raises(OSError, match="in use"):
        port.listen(one.getsockname())


def test_accepted_connection_nobody_takes(port, peers):
    """An accepted connection that the application drops is closed, with a ResourceWarning."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    peer = peers.connect(listener.getsockname())
    op = listener.accept()
    with pytest.warns(ResourceWarning, match="unclosed"):  # noqa: PT031 - it may come at any step
        finish(port, op)
        run_until(port, lambda: port.outstanding == 0)
        del op
    gc.collect()
    run_until(port, lambda: port.stats().sockets == 1)
    assert peer.recv(1) == b""


@pytest.mark.parametrize("how", ["post", "callback", "skipped", "blocking"])
@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("family", ["tcp", "tcp6", "unix"])
def test_address_of_the_peer(port, peers, tmp_path, family, gone, how):
    """R32: an accept has the address of its peer, even if the peer has reset meanwhile."""
    if family == "unix" and AF_UNIX is None:
        pytest.skip("Python has no AF_UNIX on this system")
    if how == "blocking" and port.backend == "sim":
        pytest.skip("not in the model: one thread at a time, and its waits take no time")
    where = {"tcp": ("127.0.0.1", 0), "tcp6": ("::1", 0), "unix": str(tmp_path / "listener")}
    listener = peers.own(port.listen(where[family]))
    listener.skip_done_packets = how == "skipped"
    peer = peers.raw(listener.family)
    if family == "unix":
        peer.bind(str(tmp_path / "client"))
    peer.connect(listener.getsockname())
    name = peer.getsockname()
    if gone:
        if family == "unix":
            peer.close()
        else:
            reset(peer)
    moment()
    got = Recorder()
    if how == "blocking":
        conn, address = listener.blocking.accept(timeout=PATIENCE)
    else:
        op = listener.accept(callback=got if how == "callback" else None)
        assert op.done or op.address is None
        finish(port, op)
        conn, address = op.accepted, op.address
        if how == "callback":
            run_until(port, lambda: got)
            assert got[0].address == address
    if address is None and WINDOWS:
        assert gone, "Windows gives no address only if the peer is gone"
    else:
        assert address == name
    conn.close()


def test_no_address_without_a_connection(port, peers):
    """A cancelled accept has no address."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    op = listener.accept()
    port.run_once(0)
    op.cancel()
    finish(port, op)
    assert (op.accepted, op.address) == (None, None)
