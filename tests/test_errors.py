"""R05: errors that end a socket, errors that do not, and exceptions in every kind of callback."""

import contextlib
import errno
import gc
import socket
import sys
import weakref

import pytest

import iocp_sock
from support import (
    AF_UNIX,
    WINE,
    Recorder,
    arrived,
    finish,
    is_readable,
    linger,
    moment,
    read,
    reset,
    run_until,
)

HARD = linger(0)


def test_reset_releases_everything(port, peers):
    """R05: a reset completes what is pending with an error and closes the socket."""
    sock, peer = peers.tcp(port, buffers=8192)
    got = Recorder()
    target = bytearray(100)
    ops = [
        sock.recv(100, callback=got),
        sock.recv_into(target, callback=got),
        sock.recv_zero(callback=got),
        sock.send(bytearray(4 << 20), callback=got),
        sock.sendmsg([b"a", b"b"], callback=got),
    ]
    reset(peer)
    run_until(port, lambda: len(got) == len(ops))
    assert all(isinstance(op.error, (ConnectionResetError, BrokenPipeError)) for op in ops)
    assert sock.closed
    assert port.ledger.now == 0
    target.append(1)
    run_until(port, lambda: port.stats().sockets == 0)
    with pytest.raises(iocp_sock.SocketClosed):
        sock.send(b"x")


def test_reset_before_the_post(port, peers):
    """R05: a post that meets the reset raises it; nothing is outstanding."""
    sock, peer = peers.tcp(port)
    reset(peer)
    ready = sock.recv_zero()
    finish(port, ready)
    with pytest.raises((ConnectionResetError, iocp_sock.SocketClosed)):
        sock.recv(10)
    run_until(port, lambda: port.outstanding == 0)
    assert sock.closed
    assert port.ledger.now == 0


@pytest.mark.parametrize("how", ["try_recv", "try_send"])
def test_reset_met_by_a_try(port, peers, how):
    """R05: a try that meets the reset raises it, and the socket is closed as by a post."""
    sock, peer = peers.tcp(port)
    reset(peer)
    finish(port, sock.recv_zero())
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        sock.try_recv(10) if how == "try_recv" else sock.try_send(b"x")
    assert sock.closed
    run_until(port, lambda: port.stats().sockets == 0)
    with pytest.raises(iocp_sock.SocketClosed):
        sock.try_recv(10)


@pytest.mark.parametrize("receive", ["pooled", "zero_byte", "direct", "adaptive"])
def test_reset_met_by_a_send_that_went_in_part(port, peers, receive):
    """R05: the same error to all: no EPIPE for the send, no end of the stream for the receive.

    io_uring tells such a send only how much of it went, and the socket has the error no longer.
    """
    sock, peer = peers.tcp(port, buffers=8192)
    parts, ends = [], []
    sock.receive(
        lambda _, data: parts.append(bytes(data)),
        receive=receive,
        on_close=lambda _, error: ends.append(error),
    )
    op = sock.send(bytes(4 << 20))
    assert len(read(port, peer, 100_000)) == 100_000
    peer.sendall(b"what was received before")
    run_until(port, lambda: parts)
    reset(peer)
    run_until(port, lambda: ends)
    assert parts == [b"what was received before"]
    assert isinstance(ends[0], ConnectionResetError)
    assert isinstance(op.error, ConnectionResetError)
    assert 100_000 <= op.transferred < 4 << 20


WORDS = b"the last words before the reset"


def said(sock, peer):
    """The peer says its last words and resets; the port has not looked yet."""
    peer.sendall(WORDS)
    arrived(sock, len(WORDS))
    reset(peer)
    moment()


def met_by_a_flush(sock):
    sock.send(b"too late")


def met_by_a_large_send(sock):
    sock.send(bytes(1 << 20))


def met_by_a_try(sock):
    with pytest.raises(ConnectionResetError):
        sock.try_send(b"too late")


def met_by_a_file(sock):
    with contextlib.suppress(ConnectionResetError):
        sock.send_file(__file__)


def met_by_a_message(sock):
    sock.sendmsg([b"too ", b"late"])


MEETING = [met_by_a_flush, met_by_a_large_send, met_by_a_try, met_by_a_file, met_by_a_message]


def received_of(sock, **options):
    """Subscribe: the stream's data, and at its end the class of the error, come in the list."""
    events = []
    sock.receive(
        lambda _, data: events.append(bytes(data)),
        on_close=lambda _, error: events.append(type(error)),
        **options,
    )
    return events


@pytest.mark.skipif(WINE, reason="Wine shows a reset only to what is pending when it comes")
@pytest.mark.parametrize("strategy", ["pooled", "direct", "zero_byte", "adaptive"])
@pytest.mark.parametrize("meet", MEETING)
def test_what_came_before_a_reset_is_delivered(port, peers, strategy, meet):
    """R05: a send meets the reset first; what had arrived comes, then on_close with the error."""
    sock, peer = peers.tcp(port)
    events = received_of(sock, receive=strategy)
    port.run_once(0)
    said(sock, peer)
    meet(sock)
    run_until(port, lambda: ConnectionResetError in events)
    assert b"".join(events[:-1]) == WORDS
    assert events[-1] is ConnectionResetError
    assert sock.closed


@pytest.mark.skipif(WINE, reason="Wine shows a reset only to what is pending when it comes")
@pytest.mark.parametrize("how", ["receive", "recv", "recv_into", "try_recv", "blocks"])
def test_what_came_before_a_reset_can_be_received_later(port, peers, how):
    """R05: without a receive the socket stays until what had arrived was received; sends raise."""
    sock, peer = peers.tcp(port)
    said(sock, peer)
    met_by_a_try(sock)
    port.run_once(0)
    assert not sock.closed
    with pytest.raises(ConnectionResetError):
        sock.send(b"more")
    got = bytearray()
    if how == "receive":
        sock.receive(lambda _, data: got.extend(bytes(data)))
    elif how == "recv":
        op = sock.recv(100)
        finish(port, op)
        got += bytes(op.data)
    elif how == "recv_into":
        target = bytearray(100)
        op = sock.recv_into(target)
        finish(port, op)
        got += target[: op.transferred]
    elif how == "try_recv":
        got += bytes(sock.try_recv(100))
    else:
        while len(got) < len(WORDS):
            op = sock.recv(7)
            finish(port, op)
            got += bytes(op.data)
    run_until(port, lambda: sock.closed)
    assert got == WORDS
    run_until(port, lambda: port.stats().sockets == 0)


def test_what_came_before_a_reset_can_be_left(port, peers):
    """R05: close() ends the socket at once, whatever had arrived."""
    sock, peer = peers.tcp(port)
    said(sock, peer)
    with contextlib.suppress(ConnectionResetError):
        sock.try_send(b"too late")
    sock.close()
    run_until(port, lambda: port.stats().sockets == 0)


@pytest.fixture
def half(backend, port, peers):
    """Make a stream whose direction towards the peer can be ended alone, and end it."""
    if isinstance(backend, iocp_sock.Sim):
        sock, peer = peers.tcp(port)

        def end():
            assert backend.befall(sock, "half_close")
            moment()

    else:
        if AF_UNIX is None:
            pytest.skip("TCP does not tell that the peer reads no more")
        sock, peer = peers.pair(port)

        def end():
            peer.shutdown(socket.SHUT_RD)

    return sock, peer, end


@pytest.mark.parametrize("strategy", ["pooled", "direct", "zero_byte", "adaptive"])
def test_epipe_ends_sending_alone(port, half, strategy):
    """R05: EPIPE fails sends; receives go on to the end of the stream, and then it is closed."""
    sock, peer, end = half
    events = received_of(sock, receive=strategy)
    port.run_once(0)
    end()
    ops = [sock.send(b"one"), sock.send(b"two")]
    finish(port, *ops)
    assert [type(op.error) for op in ops] == [BrokenPipeError] * 2
    with pytest.raises(BrokenPipeError):
        sock.send(b"three")
    with pytest.raises(BrokenPipeError):
        sock.try_send(b"four")
    assert not sock.closed
    for part in (b"still", b"here"):
        peer.sendall(part)
        run_until(port, lambda part=part: events and events[-1] == part)
    peer.shutdown(socket.SHUT_WR)
    run_until(port, lambda: sock.closed)
    run_until(port, lambda: len(events) == 4)
    assert events == [b"still", b"here", b"", BrokenPipeError]


@pytest.mark.parametrize("post", ["send", "try_send", "sendmsg", "send_file"])
def test_epipe_beside_single_receives(port, half, post):
    """R05: the same with single operations: each goes on to its own end."""
    sock, peer, end = half
    first = sock.recv(100)
    port.run_once(0)
    end()
    argument = {"send_file": __file__, "sendmsg": [b"x"]}.get(post, b"x")
    try:
        op = getattr(sock, post)(argument)
        finish(port, op)
        assert isinstance(op.error, BrokenPipeError)
    except BrokenPipeError:
        pass
    peer.sendall(b"one")
    finish(port, first)
    assert bytes(first.data) == b"one"
    peer.sendall(b"two")
    second = sock.recv(100)
    finish(port, second)
    assert bytes(second.data) == b"two"
    peer.shutdown(socket.SHUT_WR)
    last = sock.recv(100)
    finish(port, last)
    assert (last.error, bytes(last.data)) == (None, b"")
    run_until(port, lambda: sock.closed)


def test_epipe_after_the_end(port, half):
    """R05: where the peer has ended its direction before, EPIPE closes the socket."""
    sock, peer, end = half
    events = received_of(sock)
    peer.shutdown(socket.SHUT_WR)
    run_until(port, lambda: events == [b""])
    end()
    with contextlib.suppress(BrokenPipeError):
        sock.send(b"x")
    run_until(port, lambda: len(events) == 2)
    assert events == [b"", BrokenPipeError]


def test_epipe_of_what_drains(port, half):
    """R05 R37: a send of a socket that was closed meets EPIPE: on_close has it."""
    sock, _peer, end = half
    closed = Recorder()
    sock.receive(Recorder(), on_close=closed)
    port.run_once(0)
    op = sock.send(bytes(8 << 20))
    end()
    sock.close()
    run_until(port, lambda: closed)
    assert isinstance(closed[0][1], BrokenPipeError)
    assert isinstance(op.error, BrokenPipeError)


def test_errors_of_datagrams_are_not_fatal(port, peers):
    """R05: an ICMP error is reported, and receiving goes on."""
    target = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    target.bind(("127.0.0.1", 0))
    address = target.getsockname()
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    connected = sock.connect(address)
    finish(port, connected)
    target.close()
    op = sock.recv(100)
    sock.send(b"to nobody")
    finish(port, op)
    assert isinstance(op.error, ConnectionRefusedError)
    assert not sock.closed
    if WINE:
        pytest.skip("after an ICMP error Wine 8.0 completes no pending receive of that socket")
    again = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    again.bind(address)
    op = sock.recv(100)
    again.sendto(b"alive", sock.getsockname())
    finish(port, op)
    assert bytes(op.data) == b"alive"


def test_too_large_a_datagram_is_not_fatal(port, peers):
    """R05: EMSGSIZE raises from the post; the socket works on."""
    target = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    target.bind(("127.0.0.1", 0))
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    finish(port, sock.connect(target.getsockname()))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at
        sock.send(bytes(100_000))
    assert caught.value.errno == errno.EMSGSIZE
    sock.send(b"fits")
    assert target.recv(100) == b"fits"
    assert not sock.closed


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
    """A callback that raises: its exception goes to the error handler; the port goes on."""
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
    """KeyboardInterrupt and SystemExit of a callback end run(); what follows comes later, once."""
    sock, peer = pair

    def interrupt(*_given):
        raise kind

    monkeypatch.setitem(globals(), "raiser", interrupt)
    port.error_handler = lambda *_given: pytest.fail("interrupts are not the handler's")
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
    """Queue more than the high mark, so that the sender is told to pause, and then to go on."""
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
    """Subscribe a connection with an on_close that keeps what it is given."""
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
"""Callbacks that serve a connection which has an on_close."""


@pytest.mark.parametrize("what", SERVING)
def test_a_callback_that_raises_closes_its_connection(port, pair, what):
    """What the connection was for will not be done: the peer is told, and so is on_close."""
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
    port.error_handler = None  # what was raised keeps the frames that it went through


def ended(peer):
    """Whether a raw peer has come to the end of the connection, or to its reset."""
    try:
        while is_readable(peer):
            if not peer.recv(1 << 16):
                return True
    except ConnectionResetError:
        return True
    return False


@pytest.mark.parametrize("callback", [raiser, lambda *_given: [][0]], ids=["own", "builtin"])
def test_a_callback_of_receive_that_raises(port, pair, callback):
    """on_close gets the exception itself, traceback and all; no data comes after it."""
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
    port.error_handler = None  # what was raised keeps the frames that it went through


def test_a_callback_of_an_operation_that_raises_without_on_close(port, pair):
    sock, peer = pair
    port.error_handler = Recorder()
    sock.recv(1, callback=raiser)
    peer.sendall(b"x")
    run_until(port, lambda: sock.closed)
    run_until(port, lambda: ended(peer))
    port.error_handler = None  # what was raised keeps the frames that it went through


@pytest.mark.parametrize("how", ["accept", "accept_each"])
@pytest.mark.parametrize("policy", ["close", "keep"])
def test_a_callback_that_raises_after_an_accept(make_port, peers, how, policy):
    """The accepted connection is closed; the listener stays, and goes on."""
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
    port.error_handler = None  # what was raised keeps the frames that it went through


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
    port.error_handler = None  # what was raised keeps the frames that it went through


@pytest.mark.parametrize("what", SERVING)
def test_a_connection_that_is_kept(make_port, peers, what):
    """on_callback_error='keep': a callback that raises is reported, and nothing else happens."""
    port = make_port(on_callback_error="keep")
    sock, peer = peers.tcp(port)
    told = Recorder()
    port.error_handler = told
    ends = served(sock)
    SERVING[what](port, sock, peer)
    run_until(port, lambda: told)
    assert not sock.closed
    assert ends == []
    port.error_handler = None  # what was raised keeps the frames that it went through


def test_a_datagram_socket_stays(port, peers):
    """It serves others too: one bad datagram does not end it."""
    told = Recorder()
    port.error_handler = told
    sock, peer = peers.pair(port, socket.SOCK_DGRAM)
    sock.receive_from(raiser)
    sock.send(b"x", callback=raiser)
    for number in (2, 3):
        peer.send(b"x")
        run_until(port, lambda number=number: len(told) == number)
    assert not sock.closed
    port.error_handler = None  # what was raised keeps the frames that it went through


def test_a_callback_that_closes_and_raises(port, pair):
    """The close that it asked for goes on as it was asked for: what was sent still goes."""
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
    port.error_handler = None  # what was raised keeps the frames that it went through


def test_an_interrupt_closes_nothing(port, pair):
    """KeyboardInterrupt is no failure of the callback: run() raises it, the connection stays."""
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
    """Nothing of it stays with the socket or the port once on_close has had it."""
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
    """A callback of accept_each() that raises: accepting goes on."""
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
