"""Adopting and detaching sockets."""

import errno
import socket
import threading

import pytest

import iocp_sock
from support import WINDOWS, Recorder, arrived, finish, linger, read, reset, run_until


def test_adopts_a_connected_socket(port, peers):
    """adopt() detaches the socket.socket; the port's Socket takes over its descriptor."""
    ours, theirs = socket.socketpair()
    peer = peers.keep(theirs)
    number = ours.fileno()
    sock = port.adopt(ours)
    assert ours.fileno() == -1
    assert sock.fileno() == number
    assert (sock.family, sock.type) == (peer.family, socket.SOCK_STREAM)
    assert sock.proto == (socket.IPPROTO_TCP if WINDOWS else 0)
    peer.sendall(b"abc")
    op = sock.recv(10)
    finish(port, op)
    assert bytes(op.data) == b"abc"
    sock.close()


def test_adopts_a_bound_listener(port, peers):
    """A listening socket.socket can be adopted."""
    raw = socket.socket()
    raw.bind(("127.0.0.1", 0))
    raw.listen()
    listener = port.adopt(raw)
    got = Recorder()
    listener.accept_each(got)
    peers.connect(listener.getsockname())
    run_until(port, lambda: got)
    got[0].close()
    listener.close()


def test_adopts_a_non_blocking_socket(port, peers):
    """Kernel fact: io_uring does not wait on a non-blocking descriptor. The port waits anyway."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    peer = peers.keep(theirs)
    sock = port.adopt(ours)
    op = sock.recv(10)
    port.run_once(0.01)
    assert op.pending
    peer.sendall(b"abc")
    finish(port, op)
    assert bytes(op.data) == b"abc"
    with socket.socket(fileno=sock.detach()) as raw, pytest.raises(BlockingIOError):
        raw.recv(10)


def test_closing_an_adopted_socket_spares_its_duplicates(port, peers):
    """close() does not shut down a connection that duplicates of the descriptor still use."""
    ours, theirs = socket.socketpair()
    peer = peers.keep(theirs)
    twin = peers.keep(ours.dup())
    sock = port.adopt(ours)
    op = sock.recv(10)
    port.run_once(0)
    sock.close()
    finish(port, op)
    run_until(port, lambda: port.stats().sockets == 0)
    assert isinstance(op.error, iocp_sock.Cancelled)
    peer.sendall(b"abc")
    assert twin.recv(10) == b"abc"
    twin.sendall(b"def")
    assert peer.recv(10) == b"def"


def test_late_data_of_an_adopted_socket_stays_for_its_duplicate(port, peers):
    """Kernel fact: a receive outlives its closed descriptor. close() keeps it from taking data."""
    for strategy in (None, "pooled", "direct", "zero_byte"):
        ours, theirs = socket.socketpair()
        peer = peers.keep(theirs)
        twin = peers.keep(ours.dup())
        sock = port.adopt(ours)
        if strategy is None:
            sock.recv(100)
        else:
            sock.receive(Recorder(), receive=strategy)
        port.run_once(0)
        sock.close()
        run_until(port, lambda: port.stats().sockets == 0)
        peer.sendall(b"abc")
        port.run_once(0)
        assert twin.recv(10) == b"abc"


def test_detach(port, peers):
    """detach() cancels outstanding operations and returns the open descriptor."""
    sock, peer = peers.tcp(port)
    got = Recorder()
    op = sock.recv(10, callback=got)
    port.run_once(0)
    number = sock.fileno()
    assert sock.detach() == number
    assert sock.closed
    assert sock.fileno() == -1
    with socket.socket(fileno=number) as raw:
        peer.sendall(b"abc")
        assert raw.recv(10) == b"abc"
        raw.sendall(b"def")
        assert peer.recv(10) == b"def"
    finish(port, op)
    run_until(port, lambda: got)
    assert isinstance(op.error, iocp_sock.Cancelled)
    with pytest.raises(iocp_sock.SocketClosed):
        sock.detach()


def test_detach_after_a_reset(port, peers):
    """A reset connection has no descriptor left, so detach() raises."""
    sock, peer = peers.tcp(port)
    op = sock.recv(100)
    reset(peer)
    try:
        number = sock.detach()
    except iocp_sock.SocketClosed:
        finish(port, op)
        assert isinstance(op.error, ConnectionResetError)
        assert sock.closed
    else:  # Windows may report the reset later
        assert number >= 0
        socket.socket(fileno=number).close()


def test_detach_of_an_idle_socket(port, peers):
    """detach() works without outstanding operations; the descriptor can be adopted again."""
    sock, peer = peers.tcp(port)
    number = sock.detach()
    again = peers.own(port.adopt(number))
    again.send(b"abc")
    assert read(port, peer, 3) == b"abc"


def test_detach_in_a_callback(port, pair):
    """detach() works in a callback of its own socket, with operations outstanding."""
    sock, peer = pair
    numbers = []
    rest = []
    sock.recv(1, callback=lambda _c: numbers.append(sock.detach()))
    rest.append(sock.recv(1))
    rest.append(sock.recv_zero())
    peer.sendall(b"a")
    run_until(port, lambda: numbers and all(op.done for op in rest))
    with socket.socket(fileno=numbers[0]) as raw:
        peer.sendall(b"b")
        assert raw.recv(1) == b"b"


def test_detach_of_a_subscription(port, pair):
    """detach() ends a subscription; on_close runs once."""
    sock, peer = pair
    closed = Recorder()
    sock.receive(Recorder(), on_close=closed)
    port.run_once(0)
    number = sock.detach()
    run_until(port, lambda: closed)
    with socket.socket(fileno=number) as raw:
        peer.sendall(b"b")
        assert raw.recv(1) == b"b"
    assert closed == [(sock, None)]


def test_detach_of_a_listener_restores_its_mode(port, peers):
    """The descriptor of a detached listener is blocking again."""
    listener = port.listen(("127.0.0.1", 0))
    listener.accept()
    port.run_once(0)
    with socket.socket(fileno=listener.detach()) as raw:
        accepted = Recorder()
        thread = threading.Thread(target=lambda: accepted(raw.accept()[0]))
        thread.start()
        peer = peers.connect(raw.getsockname())
        thread.join(20)
    with accepted[0] as conn:
        assert conn.getpeername() == peer.getsockname()


def test_detach_from_another_thread_is_refused(make_port, peers):
    """detach() with operations outstanding raises while another thread runs the port."""
    port = make_port()
    sock, peer = peers.pair(port)
    got = threading.Event()
    sock.recv(10, callback=lambda _c: got.set())
    started = threading.Event()
    port.post(callback=lambda _c: started.set())
    thread = threading.Thread(target=port.run)
    thread.start()
    started.wait(20)
    try:
        with pytest.raises((iocp_sock.WrongThread, iocp_sock.PortRunning)):
            sock.detach()
        assert not sock.closed
        peer.sendall(b"abc")
        assert got.wait(20)
    finally:
        port.stop()
        thread.join(20)


def test_options_and_names(port, peers):
    """Options and addresses of a Socket read as in the socket module."""
    sock, peer = peers.tcp(port)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger(5))
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(linger(5))) == linger(5)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == (0 if WINDOWS else 4608)
    assert sock.getsockname() == peer.getpeername()
    assert sock.getpeername() == peer.getsockname()
    assert sock.port is port
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is checked
        sock.setsockopt(socket.IPPROTO_TCP, 9999, 1)
    assert caught.value.errno == errno.ENOPROTOOPT
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger(None))


def test_shutdown_of_the_receiving_side(port, pair):
    """shutdown(SHUT_RD) ends a pending receive as the end of the stream."""
    sock, _peer = pair
    op = sock.recv(10)
    port.run_once(0)
    sock.shutdown(socket.SHUT_RD)
    finish(port, op)
    assert (op.error, bytes(op.data)) == (None, b"")


def test_unread_data_of_an_adopted_socket(port, peers):
    """Data that arrived before the adoption is received."""
    ours, theirs = socket.socketpair()
    peers.keep(theirs).sendall(b"early")
    sock = port.adopt(ours)
    arrived(sock, 5)
    op = sock.recv(10)
    assert (op.outcome, bytes(op.data)) == ("done", b"early")
    sock.close()
