"""Closing: what is queued goes out within a deadline, abort() resets, nothing crosses over."""

import contextlib
import errno
import socket
import threading
import time
import warnings

import pytest

import iocp_sock
from support import (
    BACKENDS,
    FAMILIES,
    PATIENCE,
    WINDOWS,
    WINE,
    Recorder,
    finish,
    pattern,
    read_all,
    run_until,
    settled,
    was_reset,
)


def test_close_sends_what_is_queued(port, pair):
    """Close: queued sends go out whole, then the peer sees the end."""
    sock, peer = pair
    data = pattern(4 << 20)
    ops = [sock.send(data), sock.send(b"last")]
    sock.close()
    assert sock.closed
    assert sock.fileno() == -1
    assert read_all(port, peer) == data + b"last"
    finish(port, *ops)
    assert [op.error for op in ops] == [None, None]
    run_until(port, lambda: port.stats().sockets == 0)


def test_close_deadline(port, pair):
    """Close: a peer that never reads holds a socket no longer than the deadline."""
    sock, _peer = pair
    got = Recorder()
    op = sock.send(bytes(8 << 20), callback=got)
    receive = sock.recv(10, callback=got)
    began = time.perf_counter()
    sock.close(timeout=0.2)
    run_until(port, lambda: receive.done)
    assert not op.done
    run_until(port, lambda: port.stats().sockets == 0)
    took = time.perf_counter() - began
    assert 0.2 <= took < 4
    assert isinstance(op.error, iocp_sock.TimedOut)
    assert 0 < op.transferred < 8 << 20
    assert isinstance(receive.error, iocp_sock.Cancelled)
    assert len(got) == 2


def test_close_without_patience(port, pair):
    """Close: close(0) sends nothing more."""
    sock, _peer = pair
    op = sock.send(bytes(8 << 20))
    began = time.perf_counter()
    sock.close(0)
    finish(port, op)
    assert time.perf_counter() - began < 2
    assert isinstance(op.error, iocp_sock.TimedOut)


def test_second_close_shortens_the_deadline(port, pair):
    """Close: a second close() with a shorter timeout is obeyed."""
    sock, _peer = pair
    op = sock.send(bytes(8 << 20))
    sock.close(timeout=8)
    port.run_once(0)
    sock.close(timeout=0.05)
    run_until(port, lambda: op.done, patience=4)
    assert isinstance(op.error, iocp_sock.TimedOut)


def test_close_from_the_configuration(make_port, peers):
    """Close: the default deadline is the port's close_timeout."""
    port = make_port(close_timeout=0.1)
    sock, _peer = peers.pair(port)
    op = sock.send(bytes(8 << 20))
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
    """Close: abort() is seen as a reset, and nothing queued goes out."""
    sock, peer = peers.tcp(port, buffers=8192)
    op = sock.send(bytes(8 << 20))
    sock.abort()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    run_until(port, lambda: port.stats().sockets == 0)
    assert was_reset(peer)


def test_abort_with_a_receive_pending_resets(port, peers):
    """Close: abort() is a reset also while a receive is pending."""
    sock, peer = peers.tcp(port)
    op = sock.recv(10)
    port.run_once(0)
    sock.abort()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    run_until(port, lambda: port.stats().sockets == 0)
    assert was_reset(peer)


def test_abort_after_close_ends_the_wait(port, pair):
    """Close: abort() of a closing socket gives up what is queued."""
    sock, _peer = pair
    op = sock.send(bytes(8 << 20))
    sock.close(timeout=8)
    port.run_once(0)
    assert not op.done
    sock.abort()
    run_until(port, lambda: op.done, patience=4)
    assert isinstance(op.error, iocp_sock.Cancelled)


def test_close_in_its_own_callback(port, pair):
    """Close: a completion closes its socket; what is behind is cancelled once."""
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


def test_port_close_within_a_callback(make_port, peers):
    """Port: close() in a callback returns; run() finishes it and returns."""
    port = make_port()
    sock, _peer = peers.pair(port)
    got = Recorder()
    sock.recv(10, callback=got)

    def end(_completion):
        port.close()
        assert not port.closed

    port.post(callback=end)
    port.run()
    assert port.closed
    assert len(got) == 1


def test_port_close_within_run_once(make_port, peers):
    """Port: close() in a callback of run_once() is finished by the loop that calls it."""
    port = make_port()
    sock, _peer = peers.pair(port)
    got = Recorder()
    sock.recv(10, callback=got)
    port.post(callback=lambda _c: port.close())
    deadline = time.monotonic() + 5
    while not port.closed:
        assert time.monotonic() < deadline
        port.run_once(0.05)
    assert len(got) == 1


def test_port_close_from_another_thread(make_port, peers):
    """Port: close() from another thread ends run(), and every operation completes."""
    port = make_port()
    sock, _peer = peers.pair(port)
    got = Recorder()
    sock.recv(10, callback=got)
    started = threading.Event()
    port.post(callback=lambda _c: started.set())

    def closer():
        started.wait(20)
        port.close()

    thread = threading.Thread(target=closer)
    thread.start()
    port.run()
    thread.join()
    assert port.closed
    assert len(got) == 1


def test_port_close_with_everything_outstanding(make_port, peers):
    """Port: every kind of operation outstanding; close() ends all of it, each once."""
    port = make_port()
    got = Recorder()
    closed = Recorder()
    listener = port.listen(("127.0.0.1", 0))
    single = port.listen(("127.0.0.1", 0))
    ops = [single.accept(callback=got) for _ in range(3)]
    listener.accept_each(got)
    for _ in range(10):
        sock, _peer = peers.pair(port)
        ops += [sock.recv(100, callback=got), sock.recv_into(bytearray(100), callback=got)]
        ops += [sock.recv_zero(callback=got), sock.send(bytes(4 << 20), callback=got)]
        ops += [sock.sendmsg([b"a", b"b"], callback=got)]
        other, _peer = peers.pair(port)
        other.receive(Recorder(), receive="direct", on_close=closed)
    timer = port.call_later(1000, Recorder())
    port.run_once(0)
    assert port.ledger.now > 0
    port.close(0.05)
    assert {c.operation for c in got} == set(ops)
    assert len(got) == len(ops)
    assert len(closed) == 10
    assert not timer.active
    del listener, single


def test_port_close_deadline(make_port, peers):
    """Port: its deadline bounds the wait for peers that do not read."""
    port = make_port()
    sock, _peer = peers.pair(port)
    op = sock.send(bytes(8 << 20))
    began = time.perf_counter()
    port.close(0.1)
    assert 0.1 <= time.perf_counter() - began < 3
    assert isinstance(op.error, iocp_sock.TimedOut)


def test_port_close_deadline_covers_closing_sockets(make_port, peers):
    """Port: its deadline holds for sockets whose own close() had more patience."""
    port = make_port()
    sock, _peer = peers.pair(port)
    op = sock.send(bytes(8 << 20))
    sock.close(timeout=8)
    began = time.perf_counter()
    port.close(0.1)
    assert time.perf_counter() - began < 3
    assert isinstance(op.error, iocp_sock.TimedOut)


def test_port_close_sends_what_is_queued(make_port, peers):
    """Port: with a peer that reads, everything queued arrives before the port is closed."""
    port = make_port()
    sock, peer = peers.pair(port)
    data = pattern(4 << 20)
    sock.send(data)
    received = []
    thread = threading.Thread(target=lambda: received.append(peer.makefile("rb").read()))
    thread.start()
    port.close(PATIENCE)
    thread.join()
    assert received == [data]


def test_closed_port_refuses_everything(make_port, peers):
    """Port: each method of a closed port raises PortClosed; closing again is no error."""
    port = make_port()
    sock, _peer = peers.pair(port)
    op = sock.recv(1)
    timer = port.call_later(10, Recorder())
    port.close()
    port.close()
    for call in (
        lambda: port.socket(),
        lambda: port.listen(("127.0.0.1", 0)),
        lambda: port.connect(("127.0.0.1", 1)),
        port.run,
        lambda: port.run_once(0),
        lambda: port.get(0),
        lambda: port.get_batch(1, 0),
        port.post,
        lambda: port.call_later(1, Recorder()),
        port.stop,
        port.wake,
        port.time,
        lambda: sock.recv(1),
        lambda: sock.send(b"x"),
        lambda: sock.getsockname(),
        lambda: sock.receive(Recorder()),
    ):
        with pytest.raises((iocp_sock.PortClosed, iocp_sock.SocketClosed)):
            call()
    raw = peers.raw()
    with pytest.raises(iocp_sock.PortClosed):
        port.adopt(raw)
    assert raw.fileno() >= 0
    assert not op.cancel()
    assert not timer.cancel()
    assert sock.closed
    sock.close()
    assert (port.closed, port.backend in BACKENDS) == (True, True)
    assert repr(op)
    assert repr(sock)


def test_context_managers(make_port, peers):
    """Port and sockets close themselves at the end of a with block."""
    with make_port() as port:
        with port.listen(("127.0.0.1", 0)) as listener:
            pass
        assert listener.closed
    assert port.closed
    settled(port)


def test_interrupted_close_can_be_finished(make_port, peers):
    """Port: an interrupt in a callback leaves close(); a second close() finishes the work."""
    port = make_port()
    got = Recorder()

    def interrupt(_completion):
        raise KeyboardInterrupt

    sock, _peer = peers.pair(port)
    ops = [sock.recv(1, callback=interrupt), sock.recv(1, callback=got)]
    with pytest.raises(KeyboardInterrupt):
        port.close()
    assert not port.closed
    port.close()
    assert port.closed
    assert len(got) == 1
    assert all(op.done for op in ops)


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
    """Descriptors: data that was on its way to a closed socket never reaches its successor."""
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
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at
        socket.close(number)
    assert caught.value.errno == (errno.ENOTSOCK if WINDOWS else errno.EBADF)


def test_port_close_warns_of_no_socket_that_it_closes(make_port, peers):
    """Sockets that only a listener's callback holds are closed with it, and were not forgotten."""
    port = make_port()
    count = 5

    def connect_and_wait():
        held = []
        listener = port.listen(("127.0.0.1", 0))
        listener.accept_each(held.append)
        raw = [peers.connect(listener.getsockname()) for _ in range(count)]
        run_until(port, lambda: len(held) == count)
        for sock in held:
            sock.recv(10)
        port.run_once(0)
        return raw

    raw = connect_and_wait()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        port.close(0)
    assert [str(warning.message) for warning in caught] == []
    assert [peer.recv(10) for peer in raw] == [b""] * count


BIG = bytes(8 << 20)


def gathered(_port, sock, _path):
    sock.sendmsg([BIG, b"tail"])
    sock.close(timeout=0.05)


def flushed_together(_port, sock, _path):
    sock.receive(Recorder())
    for _ in range(8):
        sock.send(bytes(1 << 20))
    sock.close(timeout=0.05)


def when_writable(_port, sock, _path):
    sock.send_strategy = "when_writable"
    sock.send(BIG)
    sock.close(timeout=0.05)


def direct(_port, sock, _path):
    try:
        sock.send_strategy = "direct"
    except iocp_sock.ArgumentError as refusal:
        pytest.skip(str(refusal))
    sock.send(BIG)
    sock.close(timeout=0.05)


def a_file(_port, sock, path):
    sock.send_file(path)
    sock.close(timeout=0.05)


def shut_down_behind(_port, sock, _path):
    sock.send(BIG)
    sock.shutdown(socket.SHUT_WR)
    sock.close(timeout=0.05)


def disconnect_behind(_port, sock, _path):
    sock.send(BIG)
    sock.disconnect()
    sock.close(timeout=0.05)


def second_close(_port, sock, _path):
    sock.send(BIG)
    sock.close(timeout=8)
    sock.close(timeout=0.05)


def second_close_without_time(port, sock, _path):
    sock.send(BIG)
    sock.close(timeout=8)
    port.run_once(0)
    sock.close(0)


def cancelled_while_it_drains(port, sock, _path):
    op = sock.send(BIG)
    sock.close(timeout=8)
    port.run_once(0)
    op.cancel()


def cut_by_a_cancel(port, sock, _path):
    op = sock.send(BIG)
    port.run_once(0)
    op.cancel()
    finish(port, op)
    sock.close()


def cut_by_its_timeout(port, sock, _path):
    op = sock.send(BIG, timeout=0.05)
    finish(port, op)
    sock.close()


def cut_before_a_shutdown(port, sock, _path):
    op = sock.send(BIG)
    sock.shutdown(socket.SHUT_WR)
    port.run_once(0)
    op.cancel()
    finish(port, op)
    sock.close()


def port_close(port, sock, _path):
    sock.send(BIG)
    port.close(0.05)


def port_close_without_time(port, sock, _path):
    sock.send(BIG)
    port.close(0)


def close_without_time(_port, sock, _path):
    sock.send(BIG)
    sock.close(0)


LEAVING = [
    gathered,
    flushed_together,
    when_writable,
    direct,
    a_file,
    shut_down_behind,
    disconnect_behind,
    second_close,
    second_close_without_time,
    cancelled_while_it_drains,
    cut_by_a_cancel,
    cut_by_its_timeout,
    cut_before_a_shutdown,
    port_close,
    port_close_without_time,
    close_without_time,
]


@pytest.mark.parametrize("leave", LEAVING)
def test_data_left_is_a_reset(port, peers, tmp_path, leave):
    """R37: however data is left behind, the peer never sees the end of the stream behind a part."""
    path = tmp_path / "file"
    path.write_bytes(BIG)
    sock, peer = peers.tcp(port, buffers=8192)
    leave(port, sock, path)
    if not port.closed:
        run_until(port, lambda: port.stats().sockets == 0)
    assert was_reset(peer)


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_on_close_says_that_data_was_left(port, pair, timeout):
    """R37: on_close gets TimedOut where the deadline of close() passed; a receive is cancelled."""
    sock, _peer = pair
    closed = Recorder()
    receiving = sock.receive(Recorder(), on_close=closed)
    sending = sock.send(BIG)
    sock.close(timeout)
    run_until(port, lambda: closed)
    assert isinstance(closed[0][1], iocp_sock.TimedOut)
    assert isinstance(sending.error, iocp_sock.TimedOut)
    assert isinstance(receiving.error, iocp_sock.Cancelled)


def test_eviction_with_data_left_is_a_reset(make_port, peers):
    """R17 R37: a connection that idle_timeout ends while data waits is reset."""
    port = make_port(idle_timeout=0.1)
    listener = port.listen(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    closed = Recorder()

    def serve(conn):
        conn.receive(Recorder(), on_close=closed)
        conn.send(BIG)

    listener.accept_each(serve)
    peer = peers.connect(listener.getsockname(), buffers=8192)
    run_until(port, lambda: closed)
    assert isinstance(closed[0][1], iocp_sock.TimedOut)
    assert was_reset(peer)
    listener.close()


def test_nothing_follows_a_cut_send(port, peers):
    """R31 R37: shutdown() behind a send that was cut is refused: it would be a clean end."""
    sock, _peer = peers.tcp(port, buffers=8192)
    op = sock.send(BIG)
    port.run_once(0)
    op.cancel()
    finish(port, op)
    assert op.transferred
    with pytest.raises(iocp_sock.SocketClosed, match="cut part-way"):
        sock.shutdown(socket.SHUT_WR)


def paced(port, peer, total, step, pause):
    """Read so much in steps with pauses. Returns the bytes and the longest time between two."""
    got = bytearray()
    longest = 0.0
    last = port.time()
    while len(got) < total:
        until = port.time() + pause
        while port.time() < until:
            port.run_once(until - port.time())
        chunk = peer.recv(min(step, total - len(got)))
        longest = max(longest, port.time() - last)
        last = port.time()
        if not chunk:
            break
        got += chunk
    return bytes(got), longest


@pytest.mark.parametrize("what", ["send", "sends", "file", "when_writable", "port"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_slow_peer_gets_everything(make_port, backend, peers, tmp_path, what, kind):
    """R37: the deadline of close() is one without progress: each byte that goes restarts it."""
    if WINE and backend == "iocp" and what != "when_writable":
        pytest.skip("Wine: without SIO_TCP_INFO a request shows no progress before it is over")
    deadline = 1.0
    data = pattern(3 << 20)
    path = tmp_path / "file"
    path.write_bytes(data)
    for _attempt in range(5):
        port = make_port()
        sock, peer = peers.both(port, kind, buffers=65536)
        closed = Recorder()
        sock.receive(Recorder(), on_close=closed)
        if what == "file":
            sock.send_file(path)
        elif what == "sends":
            for at in range(0, len(data), 1 << 18):
                sock.send(data[at : at + (1 << 18)])
        else:
            sock.send_strategy = "when_writable" if what == "when_writable" else "buffered"
            sock.send(data)
        if what == "port":
            port.post(callback=lambda _, port=port: port.close(deadline))
        else:
            sock.close(deadline)
        port.run_once(0)
        try:
            got, longest = paced(port, peer, 1 << 19, 1 << 18, 0.3)
        except (iocp_sock.PortClosed, ConnectionResetError):
            continue  # this machine was too busy to keep the pace
        if longest >= deadline:
            continue
        got += read_all(port, peer)
        assert got == data
        run_until(port, lambda port=port, closed=closed: port.closed or closed)
        assert closed[0][1] is None
        return
    pytest.fail("the peer could not keep its pace, or was given up in spite of it")
