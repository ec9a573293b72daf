"""Events: a thread waits for the end of one operation, or of any or all of several (R25)."""

import gc
import socket
import threading
import time
import weakref

import pytest

import iocp_sock
from iocp_sock import ArgumentError, ArgumentTypeError, Event, wait_all, wait_any
from support import PATIENCE, Recorder, arrived, finish, interrupt, reset
from support.waiters import Runner, in_thread


def test_event_by_itself():
    """R25: a manual-reset event stays set, an auto-reset one ends one wait."""
    manual = Event()
    assert not manual.wait(0)
    manual.set()
    assert manual.wait(0)
    assert manual.wait(0)
    manual.reset()
    assert not manual.is_set()
    auto = Event(manual_reset=False, set=True)
    assert auto.wait()
    assert not auto.wait(0.01)


def test_event_of_a_pending_operation(pair):
    """R25: the operation's end sets the event, and get() yields no completion for it."""
    sock, peer = pair
    event = Event()
    op = sock.recv(10, event=event)
    assert not event.wait(0)
    peer.sendall(b"abc")
    assert event.wait(PATIENCE)
    assert event.is_set()
    assert op.done
    assert bytes(op.data) == b"abc"
    assert sock.port.outstanding == 0
    assert sock.port.get(0) is None


@pytest.mark.parametrize("skips", [False, True])
def test_event_of_a_done_operation(pair, skips):
    """R25: a post that is done at once sets the event, even if the socket skips done packets."""
    sock, peer = pair
    sock.skip_done_packets = skips
    peer.sendall(b"abc")
    arrived(sock, 3)
    event = Event()
    op = sock.recv(10, event=event)
    assert op.outcome == "done"
    assert event.is_set()
    assert bytes(op.data) == b"abc"
    assert sock.port.outstanding == 0
    assert sock.port.get(0) is None


def test_a_post_resets_the_event(pair):
    """A post resets its event, even if it was set, as Windows resets hEvent."""
    sock, peer = pair
    event = Event(set=True)
    op = sock.recv(1, event=event)
    assert not event.is_set()
    peer.sendall(b"x")
    assert event.wait(PATIENCE)
    assert op.done


def test_event_of_an_unfinished_operation_is_taken(pair):
    """Classic mistake: one event, as one OVERLAPPED, for two operations: the second is refused."""
    sock, peer = pair
    event = Event()
    op = sock.recv(1, event=event)
    with pytest.raises(ArgumentError, match="has not finished"):
        sock.recv(1, event=event)
    assert sock.outstanding == 1
    peer.sendall(b"x")
    assert event.wait(PATIENCE)
    assert op.done
    peer.sendall(b"y")
    again = sock.recv(1, event=event)
    assert event.wait(PATIENCE)
    assert bytes(again.data) == b"y"


def test_event_tells_of_every_end(make_port, peers):
    """R05, R31: errors, cancels, timeouts, closes of socket and port set the event."""
    port = make_port()
    sock, peer = peers.tcp(port)
    events = [Event() for _ in range(4)]
    op = sock.recv(1, event=events[0])
    op.cancel()
    assert events[0].wait(PATIENCE)
    assert isinstance(op.error, iocp_sock.Cancelled)
    op = sock.recv(1, event=events[1], timeout=0.01)
    assert events[1].wait(PATIENCE)
    assert isinstance(op.error, iocp_sock.TimedOut)
    op = sock.recv(1, event=events[2])
    reset(peer)
    assert events[2].wait(PATIENCE)
    assert isinstance(op.error, ConnectionResetError)
    other, _peer = peers.pair(port)
    op = other.recv(1, event=events[3])
    port.close(0)
    assert events[3].wait(0)
    assert isinstance(op.error, iocp_sock.Error)


def test_event_of_a_socket_closed_while_pending(pair):
    """Classic mistake: closing a socket ends its pending operation, whose event is set."""
    sock, _peer = pair
    event = Event()
    op = sock.recv(10, event=event)
    sock.close(0)
    assert event.wait(PATIENCE)
    assert isinstance(op.error, iocp_sock.Cancelled)
    with pytest.raises(iocp_sock.Cancelled):
        op.result()


def test_buffer_reused_while_pending(pair):
    """Classic mistake: the memory of a pending operation cannot be resized or freed."""
    sock, peer = pair
    buffer = bytearray(10)
    event = Event()
    sock.recv_into(buffer, event=event)
    with pytest.raises(BufferError):
        buffer.extend(b"more")
    with pytest.raises(BufferError):
        buffer.clear()
    peer.sendall(b"abc")
    assert event.wait(PATIENCE)
    assert buffer[:3] == b"abc"
    buffer.clear()


def test_every_single_operation_takes_an_event(port, peers):
    """R25: every kind of single operation sets its event."""
    events = []

    def event():
        events.append(Event())
        return events[-1]

    with port.listen(("127.0.0.1", 0)) as listener:
        accept = listener.accept(event=event())
        connect = port.connect(listener.getsockname(), event=event())
        assert wait_all(events, PATIENCE)
    one, other = accept.accepted, connect.socket
    room = bytearray(4), bytearray(4), bytearray(4)
    receives = [
        one.recv_zero(event=event()),
        one.recv(4, event=event()),
        one.recv_into(room[0], event=event()),
        one.recvfrom(4, event=event()),
        one.recvfrom_into(room[1], event=event()),
        one.recvmsg_into([room[2]], event=event()),
    ]
    sends = [
        other.send(b"abcd", event=event()),
        other.sendmsg([b"ef", b"gh"], event=event()),
        other.wait_writable(event=event()),
        other.send_file(__file__, 0, 12, event=event()),
    ]
    assert wait_all(events, PATIENCE)
    assert [op.error for op in receives + sends] == [None] * 10
    last = [one.disconnect(event=event()), other.disconnect(event=event())]
    assert wait_all(events, PATIENCE)
    assert all(op.done for op in last)
    datagrams = port.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    datagrams.sendto(b"x", datagrams.getsockname(), event=event())
    assert wait_all(events, PATIENCE)
    for sock in (one, other, datagrams):
        sock.close(0)


def test_wait_any(port, peers):
    """R25: wait_any() returns the index of the first set event, or None after its timeout."""
    pairs = [peers.pair(port) for _ in range(5)]
    events = [Event() for _ in pairs]
    for (sock, _peer), event in zip(pairs, events, strict=True):
        sock.recv(1, event=event)
    assert wait_any(events, 0.01) is None
    pairs[3][1].sendall(b"x")
    assert wait_any(events, PATIENCE) == 3
    assert wait_any(iter(events)) == 3
    events[1].set()
    assert wait_any(tuple(events)) == 1


def test_wait_any_takes_one_auto_reset_event():
    """R25: wait_any() resets only one of several set auto-reset events."""
    events = [Event(manual_reset=False, set=True) for _ in range(3)]
    assert [wait_any(events, 0) for _ in range(4)] == [0, 1, 2, None]


def test_wait_all_takes_all_or_none():
    """R25: wait_all() resets no auto-reset event before all are set."""
    events = [Event(manual_reset=False, set=i != 2) for i in range(4)]
    assert not wait_all(events, 0.01)
    assert [event.is_set() for event in events] == [True, True, False, True]
    events[2].set()
    assert wait_all(events)
    assert not any(event.is_set() for event in events)


def test_thousands(port, peers):
    """R25: one wait takes thousands of events, although WaitForMultipleObjects() takes 64."""
    pairs = [peers.pair(port) for _ in range(40)]
    events = []
    for sock, _peer in pairs:
        for _ in range(75):
            events.append(Event(manual_reset=False))
            sock.recv(1, event=events[-1])
    assert len(events) == 3000
    assert wait_any(events, 0) is None
    pairs[-1][1].sendall(b"x")
    assert wait_any(events, PATIENCE) == 39 * 75
    for _sock, peer in pairs:
        peer.sendall(bytes(75))
    events[39 * 75].set()
    assert wait_all(events, PATIENCE)
    assert port.outstanding == 0


def test_events_of_several_ports(make_port, peers):
    """R25: a wait for events of several ports runs all of these ports."""
    ports = [make_port() for _ in range(3)]
    pairs = [peers.pair(port) for port in ports]
    events = [Event() for _ in ports]
    for (sock, _peer), event in zip(pairs, events, strict=True):
        sock.recv(1, event=event)
    assert wait_any(events, 0.02) is None
    pairs[2][1].sendall(b"x")
    assert wait_any(events, PATIENCE) == 2
    for _sock, peer in pairs[:2]:
        peer.sendall(b"x")
    assert wait_all(events, PATIENCE)


def test_event_while_another_thread_runs_the_port(port, peers):
    """R24: the thread that runs the port sets the event, and wakes the waiting thread."""
    sock, peer = peers.pair(port)
    event = Event(manual_reset=False)
    with Runner(port):
        for _ in range(300):
            op = sock.recv(1, event=event)
            peer.sendall(b"x")
            assert event.wait(PATIENCE)
            assert op.done


def test_event_set_by_a_thread_wakes_who_turns_a_port(pair):
    """An event set by hand ends a wait that runs a port."""
    sock, _peer = pair
    waits = [Event(), Event()]
    sock.recv(1, event=waits[0])
    turns = sock.port.stats().waits
    timer = threading.Timer(0.05, waits[1].set)
    timer.start()
    began = time.monotonic()
    assert wait_any(waits, PATIENCE) == 1
    assert time.monotonic() - began < PATIENCE / 2
    timer.join()
    assert sock.port.stats().waits - turns < 100, "the wait spun"


def test_event_given_to_an_operation_while_it_is_waited_for(make_port, peers):
    """A waiting thread runs the port of an operation that gets the event later."""
    port = make_port()
    sock, peer = peers.pair(port)
    event = Event()
    join = in_thread(lambda: event.wait(PATIENCE))
    peer.sendall(b"x")
    arrived(sock)
    op = sock.recv(2, event=event, flags=socket.MSG_WAITALL)
    peer.sendall(b"y")
    assert join()
    assert bytes(op.data) == b"xy"


def test_many_threads_and_events(make_port, peers):
    """R24: eight threads wait for their own events of one port; no wake-up is lost or doubled."""
    port = make_port()
    pairs = [peers.pair(port) for _ in range(8)]
    counts = [0] * 8

    def work(i):
        sock, peer = pairs[i]
        event = Event(manual_reset=False)
        for _ in range(100):
            op = sock.recv(1, event=event)
            peer.sendall(b"x")
            assert event.wait(PATIENCE)
            assert op.result() == (1, 0)
            counts[i] += 1
        return True

    with Runner(port):
        joins = [in_thread(lambda i=i: work(i)) for i in range(8)]
        assert all(join() for join in joins)
    assert counts == [100] * 8


def test_interrupt_ends_every_wait(pair):
    """Ctrl-C ends waits that run a port, and waits that sleep."""
    sock, peer = pair
    pending, idle = Event(), Event()
    op = sock.recv(10, event=pending)
    for wait in (
        pending.wait,
        idle.wait,
        lambda: wait_any([idle, pending]),
        lambda: wait_all([idle]),
    ):
        timer = threading.Timer(0.05, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            wait()
        timer.join()
    peer.sendall(b"after")
    assert pending.wait(PATIENCE)
    assert op.transferred == 5


def test_close_of_an_event(pair):
    """R25: close() of an event ends its waits with an error; its operation goes on."""
    sock, peer = pair
    event = Event()
    op = sock.recv(1, event=event)
    join = in_thread(lambda: Event.wait(event, PATIENCE))
    event.close()
    event.close()
    assert event.closed
    with pytest.raises(ArgumentError):
        join()
    with pytest.raises(ArgumentError):
        sock.recv(1, event=event)
    for use in (event.set, event.reset, event.is_set, event.wait):
        with pytest.raises(ArgumentError):
            use()
    peer.sendall(b"x")
    finish(sock.port, op)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda _s: Event(True), ArgumentTypeError),
        (lambda _s: Event(manual_reset=1), ArgumentTypeError),
        (lambda _s: Event(set="no"), ArgumentTypeError),
        (lambda _s: Event(nothing=True), ArgumentTypeError),
        (lambda _s: Event().wait("soon"), ArgumentTypeError),
        (lambda _s: Event().wait(-1), ArgumentError),
        (lambda _s: wait_any([]), ArgumentError),
        (lambda _s: wait_all([]), ArgumentError),
        (lambda _s: wait_any(5), ArgumentTypeError),
        (lambda _s: wait_any([threading.Event()]), ArgumentTypeError),
        (lambda _s: wait_any([Event()], "soon"), ArgumentTypeError),
        (lambda s: s.recv(1, event=threading.Event()), ArgumentTypeError),
        (lambda s: s.recv(1, event=Event(), callback=print), ArgumentError),
        (lambda s: s.recv(1).result(timeout=-1), ArgumentError),
        (lambda s: s.recv(1).result(1, 2, 3), ArgumentTypeError),
    ],
)
def test_bad_input(pair, call, error):
    """Bad input raises a named exception with an explanation."""
    sock, _peer = pair
    with pytest.raises(error) as refused:
        call(sock)
    assert len(str(refused.value)) > 20


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_collected_with_its_port(backend):
    """The collector frees a cycle of port, operation and event."""
    port = iocp_sock.Port(backend=backend)
    ours, theirs = socket.socketpair()
    event = Event()
    port.adopt(ours).recv(10, event=event)
    port.token = Recorder()
    gone = weakref.ref(port.token)
    with theirs:
        del port, event
        gc.collect()
        assert gone() is None
        assert theirs.recv(1) == b""


def test_in_virtual_time():
    """A wait on a model takes virtual time, and raises if nothing can end it."""
    with iocp_sock.Port(backend=iocp_sock.Sim(seed=1)) as port:
        listener = port.listen(("127.0.0.1", 80))
        event = Event()
        accept = listener.accept(event=event, timeout=3600)
        began = port.time()
        assert not event.wait(1800)
        assert port.time() - began == pytest.approx(1800)
        assert event.wait()
        assert port.time() - began == pytest.approx(3600)
        with pytest.raises(iocp_sock.TimedOut):
            accept.result()
        accept = listener.accept(event=event)
        with pytest.raises(iocp_sock.NothingDue):
            event.wait()
        listener.close(0)
