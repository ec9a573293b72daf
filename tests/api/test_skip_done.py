"""R03: a socket may skip the completions of operations that are done at once."""

import gc
import socket
import threading
import weakref

import pytest

import iocp_sock
from support import OVERFLOW, Recorder, arrived, finish, read, run_until, settled


@pytest.fixture
def skipping(pair):
    """Make a connected stream whose port end skips done packets."""
    sock, peer = pair
    sock.skip_done_packets = True
    return sock, peer


def nothing_left(port):
    """Check that no operation is outstanding, charged, or in a slot."""
    stats = port.stats()
    assert (port.outstanding, port.ledger.now) == (0, 0)
    assert stats.slots_free == stats.slots


def nothing_comes(port, got):
    """Check that neither a callback nor get() gets a completion."""
    assert port.get(0) is None
    assert port.get_batch(10, 0) == []
    assert port.run_once(0) == 0
    port.run(until_idle=True)
    assert not got


def test_done_send_leaves_no_completion(port, skipping):
    """R03: the callback of a send that is done at once is not called."""
    sock, peer = skipping
    got = Recorder()
    op = sock.send(b"abc", callback=got)
    assert (op.outcome, op.done, op.state, op.transferred, op.error, op.data) == (
        "done",
        True,
        "completed",
        3,
        None,
        None,
    )
    assert (sock.outstanding, op.cancel()) == (0, False)
    nothing_left(port)
    nothing_comes(port, got)
    assert read(port, peer, 3) == b"abc"


def test_done_receive_leaves_no_completion(port, skipping):
    """R03: a receive that finds data hands it out in its Operation, without a completion."""
    sock, peer = skipping
    peer.sendall(b"abcdef")
    arrived(sock, 6)
    got = Recorder()
    op = sock.recv(3, callback=got)
    assert (op.outcome, op.done, op.transferred, bytes(op.data)) == ("done", True, 3, b"abc")
    target = bytearray(10)
    into = sock.recv_into(target, callback=got)
    assert (into.outcome, into.transferred, into.data, target[:3]) == ("done", 3, None, b"def")
    target.append(0)
    zero = sock.recv_zero(callback=got)
    assert zero.outcome == "pending"
    peer.sendall(b"x")
    finish(port, zero)
    assert [c.operation for c in got] == [zero]
    got.clear()
    assert sock.recv_zero(callback=got).outcome == "done"
    op.data.release()
    nothing_left(port)
    nothing_comes(port, got)


def test_what_is_not_done_completes_as_ever(port, skipping):
    """R03: pending and queued operations get their packet, even if done ones are skipped."""
    sock, peer = skipping
    first = sock.recv(3)
    called = Recorder()
    second = sock.recv(3, callback=called)
    assert (first.outcome, second.outcome) == ("pending", "queued")
    peer.sendall(b"abcdef")
    taken = port.get(20)
    assert taken.operation is first
    run_until(port, lambda: called)
    assert [c.operation for c in called] == [second]
    big = sock.send(bytes(OVERFLOW))
    assert big.outcome == "pending"
    assert len(read(port, peer, OVERFLOW)) == OVERFLOW
    finish(port, big)
    assert port.outstanding == 0


def test_sends_of_a_subscription_are_queued_and_complete(port, skipping):
    """R03: at the stream level sends are queued, so each has its completion."""
    sock, peer = skipping
    sock.receive(Recorder())
    got = Recorder()
    op = sock.send(b"abc", callback=got)
    assert op.outcome == "queued"
    run_until(port, lambda: got)
    assert read(port, peer, 3) == b"abc"


def test_done_accept_leaves_no_completion(port, peers):
    """R03: an accept that is done at once has its connection, with the port's defaults."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    listener.skip_done_packets = True
    peer = peers.connect(listener.getsockname())
    ready = listener.recv_zero()
    finish(port, ready)
    run_until(port, lambda: port.outstanding == 0)
    got = Recorder()
    op = listener.accept(callback=got)
    assert op.outcome == "done"
    conn = peers.own(op.accepted)
    assert (conn.family, conn.type, conn.closed) == (socket.AF_INET, socket.SOCK_STREAM, False)
    assert not conn.skip_done_packets
    nothing_left(port)
    conn.send(b"hello")
    assert read(port, peer, 5) == b"hello"
    run_until(port, lambda: port.outstanding == 0)
    nothing_comes(port, got)


def test_sequence_counts_skipped_operations(port, skipping):
    """R30: a skipped operation has a sequence number."""
    sock, _peer = skipping
    ops = [sock.send(b"x") for _ in range(3)]
    sock.skip_done_packets = False
    ops.append(sock.send(b"x"))
    assert [op.sequence for op in ops] == [1, 2, 3, 4]
    assert [c.operation for c in port.get_batch(10, 1)] == [ops[3]]


def test_attribute_and_port_default(make_port, peers):
    """Sockets start with the port's skip_done_packets; the attribute can be changed."""
    plain = make_port()
    sock = peers.own(plain.socket())
    assert sock.skip_done_packets is False
    sock.skip_done_packets = True
    assert sock.skip_done_packets is True
    for wrong in (1, None, "yes"):
        with pytest.raises(iocp_sock.ArgumentTypeError):
            sock.skip_done_packets = wrong
    with pytest.raises(iocp_sock.ArgumentTypeError):
        del sock.skip_done_packets
    assert sock.skip_done_packets is True
    sock.close()
    with pytest.raises(iocp_sock.SocketClosed):
        sock.skip_done_packets = False

    asked = make_port(skip_done_packets=True)
    assert asked.config.skip_done_packets
    conn, _peer = peers.tcp(make_port(skip_done_packets=True))
    assert conn.skip_done_packets
    ours, theirs = socket.socketpair()
    peers.keep(theirs)
    assert peers.own(asked.adopt(ours)).skip_done_packets
    with pytest.raises(iocp_sock.ArgumentTypeError):
        make_port(skip_done_packets=1)


def test_skipped_operation_and_callback_are_let_go(port, skipping):
    """The callback, the Operation and the data of a skipped operation are freed."""
    sock, peer = skipping

    class Token:
        pass

    token = Token()
    watched = weakref.ref(token)
    data = bytearray(b"abc")
    op = sock.send(data, callback=lambda _c, token=token: token)
    del token
    assert watched() is None, "the post drops a callback that it will never call"
    data.append(0)
    gc.collect()
    before = sum(isinstance(o, iocp_sock.Operation) for o in gc.get_objects())
    blocks = port.stats().blocks_out
    for _ in range(100):
        peer.sendall(b"abcd")
        arrived(sock, 4)
        sock.send(b"x")
        sock.recv(4)
    gc.collect()
    assert sum(isinstance(o, iocp_sock.Operation) for o in gc.get_objects()) == before
    assert port.stats().blocks_out == blocks
    nothing_left(port)
    assert op.done


def test_threads_post_skipped_sends_while_the_port_runs(port, peers):
    """R03: done posts of other threads are skipped too, and the port closes with nothing left."""
    pairs = [peers.pair(port) for _ in range(4)]
    for sock, _peer in pairs:
        sock.skip_done_packets = True
    got = Recorder()
    outcomes: list[str] = []

    def post(sock):
        outcomes.extend(sock.send(b"x", callback=got).outcome for _ in range(200))

    threads = [threading.Thread(target=post, args=(sock,)) for sock, _peer in pairs]
    for thread in threads:
        thread.start()
    run_until(port, lambda: not any(thread.is_alive() for thread in threads))
    run_until(port, lambda: port.outstanding == 0)
    assert len(outcomes) == 800
    assert len(got) == 800 - outcomes.count("done")
    assert outcomes.count("done") > 0
    for thread in threads:
        thread.join()
    port.close(0)
    settled(port)
