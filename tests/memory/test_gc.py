"""Objects: cycles are collected, and dropping anything at any time is safe."""

import gc
import sys
import warnings
import weakref

import pytest

import iocp_sock
from support import Recorder, descriptors, finish, read, run_until


class Token:
    """An object that takes weak references."""


def assert_dead(reference):
    """Check that the referenced object is freed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
        gc.collect()
    assert reference() is None


def test_port_callback_cycle_is_collected(backend):
    """A port is collected although its error handler, packets and timers refer to the port."""
    gc.collect()
    before = descriptors()

    def make():
        port = iocp_sock.Port(backend=backend)
        token = Token()
        port.error_handler = lambda *_given: (port, token)
        port.post(token, callback=lambda _c: (port, token))
        port.call_later(1000, lambda: (port, token))
        return weakref.ref(token)

    assert_dead(make())
    assert descriptors() == before


@pytest.mark.parametrize("what", ["recv", "recv_into", "zero", "send", "pooled", "direct"])
def test_pending_operation_cycle_is_collected(backend, peers, what):
    """A cycle of port, socket, pending operation and callback is collected."""
    memory = bytearray(1 << 22)
    gc.collect()
    before = descriptors()

    def make():
        port = iocp_sock.Port(backend=backend)
        sock, _peer = peers.pair(port)
        peers.ours.clear()
        token = Token()

        def callback(*_given):
            return port, sock, token

        if what == "recv":
            sock.recv(100, callback=callback)
        elif what == "recv_into":
            sock.recv_into(memory, callback=callback)
        elif what == "zero":
            sock.recv_zero(callback=callback)
        elif what == "send":
            sock.send(memory, callback=callback)
        else:
            sock.receive(callback, receive=what, on_close=callback)
        port.run_once(0)
        return weakref.ref(token)

    assert_dead(make())
    left = 0 if isinstance(backend, iocp_sock.Sim) else 1
    assert len(descriptors()) == len(before) + left, "more than the raw peer is left"
    memory.append(1)


def test_the_first_port_of_a_class_meets_the_collector(backend):
    """R38: a collection while the first instance of a subclass is made meets no unfinished Port."""
    thresholds = gc.get_threshold()
    try:
        for threshold in range(1, 40):

            class Port(iocp_sock.Port):
                pass

            config = iocp_sock.PortConfig(backend=backend)
            gc.set_threshold(threshold)
            port = Port(config)
            gc.set_threshold(*thresholds)
            port.close()
            del port, Port
    finally:
        gc.set_threshold(*thresholds)


def test_accept_each_cycle_is_collected(backend, peers):
    """Listeners and accepted connections whose callbacks refer to them are collected."""

    def make():
        port = iocp_sock.Port(backend=backend)
        listener = port.listen(("127.0.0.1", 0))
        token = Token()
        conns = []

        def accepted(conn):
            conns.append(conn)
            conn.receive(lambda c, d: (port, listener, conns, token, c, d))

        listener.accept_each(accepted)
        peers.connect(listener.getsockname())
        run_until(port, lambda: conns)
        return weakref.ref(token)

    assert_dead(make())


def test_closed_port_keeps_nothing(make_port, peers):
    """Closing a port frees its callbacks and the values of its packets."""
    port = make_port()
    sock, _peer = peers.pair(port)
    token = Token()
    watch = weakref.ref(token)
    sock.receive(lambda *_given, token=token: token, on_close=lambda *_given, token=token: token)
    port.post(token)
    port.call_later(1000, lambda token=token: token)
    other, _other_peer = peers.pair(port)
    other.recv(10, callback=lambda _c, token=token: token)
    del token
    port.close(0)
    gc.collect()
    assert watch() is None


def test_finished_callbacks_are_dropped(port, pair):
    """A callback is freed once it has run."""
    sock, _peer = pair
    token = Token()
    watch = weakref.ref(token)
    op = sock.send(b"x", callback=lambda _c, token=token: token)
    del token
    run_until(port, lambda: port.outstanding == 0)
    assert op.done
    gc.collect()
    assert watch() is None


def test_dropped_socket_is_closed_with_a_warning(port, peers):
    """A Socket that is dropped while open is closed with a warning, like a socket.socket."""
    sock, peer = peers.pair(port)
    peers.ours.clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del sock
        gc.collect()
        assert [entry.category for entry in told] == [ResourceWarning]
        told.clear()
    gc.collect()
    run_until(port, lambda: port.stats().sockets == 0)
    assert peer.recv(1) == b""


def test_dropped_socket_with_operations_lives_on(port, peers):
    """A dropped Socket stays open while operations are outstanding."""
    sock, peer = peers.pair(port)
    peers.ours.clear()
    got = Recorder()
    sock.recv(10, callback=got)
    del sock
    gc.collect()
    peer.sendall(b"abc")
    run_until(port, lambda: got)
    assert bytes(got[0].data) == b"abc"
    got[0].socket.close()


def test_subscribed_socket_lives_on(port, peers):
    """A subscribed Socket stays open without a reference from the application."""
    sock, peer = peers.pair(port)
    peers.ours.clear()
    got = []
    sock.receive(lambda conn, data: got.append(bytes(data)) if data else conn.close())
    del sock
    gc.collect()
    peer.sendall(b"abc")
    run_until(port, lambda: got)
    peer.close()
    run_until(port, lambda: port.stats().sockets == 0)


def test_operations_outlive_sockets_and_ports(make_port, peers):
    """Operations, completions and sockets can be read after the port is freed."""
    port = make_port()
    sock, _peer = peers.pair(port)
    completions = Recorder()
    op = sock.recv(10, callback=completions)
    subscription_holder, _other = peers.pair(port)
    subscription = subscription_holder.receive(Recorder())
    port.close(0)
    del port
    gc.collect()
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert (op.state, op.outcome, op.kind, op.data) == ("completed", "pending", "receive", None)
    assert completions[0].operation is op
    assert completions[0].socket is sock
    assert subscription.done
    assert sock.closed
    assert sock.fileno() == -1
    assert op.socket.port.closed
    assert not op.cancel()


def test_no_leak_per_operation(port, pair):
    """Thousands of operations leave no object and no slot behind."""
    sock, peer = pair

    def cycle(count):
        for _ in range(count):
            op = sock.recv(10)
            peer.sendall(b"x")
            finish(port, op)
            sock.send(b"y")
            peer.recv(1)
            op = sock.recv(10)
            op.cancel()
            finish(port, op)
        run_until(port, lambda: port.outstanding == 0)

    cycle(50)
    gc.collect()
    before = (len(gc.get_objects()), port.stats().slots)
    cycle(500)
    gc.collect()
    assert len(gc.get_objects()) - before[0] < 50
    assert port.stats().slots == before[1]


def test_references_of_arguments(port, pair):
    """Reference counts of buffers and callbacks return to their first values."""
    sock, peer = pair
    data = bytes(1 << 20)
    target = bytearray(100)

    def callback(*_given):
        pass

    before = [sys.getrefcount(thing) for thing in (data, target, callback)]
    for _ in range(20):
        op = sock.send(data, callback=callback)
        peer_read(port, peer, len(data))
        finish(port, op)
        op = sock.recv_into(target, callback=callback)
        op.cancel()
        finish(port, op)
        for bad in (lambda: sock.sendmsg([data, 5]), lambda: sock.send(data, callback=5)):
            with pytest.raises(iocp_sock.ArgumentTypeError):
                bad()
        with pytest.raises(iocp_sock.ArgumentError):
            sock.recv_into(target, callback=callback, timeout=-1)
    run_until(port, lambda: port.outstanding == 0)
    del op, bad
    gc.collect()
    assert [sys.getrefcount(thing) for thing in (data, target, callback)] == before


def peer_read(port, peer, nbytes):
    assert len(read(port, peer, nbytes)) == nbytes
