"""R37: readers that pause and resume, and subscriptions after a cancelled one."""

import contextlib
import socket
import threading

import pytest

import iocp_sock
from support import (
    PAGE,
    Recorder,
    arrived,
    finish,
    is_readable,
    moment,
    pattern,
    reset,
    run_until,
)

STRATEGIES = ["pooled", "direct", "zero_byte", "adaptive"]


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return request.param


def idle_turns(port, count=5):
    for _ in range(count):
        port.run_once(0.002)


def test_pause_and_resume(port, pair, strategy):
    """R37: a paused reader gets nothing; resume() delivers all data in order, and the end once."""
    sock, peer = pair
    got = bytearray()
    ends = []
    sock.receive(
        lambda _, data: got.extend(bytes(data)) if data else ends.append(1), receive=strategy
    )
    port.run_once(0)
    sent = b""
    for turn in range(6):
        assert sock.pause()
        assert sock.receive_paused
        before = bytes(got)
        part = pattern(3000, turn)
        peer.sendall(part)
        sent += part
        moment()
        idle_turns(port)
        assert got == before
        assert sock.resume()
        assert not sock.receive_paused
        total = len(sent)
        run_until(port, lambda total=total: len(got) == total)
    sock.pause()
    peer.sendall(b"last")
    peer.shutdown(socket.SHUT_WR)
    moment()
    idle_turns(port)
    assert (got, ends) == (sent, [])
    sock.resume()
    run_until(port, lambda: ends)
    assert got == sent + b"last"
    assert ends == [1]


def test_pause_in_the_callback_holds_what_was_read(port, pair, strategy):
    """R37: no callback runs after pause() returns, even if the turn has read more data."""
    sock, peer = pair
    got = []

    def one(conn, data):
        assert not conn.receive_paused
        got.append(bytes(data))
        conn.pause()

    sock.receive(one, receive=strategy, size=100)
    data = pattern(20_000)
    for at in range(0, len(data), 1000):
        peer.sendall(data[at : at + 1000])
        if at % 3000 == 0:
            port.run_once(0)
    while sum(map(len, got)) < len(data):
        seen = len(got)
        idle_turns(port, 2)
        assert len(got) <= seen + 1
        sock.resume()
        run_until(port, lambda seen=seen: len(got) > seen)
        assert len(got) == seen + 1
    assert b"".join(got) == data


def test_pausing_is_idempotent(port, pair):
    """R37: a second pause or resume changes nothing, and returns False."""
    sock, peer = pair
    got = Recorder()
    assert (sock.pause(), sock.resume()) == (False, False)
    sock.receive(got)
    assert sock.resume() is False
    assert (sock.pause(), sock.pause()) == (True, False)
    peer.sendall(b"x")
    moment()
    idle_turns(port)
    assert got == []
    assert (sock.resume(), sock.resume()) == (True, False)
    for _ in range(10):
        sock.pause()
        sock.resume()
    run_until(port, lambda: got)
    sock.close()
    assert (sock.pause(), sock.resume()) == (False, False)
    run_until(port, lambda: port.stats().sockets == 0)
    assert (sock.pause(), sock.resume(), sock.receive_paused) == (False, False, False)
    port.close()
    assert (sock.pause(), sock.resume()) == (False, False)


def test_nothing_is_read_while_paused(port, peers, strategy):
    """R37: the data of a paused reader stays in the system, which slows the peer down."""
    sock, peer = peers.tcp(port, buffers=65536)
    sock.receive(Recorder(), receive=strategy)
    port.run_once(0)
    sock.pause()
    idle_turns(port)
    peer.sendall(b"x" * 1000)
    arrived(sock, 1000)
    idle_turns(port)
    assert sock.available() == 1000


def test_a_paused_reader_holds_no_memory(port, pair):
    """R37: a pause frees the block of a 'direct' subscription; resume() posts one again."""
    sock, _peer = pair
    sock.receive(Recorder(), receive="direct", size=PAGE)
    port.run_once(0)
    assert port.ledger.now == PAGE
    sock.pause()
    run_until(port, lambda: port.ledger.now == 0)
    sock.resume()
    run_until(port, lambda: port.ledger.now == PAGE)


def test_close_while_paused(port, pair, strategy):
    """R37: close() ends the pause, delivers nothing more, and on_close runs once."""
    sock, peer = pair
    got, closed = [], Recorder()

    def one(conn, data):
        got.append(bytes(data))
        conn.pause()

    sock.receive(one, receive=strategy, size=4, on_close=closed)
    for _ in range(5):
        peer.sendall(b"abcd")
    run_until(port, lambda: got)
    sock.close()
    run_until(port, lambda: closed)
    assert len(got) == 1
    assert closed == [(sock, None)]


def test_abort_while_paused(port, peers, strategy):
    """R37: abort() ends the pause as close() does."""
    sock, peer = peers.tcp(port)
    closed = Recorder()
    sock.receive(lambda conn, _data: conn.pause(), receive=strategy, size=4, on_close=closed)
    for _ in range(5):
        peer.sendall(b"abcd")
    run_until(port, lambda: sock.receive_paused)
    sock.abort()
    run_until(port, lambda: closed)
    assert closed == [(sock, None)]


def test_port_close_while_paused(make_port, peers, strategy):
    """R37: closing the port ends every pause, and runs every on_close."""
    port = make_port()
    closed = Recorder()
    for _ in range(3):
        sock, peer = peers.pair(port)
        sock.receive(lambda conn, _data: conn.pause(), receive=strategy, size=4, on_close=closed)
        for _ in range(3):
            peer.sendall(b"abcd")
    run_until(port, lambda: all(s.receive_paused for s in peers.ours))
    port.close()
    assert len(closed) == 3


def test_dropped_while_paused(port, peers):
    """R37: closing a port whose reader is paused leaks nothing (the fixture checks it)."""
    sock, peer = peers.pair(port)
    sock.receive(lambda conn, _data: conn.pause(), size=4, receive="direct")
    for _ in range(3):
        peer.sendall(b"abcd")
    run_until(port, lambda: sock.receive_paused)


def test_error_while_paused(port, peers, strategy):
    """R05 R37: on_close runs after the delivery of data that was read before the pause."""
    sock, peer = peers.tcp(port)
    events = []

    def one(conn, data):
        events.append(bytes(data))
        conn.pause()

    sock.receive(
        one,
        receive=strategy,
        size=4,
        on_close=lambda _, error: events.append(type(error)),
    )
    peer.sendall(b"abcd")
    run_until(port, lambda: events)
    idle_turns(port)
    peer.sendall(b"efgh")
    arrived(sock, 4)
    reset(peer)
    moment()
    idle_turns(port)
    assert len(events) == 1
    while ConnectionResetError not in events:
        sock.resume()
        port.run_once(0.02)
    assert b"".join(events[:-1]) == b"abcdefgh"
    assert events[-1] is ConnectionResetError


def test_cancel_while_paused(port, pair, strategy):
    """R37: cancel() of a paused subscription ends the pause and delivers the data it had read."""
    sock, peer = pair
    got = bytearray()

    def one(conn, data):
        first = not got
        got.extend(bytes(data))
        if first:
            conn.pause()

    op = sock.receive(one, receive=strategy, size=4)
    for _ in range(5):
        peer.sendall(b"abcd")
    run_until(port, lambda: got)
    assert op.cancel()
    run_until(port, lambda: op.done and port.outstanding == 0)
    taken = len(got)
    rest = sock.recv(100)
    if taken < 20:
        finish(port, rest)
        assert bytes(got) + bytes(rest.data) == b"abcd" * 5
    assert not sock.receive_paused


def test_accept_each_pauses(port, peers):
    """R37: a paused listener hands out no connection; resume() hands out the waiting ones."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    got = []
    listener.accept_each(lambda conn: (got.append(conn), listener.pause()))
    raw = [peers.connect(listener.getsockname()) for _ in range(5)]
    for count in range(1, 6):
        run_until(port, lambda count=count: len(got) == count)
        idle_turns(port)
        assert len(got) == count
        assert listener.resume() == (count <= 5)
    assert {c.getpeername() for c in got} == {r.getsockname() for r in raw}
    for conn in got:
        conn.close()


def test_accepted_while_paused_are_closed_with_the_listener(port, peers):
    """R37: connections that a paused listener has not handed out are closed with it."""
    listener = port.listen(("127.0.0.1", 0))
    got = []
    listener.accept_each(lambda conn: (got.append(conn), listener.pause()))
    raw = [peers.connect(listener.getsockname()) for _ in range(3)]
    run_until(port, lambda: got)
    listener.close()
    run_until(port, lambda: port.stats().sockets == 1)
    got[0].close()
    del raw


def test_datagrams_pause(port, peers):
    """R37: receive_from() pauses too; datagrams read before are delivered first."""
    sock, peer = peers.pair(port, socket.SOCK_DGRAM)
    got = []

    def one(conn, data, _sender):
        got.append(bytes(data))
        conn.pause()

    sock.receive_from(one)
    for number in range(6):
        peer.send(b"%d" % number)
    for count in range(1, 7):
        run_until(port, lambda count=count: len(got) == count)
        idle_turns(port, 2)
        assert len(got) == count
        assert sock.resume()
    assert got == [b"%d" % number for number in range(6)]


def test_changing_the_strategy_while_paused(port, pair, strategy):
    """R13 R37: a strategy set during a pause takes effect, and no byte is lost."""
    sock, peer = pair
    got = bytearray()
    sock.receive(lambda _, data: got.extend(bytes(data)), receive=strategy)
    port.run_once(0)
    sock.pause()
    for other in STRATEGIES:
        sock.receive_strategy = other
        peer.sendall(b"12345")
        idle_turns(port, 2)
        assert not len(got) % 5
        before = len(got)
        sock.resume()
        run_until(port, lambda before=before: len(got) == before + 5)
        assert sock.receive_strategy == other
        sock.pause()


def test_from_another_thread(port, pair):
    """R37: another thread pauses and resumes a reader while the port runs; no byte is lost."""
    if port.backend == "sim":
        pytest.skip("not in the model: one thread at a time runs the ports of a model")
    sock, peer = pair
    got = bytearray()
    sock.receive(lambda _, data: got.extend(bytes(data)))
    data = pattern(1 << 20)

    def disturb():
        for _ in range(3000):
            sock.pause()
            sock.resume()

    def send():
        peer.sendall(data)

    threads = [threading.Thread(target=disturb), threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    run_until(port, lambda: len(got) == len(data))
    for thread in threads:
        thread.join()
    assert got == data


@pytest.mark.parametrize("in_order", [False, True])
def test_on_a_port_of_several_threads(make_port, peers, in_order):
    """R24 R37: on a port run by several threads, pauses in callbacks keep the order of the data."""
    try:
        port = make_port(concurrency=2, in_order=in_order)
    except iocp_sock.ArgumentError as refusal:
        pytest.skip(f"not in the model: {refusal}")
    sock, peer = peers.pair(port)
    got = bytearray()

    def one(conn, data):
        got.extend(bytes(data))
        conn.pause()
        port.call_later(0.001, conn.resume)

    sock.receive(one)
    data = pattern(200_000)
    runners = [threading.Thread(target=port.run) for _ in range(3)]
    for runner in runners:
        runner.start()
    for at in range(0, len(data), 2000):
        peer.sendall(data[at : at + 2000])
    waiting = threading.Event()
    while len(got) < len(data):
        waiting.wait(0.005)
    port.stop()
    for runner in runners:
        runner.join()
    assert got == data


def test_a_proxy_holds_no_more_than_its_marks(port, peers):
    """R17 R37: a proxy whose on_pause pauses the inbound reader queues little for a slow peer."""
    inbound, source = peers.tcp(port, buffers=65536)
    outbound, sink = peers.tcp(port, buffers=65536)
    most = 0

    def forward(conn, data):
        nonlocal most
        outbound.send(data)
        most = max(most, outbound.queued_bytes)

    outbound.set_send_marks(
        high=1 << 16,
        low=1 << 14,
        on_pause=lambda _: inbound.pause(),
        on_resume=lambda _: inbound.resume(),
    )
    outbound.receive(Recorder())
    inbound.receive(forward)
    data = pattern(24 << 20)  # more than the buffers of both connections
    sent = 0
    source.setblocking(False)
    stuck = 0
    while stuck < 20:
        try:
            sent += source.send(data[sent : sent + 65536])
            stuck = 0
        except BlockingIOError:
            stuck += 1
            port.run_once(0.002)
    assert inbound.receive_paused
    assert sent < len(data)
    got = bytearray()
    while len(got) < len(data):
        if sent < len(data):
            with contextlib.suppress(BlockingIOError):
                sent += source.send(data[sent : sent + 65536])
        port.run_once(0.002)
        if is_readable(sink):
            got += sink.recv(1 << 20)
    assert got == data
    assert most < 1 << 20


def test_idle_timeout_spares_a_paused_reader(make_port, peers):
    """R17 R37: idle_timeout does not close a connection whose reader is paused."""
    port = make_port(idle_timeout=0.05)
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    closed = Recorder()
    conns = []

    def serve(conn):
        conn.receive(Recorder(), on_close=closed)
        conn.pause()
        conns.append(conn)

    listener.accept_each(serve)
    peers.connect(listener.getsockname())
    run_until(port, lambda: conns)
    began = port.time()
    while port.time() < began + 0.3:
        port.run_once(0.05)
    assert not closed
    conns[0].resume()
    run_until(port, lambda: closed)
    assert isinstance(closed[0][1], iocp_sock.TimedOut)


def test_receive_again_at_once(port, pair, strategy):
    """receive() may follow a cancelled subscription at once; no byte is lost."""
    sock, peer = pair
    got = bytearray()
    sent = b""
    for turn in range(10):
        subscription = sock.receive(lambda _, data: got.extend(bytes(data)), receive=strategy)
        part = pattern(5000, turn)
        peer.sendall(part)
        sent += part
        if turn % 3 == 0:
            port.run_once(0.01)
        if turn % 2:
            total = len(sent)
            run_until(port, lambda total=total: len(got) == total)
        assert subscription.cancel()
    sock.receive(lambda _, data: got.extend(bytes(data)), receive=strategy)
    run_until(port, lambda: len(got) == len(sent))
    assert got == sent


def test_receive_again_when_done(port, pair, strategy):
    """receive() may follow a done subscription before its completion is handed out."""
    sock, peer = pair
    states = []
    subscription = sock.receive(Recorder(), receive=strategy)
    got = bytearray()
    port.run_once(0)

    def again():
        if not subscription.done:
            port.call_later(0, again)
            return
        sock.receive(lambda _, data: got.extend(bytes(data)), receive=strategy)
        states.append(subscription.state)

    port.post(callback=lambda _: (subscription.cancel(), again()))
    run_until(port, lambda: states)
    peer.sendall(b"hello")
    run_until(port, lambda: got == b"hello")


def test_a_single_receive_follows_a_cancelled_subscription(port, pair, strategy):
    """recv() after cancel() gets the bytes that the subscription left."""
    sock, peer = pair
    got = bytearray()
    subscription = sock.receive(lambda _, data: got.extend(bytes(data)), receive=strategy)
    port.run_once(0)
    subscription.cancel()
    op = sock.recv(100)
    peer.sendall(b"hello")
    run_until(port, lambda: op.done or len(got) == 5)
    rest = bytes(op.data) if op.done else b""
    assert bytes(got) + rest == b"hello"


def test_accept_each_again_at_once(port, peers):
    """accept_each() may follow a cancelled one at once; no connection is lost."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    got = Recorder()
    for _ in range(5):
        accepts = listener.accept_each(got)
        peers.connect(listener.getsockname())
        accepts.cancel()
    listener.accept_each(got)
    run_until(port, lambda: len(got) == 5)
    for conn in got:
        conn.close()


def test_on_close_is_the_last_subscriptions(port, pair):
    """Each receive() sets its own on_close; the latest one runs."""
    sock, _peer = pair
    first, second = Recorder(), Recorder()
    sock.receive(Recorder(), on_close=first).cancel()
    sock.receive(Recorder(), on_close=second)
    run_until(port, lambda: port.outstanding == 1)
    sock.close()
    run_until(port, lambda: second)
    assert first == []


def test_a_new_subscription_ends_the_pause(port, pair, strategy):
    """A new subscription starts unpaused, with the data that the cancelled one had read."""
    sock, peer = pair
    got = bytearray()

    def one(conn, data):
        got.extend(bytes(data))
        conn.pause()

    subscription = sock.receive(one, receive=strategy, size=4)
    for _ in range(5):
        peer.sendall(b"abcd")
    run_until(port, lambda: got)
    subscription.cancel()
    sock.receive(lambda _, data: got.extend(bytes(data)), receive=strategy)
    run_until(port, lambda: got == b"abcd" * 5)
    assert not sock.receive_paused
