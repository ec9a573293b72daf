"""R13, R15, R16: strategies to receive and send, and their change in use."""

import pytest

import iocp_sock
from support import (
    BACKENDS,
    LOCKS_LITTLE,
    OVERFLOW,
    PAGE,
    finish,
    moment,
    pattern,
    read,
    read_all,
    run_until,
)

RECEIVE = ["pooled", "direct", "zero_byte", "adaptive"]
SHARED = 60_000
"""The size of sends that are small enough to share one request, and its wait for room."""
RULE = iocp_sock.AdaptiveRule(messages=3, window=5.0, idle=0.05, busy="direct")


@pytest.fixture
def stream(port, peers):
    """A connection, its peer, and a bytearray for the received bytes."""
    sock, peer = peers.tcp(port)
    got = bytearray()
    return sock, peer, got


@pytest.mark.parametrize("strategy", RECEIVE)
def test_every_strategy_receives_the_stream(port, stream, strategy):
    """R13: with every strategy all bytes arrive in order, and the end once."""
    sock, peer, got = stream
    ends = []
    sock.receive(
        lambda s, data: got.extend(data) if data else ends.append(s),
        receive=strategy,
    )
    assert sock.receive_strategy == strategy
    data = pattern(300_000)
    for at in range(0, len(data), 7001):
        peer.sendall(data[at : at + 7001])
        port.run_once(0)
    run_until(port, lambda: len(got) == len(data))
    peer.close()
    run_until(port, lambda: ends)
    assert bytes(got) == data
    assert ends == [sock]


@pytest.mark.parametrize("before", RECEIVE)
@pytest.mark.parametrize("after", RECEIVE)
def test_a_switch_while_data_flows_loses_nothing(port, stream, before, after):
    """R13: the strategy may change at any moment; no byte is lost, doubled or out of order."""
    sock, peer, got = stream
    data = pattern(200_000)
    sock.receive(lambda _sock, part: got.extend(part), receive=before)
    for number, at in enumerate(range(0, len(data), 5000)):
        peer.sendall(data[at : at + 5000])
        if number % 3 == 0:
            sock.receive_strategy = after if number % 2 == 0 else before
        if number % 4 == 0:
            port.run_once(0)
    run_until(port, lambda: len(got) == len(data))
    assert bytes(got) == data


def test_zero_byte_holds_nothing_after_a_switch(port, stream):
    """R13: a change of strategy frees the posted buffer, and refunds its charge."""
    sock, peer, got = stream
    sock.receive(lambda _sock, part: got.extend(part), receive="direct", size=2 * PAGE)
    run_until(port, lambda: port.ledger.now == 2 * PAGE)
    sock.receive_strategy = "zero_byte"
    run_until(port, lambda: port.ledger.now == 0)
    sock.receive_strategy = "direct"
    run_until(port, lambda: port.ledger.now == 2 * PAGE)
    peer.sendall(b"still here")
    run_until(port, lambda: got == b"still here")


def test_adaptive_posts_a_buffer_while_busy_and_none_when_idle(make_port, peers):
    """R13: adaptive is 'direct' after messages in quick succession, 'zero_byte' after idle time."""
    port = make_port(adaptive=RULE)
    sock, peer = peers.tcp(port)
    got = bytearray()
    sock.receive(lambda _sock, part: got.extend(part), receive="adaptive")
    assert sock.receiving_by == "zero_byte"
    assert port.ledger.now == 0
    for count in range(1, 5):
        peer.sendall(b"x")
        run_until(port, lambda wanted=count: len(got) == wanted)
    run_until(port, lambda: port.ledger.now == PAGE)
    assert sock.receiving_by == "direct"
    assert sock.receive_strategy == "adaptive"
    run_until(port, lambda: port.ledger.now == 0)
    assert sock.receiving_by == "zero_byte"
    assert port.stats().switches == 2
    peer.sendall(b"y")
    run_until(port, lambda: got == b"xxxxy")


def test_adaptive_posts_nothing_while_the_budget_is_tight(make_port, peers):
    """R13: beyond budget_percent adaptive receives post no buffer."""
    rule = iocp_sock.AdaptiveRule(messages=2, window=5.0, budget_percent=50, busy="direct")
    port = make_port(adaptive=rule, budget=4 * PAGE)
    holder, _ = peers.tcp(port)
    sock, peer = peers.tcp(port)
    holder.recv(2 * PAGE)
    got = bytearray()
    sock.receive(lambda _sock, part: got.extend(part), receive="adaptive")
    for count in range(1, 8):
        peer.sendall(b"x")
        run_until(port, lambda wanted=count: len(got) == wanted)
    assert sock.receiving_by == "zero_byte"
    assert port.ledger.now == 2 * PAGE


def test_strategies_of_a_socket_without_subscription(port, stream):
    """Without a receive() the strategy of a socket cannot be set; the error names receive()."""
    sock, _, _ = stream
    assert sock.receive_strategy is None
    assert sock.receiving_by is None
    with pytest.raises(iocp_sock.ArgumentError, match="receive"):
        sock.receive_strategy = "direct"
    with pytest.raises(iocp_sock.ArgumentError, match="adaptive"):
        sock.receive(print, receive="fast")
    for wrong in ("fast", None, 3):
        with pytest.raises(iocp_sock.ArgumentError):
            sock.receive_strategy = wrong
        with pytest.raises(iocp_sock.ArgumentError):
            sock.send_strategy = wrong
    with pytest.raises(iocp_sock.ArgumentTypeError):
        del sock.receive_strategy
    with pytest.raises(iocp_sock.ArgumentError):
        del sock.send_strategy
    assert sock.send_strategy == "buffered"


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": 0},
        {"messages": 256},
        {"budget_percent": 101},
        {"window": 0},
        {"idle": -1},
        {"busy": "zero_byte"},
    ],
)
def test_rules_that_cannot_be(wrong):
    """A wrong field of AdaptiveRule raises with the field's name."""
    with pytest.raises(iocp_sock.ArgumentError, match=next(iter(wrong))):
        iocp_sock.AdaptiveRule(**wrong)


def test_when_writable_charges_nothing(port, stream):
    """R15: a send that waits for room holds no memory in the system, and is sent whole."""
    sock, peer, _ = stream
    sock.send_strategy = "when_writable"
    data = pattern(OVERFLOW)
    ops = [sock.send(data), sock.sendmsg([data[:10], data[10:20]])]
    assert ops[0].outcome == "pending"
    assert sock.queued_bytes > 0
    assert port.ledger.now == 0
    sock.shutdown(1)
    assert read_all(port, peer) == data + data[:20]
    finish(port, *ops)
    assert [op.transferred for op in ops] == [len(data), 20]
    assert port.ledger.peak == 0


def test_when_writable_can_be_cancelled_and_closed(port, stream):
    """R31: a send that waits for room is cancelled at once, with its count."""
    sock, _, _ = stream
    sock.send_strategy = "when_writable"
    op = sock.send(pattern(OVERFLOW))
    assert op.cancel()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert 0 < op.transferred < OVERFLOW
    with pytest.raises(iocp_sock.SocketClosed, match="part-way"):
        sock.send(b"more")
    sock.close(0)


def test_cancel_of_a_send_that_shares_a_wait(port, peers):
    """R31: a send that shares its wait for room with an earlier send can be cancelled by itself."""
    sock, peer = peers.tcp(port, buffers=8192)
    sock.send_strategy = "when_writable"
    first = sock.send(bytes(SHARED))
    second = sock.send(bytes(SHARED))
    taken = 0
    while not second.pending:
        taken += len(read(port, peer, 1000))
    taken += len(peer.recv(SHARED))
    moment()
    assert second.cancel()
    finish(port, second)
    assert isinstance(second.error, iocp_sock.Cancelled)
    assert first.pending
    left = SHARED - taken
    assert len(read(port, peer, left)) == left
    finish(port, first)


@pytest.mark.skipif(LOCKS_LITTLE, reason="3 MiB to be locked at once are over RLIMIT_MEMLOCK")
def test_direct_sends_or_says_that_it_cannot(port, stream, backend):
    """R16: where zero-copy sends exist they deliver the stream; elsewhere the strategy raises."""
    sock, peer, _ = stream
    if not iocp_sock.features(backend).get("zero_copy_send") and backend != "iocp":
        with pytest.raises(iocp_sock.ArgumentError, match="buffered"):
            sock.send_strategy = "direct"
        return
    sock.send_strategy = "direct"
    assert sock.send_strategy == "direct"
    data = pattern(3 << 20)
    ops = [sock.send(data[at : at + (1 << 20)]) for at in range(0, len(data), 1 << 20)]
    ops.append(sock.sendmsg([b"one", b"two"]))
    assert read(port, peer, len(data) + 6) == data + b"onetwo"
    finish(port, *ops)
    assert [op.error for op in ops] == [None] * 4
    sock.send_strategy = "buffered"
    assert sock.send(b"small").outcome == "done"
    assert read(port, peer, 5) == b"small"


def test_features_name_the_backends_here():
    """probe() lists exactly the backends of this system."""
    assert set(iocp_sock.probe()) == set(BACKENDS)
