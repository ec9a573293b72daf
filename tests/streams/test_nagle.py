"""The write-write-read pattern under Nagle's algorithm is detected, with one warning (R19)."""

import contextlib
import socket
import threading
import warnings

import pytest

import iocp_sock
from iocp_sock import NagleStallWarning
from support import Recorder, finish, linux_only, run_until

REQUEST = 64
EXCHANGES = 20
"""Enough exchanges for the peer to begin delaying its acknowledgements."""


@contextlib.contextmanager
def answering(peer):
    """Let a thread answer every whole request of 64 bytes with 64 bytes."""

    ending = threading.Event()

    def answer():
        request = b""
        while not ending.is_set():
            try:
                got = peer.recv(REQUEST - len(request))
            except TimeoutError:
                continue
            request += got
            if len(request) == REQUEST:
                peer.sendall(request)
                request = b""

    peer.settimeout(0.05)
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def reply(port, sock):
    """Wait for the answer to one request."""
    got = 0
    while got < REQUEST:
        op = sock.recv(REQUEST)
        finish(port, op)
        assert op.transferred
        got += op.transferred


def write_write_read(port, sock):
    sock.send(b"a" * 16)
    sock.send(b"b" * 48)
    reply(port, sock)


def gathered(port, sock):
    sock.sendmsg([b"a" * 16, b"b" * 48])
    reply(port, sock)


def request_response(port, sock):
    sock.send(b"a" * REQUEST)
    reply(port, sock)


def with_more(port, sock):
    sock.send(b"a" * 16, flags=socket.MSG_MORE)
    sock.send(b"b" * 48)
    reply(port, sock)


def corked(port, sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    sock.send(b"a" * 16)
    sock.send(b"b" * 48)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    reply(port, sock)


@pytest.fixture
def port(make_port):
    """Make a port whose sockets keep Nagle's algorithm, which is the system's default."""
    return make_port(nodelay=False)


def exchange(port, sock, peer, how, enough=lambda: False):
    """Exchange messages of one kind; return the warnings."""
    with warnings.catch_warnings(record=True) as caught, answering(peer):
        warnings.simplefilter("always")
        for _ in range(EXCHANGES):
            how(port, sock)
            if enough():
                break
    return [warning for warning in caught if issubclass(warning.category, NagleStallWarning)]


def stalls(port):
    return port.stats().nagle_stalls


def test_it_is_warned_about_once(port, peers):
    """R19: small sends before a receive warn once for a port, and count one stall for a socket."""
    for number in (1, 2):
        sock, peer = peers.tcp(port)
        told = exchange(
            port, sock, peer, write_write_read, lambda number=number: stalls(port) == number
        )
        assert stalls(port) == number
        assert len(told) == (number == 1)
        if told:
            text = str(told[0].message)
            assert all(word in text for word in ("nodelay", "sendmsg", "MSG_MORE"))


def test_a_receive_posted_ahead(port, peers):
    """R19: a stall is detected even if the receive was posted before the small sends."""
    sock, peer = peers.tcp(port)

    def ahead(port, sock):
        op = sock.recv(REQUEST, flags=socket.MSG_WAITALL)
        sock.send(b"a" * 16)
        sock.send(b"b" * 48)
        finish(port, op)

    assert exchange(port, sock, peer, ahead, lambda: stalls(port))


def test_two_turns_of_the_stream_level(port, peers):
    """R19: sends of one turn share a segment, those of two turns stall."""
    sock, peer = peers.tcp(port)
    other, other_peer = peers.tcp(port)
    got = Recorder()
    for conn in (sock, other):
        conn.receive(lambda _conn, data: got.append(len(data)))

    def two_turns(port, sock):
        before = sum(got)
        sock.send(b"a" * 16)
        port.run_once(0)
        sock.send(b"b" * 48)
        run_until(port, lambda: sum(got) == before + REQUEST)

    def one_turn(port, sock):
        before = sum(got)
        sock.send(b"a" * 16)
        sock.send(b"b" * 48)
        run_until(port, lambda: sum(got) == before + REQUEST)

    assert not exchange(port, other, other_peer, one_turn)
    assert exchange(port, sock, peer, two_turns, lambda: stalls(port))


@pytest.mark.parametrize("how", [gathered, request_response])
def test_what_does_not_stall_is_not_warned_about(port, peers, how):
    """R19: a gathered send, or a single send for each answer, does not stall."""
    sock, peer = peers.tcp(port)
    assert not exchange(port, sock, peer, how)
    assert stalls(port) == 0


def test_nodelay_is_never_warned_about(port, peers):
    """R19: nodelay silences the warning; clearing it brings the warning back."""
    sock, peer = peers.tcp(port)
    sock.nodelay = True
    exchanges = 0

    def switched(port, sock):
        nonlocal exchanges
        if exchanges == EXCHANGES // 2:
            assert stalls(port) == 0
            sock.nodelay = False
        exchanges += 1
        write_write_read(port, sock)

    assert exchange(port, sock, peer, switched, lambda: stalls(port))
    assert exchanges > EXCHANGES // 2


def test_a_port_has_none_by_default(make_port, peers):
    """R19: sockets have no Nagle's algorithm by default, so small sends do not stall."""
    port = make_port()
    sock, peer = peers.tcp(port)
    assert not exchange(port, sock, peer, write_write_read)
    assert stalls(port) == 0


def test_an_option_that_was_set_is_noticed(port, peers):
    """R19: setting TCP_NODELAY by setsockopt() has the same effect as the attribute nodelay."""
    sock, peer = peers.tcp(port)
    set_by_number(sock, 1)
    assert not exchange(port, sock, peer, write_write_read)
    set_by_number(sock, 0)
    assert exchange(port, sock, peer, write_write_read, lambda: stalls(port))


def set_by_number(sock, on):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, on)


@linux_only("MSG_MORE and TCP_CORK")
@pytest.mark.parametrize("how", [with_more, corked])
def test_who_minds_the_segments_is_not_warned(port, peers, how):
    """R19: parts joined by MSG_MORE or TCP_CORK are one segment, and do not stall."""
    sock, peer = peers.tcp(port)
    assert not exchange(port, sock, peer, how)
    assert stalls(port) == 0


def test_a_warning_made_an_error_is_reported(port, peers):
    """A warning raised as an error goes to the error handler, and the port goes on."""
    heard = Recorder()
    port.error_handler = heard
    sock, peer = peers.tcp(port)
    with warnings.catch_warnings(), answering(peer):
        warnings.simplefilter("error")
        for _ in range(EXCHANGES):
            write_write_read(port, sock)
    assert [type(exception) for exception, _source in heard] == [NagleStallWarning]
    assert heard[0][1] is NagleStallWarning


def test_its_record_is_no_completion(port, peers):
    """run_once() returns the number of completions, and does not count a stall warning."""
    sock, peer = peers.tcp(port)
    handed_out = 0
    with answering(peer), warnings.catch_warnings():
        warnings.simplefilter("ignore", NagleStallWarning)
        posts = 0
        while not stalls(port) and posts < 3 * EXCHANGES:
            sock.send(b"a" * 16)
            sock.send(b"b" * 48)
            op = sock.recv(REQUEST, flags=socket.MSG_WAITALL)
            posts += 3
            while not op.done:
                handed_out += port.run_once(1)
        while port.outstanding:
            handed_out += port.run_once(0)
    assert stalls(port) == 1
    assert handed_out == posts


def test_the_category():
    """NagleStallWarning is a public name, and can be filtered as a RuntimeWarning."""
    assert issubclass(NagleStallWarning, RuntimeWarning)
    assert iocp_sock.NagleStallWarning is NagleStallWarning
