"""R09: the figures of a port, at any time, typed and of one moment."""

import dataclasses
import json
import socket
import threading

import pytest

import iocp_sock
from support import (
    OVERFLOW,
    PAGE,
    Recorder,
    arrived,
    block,
    drain_get,
    finish,
    pattern,
    read,
    run_until,
    span,
)


def test_figures_of_a_new_port(port):
    """R09: every figure is there from the start, and typed."""
    stats = port.stats()
    assert isinstance(stats, iocp_sock.Stats)
    assert stats.ledger == port.ledger
    assert stats.operations_by_state == {"queued": 0, "pending": 0, "cancelling": 0}
    assert set(stats.operations_by_kind.values()) == {0}
    assert (stats.outstanding, stats.sockets, stats.waits, stats.ready) == (0, 0, 0, 0)
    assert stats.latency is None
    assert stats.by_socket == ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.waits = 1


def test_operations_by_kind_and_state(port, peers):
    """R09: the counts of unfinished operations add up to the outstanding ones."""
    sock, _peer = peers.pair(port)
    other, _other_peer = peers.pair(port)
    ops = [sock.recv(10), sock.recv(10), sock.recv_zero(), other.recv(10)]
    big = sock.send(bytes(OVERFLOW))
    assert big.pending
    port.run_once(0)
    ops[3].cancel()
    stats = port.stats()
    assert stats.operations_by_kind["receive"] == 3
    assert stats.operations_by_kind["zero_byte"] == 1
    assert stats.operations_by_kind["send"] == 1
    assert stats.operations_by_state == {"queued": 2, "pending": 2, "cancelling": 1}
    assert stats.lane_queue == 2
    assert stats.outstanding == 5
    assert stats.send_queue_bytes == sock.queued_bytes > 0
    assert stats.ledger.by_state == port.ledger.by_state
    finish(port, ops[3])
    assert port.stats().operations_by_state["cancelling"] == 0


def test_queue_depths(make_port, peers):
    """R07 R09: the queue of the budget and the queue of a lane are counted apart."""
    port = make_port(budget=2 * PAGE, over_budget="queue")
    sock, peer = peers.pair(port)
    ops = [sock.recv(PAGE) for _ in range(5)]
    stats = port.stats()
    assert (stats.budget_queue, stats.lane_queue) == (3, 1)
    assert ops[4].cancel()
    assert port.stats().budget_queue == 2
    for i in range(4):
        peer.sendall(b"x")
        run_until(port, lambda i=i: ops[i].done)
    finish(port, *ops)
    assert (port.stats().budget_queue, port.stats().lane_queue) == (0, 0)


def test_bytes_to_send_follow_every_send(port, pair):
    """R09: port and socket count the bytes still to send, down to none."""
    sock, peer = pair
    first = sock.send(pattern(3 << 20))
    second = sock.sendmsg([b"x" * 1000, b"y" * 500])
    total = (3 << 20) + 1500
    assert port.stats().send_queue_bytes == sock.queued_bytes
    got = 0
    while got < total:
        got += len(read(port, peer, min(200_000, total - got)))
        port.run_once(0)
        assert port.stats().send_queue_bytes == sock.queued_bytes
    finish(port, first, second)
    assert port.stats().send_queue_bytes == 0


def test_sockets_by_charge(port, peers):
    """R09: sockets are listed on request, the largest charge first."""
    light, _light_peer = peers.pair(port)
    heavy, _heavy_peer = peers.pair(port)
    waiting, _waiting_peer = peers.pair(port)
    light.recv(10)
    heavy.recv(3 * PAGE)
    sending = heavy.send(bytearray(OVERFLOW))
    assert sending.pending
    waiting.receive(Recorder(), receive="zero_byte")
    port.run_once(0)
    listed = port.stats(sockets=10).by_socket
    assert [one.fileno for one in listed] == [s.fileno() for s in (heavy, light, waiting)]
    first, second, third = listed
    assert first.charged == heavy.charged > second.charged == light.charged == PAGE
    assert (first.receives, first.sends, first.outstanding) == (1, 1, 2)
    assert first.queued_bytes == heavy.queued_bytes
    assert (first.family, first.type) == (heavy.family, heavy.type)
    assert (third.charged, third.receiving_by, third.state) == (0, "zero_byte", "open")
    assert first.receiving_by is None
    assert (first.send_strategy, first.send_paused, first.adaptive) == ("buffered", True, False)
    assert (second.send_strategy, second.send_paused) == ("buffered", False)
    assert [one.id for one in port.stats(sockets=1).by_socket] == [first.id]
    assert port.stats().by_socket == ()
    sending.cancel()
    heavy.close(0)
    run_until(port, lambda: heavy.closed and port.stats().sockets == 2)
    assert first.id not in [one.id for one in port.stats(sockets=10).by_socket]


def test_strategies_and_pauses_show(port, peers):
    """R13 R16: the list of sockets has their current strategies, and whether sends are paused."""
    sock, peer = peers.tcp(port, buffers=8192)
    sock.receive(Recorder(), receive="adaptive")
    sock.send_strategy = "when_writable"
    sock.set_send_marks(high=1000, low=100)
    op = sock.send(bytes(OVERFLOW))
    run_until(port, lambda: port.stats().pauses == 1)
    (listed,) = port.stats(sockets=5).by_socket
    assert (listed.receiving_by, listed.adaptive) == ("zero_byte", True)
    assert (listed.send_strategy, listed.send_paused) == ("when_writable", True)
    read(port, peer, OVERFLOW)
    finish(port, op)
    (listed,) = port.stats(sockets=5).by_socket
    assert not listed.send_paused


def test_a_subscription_to_datagrams_shows(port, peers):
    """A socket with receive_from() is listed, and its receive strategy has a name."""
    sock, _peer = peers.pair(port, socket.SOCK_DGRAM)
    sock.receive_from(Recorder())
    assert [figures.receiving_by for figures in port.stats(sockets=9).by_socket] == ["datagrams"]
    sock.close(0)


def test_a_draining_socket_says_so(port, pair):
    """R09: a closed socket that still sends is listed as draining."""
    sock, peer = pair
    sock.send(bytes(OVERFLOW))
    sock.close(60)
    assert [one.state for one in port.stats(sockets=5).by_socket] == ["draining"]
    peer.close()
    run_until(port, lambda: port.stats().sockets == 0)


def test_a_listener_is_told_from_a_connection(port, peers):
    """R09: the list distinguishes a listener with accept_each() from a connection."""
    listener = port.listen(("127.0.0.1", 0))
    listener.accept_each(lambda conn: None)
    port.run_once(0)
    (listed,) = port.stats(sockets=5).by_socket
    assert (listed.accepts, listed.receiving_by, listed.receives) == (True, None, 1)
    assert listed.type == socket.SOCK_STREAM
    listener.close()


def test_latency_counts_what_was_handed_out(make_port, peers):
    """A latency ends when the completion is handed out; subscriptions have no latency."""
    port = make_port(latency=True)
    assert port.stats().latency == {}
    sock, peer = peers.pair(port)
    for _ in range(5):
        op = sock.recv(10)
        peer.sendall(b"x")
        finish(port, op)
    pending = sock.recv(10)
    sock.send(b"answer")
    assert "receive" in port.stats().latency
    assert "send" not in port.stats().latency, "its completion was not handed out"
    run_until(port, lambda: "send" in port.stats().latency)
    latency = port.stats().latency
    assert latency["receive"].count == 5
    assert latency["send"].count == 1
    for histogram in latency.values():
        assert sum(count for _bound, count in histogram.buckets) == histogram.count
        assert 0 < histogram.percentile(0) <= histogram.percentile(50) <= histogram.max
        assert histogram.percentile(100) == histogram.max
        assert histogram.sum >= histogram.max
    pending.cancel()
    finish(port, pending)
    sock.receive(Recorder())
    peer.close()
    sock.close()
    run_until(port, lambda: port.stats().sockets == 0)
    assert set(port.stats().latency) == {"receive", "send"}


def test_latency_of_the_slow_is_at_least_their_wait(make_port, peers):
    """A latency includes the time until the completion is handed out."""
    port = make_port(latency=True)
    sock, peer = peers.pair(port)
    peer.sendall(b"x")
    arrived(sock)
    op = sock.recv(10)
    assert op.outcome == "done"
    finished = port.time()
    while port.time() < finished + 0.01:
        pass
    drain_get(port, 1)
    assert port.stats().latency["receive"].max >= 10_000_000


def test_histogram_percentiles():
    """Percentiles are upper bounds of their buckets, and at most the maximum."""
    histogram = iocp_sock.Histogram(
        count=100, sum=1, max=95, buckets=((10, 50), (20, 49), (100, 1))
    )
    assert [histogram.percentile(p) for p in (0, 50, 51, 99, 99.5, 100)] == [10, 10, 20, 20, 95, 95]
    endless = iocp_sock.Histogram(count=1, sum=7, max=7, buckets=((None, 1),))
    assert endless.percentile(50) == 7
    assert iocp_sock.Histogram(count=0, sum=0, max=0, buckets=()).percentile(99) == 0
    for wrong in (-1, 101):
        with pytest.raises(iocp_sock.ArgumentError):
            histogram.percentile(wrong)


def test_pool_occupancy(port, pair):
    """Blocks are counted while operations or readers hold them, and return to the pool."""
    sock, peer = pair
    before = port.stats()
    op = sock.recv(3 * PAGE)
    held = port.stats()
    assert held.blocks_out == before.blocks_out + 1
    assert held.block_bytes_out >= before.block_bytes_out + block(3 * PAGE)
    assert held.blocks >= held.blocks_out
    assert held.block_bytes >= held.block_bytes_out
    peer.sendall(b"kept")
    finish(port, op)
    kept = op.data
    assert port.stats().blocks_out == held.blocks_out
    kept.release()
    after = port.stats()
    assert (after.blocks_out, after.block_bytes_out) == (before.blocks_out, before.block_bytes_out)
    assert after.block_bytes >= held.block_bytes


def test_figures_are_of_one_moment(make_port, peers):
    """R09: the figures of one call agree with each other while the port is busy."""
    port = make_port()
    pairs = [peers.pair(port) for _ in range(4)]
    stop = threading.Event()
    seen = []

    def look() -> None:
        while not stop.is_set():
            seen.append(port.stats(sockets=100))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for turn in range(60):
            for sock, peer in pairs:
                ops = [sock.recv(PAGE * (1 + turn % 3)), sock.recv(10), sock.recv(10)]
                ops[2].cancel()
                peer.sendall(b"x")
                finish(port, ops[0], ops[2])
                ops[1].cancel()
                finish(port, ops[1])
    finally:
        stop.set()
        looker.join()
    assert len(seen) > 1
    for stats in seen:
        charged = [one.charged for one in stats.by_socket]
        assert sum(charged) == stats.ledger.now
        assert sum(stats.ledger.by_kind.values()) == stats.ledger.now
        assert sum(stats.ledger.by_state.values()) == stats.ledger.now
        unfinished = sum(stats.operations_by_state.values())
        assert sum(stats.operations_by_kind.values()) == unfinished <= stats.outstanding
        assert sum(one.receives + one.sends for one in stats.by_socket) == unfinished
        assert sum(one.outstanding for one in stats.by_socket) == stats.outstanding
        assert stats.slots - stats.slots_free >= stats.outstanding


def test_figures_after_close_are_json(make_port, peers):
    """R09: a closed port has figures, and JSON keeps them unchanged."""
    port = make_port(latency=True)
    sock, _peer = peers.pair(port)
    data = bytearray(PAGE + 1)
    sock.recv_into(data)
    charge = span(data)
    shown = port.stats(sockets=1).as_dict()
    assert json.loads(json.dumps(shown))["by_socket"][0]["charged"] == charge
    port.close(0)
    stats = port.stats(sockets=5)
    assert (stats.sockets, stats.by_socket, stats.ledger.now) == (0, (), 0)
    assert stats.ledger.peak == charge
    assert stats.latency["receive"].count == 1


@pytest.mark.parametrize("wrong", [-1, 1 << 40, "all", 1.5, True, None])
def test_wrong_number_of_sockets(port, wrong):
    """An invalid number of sockets raises a named error."""
    with pytest.raises(iocp_sock.Error):
        port.stats(sockets=wrong)


@pytest.mark.parametrize("wrong", [1, None, "yes"])
def test_latency_is_a_bool(wrong):
    """A latency that is not a bool raises a named error, and makes no port."""
    with pytest.raises(iocp_sock.ArgumentTypeError, match="latency"):
        iocp_sock.PortConfig(latency=wrong)
