"""Exceptions of callbacks: reported once; each ends the connection that its callback serves."""

import gc
import socket
import sys
import weakref

import pytest

import iocp_sock
from support import Recorder, is_readable, read, run_until


class Failure(Exception):
    pass


def raiser(*_given):
    raise Failure


CALLBACKS = {
    "receive": lambda port, sock, peer: (sock.recv(1, callback=raiser), peer.sendall(b"x")),
    "send": lambda port, sock, peer: sock.send(b"x", callback=raiser),
    "zero_byte": lambda port, sock, peer: (sock.recv_zero(callback=raiser), peer.sendall(b"x")),
    "receive_each": lambda port, sock, peer: (sock.receive(raiser), peer.sendall(b"x")),
    "on_close": lambda port, sock, peer: (
        sock.receive(Recorder(), on_close=raiser),
        sock.close(),
    ),
    "timer": lambda port, sock, peer: port.call_later(0, raiser),
    "packet": lambda port, sock, peer: port.post(callback=raiser),
    "cancelled": lambda port, sock, peer: sock.recv(1, callback=raiser).cancel(),
}


@pytest.mark.parametrize("what", CALLBACKS)
def test_exception_goes_to_the_error_handler(port, pair, what):
    """The exception of a callback goes to the error handler, and the port goes on."""
    sock, peer = pair
    told = []
    port.error_handler = lambda error, callback: told.append((error, callback))
    CALLBACKS[what](port, sock, peer)
    run_until(port, lambda: told)
    assert isinstance(told[0][0], Failure)
    assert told[0][1] is raiser
    got = Recorder()
    port.post(callback=got)
    run_until(port, lambda: got)
    assert len(told) == 1
    port.error_handler = None


@pytest.mark.parametrize("what", CALLBACKS)
def test_exception_without_a_handler_is_unraisable(port, pair, what, monkeypatch):
    """Without a handler the exception goes to sys.unraisablehook; the port goes on."""
    sock, peer = pair
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(args.exc_type))
    CALLBACKS[what](port, sock, peer)
    run_until(port, lambda: told)
    assert told == [Failure]
    got = Recorder()
    port.post(callback=got)
    run_until(port, lambda: got)


@pytest.mark.parametrize("what", CALLBACKS)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_leave_run_and_lose_nothing(port, pair, what, kind, monkeypatch):
    """KeyboardInterrupt and SystemExit of a callback end run(); no completion is lost."""
    sock, peer = pair

    def interrupt(*_given):
        raise kind

    monkeypatch.setitem(globals(), "raiser", interrupt)
    port.error_handler = lambda *_given: pytest.fail("the error handler got an interrupt")
    CALLBACKS[what](port, sock, peer)
    got = Recorder()
    for i in range(3):
        port.post(i, callback=got)
    with pytest.raises(kind):
        run_until(port, lambda: False, patience=5)
    run_until(port, lambda: len(got) == 3)
    assert [c.value for c in got] == [0, 1, 2]


def test_exception_in_the_error_handler(port, monkeypatch):
    """An error handler that raises is reported as unraisable; the port goes on."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(args.exc_type))
    port.error_handler = raiser
    port.post(callback=raiser)
    got = Recorder()
    port.post(callback=got)
    run_until(port, lambda: got)
    assert told == [Failure]


def test_interrupt_in_the_error_handler_leaves_run(port):
    """KeyboardInterrupt in the error handler ends run() as well."""

    def interrupt(*_given):
        raise KeyboardInterrupt

    port.error_handler = interrupt
    port.post(callback=raiser)
    with pytest.raises(KeyboardInterrupt):
        port.run()


def marked(port, sock, peer, **which):
    """Queue more than the high mark, so that on_pause runs; if on_resume is given, send it all."""
    sock.set_send_marks(high=1, low=0, **which)
    sock.send_buffer = 4096
    while not sock.queued_bytes:
        sock.send(bytes(1 << 20))
    if "on_resume" in which:

        def drained():
            if is_readable(peer):
                peer.recv(1 << 16)
            return sock.closed or not sock.queued_bytes

        run_until(port, drained)


def served(sock):
    """Subscribe a connection, and return the errors that its on_close gets."""
    ends = Recorder()
    sock.receive(Recorder(), on_close=lambda _conn, error: ends.append(error))
    return ends


SERVING = {
    "send": lambda port, sock, peer: sock.send(b"x", callback=raiser),
    "sendmsg": lambda port, sock, peer: sock.sendmsg([b"x", b"y"], callback=raiser),
    "wait_writable": lambda port, sock, peer: sock.wait_writable(callback=raiser),
    "disconnect": lambda port, sock, peer: (
        sock.disconnect(callback=raiser),
        peer.shutdown(socket.SHUT_WR),
    ),
    "on_pause": lambda port, sock, peer: marked(port, sock, peer, on_pause=raiser),
    "on_resume": lambda port, sock, peer: marked(port, sock, peer, on_resume=raiser),
}
"""Callbacks that serve a connection with an on_close."""


@pytest.mark.parametrize("what", SERVING)
def test_a_callback_that_raises_closes_its_connection(port, pair, what):
    """A callback that raises closes its connection; on_close gets the error."""
    sock, peer = pair
    told = Recorder()
    port.error_handler = told
    ends = served(sock)
    SERVING[what](port, sock, peer)
    run_until(port, lambda: ends)
    assert [type(error) for error in ends] == [Failure]
    assert [error for error, _callback in told] == ends
    assert told[0][0] is ends[0]
    assert sock.closed
    run_until(port, lambda: ended(peer))
    assert port.outstanding == 0
    port.error_handler = None  # the exceptions keep their frames alive


def ended(peer):
    """Return whether a raw peer sees the end of the connection, or its reset."""
    try:
        while is_readable(peer):
            if not peer.recv(1 << 16):
                return True
    except ConnectionResetError:
        return True
    return False


@pytest.mark.parametrize("callback", [raiser, lambda *_given: [][0]], ids=["own", "builtin"])
def test_a_callback_of_receive_that_raises(port, pair, callback):
    """on_close gets the exception of the receive callback, with its traceback; no data follows."""
    sock, peer = pair
    told, ends, calls = Recorder(), Recorder(), Recorder()
    port.error_handler = told

    def received(conn, data):
        calls.append(bytes(data))
        callback()

    sock.receive(received, on_close=ends)
    peer.sendall(b"x")
    run_until(port, lambda: ends)
    assert calls == [b"x"]
    [(conn, error)] = ends
    assert conn is sock
    assert error is told[0][0]
    assert told[0][1] is received
    assert error.__traceback__ is not None
    run_until(port, lambda: ended(peer))
    port.error_handler = None  # the exceptions keep their frames alive


def test_a_callback_of_an_operation_that_raises_without_on_close(port, pair):
    sock, peer = pair
    port.error_handler = Recorder()
    sock.recv(1, callback=raiser)
    peer.sendall(b"x")
    run_until(port, lambda: sock.closed)
    run_until(port, lambda: ended(peer))
    port.error_handler = None  # the exceptions keep their frames alive


@pytest.mark.parametrize("how", ["accept", "accept_each"])
@pytest.mark.parametrize("policy", ["close", "keep"])
def test_a_callback_that_raises_after_an_accept(make_port, peers, how, policy):
    """If an accept callback raises, its connection is closed, or kept with the policy 'keep'."""
    port = make_port(on_callback_error=policy)
    told, ends, kept = Recorder(), Recorder(), []
    port.error_handler = told
    listener = peers.own(port.listen(("127.0.0.1", 0)))

    def accepted(given):
        conn = given.operation.accepted if how == "accept" else given
        kept.append(peers.own(conn))
        conn.receive(Recorder(), on_close=lambda _conn, error: ends.append(error))
        raise Failure

    if how == "accept_each":
        listener.accept_each(accepted)
    for number in (1, 2):
        if how == "accept":
            listener.accept(callback=accepted)
        peer = peers.connect(listener.getsockname())
        run_until(port, lambda number=number: len(told) == number)
        if policy == "close":
            run_until(port, lambda number=number: len(ends) == number)
            assert ends[-1] is told[-1][0]
            run_until(port, lambda peer=peer: ended(peer))
        assert kept[-1].closed is (policy == "close")
        assert not listener.closed
    if policy == "keep":
        assert not ends
    port.error_handler = None  # the exceptions keep their frames alive


def test_a_callback_of_connect_that_raises(port, peers):
    told = Recorder()
    port.error_handler = told
    with port.listen(("127.0.0.1", 0)) as listener:
        op = port.connect(listener.getsockname(), callback=raiser)
        by_name = port.connect_by_name(*listener.getsockname(), callback=raiser)
        run_until(port, lambda: len(told) == 2)
        assert op.socket.closed
        assert by_name.socket.closed
    run_until(port, lambda: port.stats().sockets == 0)
    port.error_handler = None  # the exceptions keep their frames alive


@pytest.mark.parametrize("what", SERVING)
def test_a_connection_that_is_kept(make_port, peers, what):
    """on_callback_error='keep': the exception of a callback is only reported."""
    port = make_port(on_callback_error="keep")
    sock, peer = peers.tcp(port)
    told = Recorder()
    port.error_handler = told
    ends = served(sock)
    SERVING[what](port, sock, peer)
    run_until(port, lambda: told)
    assert not sock.closed
    assert ends == []
    port.error_handler = None  # the exceptions keep their frames alive


def test_a_datagram_socket_stays(port, peers):
    """A datagram socket serves several peers: an exception for one does not close it."""
    told = Recorder()
    port.error_handler = told
    sock, peer = peers.pair(port, socket.SOCK_DGRAM)
    sock.receive_from(raiser)
    sock.send(b"x", callback=raiser)
    for number in (2, 3):
        peer.send(b"x")
        run_until(port, lambda number=number: len(told) == number)
    assert not sock.closed
    port.error_handler = None  # the exceptions keep their frames alive


def test_a_callback_that_closes_and_raises(port, pair):
    """A callback may close() its socket and then raise: the queued data is still sent."""
    sock, peer = pair
    told, ends = Recorder(), Recorder()
    port.error_handler = told

    def received(conn, _data):
        conn.send(b"the answer")
        conn.close()
        raise Failure

    sock.receive(received, on_close=lambda _conn, error: ends.append(error))
    peer.sendall(b"x")
    run_until(port, lambda: ends)
    assert ends == [None]
    assert len(told) == 1
    assert read(port, peer, 10) == b"the answer"
    port.error_handler = None  # the exceptions keep their frames alive


def test_an_interrupt_closes_nothing(port, pair):
    """A KeyboardInterrupt of a callback leaves run(), and closes no connection."""
    sock, peer = pair

    def interrupt(*_given):
        raise KeyboardInterrupt

    ends = Recorder()
    sock.receive(interrupt, on_close=ends)
    peer.sendall(b"x")
    with pytest.raises(KeyboardInterrupt):
        run_until(port, lambda: False, patience=5)
    assert not sock.closed
    assert not ends


def test_the_exception_is_given_up(port, pair):
    """Neither the socket nor the port keeps a callback's exception after on_close."""
    sock, peer = pair
    port.error_handler = lambda *_given: None
    alive = []

    class Witness(Exception):
        pass

    def received(*_given):
        error = Witness()
        alive.append(weakref.ref(error))
        raise error

    ends = []
    sock.receive(received, on_close=lambda _conn, error: ends.append(type(error)))
    peer.sendall(b"x")
    run_until(port, lambda: ends)
    assert ends == [Witness]
    gc.collect()
    assert alive[0]() is None


def test_wrong_policy():
    with pytest.raises(iocp_sock.ArgumentError, match="close, keep"):
        iocp_sock.Port(on_callback_error="explode")


def test_exception_in_accept_callbacks(port, peers):
    """accept_each() goes on after an exception of its callback."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    told = Recorder()
    kept = []
    port.error_handler = told

    def accepted(conn):
        kept.append(conn)
        raise Failure

    listener.accept_each(accepted)
    for _ in range(3):
        peers.connect(listener.getsockname())
    run_until(port, lambda: len(kept) == 3 and len(told) == 3)
    for conn in kept:
        conn.close()


def test_run_within_a_callback_is_refused(port):
    """Re-entrancy: running the port from its own callback raises PortRunning."""
    caught = []

    def nested(_completion):
        for call in (
            lambda: port.run_once(0),
            port.run,
            lambda: port.get(0),
            lambda: port.get_batch(1, 0),
        ):
            try:
                call()
            except iocp_sock.PortRunning as error:
                caught.append(error)

    port.post(callback=nested)
    run_until(port, lambda: len(caught) == 4)
