"""R03: every accepted post yields exactly one completion, later and never inside the post."""

import socket

import pytest

import iocp_sock
from support import OVERFLOW, Recorder, arrived, drain_get, finish, read, run_until


def test_done_operation_completes_later(port, pair):
    """R03: a post that is done at once completes once, outside the post."""
    sock, peer = pair
    got = Recorder()
    op = sock.send(b"abc", callback=got)
    assert op.done
    assert not got
    port.run_once(0)
    assert [c.operation for c in got] == [op]
    assert (got[0].transferred, got[0].kind, got[0].socket) == (3, "send", sock)
    assert read(port, peer, 3) == b"abc"
    port.run_once(0)
    assert len(got) == 1


def test_done_receive_completes_once(port, pair):
    """R03: a receive that is done at once completes once, outside the post."""
    sock, peer = pair
    peer.sendall(b"abc")
    arrived(sock, 3)
    got = Recorder()
    sock.recv(10, callback=got)
    assert not got
    run_until(port, lambda: got)
    assert bytes(got[0].data) == b"abc"
    port.run_once(0)
    assert len(got) == 1


def test_get_hands_out_what_has_no_callback(port, pair):
    """R03: get() returns each completion that has no callback once; callbacks run meanwhile."""
    sock, peer = pair
    called = Recorder()
    first = sock.send(b"a")
    sock.send(b"b", callback=called)
    third = sock.send(b"c")
    taken = drain_get(port, 2)
    assert [c.operation for c in taken] == [first, third]
    assert len(called) == 1
    assert port.get(0) is None
    assert read(port, peer, 3) == b"abc"


def test_get_batch_takes_at_most_n(port, pair):
    """R03: get_batch() returns at most n completions, and an empty list if there are none."""
    sock, _peer = pair
    ops = [sock.send(b"x") for _ in range(5)]
    first = port.get_batch(3, 1)
    second = port.get_batch(3, 1)
    assert [c.operation for c in first + second] == ops
    assert (len(first), len(second)) == (3, 2)
    assert port.get_batch(3, 0) == []


def test_get_batch_loses_nothing_to_an_interrupt(port, pair):
    """R03: an interrupt in a callback between two completions loses neither."""
    sock, _peer = pair

    def interrupt(_completion):
        raise KeyboardInterrupt

    ops = [sock.send(b"a"), sock.send(b"b", callback=interrupt), sock.send(b"c")]
    taken = []
    with pytest.raises(KeyboardInterrupt):
        get_for_ever(port, taken)
    while len(taken) < 2:
        more = port.get_batch(10, 1)
        assert more, f"only {taken} was ever handed out"
        taken += more
    assert [c.operation for c in taken] == [ops[0], ops[2]]


def get_for_ever(port, taken):
    while True:
        taken += port.get_batch(10, 1)


def test_run_once_counts_what_it_dispatched(port, pair):
    """R03: run_once() returns the number of completions handed out."""
    sock, _peer = pair
    got = Recorder()
    for _ in range(3):
        sock.send(b"x", callback=got)
    assert port.run_once(1) == 3
    assert len(got) == 3
    assert port.run_once(0) == 0


def test_completion_at_socket_close(port, pair):
    """R03: closing the socket completes pending and queued receives, each once."""
    sock, _peer = pair
    got = Recorder()
    ops = [sock.recv(10, callback=got) for _ in range(3)]
    sock.close()
    assert not got
    run_until(port, lambda: len(got) == 3)
    assert all(isinstance(op.error, iocp_sock.Cancelled) for op in ops)
    assert {c.operation for c in got} == set(ops)
    port.run_once(0)
    assert len(got) == 3


def test_completion_at_port_close(make_port, peers):
    """R03: closing the port completes everything of every socket exactly once."""
    port = make_port()
    got = Recorder()
    socks = [peers.pair(port)[0] for _ in range(5)]
    ops = []
    for sock in socks:
        ops += [sock.recv(10, callback=got), sock.recv_zero(callback=got)]
        ops += [sock.send(bytes(OVERFLOW), callback=got), sock.send(b"behind", callback=got)]
    port.close(0)
    assert port.closed
    assert len(got) == len(ops)
    assert {c.operation for c in got} == set(ops)
    assert all(op.done for op in ops)


def test_completion_without_callback_at_port_close(make_port, peers):
    """R03: operations without a callback are done once the port is closed."""
    port = make_port()
    sock, _peer = peers.pair(port)
    op = sock.recv(10)
    port.close(0)
    assert op.done
    assert isinstance(op.error, iocp_sock.Cancelled)


def test_on_close_comes_when_the_port_closes(make_port, peers):
    """R03: closing the port invokes on_close of every socket, even of an idle one."""
    port = make_port()
    told = Recorder()
    sock, peer = peers.pair(port)
    ended = Recorder()
    sock.receive(ended, on_close=told)
    peer.shutdown(socket.SHUT_WR)
    run_until(port, lambda: ended and port.outstanding == 0)
    port.close(0)
    assert told == [(sock, None)]


def test_on_close_comes_when_a_busy_port_closes(make_port, peers):
    """R03: closing the port invokes on_close of a connection with a pending subscription."""
    port = make_port()
    told = Recorder()
    sock, _peer = peers.pair(port)
    sock.receive(Recorder(), on_close=told)
    port.close(0)
    assert told == [(sock, None)]


def test_packet_comes_before_the_port_is_closed(make_port):
    """R03: an accepted packet is handed out, even when the port closes."""
    port = make_port()
    got = Recorder()
    port.post("packet", callback=got)
    port.close(0)
    assert [c.value for c in got] == ["packet"]


def test_dropping_the_operation_drops_nothing(port, pair):
    """R03: a dropped Operation still has its completion."""
    sock, peer = pair
    got = Recorder()
    sock.recv(10, callback=got)
    sock.recv_into(bytearray(10), callback=got)
    peer.sendall(b"abc")
    run_until(port, lambda: len(got) == 1)
    peer.sendall(b"def")
    run_until(port, lambda: len(got) == 2)
    assert [c.transferred for c in got] == [3, 3]


def test_sequence_is_the_posting_order(port, pair):
    """R30: the sequence counts the posts of a socket from 1, over both directions."""
    sock, _peer = pair
    ops = [sock.recv(1), sock.send(b"x"), sock.recv(1), sock.recv_zero(), sock.send(b"y")]
    assert [op.sequence for op in ops] == [1, 2, 3, 4, 5]
    taken = drain_get(port, 2)
    assert [c.sequence for c in taken] == [2, 5]


def test_callback_may_post_and_close(port, pair):
    """R03: a callback posts again, and closes its own socket."""
    sock, peer = pair
    seen = []

    def again(completion):
        seen.append(bytes(completion.data))
        if len(seen) < 3:
            sock.recv(1, callback=again)
        else:
            sock.close()

    sock.recv(1, callback=again)
    peer.sendall(b"abcd")
    run_until(port, lambda: sock.closed)
    assert seen == [b"a", b"b", b"c"]


def test_timed_out_get_is_none(port):
    """R03: get() returns None after its timeout."""
    before = port.time()
    assert port.get(0.02) is None
    assert port.time() - before >= 0.02


def test_accepted_counts_until_handed_out(port, pair):
    """R03: an operation is outstanding until its completion was handed out."""
    sock, _peer = pair
    sock.send(b"x")
    assert (port.outstanding, sock.outstanding) == (1, 1)
    port.run_once(0)
    assert (port.outstanding, sock.outstanding) == (0, 0)


def test_packets(port):
    """R03: posted packets are handed out once, in order, with their value."""
    got = Recorder()
    port.post(1, callback=got)
    port.post("two")
    port.post(None)
    taken = drain_get(port, 2)
    assert [c.value for c in taken] == ["two", None]
    assert [c.value for c in got] == [1]
    assert (taken[0].kind, taken[0].operation, taken[0].socket, taken[0].error) == (
        "packet",
        None,
        None,
        None,
    )
    assert (taken[0].sequence, taken[0].transferred, taken[0].data) == (0, 0, None)


def test_run_until_idle_ends_with_the_last_completion(port, pair):
    """R03: run(until_idle=True) returns when nothing is outstanding."""
    sock, peer = pair
    got = Recorder()
    sock.recv(10, callback=got)
    peer.sendall(b"abc")
    port.run(until_idle=True)
    assert len(got) == 1
    finish(port)
