"""R11-R13 and the stream level: accept_each(), receive(), send() in callbacks."""

import os
import socket

import pytest

import iocp_sock
from support import (
    PAGE,
    Recorder,
    finish,
    pattern,
    read,
    read_all,
    reset,
    run_until,
    was_reset,
)

STRATEGIES = ["pooled", "direct", "zero_byte"]


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return request.param


def collected(got):
    return b"".join(bytes(data) for _conn, data in got)


def test_everything_arrives_in_order(port, pair, strategy):
    """R13: with every strategy the sent bytes arrive in order, and the end once."""
    sock, peer = pair
    got = Recorder()
    closed = Recorder()
    op = sock.receive(got, receive=strategy, on_close=closed)
    assert op.kind == "receive_each"
    assert got == []
    sizes = [1, 100, 5000, 60_000, 8192, 3, 100_000, 1, 1] * 3
    expected = b""
    for seed, size in enumerate(sizes):
        part = pattern(size, seed)
        peer.sendall(part)
        expected += part
        total = len(expected)
        run_until(port, lambda n=total: sum(len(d) for _c, d in got) == n)
    peer.shutdown(socket.SHUT_WR)
    run_until(port, lambda: got and not got[-1][1])
    assert collected(got) == expected
    assert all(conn is sock for conn, _data in got)
    assert [len(data) for _conn, data in got].count(0) == 1
    assert not closed
    assert not sock.closed
    sock.close()
    run_until(port, lambda: closed)
    port.run_once(0)
    assert closed == [(sock, None)]
    assert [len(data) for _conn, data in got].count(0) == 1


def test_data_and_end_together(port, pair, strategy):
    """R13: data and the end of the stream that arrive together are delivered in order."""
    sock, peer = pair
    got = Recorder()
    peer.sendall(b"all of it")
    peer.shutdown(socket.SHUT_WR)
    sock.receive(got, receive=strategy)
    run_until(port, lambda: got and not got[-1][1])
    assert [bytes(data) for _conn, data in got] == [b"all of it", b""]


def test_half_close_then_answer(port, pair, strategy):
    """R13: after the peer's half-close the answer still goes out; then close() ends the stream."""
    sock, peer = pair
    body = pattern(300_000)
    got = []

    def answer(conn, data):
        if data:
            got.append(bytes(data))
            return
        conn.send(b"".join(got))
        conn.close()

    closed = Recorder()
    sock.receive(answer, receive=strategy, on_close=closed)

    peer.setblocking(False)
    sent = 0
    while sent < len(body):
        try:
            sent += peer.send(body[sent:])
        except BlockingIOError:
            port.run_once(0.01)
    peer.settimeout(20)
    peer.shutdown(socket.SHUT_WR)
    assert read_all(port, peer) == body
    run_until(port, lambda: closed)
    assert closed == [(sock, None)]


def test_reset_reaches_on_close_with_the_error(port, peers, strategy):
    """R05: a reset ends the subscription; on_close gets the error, once, and no end of stream."""
    sock, peer = peers.tcp(port)
    got = Recorder()
    closed = Recorder()
    op = sock.receive(got, receive=strategy, on_close=closed)
    port.run_once(0)
    reset(peer)
    run_until(port, lambda: closed)
    port.run_once(0)
    assert got == []
    assert len(closed) == 1
    assert closed[0][0] is sock
    assert isinstance(closed[0][1], ConnectionResetError)
    assert isinstance(op.error, ConnectionResetError)
    assert sock.closed


def test_no_delivery_after_close(port, pair, strategy):
    """R13: close() in the callback of receive() ends the delivery at once."""
    sock, peer = pair
    got = []

    def once(conn, data):
        got.append(bytes(data))
        conn.close()

    closed = Recorder()
    sock.receive(once, receive=strategy, size=4, on_close=closed)
    for _ in range(5):
        peer.sendall(b"abcd")
    run_until(port, lambda: closed)
    port.run_once(0)
    assert len(got) == 1
    assert closed == [(sock, None)]


def test_abort_in_the_callback(port, peers, strategy):
    """Stream level: abort() in the callback resets the connection; on_close runs once."""
    sock, peer = peers.tcp(port)
    got = []

    def reset(conn, data):
        got.append(bytes(data))
        conn.send(b"never arrives" * 1000)
        conn.abort()

    closed = Recorder()
    sock.receive(reset, receive=strategy, on_close=closed)
    peer.sendall(b"hello")
    run_until(port, lambda: closed)
    assert len(got) == 1
    assert was_reset(peer)
    assert closed == [(sock, None)]


def test_abort_of_an_idle_subscription_resets(port, peers, strategy):
    """Stream level: abort() outside a callback is a reset, although a receive is pending."""
    sock, peer = peers.tcp(port)
    closed = Recorder()
    sock.receive(Recorder(), receive=strategy, on_close=closed)
    port.run_once(0)
    sock.abort()
    run_until(port, lambda: closed)
    assert was_reset(peer)


def test_echo_of_received_buffers(port, pair, strategy):
    """Stream level: a received Buffer is sent as it is, without a copy."""
    sock, peer = pair
    sock.receive(lambda conn, data: conn.send(data) if data else conn.close(), receive=strategy)
    for size in (1, 100, 20_000, 70_000, 5):
        part = pattern(size, size)
        peer.sendall(part)
        assert read(port, peer, size) == part
    peer.shutdown(socket.SHUT_WR)
    assert read_all(port, peer) == b""


def test_sends_of_one_callback_share_a_request(port, pair):
    """Hot path: small sends made in callbacks go out together, once per turn, in order."""
    sock, peer = pair

    def answer(conn, _data):
        for i in range(16):
            conn.send(b"%02d" % i)

    sock.receive(answer)
    before = port.stats()
    peer.sendall(b"x")
    expected = b"".join(b"%02d" % i for i in range(16))
    assert read(port, peer, len(expected)) == expected
    after = port.stats()
    assert after.sends - before.sends == 16
    assert after.flushes - before.flushes == 1


def test_batched_sends_are_queued_and_complete_once(port, pair):
    """R01 R03: a send at the stream level is queued, and completes once."""
    sock, peer = pair
    sock.receive(Recorder())
    got = Recorder()
    ops = [sock.send(b"abc", callback=got) for _ in range(5)]
    ops.append(sock.sendmsg([b"d", bytearray(b"ef")], callback=got))
    assert {op.outcome for op in ops} == {"queued"}
    assert port.ledger.by_kind["send"] > 0
    assert read(port, peer, 18) == b"abc" * 5 + b"def"
    run_until(port, lambda: len(got) == 6)
    assert [c.operation for c in got] == ops
    assert port.ledger.by_kind["send"] == 0


def test_large_messages_and_small_ones_alternate(port, pair):
    """R13: a pooled subscription changes between multishot receives and reads without a loss."""
    sock, peer = pair
    got = Recorder()
    sock.receive(got)
    total = 0
    expected = []
    peer.setblocking(False)
    for seed in range(300):
        size = 20_000 if (seed // 50) % 2 else 10
        part = pattern(size, seed)
        expected.append(part)
        sent = 0
        while sent < size:
            try:
                sent += peer.send(part[sent:])
            except BlockingIOError:
                port.run_once(0.01)
        total += size
        if seed % 3 == 0:
            run_until(port, lambda n=total: sum(len(d) for _c, d in got) == n)
    run_until(port, lambda: sum(len(d) for _c, d in got) == total)
    assert collected(got) == b"".join(expected)


def test_a_flood_does_not_starve_others(port, peers):
    """R12: a turn limits the reads of one socket, so that it serves the others."""
    loud, loud_peer = peers.pair(port)
    quiet, quiet_peer = peers.pair(port)
    events = []
    loud.receive(lambda _conn, data: events.append(("loud", len(data))), receive="zero_byte")
    quiet.receive(lambda _conn, data: events.append(("quiet", len(data))), receive="zero_byte")
    loud_peer.setblocking(False)

    def flood():
        try:
            while True:
                loud_peer.send(bytes(65536))
        except BlockingIOError:
            pass

    flood()
    quiet_peer.sendall(b"x")
    turns = 0
    while ("quiet", 1) not in events:
        port.run_once(1)
        flood()
        turns += 1
        assert turns < 5


def test_drain_limits(make_port, peers):
    """R12: a turn reads a socket at most drain_reads times, even if more data is there."""
    port = make_port(drain_reads=1, region_size=65536)
    sock, peer = peers.pair(port)
    peer.setblocking(False)
    got = Recorder()
    sock.receive(got, receive="zero_byte")
    most = 0
    for _ in range(20):
        try:
            while True:
                peer.send(bytes(65536))
        except BlockingIOError:
            pass
        before = len(got)
        port.run_once(1)
        most = max(most, len(got) - before)
    assert 0 < most <= 2


def test_accept_each(port, peers):
    """Stream level: accept_each() gives its callback every connection, as an open Socket."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    got = Recorder()
    op = listener.accept_each(got)
    assert op.kind == "accept_each"
    raw = [peers.connect(listener.getsockname()) for _ in range(50)]
    run_until(port, lambda: len(got) == 50)
    assert {c.getpeername() for c in got} == {r.getsockname() for r in raw}
    assert all(c.type == socket.SOCK_STREAM and not c.closed for c in got)
    for conn in got:
        conn.close()
    assert op.cancel()
    finish(port, op)
    assert not listener.closed


def test_server_in_callbacks(port, peers):
    """Stream level: an echo server of three callbacks sends every byte back."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    closed = Recorder()

    def serve(conn):
        conn.receive(
            lambda c, data: c.send(data) if data else c.close(),
            on_close=lambda *given: closed.append(given),
        )

    listener.accept_each(serve)
    raw = [peers.connect(listener.getsockname()) for _ in range(20)]
    for i, peer in enumerate(raw):
        peer.sendall(pattern(1000 + i, i))
    for i, peer in enumerate(raw):
        assert read(port, peer, 1000 + i) == pattern(1000 + i, i)
        peer.shutdown(socket.SHUT_WR)
    run_until(port, lambda: len(closed) == 20)
    assert {error for _conn, error in closed} == {None}


def test_subscription_holds_its_direction(port, pair):
    """Bad input: single receives beside a subscription are refused, and the reverse."""
    sock, peer = pair
    op = sock.receive(Recorder())
    for post in (lambda: sock.recv(1), sock.recv_zero, lambda: sock.receive(Recorder())):
        with pytest.raises(iocp_sock.ArgumentError, match="subscription"):
            post()
    op.cancel()
    run_until(port, lambda: port.outstanding == 0)
    single = sock.recv(1)
    with pytest.raises(iocp_sock.ArgumentError, match="outstanding"):
        sock.receive(Recorder())
    peer.sendall(b"x")
    finish(port, single)


def test_no_buffer_is_held_while_idle(port, peers):
    """R13: idle connections with pooled subscriptions hold no blocks of their own."""
    base = None
    for _ in range(100):
        sock, peer = peers.pair(port)
        sock.receive(Recorder())
        peer.sendall(b"x")
        port.run_once(0.05)
        base = base or port.stats().blocks_out
    assert port.stats().blocks_out <= base
    assert port.ledger.now == 0


def test_direct_takes_a_block_per_connection(port, peers):
    """R13: with receive='direct' each idle connection holds its posted block."""
    socks = [peers.pair(port)[0] for _ in range(10)]
    for sock in socks:
        sock.receive(Recorder(), receive="direct", size=PAGE)
    port.run_once(0)
    assert port.ledger.now == 10 * PAGE


def test_on_close_without_receive_data(port, pair):
    """Stream level: on_close runs once for close() of a connection that never got data."""
    sock, _peer = pair
    closed = Recorder()
    sock.receive(Recorder(), on_close=closed)
    sock.close()
    sock.close()
    run_until(port, lambda: closed)
    port.run_once(0)
    assert closed == [(sock, None)]


def test_on_close_may_post_elsewhere(port, peers):
    """Stream level: on_close may post at another socket of the port."""
    sock, _peer = peers.pair(port)
    other, other_peer = peers.pair(port)
    sock.receive(Recorder(), on_close=lambda *_given: other.send(b"bye"))
    sock.close()
    assert read(port, other_peer, 3) == b"bye"


def test_environment_chooses_the_backend(backend, monkeypatch):
    """IOCP_SOCK_BACKEND names the backend if no argument does."""
    monkeypatch.setitem(os.environ, "IOCP_SOCK_BACKEND", backend)
    with iocp_sock.Port() as port:
        assert port.backend == backend
