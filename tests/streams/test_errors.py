"""R05: errors that end a socket, and errors that do not."""

import contextlib
import errno
import socket

import pytest

import iocp_sock
from support import (
    AF_UNIX,
    OVERFLOW,
    WINE,
    Recorder,
    arrived,
    finish,
    linger,
    moment,
    read,
    reset,
    run_until,
)

HARD = linger(0)


def test_reset_releases_everything(port, peers):
    """R05: a reset completes pending operations with an error and closes the socket."""
    sock, peer = peers.tcp(port, buffers=8192)
    got = Recorder()
    target = bytearray(100)
    ops = [
        sock.recv(100, callback=got),
        sock.recv_into(target, callback=got),
        sock.recv_zero(callback=got),
        sock.send(bytearray(OVERFLOW), callback=got),
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
    """R05: a post on a reset connection raises the error; nothing is outstanding."""
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
    """R05: try_recv() or try_send() on a reset connection raises, and closes the socket."""
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
    """R05: a reset during a send ends the send and the subscription with ConnectionResetError.

    After a partial send io_uring reports only the count, and the socket no longer has the error.
    """
    sock, peer = peers.tcp(port, buffers=8192)
    parts, ends = [], []
    sock.receive(
        lambda _, data: parts.append(bytes(data)),
        receive=receive,
        on_close=lambda _, error: ends.append(error),
    )
    op = sock.send(bytes(OVERFLOW))
    assert len(read(port, peer, 100_000)) == 100_000
    peer.sendall(b"what was received before")
    run_until(port, lambda: parts)
    reset(peer)
    run_until(port, lambda: ends)
    assert parts == [b"what was received before"]
    assert isinstance(ends[0], ConnectionResetError)
    assert isinstance(op.error, ConnectionResetError)
    assert 100_000 <= op.transferred < OVERFLOW


WORDS = b"the last words before the reset"


def said(sock, peer):
    """Let the peer send data and reset, before the port runs."""
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
    """Subscribe, and return a list of the received data and, last, the class of the error."""
    events = []
    sock.receive(
        lambda _, data: events.append(bytes(data)),
        on_close=lambda _, error: events.append(type(error)),
        **options,
    )
    return events


@pytest.mark.skipif(WINE, reason="Wine reports a reset only to operations pending when it arrives")
@pytest.mark.parametrize("strategy", ["pooled", "direct", "zero_byte", "adaptive"])
@pytest.mark.parametrize("meet", MEETING)
def test_what_came_before_a_reset_is_delivered(port, peers, strategy, meet):
    """R05: after a send failed by a reset, data that had arrived is delivered, then the error."""
    sock, peer = peers.tcp(port)
    events = received_of(sock, receive=strategy)
    port.run_once(0)
    said(sock, peer)
    meet(sock)
    run_until(port, lambda: ConnectionResetError in events)
    assert b"".join(events[:-1]) == WORDS
    assert events[-1] is ConnectionResetError
    assert sock.closed


@pytest.mark.skipif(WINE, reason="Wine reports a reset only to operations pending when it arrives")
@pytest.mark.parametrize("how", ["receive", "recv", "recv_into", "try_recv", "blocks"])
def test_what_came_before_a_reset_can_be_received_later(port, peers, how):
    """R05: a socket that was reset stays open until arrived data is received; sends raise."""
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
    """R05: after a send failed by a reset, close() ends the socket and drops the arrived data."""
    sock, peer = peers.tcp(port)
    said(sock, peer)
    with contextlib.suppress(ConnectionResetError):
        sock.try_send(b"too late")
    sock.close()
    run_until(port, lambda: port.stats().sockets == 0)


@pytest.fixture
def half(backend, port, peers):
    """Return a stream, its peer, and a function after which the peer takes no more data."""
    if isinstance(backend, iocp_sock.Sim):
        sock, peer = peers.tcp(port)

        def end():
            assert backend.inject_fault(sock, "half_close")
            moment()

    else:
        if AF_UNIX is None:
            pytest.skip("TCP does not report that the peer reads no more")
        sock, peer = peers.pair(port)

        def end():
            peer.shutdown(socket.SHUT_RD)

    return sock, peer, end


@pytest.mark.parametrize("strategy", ["pooled", "direct", "zero_byte", "adaptive"])
def test_epipe_ends_sending_alone(port, half, strategy):
    """R05: EPIPE fails sends; receives go on to the end of the stream, which closes the socket."""
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
    """R05: after EPIPE single receives, pending or posted later, get the data that arrives."""
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
    """R05: EPIPE after the peer's end of the stream closes the socket."""
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
    """R05 R37: on_close gets the EPIPE that a send meets after close()."""
    sock, _peer, end = half
    closed = Recorder()
    sock.receive(Recorder(), on_close=closed)
    port.run_once(0)
    op = sock.send(bytes(OVERFLOW))
    end()
    sock.close()
    run_until(port, lambda: closed)
    assert isinstance(closed[0][1], BrokenPipeError)
    assert isinstance(op.error, BrokenPipeError)


def test_errors_of_datagrams_are_not_fatal(port, peers):
    """R05: an ICMP error is reported, and receiving goes on."""
    target = peers.datagrams()
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
    """R05: the post of too large a datagram raises EMSGSIZE; the socket stays usable."""
    target = peers.datagrams()
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    finish(port, sock.connect(target.getsockname()))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is checked
        sock.send(bytes(100_000))
    assert caught.value.errno == errno.EMSGSIZE
    sock.send(b"fits")
    assert target.recv(100) == b"fits"
    assert not sock.closed
