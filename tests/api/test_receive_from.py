"""receive_from() delivers every datagram with its sender; no error stops it."""

import errno
import gc
import socket

import pytest

import iocp_sock
from support import Recorder, descriptors, finish, linux_only, needs_unix, pattern, run_until


@pytest.fixture
def server(port, peers):
    """Return a bound datagram socket of the port, and a raw one."""
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    peer = peers.datagrams()
    return sock, peer


def test_every_datagram_and_its_sender(port, peers, server):
    """R22: datagrams keep borders, order and sender; an idle subscription holds no memory."""
    sock, peer = server
    other = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    got = []
    op = sock.receive_from(lambda s, data, sender: got.append((s, bytes(data), sender)))
    port.run_once(0)
    assert (op.kind, port.ledger.now) == ("receive_each", 0)
    sizes = [1, 0, 100, 9000, 0, 60_000, 3]
    expected = []
    for i, size in enumerate(sizes):
        source = (peer, other)[i % 2]
        source.sendto(pattern(size, i), sock.getsockname())
        run_until(port, lambda i=i: len(got) == i + 1)
        expected.append((sock, pattern(size, i), ("127.0.0.1", source.getsockname()[1])))
    assert got == expected
    assert port.ledger.now == 0


def test_echo_server(port, peers, server):
    """R22 R28: the callback answers each sender."""
    sock, _ = server
    clients = [peers.raw(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(10)]
    answered = Recorder()

    def answer(conn, data, sender):
        conn.sendto(data, sender, callback=answered)

    sock.receive_from(answer)
    for i, client in enumerate(clients):
        for k in range(5):
            client.sendto(b"%d %d" % (i, k), sock.getsockname())
    run_until(port, lambda: len(answered) == 50)
    for i, client in enumerate(clients):
        assert [client.recv(100) for _ in range(5)] == [b"%d %d" % (i, k) for k in range(5)]


def test_kept_buffers_stay_what_they_are(make_port, peers):
    """R12: received Buffers may be kept, even beyond the port; if many are kept, data is copied."""
    port = make_port(region_size=65536, region_limit=2)
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    kept = []
    sock.receive_from(lambda _s, data, sender: kept.append((data, sender)))
    for i in range(40):
        peer.sendto(pattern(5000, i), sock.getsockname())
        run_until(port, lambda i=i: len(kept) == i + 1)
    name = ("127.0.0.1", peer.getsockname()[1])
    assert [(bytes(data), sender) for data, sender in kept] == [
        (pattern(5000, i), name) for i in range(40)
    ]
    port.close(0)
    assert bytes(kept[7][0]) == pattern(5000, 7)
    kept.clear()


def test_cut_datagram_is_told_before_it_comes(port, server):
    """R29: on_error gets EMSGSIZE before the truncated datagram; the next is whole."""
    sock, peer = server
    told = Recorder()
    sock.receive_from(lambda _s, data, _a: told.append(bytes(data)), size=10, on_error=told)
    peer.sendto(pattern(11), sock.getsockname())
    peer.sendto(pattern(10), sock.getsockname())
    run_until(port, lambda: len(told) == 3)
    (conn, error), cut, whole = told
    assert conn is sock
    assert isinstance(error, iocp_sock.Error)
    assert error.errno == errno.EMSGSIZE
    assert cut == whole == pattern(10)


def test_cancel_and_again(port, server):
    """R04: after a cancel, datagrams stay in the system until a new subscription."""
    sock, peer = server
    got = []
    op = sock.receive_from(lambda _s, data, _a: got.append(bytes(data)))
    port.run_once(0)
    assert op.cancel()
    finish(port, op)
    assert type(op.error).__name__ == "Cancelled"
    peer.sendto(b"later", sock.getsockname())
    port.run_once(0.01)
    assert got == []
    sock.receive_from(lambda _s, data, _a: got.append(bytes(data)))
    run_until(port, lambda: got == [b"later"])


def test_close_in_the_callback(port, server):
    """R32: a closed socket delivers no datagram more; on_close runs once."""
    sock, peer = server
    got = []
    closed = Recorder()

    def close(conn, data, _sender):
        got.append(bytes(data))
        conn.close()

    sock.receive_from(close, on_close=closed)
    for i in range(5):
        peer.sendto(b"%d" % i, sock.getsockname())
    run_until(port, lambda: closed)
    port.run_once(0)
    assert (got, closed) == ([b"0"], [(sock, None)])


def test_callback_that_raises(port, server):
    """R32: an exception of the callback is reported, and receiving goes on."""
    sock, peer = server
    errors = Recorder()
    port.error_handler = errors
    got = []

    def fail(_conn, data, _sender):
        got.append(bytes(data))
        raise ValueError(bytes(data))

    sock.receive_from(fail)
    for i in range(3):
        peer.sendto(b"%d" % i, sock.getsockname())
    run_until(port, lambda: len(errors) == 3)
    assert got == [b"0", b"1", b"2"]
    errors.clear()  # their tracebacks keep the buffers


def test_one_busy_socket_lets_others_have_their_turn(make_port, peers):
    """R12: a turn takes at most drain_reads datagrams of each socket."""
    port = make_port(drain_reads=4)
    socks = []
    counts = [0, 0]
    peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(2):
        sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind(("127.0.0.1", 0))

        def count(_s, _data, _a, i=i):
            counts[i] += 1

        sock.receive_from(count)
        socks.append(sock)
    for _ in range(40):
        for sock in socks:
            peer.sendto(b"x", sock.getsockname())
    before = [0, 0]
    while sum(counts) < 80:
        port.run_once(0)
        assert all(now - then <= 4 for now, then in zip(counts, before, strict=True))
        before = list(counts)


@linux_only("SHUT_RD makes a socket readable for good")
def test_shutdown_ends_it(port, server):
    """R32: after SHUT_RD no datagram is delivered, and the port does not spin."""
    sock, peer = server
    finish(port, sock.connect(peer.getsockname()))
    op = sock.receive_from(Recorder())
    port.run_once(0)
    sock.shutdown(socket.SHUT_RD)
    finish(port, op)
    assert type(op.error).__name__ == "Cancelled"


def test_not_on_streams(port, peers, server):
    """Bad input: receive_from() takes datagrams only, and no second subscription beside it."""
    sock, _ = server
    stream, _peer = peers.pair(port)
    with pytest.raises(iocp_sock.ArgumentError, match=r"receive\(\)"):
        stream.receive_from(print)
    with pytest.raises(iocp_sock.ArgumentError, match=r"receive_from\(\)"):
        sock.receive(print)
    with pytest.raises(iocp_sock.ArgumentTypeError):
        sock.receive_from(None)
    with pytest.raises(iocp_sock.ArgumentTypeError):
        sock.receive_from(print, size="x")
    with pytest.raises(iocp_sock.ArgumentError):
        sock.receive_from(print, size=0)
    with pytest.raises(iocp_sock.ArgumentError, match="region_size"):
        sock.receive_from(print, size=(256 << 10) - 143)
    assert port.outstanding == 0
    sock.receive_from(print, size=(256 << 10) - 144)
    with pytest.raises(iocp_sock.ArgumentError, match="subscription"):
        sock.receive_from(print)
    with pytest.raises(iocp_sock.ArgumentError, match="subscription"):
        sock.recvfrom(10)


@needs_unix
def test_unix_datagrams_longer_than_those_of_udp(port, peers, tmp_path):
    """R22: size= allows datagrams of more than 64 KiB."""
    sock = peers.own(port.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    sock.bind(str(tmp_path / "ours"))
    peer = peers.raw(socket.AF_UNIX, socket.SOCK_DGRAM)
    got = []
    sock.receive_from(lambda _s, data, sender: got.append((bytes(data), sender)), size=150_000)
    peer.sendto(pattern(150_000), sock.getsockname())
    run_until(port, lambda: got)
    assert got == [(pattern(150_000), None)]


def test_dropped_port(make_port, server, peers):
    """R10: closing a port with undelivered datagrams leaks no descriptor."""
    before = descriptors()
    port = make_port()
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    _, peer = server
    sock.receive_from(print)
    port.run_once(0)
    for _ in range(5):
        peer.sendto(b"x", sock.getsockname())
    port.close(0)
    gc.collect()
    assert descriptors() - before == set()


@linux_only("SOCK_SEQPACKET")
@pytest.mark.parametrize("end", ["close", "shutdown", "reset"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("blocks", [1, 64])
def test_end_of_a_connection_of_packets(port, peers, end, before, blocks):
    """The end of a SOCK_SEQPACKET connection ends the subscription, with one empty message."""
    sock, peer = peers.pair(port, socket.SOCK_SEQPACKET)
    got, errors = Recorder(), Recorder()
    op = None

    def message(_sock, data, sender):
        got((bytes(data), sender, op is not None and op.done))

    if not before:
        op = sock.receive_from(message, on_error=errors)
        port.run_once(0)
    sent = [b"%d" % i for i in range(blocks)]
    for data in sent:
        peer.send(data)
    if end == "reset":  # it has not read the sent packet
        finish(port, sock.send(b"unread"))
    if end == "shutdown":
        peer.shutdown(socket.SHUT_WR)
    else:
        peer.close()
    if before:
        op = sock.receive_from(message, on_error=errors)
    run_until(port, lambda: op.done)
    run_until(port, lambda: len(got) == blocks + 1)
    assert [data for data, _sender, _done in got] == [*sent, b""]
    assert got[-1][1:] == (None, True)
    assert op.error is None
    port.run_once(0)
    assert len(got) == blocks + 1
    assert [error.errno for _sock, error in errors] == [errno.ECONNRESET] * (end == "reset")
    if end == "shutdown":
        finish(port, sock.send(b"half closed"))
        assert peer.recv(100) == b"half closed"


@linux_only("SOCK_SEQPACKET")
def test_an_end_keeps_its_sender(port, peers, server):
    """A datagram read in the same turn does not replace the sender of another socket's end."""
    packets, peer = peers.pair(port, socket.SOCK_SEQPACKET)
    datagrams, source = server
    got = {}
    for sock in (packets, datagrams):
        sock.receive_from(lambda conn, data, sender: got.update({conn: (bytes(data), sender)}))
    port.run_once(0)
    peer.close()
    source.sendto(b"later", datagrams.getsockname())
    run_until(port, lambda: len(got) == 2)
    assert got[packets] == (b"", None)
    assert got[datagrams] == (b"later", ("127.0.0.1", source.getsockname()[1]))


@linux_only("SOCK_SEQPACKET")
def test_empty_packets_are_no_end(port, peers):
    """An empty packet does not end the connection while the peer goes on."""
    sock, peer = peers.pair(port, socket.SOCK_SEQPACKET)
    got = Recorder()
    op = sock.receive_from(lambda _sock, data, _sender: got(bytes(data)))
    for data in (b"", b"one", b"", b"", b"two"):
        peer.send(data)
    run_until(port, lambda: len(got) == 5)
    assert not op.done
    peer.send(b"")
    peer.send(b"last")
    peer.close()
    run_until(port, lambda: op.done)
    assert got == [b"", b"one", b"", b"", b"two", b"", b"last", b""]
