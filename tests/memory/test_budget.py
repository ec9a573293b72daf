"""R07 and R08: the budget, the caps, and the outcome of a post over them."""

import socket

import pytest

import iocp_sock
from support import (
    PAGE,
    Recorder,
    arrived,
    drain_get,
    finish,
    pattern,
    read,
    reset,
    run_until,
)


def test_over_budget_raises(make_port, peers):
    """R07: over the budget a post raises BudgetExceeded and never reaches the kernel."""
    port = make_port(budget=4 * PAGE)
    sock, peer = peers.pair(port)
    ops = [sock.recv(PAGE) for _ in range(4)]
    before = port.ledger
    with pytest.raises(iocp_sock.BudgetExceeded) as caught:
        sock.recv(1)
    assert caught.value.ledger["now"] == 4 * PAGE
    assert caught.value.ledger["budget"] == 4 * PAGE
    assert port.ledger == before
    assert port.stats().refusals == 1
    peer.sendall(b"x")
    finish(port, ops[0])
    assert sock.recv(PAGE).outcome == "queued"


def test_done_needs_no_budget(make_port, peers):
    """R07: an operation that is done at once needs no budget."""
    port = make_port(budget=PAGE)
    sock, peer = peers.pair(port)
    held = sock.recv(PAGE)
    assert sock.send(b"fits").outcome == "done"
    assert read(port, peer, 4) == b"fits"
    assert sock.recv_zero().outcome == "queued"
    other, other_peer = peers.pair(port)
    other_peer.sendall(b"x")
    arrived(other)
    assert other.recv(10).outcome == "done"
    assert held.pending


@pytest.mark.parametrize("policy", ["raise", "queue", "degrade"])
def test_larger_than_the_budget_always_raises(make_port, peers, policy):
    """R07: a post larger than the budget raises with every policy, and sends no byte."""
    port = make_port(budget=2 * PAGE, over_budget=policy)
    sock, peer = peers.pair(port)
    for post in (
        lambda: sock.recv(2 * PAGE + 1),
        lambda: sock.recv_into(bytearray(4 * PAGE)),
        lambda: sock.send(bytes(4 * PAGE)),
        lambda: sock.sendmsg([b"x", b"y", b"z"]),
    ):
        with pytest.raises(iocp_sock.BudgetExceeded):
            post()
    sock.shutdown(socket.SHUT_WR)
    assert peer.recv(10) == b""
    assert port.outstanding == 0


def test_queue_waits_in_order(make_port, peers):
    """R07: with 'queue' posts over the budget wait in order without a charge, and complete."""
    port = make_port(budget=2 * PAGE, over_budget="queue")
    sock, peer = peers.pair(port)
    other, other_peer = peers.pair(port)
    ops = [sock.recv(PAGE) for _ in range(6)]
    ops.append(other.recv(PAGE))
    assert [op.outcome for op in ops] == ["pending"] + ["queued"] * 6
    assert port.ledger.now == 2 * PAGE
    other_peer.sendall(b"other")
    for i in range(6):
        peer.sendall(b"%d" % i)
        run_until(port, lambda i=i: ops[i].done)
        assert port.ledger.now <= 2 * PAGE
    finish(port, *ops)
    assert [bytes(op.data) for op in ops] == [b"0", b"1", b"2", b"3", b"4", b"5", b"other"]
    assert (port.ledger.now, port.ledger.peak) == (0, 2 * PAGE)


def test_queued_sends_keep_the_stream(make_port, peers):
    """R07 R04: sends that wait for the budget go out whole and in order."""
    port = make_port(budget=64 * PAGE, over_budget="queue")
    sock, peer = peers.pair(port)
    parts = [pattern(50 * PAGE, seed) for seed in range(20)]
    ops = [sock.send(part) for part in parts]
    assert port.ledger.now <= 64 * PAGE
    expected = b"".join(parts)
    assert read(port, peer, len(expected)) == expected
    finish(port, *ops)
    assert port.ledger.peak <= 64 * PAGE


def test_cancel_of_a_held_operation(make_port, peers):
    """R07 R31: cancel() itself ends an operation in the budget queue; the next takes its turn."""
    port = make_port(budget=PAGE, over_budget="queue")
    sock, _peer = peers.pair(port)
    other, other_peer = peers.pair(port)
    first = sock.recv(PAGE)
    second = other.recv(PAGE)
    third = other.recv(PAGE)
    assert second.cancel()
    assert second.done
    first.cancel()
    finish(port, first)
    other_peer.sendall(b"x")
    finish(port, third)
    assert bytes(third.data) == b"x"
    assert port.ledger.peak == PAGE


def test_degrade_waits_without_a_buffer(make_port, peers):
    """R07: with 'degrade' a receive over the budget waits without a charge, and gets its data."""
    port = make_port(budget=PAGE, over_budget="degrade")
    sock, _peer = peers.pair(port)
    other, other_peer = peers.pair(port)
    sock.recv(PAGE)
    op = other.recv(PAGE)
    assert op.outcome == "pending"
    assert port.ledger.now == PAGE
    other_peer.sendall(b"abc")
    finish(port, op)
    assert bytes(op.data) == b"abc"
    assert port.ledger.peak == PAGE
    filler = bytes(4 << 20)
    with pytest.raises(iocp_sock.BudgetExceeded):
        other.send(filler)


def test_direct_subscription_over_the_budget_watches(make_port, peers):
    """R07: a direct subscription whose block is over the budget waits without a block."""
    port = make_port(budget=PAGE)
    sock, _peer = peers.pair(port)
    other, other_peer = peers.pair(port)
    sock.receive(Recorder(), receive="direct")
    got = Recorder()
    other.receive(got, receive="direct")
    port.run_once(0)
    assert port.ledger.now == PAGE
    other_peer.sendall(b"abc")
    run_until(port, lambda: got)
    assert bytes(got[0][1]) == b"abc"
    assert port.ledger.peak == PAGE


@pytest.mark.parametrize("scope", ["port", "socket"])
def test_caps(make_port, peers, scope):
    """R07: caps on unfinished receives and sends, of the port and of each socket."""
    name = "max_" if scope == "port" else "max_socket_"
    port = make_port(**{f"{name}receives": 2, f"{name}sends": 2})
    sock, peer = peers.pair(port)
    other, _other_peer = peers.pair(port)
    sock.recv(1)
    sock.recv(1)
    with pytest.raises(iocp_sock.BudgetExceeded):
        sock.recv(1)
    if scope == "port":
        with pytest.raises(iocp_sock.BudgetExceeded):
            other.recv(1)
    else:
        other.recv(1)
    sock.send(bytes(4 << 20))
    sock.send(b"x")
    with pytest.raises(iocp_sock.BudgetExceeded):
        sock.send(b"x")
    peer.sendall(b"a")
    drain_get(port, 1)
    sock.recv(1)
    sock.close(0)


def test_caps_queue(make_port, peers):
    """R07: with 'queue' a post over a cap waits, and takes its turn."""
    port = make_port(max_socket_receives=1, over_budget="queue")
    sock, peer = peers.pair(port)
    ops = [sock.recv(1) for _ in range(5)]
    peer.sendall(b"abcde")
    finish(port, *ops)
    assert b"".join(bytes(op.data) for op in ops) == b"abcde"


def test_retry_after_a_completion(make_port, peers):
    """R08: a refused post can be made again after a completion."""
    port = make_port(budget=PAGE)
    sock, peer = peers.pair(port)
    got = []

    def again(completion):
        got.append(bytes(completion.data))
        if len(got) < 3:
            sock.recv(PAGE, callback=again)

    sock.recv(PAGE, callback=again)
    with pytest.raises(iocp_sock.ResourceExhausted):
        sock.recv(1)
    for part in (b"a", b"b", b"c"):
        peer.sendall(part)
        run_until(port, lambda part=part: part in got)


@pytest.mark.parametrize("how", ["reset", "close", "abort", "cancel", "timeout"])
def test_held_posts_resume_however_the_others_end(make_port, peers, how):
    """R07: operations in the budget queue start, however the holder of the budget ends."""
    port = make_port(budget=2 * PAGE, over_budget="queue")
    holder, holder_peer = peers.tcp(port)
    other, other_peer = peers.pair(port)
    first = holder.recv(2 * PAGE, timeout=0.02 if how == "timeout" else None)
    waiting = [other.recv(PAGE), other.recv(PAGE)]
    other_peer.sendall(b"x" * (PAGE + 1))
    port.run_once(0)
    assert not waiting[0].done
    if how == "reset":
        reset(holder_peer)
    elif how == "close":
        holder.close()
    elif how == "abort":
        holder.abort()
    elif how == "cancel":
        first.cancel()
    finish(port, first, *waiting)
    assert first.error is not None
    assert [op.transferred for op in waiting] == [PAGE, 1]
    assert port.ledger.now == 0
