"""Connecting: outcomes, errors, deadlines, and sends posted behind a connect."""

import os
import socket

import pytest

import iocp_sock
from support import (
    AF_UNIX,
    WINE,
    Recorder,
    finish,
    linux_only,
    needs_unix,
    pattern,
    read,
    run_until,
)


@pytest.fixture
def server(peers):
    return peers.listening()


def accepted(peers, server):
    peer, _address = server.accept()
    return peers.keep(peer)


def test_connects(port, peers, server):
    """R03: a connect completes once; the socket is connected."""
    got = Recorder()
    op = port.connect(server.getsockname(), callback=got)
    assert op.kind == "connect"
    run_until(port, lambda: got)
    assert (op.error, got[0].operation, got[0].socket) == (None, op, op.socket)
    peer = accepted(peers, server)
    assert op.socket.getpeername() == server.getsockname()
    assert op.socket.getsockname() == peer.getpeername()
    op.socket.close()
    port.run_once(0)
    assert len(got) == 1


def test_sends_wait_for_the_connect(port, peers, server):
    """R30: sends posted behind a connect go out after it, in order."""
    op = port.connect(server.getsockname())
    parts = [pattern(100_000, i) for i in range(5)]
    sends = [op.socket.send(part) for part in parts]
    peer = accepted(peers, server)
    assert read(port, peer, 500_000) == b"".join(parts)
    finish(port, op, *sends)
    op.socket.close()


def test_refused(port, peers):
    """R05: a refused connect and the sends behind it end with the error; the socket stays open."""
    raw = peers.raw()
    raw.bind(("127.0.0.1", 0))
    op = port.connect(raw.getsockname())
    sock = peers.own(op.socket)
    behind = None if op.done else sock.send(b"x")
    finish(port, op)
    assert isinstance(op.error, ConnectionRefusedError)
    assert behind is None or isinstance(behind.error, ConnectionRefusedError)
    assert not sock.closed
    if WINE:
        pytest.skip("a socket whose ConnectEx was refused cannot connect again under Wine 8.0")
    raw.listen()
    again = sock.connect(raw.getsockname())
    finish(port, again)
    assert again.error is None


@needs_unix
def test_no_such_path(port, peers, tmp_path):
    """R05: a connect to a missing path ends with FileNotFoundError."""
    op = port.connect(str(tmp_path / "missing"))
    peers.own(op.socket)
    finish(port, op)
    assert isinstance(op.error, FileNotFoundError)


def full_listener(peers):
    """Make a listener whose backlog is full."""
    raw = peers.listening(0)
    for _ in range(3):
        filler = peers.raw()
        filler.setblocking(False)
        filler.connect_ex(raw.getsockname())
    return raw


def test_deadline(port, peers):
    """R31: an unanswered connect ends with TimedOut."""
    raw = full_listener(peers)
    op = port.connect(raw.getsockname(), timeout=0.05)
    peers.own(op.socket)
    finish(port, op)
    assert isinstance(op.error, iocp_sock.TimedOut)


def test_cancel(port, peers):
    """R31: a pending connect can be cancelled, and ends with Cancelled."""
    raw = full_listener(peers)
    op = port.connect(raw.getsockname())
    peers.own(op.socket)
    port.run_once(0)
    assert op.pending
    assert op.cancel()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)


def test_close_while_connecting(port, peers):
    """Close: close() of a connecting socket ends the connect and its sends, each once."""
    raw = full_listener(peers)
    got = Recorder()
    op = port.connect(raw.getsockname(), callback=got)
    send = op.socket.send(b"x", callback=got)
    port.run_once(0)
    op.socket.close()
    run_until(port, lambda: len(got) == 2)
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert isinstance(send.error, iocp_sock.Cancelled)
    run_until(port, lambda: port.stats().sockets == 0)


def test_ipv6(port, peers):
    """A connect to an IPv6 address makes an AF_INET6 socket."""
    raw = peers.raw(socket.AF_INET6)
    raw.bind(("::1", 0))
    raw.listen()
    op = port.connect(raw.getsockname())
    finish(port, op)
    assert op.socket.getpeername() == raw.getsockname()
    assert op.socket.family == socket.AF_INET6
    op.socket.close()


def test_receive_behind_a_connect(port, peers, server):
    """A subscription made in the callback of a connect gets the peer's first bytes."""
    got = Recorder()

    def connected(completion):
        completion.socket.receive(got)

    op = port.connect(server.getsockname(), callback=connected)
    peer = accepted(peers, server)
    peer.sendall(b"hello")
    run_until(port, lambda: got)
    assert bytes(got[0][1]) == b"hello"
    op.socket.close()


def test_hold_of_a_name(port, peers, server):
    """connect() looks up a host that is a name."""
    op = port.connect(("localhost", server.getsockname()[1]))
    finish(port, op)
    assert op.error is None
    op.socket.close()


@pytest.fixture
def crowded(peers, tmp_path):
    """Return a raw AF_UNIX listener whose queue of connections is full."""
    if AF_UNIX is None:
        pytest.skip("Python has no AF_UNIX on this system")
    raw = peers.raw(AF_UNIX)
    raw.bind(str(tmp_path / "listener"))
    raw.listen(0)
    while True:
        peer = peers.raw(AF_UNIX)
        peer.setblocking(False)
        try:
            peer.connect(raw.getsockname())
        except BlockingIOError:
            return raw


def make_room(peers, listener):
    """Accept every connection in the listener's queue, and return the last."""
    listener.setblocking(False)
    while True:
        try:
            peer, _address = listener.accept()
        except BlockingIOError:
            return peer
        peers.keep(peer)


def test_waits_for_room_in_the_queue_of_a_listener(port, peers, crowded):
    """R32: a connect to a listener with a full queue waits in the core until there is room."""
    op = port.connect(crowded.getsockname())
    send = op.socket.send(b"behind it")
    assert (op.outcome, op.queued) == ("queued", True)
    for _ in range(5):
        port.run_once(0.002)
    assert not op.done
    make_room(peers, crowded)
    finish(port, op, send)
    assert (op.error, send.error) == (None, None)
    assert read(port, make_room(peers, crowded), 9) == b"behind it"
    op.socket.close()


def test_wait_for_room_ends_with_a_timeout(port, peers, crowded):
    """R31: a timeout ends the wait for the listener's queue; the socket may connect again."""
    op = port.connect(crowded.getsockname(), timeout=0.01)
    finish(port, op)
    assert isinstance(op.error, iocp_sock.TimedOut)
    make_room(peers, crowded)
    again = op.socket.connect(crowded.getsockname())
    finish(port, again)
    assert again.error is None
    op.socket.close()


def test_wait_for_room_can_be_cancelled(port, crowded):
    """R31: cancel() ends a connect to a full queue at once: the kernel holds no request."""
    op = port.connect(crowded.getsockname())
    assert op.cancel()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    op.socket.close()


def test_wait_for_room_ends_with_the_listener(port, crowded):
    """R05: a connect that waits for room in a listener's queue ends when the listener closes."""
    op = port.connect(crowded.getsockname())
    crowded.close()
    finish(port, op)
    assert isinstance(op.error, ConnectionRefusedError)
    op.socket.close()


def give_up(port, sock, op, how):
    """End an unanswered connect, and wait for its end."""
    if how == "cancel":
        op.cancel()
    elif how == "cancel of all":
        sock.cancel()
    finish(port, op)  # "timeout": the operation's own timeout ends it


ENDS = ["timeout", "cancel", "cancel of all"]


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("turn", [True, False])
def test_an_ended_connect_leaves_no_attempt(port, peers, server, how, turn):
    """R32: after an abandoned connect the next one reaches its own address, not the first one."""
    crowded = full_listener(peers)
    sock = peers.own(port.socket())
    first = sock.connect(crowded.getsockname(), timeout=0.05 if how == "timeout" else None)
    behind = sock.send(b"to the first")
    if turn:
        port.run_once(0)
    give_up(port, sock, first, how)
    error = iocp_sock.TimedOut if how == "timeout" else iocp_sock.Cancelled
    assert isinstance(first.error, error)
    finish(port, behind)
    assert isinstance(behind.error, error)
    if port.backend == "iocp":
        run_until(port, lambda: sock.closed)  # Winsock allows no second ConnectEx
        with pytest.raises(iocp_sock.SocketClosed):
            sock.connect(server.getsockname())
        return
    again = sock.connect(server.getsockname())
    to_second = sock.send(b"to the second")
    finish(port, again, to_second)
    assert (again.error, to_second.error) == (None, None)
    assert sock.getpeername() == server.getsockname()
    assert read(port, accepted(peers, server), 13) == b"to the second"


def test_a_connect_posted_behind_an_ended_one(port, peers, server):
    """R30 R32: a connect posted behind a cancelled one starts after it; Winsock refuses it."""
    crowded = full_listener(peers)
    sock = peers.own(port.socket())
    first = sock.connect(crowded.getsockname())
    port.run_once(0)
    first.cancel()
    second = sock.connect(server.getsockname())
    finish(port, first, second)
    assert isinstance(first.error, iocp_sock.Cancelled)
    if port.backend == "iocp":
        assert isinstance(second.error, OSError)
        run_until(port, lambda: sock.closed)
        return
    assert second.error is None
    assert sock.getpeername() == server.getsockname()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("style", ["subscription", "receive"])
def test_receives_ahead_of_an_ended_connect(port, peers, how, style):
    """R05: receives that wait for a connect end if the connect is cancelled or times out."""
    crowded = full_listener(peers)
    sock = peers.own(port.socket())
    closed = Recorder()
    op = sock.connect(crowded.getsockname(), timeout=0.05 if how == "timeout" else None)
    subscribes = style == "subscription"
    ahead = sock.receive(Recorder(), on_close=closed) if subscribes else sock.recv(10)
    port.run_once(0)
    give_up(port, sock, op, how)
    run_until(port, lambda: ahead.done)
    assert ahead.error is not None
    if subscribes and how != "cancel of all":
        run_until(port, lambda: closed)
        assert len(closed) == 1
        assert isinstance(closed[0][1], type(op.error))
        assert sock.closed


@linux_only("duplicates of descriptors")
@pytest.mark.parametrize("how", [*ENDS, "close", "abort", "port", "detach"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_duplicate_sees_no_attempt(make_port, peers, how, family):
    """R32: however a connect ends, the kernel abandons the attempt."""
    port = make_port()
    crowded = peers.raw(family)
    crowded.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    crowded.listen(0)
    filler = peers.connect(crowded.getsockname(), family)
    sock = port.socket(family)
    op = sock.connect(crowded.getsockname(), timeout=0.05 if how == "timeout" else None)
    kept = peers.keep(socket.socket(fileno=os.dup(sock.fileno())))
    port.run_once(0)
    if how in ENDS:
        give_up(port, sock, op, how)
        sock.close()
    elif how == "port":
        port.close(0)
    elif how == "detach":
        os.close(sock.detach())
    else:
        getattr(sock, how)()
        finish(port, op)
    assert op.error is not None
    info = kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    assert info == b"\x07", "TCP_CLOSE"
    assert kept.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    filler.close()


@pytest.mark.parametrize("address", ["same", "other"])
def test_a_second_connect_spares_the_connection(port, peers, server, address):
    """R05: a second connect fails, and the connection goes on."""
    op = port.connect(server.getsockname())
    finish(port, op)
    sock = peers.own(op.socket)
    peer = accepted(peers, server)
    waiting = sock.recv(10)
    port.run_once(0)
    where = server.getsockname() if address == "same" else full_listener(peers).getsockname()
    try:
        again = sock.connect(where)
    except OSError as error:
        refused = error
    else:
        finish(port, again)
        refused = again.error
    assert refused is not None
    peer.sendall(b"still here")
    finish(port, waiting)
    assert bytes(waiting.data) == b"still here"
