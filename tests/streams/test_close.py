"""Closing a socket: queued sends go out by a deadline; no byte reaches a reused descriptor."""

import contextlib
import errno
import socket
import threading
import time

import pytest

import iocp_sock
from support import (
    LOCALHOST,
    OVERFLOW,
    WINDOWS,
    Recorder,
    finish,
    pattern,
    read_all,
    run_until,
    was_reset,
)


def test_close_sends_what_is_queued(port, pair):
    """Close: queued sends go out whole, then the peer sees the end of the stream."""
    sock, peer = pair
    data = pattern(OVERFLOW)
    ops = [sock.send(data), sock.send(b"last")]
    sock.close()
    assert sock.closed
    assert sock.fileno() == -1
    assert read_all(port, peer) == data + b"last"
    finish(port, *ops)
    assert [op.error for op in ops] == [None, None]
    run_until(port, lambda: port.stats().sockets == 0)


def test_close_deadline(port, pair):
    """Close: the deadline bounds the wait for a peer that never reads."""
    sock, _peer = pair
    got = Recorder()
    op = sock.send(bytes(OVERFLOW), callback=got)
    receive = sock.recv(10, callback=got)
    began = time.perf_counter()
    sock.close(timeout=0.2)
    run_until(port, lambda: receive.done)
    assert not op.done
    run_until(port, lambda: port.stats().sockets == 0)
    took = time.perf_counter() - began
    assert 0.2 <= took < 4
    assert isinstance(op.error, iocp_sock.TimedOut)
    assert 0 < op.transferred < OVERFLOW
    assert isinstance(receive.error, iocp_sock.Cancelled)
    assert len(got) == 2


def test_close_without_patience(port, pair):
    """Close: close(0) sends nothing more."""
    sock, _peer = pair
    op = sock.send(bytes(OVERFLOW))
    began = time.perf_counter()
    sock.close(0)
    finish(port, op)
    assert time.perf_counter() - began < 2
    assert isinstance(op.error, iocp_sock.TimedOut)


def test_second_close_shortens_the_deadline(port, pair):
    """Close: a second close() may shorten the timeout."""
    sock, _peer = pair
    op = sock.send(bytes(OVERFLOW))
    sock.close(timeout=8)
    port.run_once(0)
    sock.close(timeout=0.05)
    run_until(port, lambda: op.done, patience=4)
    assert isinstance(op.error, iocp_sock.TimedOut)


def test_close_from_the_configuration(make_port, peers):
    """Close: the default deadline is the port's close_timeout."""
    port = make_port(close_timeout=0.1)
    sock, _peer = peers.pair(port)
    op = sock.send(bytes(OVERFLOW))
    sock.close()
    run_until(port, lambda: op.done, patience=4)


def test_closed_socket_refuses_everything(port, pair):
    """Close: each method of a closed socket raises SocketClosed, which is an OSError."""
    sock, _peer = pair
    sock.close()
    for call in (
        lambda: sock.recv(1),
        lambda: sock.recv_into(bytearray(1)),
        sock.recv_zero,
        lambda: sock.send(b"x"),
        lambda: sock.sendmsg([b"x"]),
        lambda: sock.try_recv(1),
        lambda: sock.try_send(b"x"),
        sock.accept,
        lambda: sock.receive(Recorder()),
        lambda: sock.accept_each(Recorder()),
        sock.getsockname,
        sock.getpeername,
        sock.available,
        sock.detach,
        lambda: sock.listen(1),
        lambda: sock.shutdown(socket.SHUT_WR),
        lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        lambda: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1),
    ):
        with pytest.raises(iocp_sock.SocketClosed):
            call()
    sock.close()
    sock.abort()
    run_until(port, lambda: port.stats().sockets == 0)
    with pytest.raises(iocp_sock.SocketClosed):
        sock.recv(1)
    assert sock.cancel() == 0
    assert (sock.charged, sock.outstanding, sock.queued_bytes) == (0, 0, 0)


def test_abort_resets(port, peers):
    """Close: abort() resets the connection, and queued data is not sent."""
    sock, peer = peers.tcp(port, buffers=8192)
    op = sock.send(bytes(OVERFLOW))
    sock.abort()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    run_until(port, lambda: port.stats().sockets == 0)
    assert was_reset(peer)


def test_abort_with_a_receive_pending_resets(port, peers):
    """Close: abort() is a reset even while a receive is pending."""
    sock, peer = peers.tcp(port)
    op = sock.recv(10)
    port.run_once(0)
    sock.abort()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    run_until(port, lambda: port.stats().sockets == 0)
    assert was_reset(peer)


def test_abort_after_close_ends_the_wait(port, pair):
    """Close: abort() of a closing socket cancels its queued sends."""
    sock, _peer = pair
    op = sock.send(bytes(OVERFLOW))
    sock.close(timeout=8)
    port.run_once(0)
    assert not op.done
    sock.abort()
    run_until(port, lambda: op.done, patience=4)
    assert isinstance(op.error, iocp_sock.Cancelled)


def test_close_in_its_own_callback(port, pair):
    """Close: a callback closes its socket; later operations are cancelled once."""
    sock, peer = pair
    got = Recorder()
    sock.recv(1, callback=lambda _c: sock.close())
    behind = [sock.recv(1, callback=got) for _ in range(3)]
    peer.sendall(b"a")
    run_until(port, lambda: len(got) == 3)
    assert all(isinstance(op.error, iocp_sock.Cancelled) for op in behind)


def test_close_from_other_threads(port, peers):
    """Close: sockets are closed by other threads while the port runs."""
    socks = [peers.pair(port)[0] for _ in range(40)]
    got = Recorder()
    closed = Recorder()
    for sock in socks[:20]:
        sock.recv(10, callback=got)
    for sock in socks[20:]:
        sock.receive(Recorder(), on_close=closed)
    threads = [
        threading.Thread(target=lambda part: [s.close() for s in part], args=(socks[i::4],))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    run_until(port, lambda: len(got) == 20 and len(closed) == 20)
    for thread in threads:
        thread.join()
    assert all(isinstance(c.error, iocp_sock.Cancelled) for c in got)


def test_descriptor_reuse_crosses_nothing(port, peers):
    """Descriptors: 10,000 close/reopen cycles with pending operations; no byte and no
    cancellation crosses from one socket to another.
    """
    cycles = 10_000
    reused = 0
    numbers = set()
    wrong = []
    kept, kept_peer = peers.pair(port)
    kept_op = kept.recv(64)

    def ended(completion):
        if (
            completion.transferred
            or completion.data
            or not isinstance(completion.error, (iocp_sock.Cancelled, type(None)))
        ):
            wrong.append((completion, completion.error))

    for cycle in range(cycles):
        ours, theirs = socket.socketpair()
        number = ours.fileno()
        reused += number in numbers
        numbers.add(number)
        sock = port.adopt(ours)
        kind = cycle % 4
        if kind == 0:
            sock.recv(64, callback=ended)
        elif kind == 1:
            sock.recv_into(bytearray(64), callback=ended)
        elif kind == 2:
            sock.recv_zero(callback=ended)
        else:
            sock.receive(lambda _conn, data: wrong.append(bytes(data)) if data else None)
        if cycle % 3 == 0:
            port.run_once(0)
        sock.close()
        if cycle % 2 == 0:
            theirs.close()
        port.run_once(0)
        if cycle % 2 == 1:
            with contextlib.suppress(OSError):
                theirs.send(b"to nobody")
            theirs.close()
        if cycle % 100 == 0:
            fresh, fresh_peer = socket.socketpair()
            probe = port.adopt(fresh)
            op = probe.recv(64)
            fresh_peer.sendall(b"%d" % cycle)
            finish(port, op)
            assert bytes(op.data) == b"%d" % cycle
            assert op.error is None
            probe.close()
            fresh_peer.close()
    run_until(port, lambda: port.outstanding == 1)
    assert wrong == []
    assert reused > cycles // 2
    assert kept_op.pending
    kept_peer.sendall(b"mine")
    finish(port, kept_op)
    assert bytes(kept_op.data) == b"mine"


def test_late_events_do_not_reach_a_reused_descriptor(port, peers):
    """Descriptors: data for a closed socket never reaches the next socket of that descriptor."""
    for round_number in range(200):
        ours, theirs = socket.socketpair()
        old = port.adopt(ours)
        stale = old.recv(100)
        port.run_once(0)
        theirs.sendall(b"stale")
        old.close()
        run_until(port, lambda: port.stats().sockets == 0)
        new_ours, new_theirs = socket.socketpair()
        new = port.adopt(new_ours)
        op = new.recv(100)
        port.run_once(0)
        assert not op.done
        new_theirs.sendall(b"%d" % round_number)
        finish(port, op)
        assert bytes(op.data) == b"%d" % round_number
        assert stale.done
        new.close()
        theirs.close()
        new_theirs.close()


def test_closing_completes_and_sends_the_end(port, peers):
    """Kernel fact: closing a descriptor completes no pending receive and sends no end of stream;
    close() of a Socket does both.
    """
    sock, peer = peers.tcp(port)
    op = sock.recv(10)
    port.run_once(0)
    number = sock.fileno()
    sock.close()
    finish(port, op)
    assert read_all(port, peer) == b""
    run_until(port, lambda: port.stats().sockets == 0)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is checked
        socket.close(number)
    assert caught.value.errno == (errno.ENOTSOCK if WINDOWS else errno.EBADF)


def test_closing_a_datagram_socket_beside_arrived_data(port, peers):
    """Close: closing a datagram socket takes packets at once, and loses none of other sockets."""
    got = []
    senders = []
    for _ in range(20):
        sock, sender = peers.pair(port)
        sock.receive(lambda _sock, data: got.append(bytes(data)))
        senders.append(sender)
    datagrams = port.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(LOCALHOST)
    received = datagrams.recvfrom(10)
    port.run_once(0)
    for sender in senders:
        sender.send(b"x")
    datagrams.close(0)
    run_until(port, lambda: len(got) == 20 and received.done)
    assert got == [b"x"] * 20
