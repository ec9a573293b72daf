"""Sockets with a second descriptor elsewhere: their O_NONBLOCK and their connection stay."""

import array
import contextlib
import os
import socket

import pytest

from support import Recorder, finish, is_readable, linger, linux_only, pattern, read, run_until

pytestmark = linux_only("duplicates of descriptors")


def accepted(port, peers):
    """Return a connection that the port accepted, and its raw peer."""
    return peers.tcp(port)


def connected(port, peers):
    """Return a connection that the port made by connect(), and its raw peer."""
    raw = peers.listening()
    op = port.connect(raw.getsockname())
    finish(port, op)
    return peers.own(op.socket), peers.keep(raw.accept()[0])


def adopted(port, peers):
    """Return one end of a socket pair, adopted by the port, and the raw other end."""
    return peers.pair(port)


def by_message(port, peers, sock):
    """Return a second descriptor of the socket, passed by the port itself as SCM_RIGHTS."""
    ours, theirs = socket.socketpair()
    pipe = peers.own(port.adopt(ours))
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))
    finish(port, pipe.sendmsg([b"x"], ancillary=[rights]))
    return socket.recv_fds(peers.keep(theirs), 1, 1)[1][0]


def by_dup(_port, _peers, sock):
    """Return a second descriptor of the socket, made by os.dup() without the port's knowledge."""
    return os.dup(sock.fileno())


def by_duplicate(_port, _peers, sock):
    """Return a second descriptor of the socket, made by Socket.duplicate()."""
    return sock.duplicate().detach()


@pytest.mark.parametrize("hand_over", [by_message, by_dup, by_duplicate])
@pytest.mark.parametrize("made", [accepted, connected, adopted])
@pytest.mark.parametrize("end", ["close", "drain", "pending", "port", "dropped"])
@pytest.mark.filterwarnings("ignore:unclosed socket")
def test_close_leaves_the_connection_to_the_other_holder(make_port, peers, hand_over, made, end):
    """close() closes one descriptor; the connection goes on through a second descriptor."""
    port = make_port()
    sock, peer = made(port, peers)
    worker = peers.keep(socket.socket(fileno=hand_over(port, peers, sock)))
    sent = b""
    if end == "pending":
        sock.recv(10)
        port.run_once(0)
    if end == "drain":
        sent = pattern(1 << 20)
        sock.send(sent)
    if end == "port":
        port.close(1)
    elif end == "dropped":
        peers.ours.clear()
        del sock
    else:
        sock.close()
    assert end == "port" or read(port, peer, len(sent)) == sent
    if end != "port":
        run_until(port, lambda: port.stats().sockets <= (hand_over is by_message))
    worker.sendall(b"hello")
    assert peer.recv(10) == b"hello"
    peer.sendall(b"and back")
    assert worker.recv(10) == b"and back"


@pytest.mark.parametrize("end", ["detach", "close", "abort", "port"])
@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_the_mode_is_as_it_was(make_port, peers, end, blocking, kind):
    """A port does not change the O_NONBLOCK of an adopted socket."""
    port = make_port()
    ours, theirs = socket.socketpair(type=kind)
    peers.keep(theirs)
    ours.setblocking(blocking)
    kept = ours.dup()
    sock = port.adopt(ours)
    waiting = sock.recv(10)
    port.run_once(0)
    assert os.get_blocking(kept.fileno()) == blocking
    if end == "detach":
        os.close(sock.detach())
    elif end == "port":
        port.close(0)
    else:
        getattr(sock, end)()
    if end != "port":
        finish(port, waiting)
    assert os.get_blocking(kept.fileno()) == blocking
    kept.close()


@pytest.mark.parametrize("end", ["detach", "close", "abort", "port"])
@pytest.mark.parametrize("blocking", [True, False])
def test_the_mode_of_a_listener_is_put_back(make_port, end, blocking):
    """accept4(2) has no MSG_DONTWAIT, so the port sets O_NONBLOCK on an adopted listener.

    Detaching or closing the listener restores the earlier mode.
    """
    port = make_port()
    raw = socket.create_server(("127.0.0.1", 0))
    raw.setblocking(blocking)
    kept = raw.dup()
    listener = port.adopt(raw)
    listener.accept_each(Recorder())
    port.run_once(0)
    if end == "detach":
        os.close(listener.detach())
    elif end == "port":
        port.close(0)
    else:
        getattr(listener, end)()
    if end != "port":
        run_until(port, lambda: listener.closed)
    assert os.get_blocking(kept.fileno()) == blocking
    kept.close()


@pytest.mark.parametrize("style", ["accept", "accept_each"])
def test_another_holder_takes_the_connection_and_the_mode(port, peers, style):
    """An accept never blocks the port, even if another holder clears O_NONBLOCK.

    The other holder may also take the connection that the port was notified of.
    """
    raw = socket.create_server(("127.0.0.1", 0))
    kept = peers.keep(raw.dup())
    listener = peers.own(port.adopt(raw))
    got = Recorder()
    listener.accept_each(got) if style == "accept_each" else listener.accept(callback=got)
    port.run_once(0)
    for _ in range(3):
        kept.setblocking(True)
        peers.connect(kept.getsockname())
        peers.keep(kept.accept()[0])
        kept.setblocking(True)
        port.run_once(0)
    assert got == []
    peer = peers.connect(kept.getsockname())
    run_until(port, lambda: got)
    conn = got[0] if style == "accept_each" else got[0].accepted
    assert conn.getpeername() == peer.getsockname()
    conn.close()


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("post", ["recv", "receive", "recv_zero", "recvmsg_into", "recvfrom"])
def test_receives_wait_in_either_mode(port, peers, post, blocking):
    """A receive waits for data without blocking the port, whether O_NONBLOCK is set or not."""
    ours, theirs = socket.socketpair()
    peer, kept = peers.keep(theirs), peers.keep(ours.dup())
    sock = peers.own(port.adopt(ours))
    got = Recorder()
    if post == "receive":
        sock.receive(lambda _sock, data: got(bytes(data)))
    elif post == "recvmsg_into":
        sock.recvmsg_into([bytearray(10)], callback=got)
    else:
        arguments = [] if post == "recv_zero" else [10]
        getattr(sock, post)(*arguments, callback=got)
    for mode in (blocking, not blocking, blocking):
        kept.setblocking(mode)
        port.run_once(0)
    assert got == []
    peer.sendall(b"data")
    run_until(port, lambda: got)
    assert post == "receive" or got[0].error is None


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("post", ["send", "many", "message", "file"])
def test_sends_wait_in_either_mode(port, peers, tmp_path, post, blocking):
    """A send that waits for room sends every byte in the end, whether O_NONBLOCK is set or not."""
    ours, theirs = socket.socketpair()
    peer, kept = peers.keep(theirs), peers.keep(ours.dup())
    sock = peers.own(port.adopt(ours))
    kept.setblocking(blocking)
    data = pattern(3 << 20)
    if post == "file":
        (tmp_path / "file").write_bytes(data)
        ops = [sock.send_file(tmp_path / "file")]
    elif post == "message":
        ops = [sock.sendmsg([data[: 1 << 20], data[1 << 20 :]])]
    elif post == "many":
        ops = [sock.send(data[at : at + 65536]) for at in range(0, len(data), 65536)]
    else:
        ops = [sock.send(data)]
    for mode in (blocking, not blocking, blocking):
        port.run_once(0)
        kept.setblocking(mode)
        port.run_once(0)
    assert read(port, peer, len(data)) == data
    finish(port, *ops)
    assert [op.error for op in ops] == [None] * len(ops)
    assert os.get_blocking(kept.fileno()) == blocking


@pytest.mark.parametrize("blocking", [True, False])
def test_the_mode_of_what_connects(port, peers, blocking):
    """connect(2) has no MSG_DONTWAIT, so a connect sets O_NONBLOCK, and restores it at once."""
    raw = socket.socket()
    raw.setblocking(blocking)
    kept = peers.keep(raw.dup())
    server = peers.listening()
    kept.setblocking(blocking)
    sock = peers.own(port.adopt(raw))
    op = sock.connect(server.getsockname())
    assert os.get_blocking(kept.fileno()) == blocking
    finish(port, op)
    assert op.error is None
    assert os.get_blocking(kept.fileno()) == blocking


def test_close_waits_for_no_peer(port, peers):
    """close() of a Socket never waits for its peer, although close(2) with SO_LINGER does."""
    sock, peer = peers.tcp(port, buffers=4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger(100_000))
    while sock.try_send(bytes(4096)):
        pass
    sock.close(0)  # a wait of SO_LINGER would exceed the timeout of the test
    run_until(port, lambda: port.stats().sockets == 0)
    assert is_readable(peer)
    with contextlib.suppress(ConnectionResetError):
        while peer.recv(1 << 20):
            pass
