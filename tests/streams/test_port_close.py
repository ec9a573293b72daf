"""Closing a port: every operation completes once, within a deadline."""

import threading
import time
import warnings

import pytest

import iocp_sock
from support import BACKENDS, OVERFLOW, PATIENCE, Recorder, pattern, run_until, settled


def test_port_close_within_a_callback(make_port, peers):
    """Port: close() in a callback returns at once; run() finishes the close and returns."""
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
    """Port: close() in a callback of run_once() is finished by later calls of run_once()."""
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
    """Port: close() by another thread ends run(), and every operation completes."""
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
    """Port: close() ends each outstanding operation once, of every kind."""
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
        ops += [sock.recv_zero(callback=got), sock.send(bytes(OVERFLOW), callback=got)]
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
    """Port: the timeout of Port.close() bounds the wait for peers that do not read."""
    port = make_port()
    sock, _peer = peers.pair(port)
    op = sock.send(bytes(OVERFLOW))
    began = time.perf_counter()
    port.close(0.1)
    assert 0.1 <= time.perf_counter() - began < 3
    assert isinstance(op.error, iocp_sock.TimedOut)


def test_port_close_deadline_covers_closing_sockets(make_port, peers):
    """Port: the timeout of Port.close() also ends sockets whose close() has a longer timeout."""
    port = make_port()
    sock, _peer = peers.pair(port)
    op = sock.send(bytes(OVERFLOW))
    sock.close(timeout=8)
    began = time.perf_counter()
    port.close(0.1)
    assert time.perf_counter() - began < 3
    assert isinstance(op.error, iocp_sock.TimedOut)


def test_port_close_sends_what_is_queued(make_port, peers):
    """Port: with a peer that reads, everything queued arrives before the port is closed."""
    port = make_port()
    sock, peer = peers.pair(port)
    data = pattern(OVERFLOW)
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


def test_port_close_warns_of_no_socket_that_it_closes(make_port, peers):
    """Closing a port closes its sockets without a ResourceWarning."""
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
