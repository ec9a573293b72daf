"""Completion routines run only in the posting thread, and only in an alertable wait."""

import gc
import math
import os
import socket
import threading
import weakref

import pytest

import iocp_sock
from iocp_sock import (
    ROUTINES_RAN,
    ArgumentError,
    ArgumentTypeError,
    Event,
    sleep,
    thread_port,
    wait_all,
    wait_any,
)
from support import (
    PATIENCE,
    Recorder,
    arrived,
    descriptors,
    interrupt,
    linux_only,
    run_until,
    settled,
    wait_for,
)
from support.waiters import in_thread


@pytest.fixture
def own(backend):
    """Return the thread port of the calling thread; close it after the test, check for leaks."""
    before = descriptors()
    port = thread_port(backend=backend)
    yield port
    thread_port().close(0)
    sleep(0, alertable=True)  # routines that a test left due
    settled(port)
    gc.collect()
    assert descriptors() <= before


@pytest.fixture
def unattached(own, request):
    """Make a socket that is attached to no port, and its raw peer."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    with theirs:
        yield own.adopt(ours), theirs


WAITS = {
    "sleep": lambda: sleep(PATIENCE, alertable=True),
    "for ever": lambda: sleep(math.inf, alertable=True),
    "event": lambda: Event().wait(PATIENCE, alertable=True),
    "any": lambda: wait_any([Event(), Event()], PATIENCE, alertable=True),
    "all": lambda: wait_all([Event(set=True), Event()], PATIENCE, alertable=True),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_in_every_alertable_wait(unattached, wait):
    """R26: each alertable wait runs a routine with error, bytes, operation and flags."""
    sock, peer = unattached
    got = Recorder()
    op = sock.recv(10, routine=got)
    peer.sendall(b"abc")
    assert wait() is ROUTINES_RAN
    assert got == [(None, 3, op, 0)]
    assert bytes(op.data) == b"abc"
    assert sock.port.outstanding == 0
    assert sock.port.get(0) is None


def test_what_the_wait_returns():
    """ROUTINES_RAN is falsy, because it says nothing about the events of the wait."""
    assert not ROUTINES_RAN
    assert ROUTINES_RAN is iocp_sock.RoutinesRan.ROUTINES_RAN
    assert sleep(0.01, alertable=True) is None
    assert sleep(0) is None
    assert Event().wait(0.01, alertable=True) is False
    assert wait_any([Event()], 0.01, alertable=True) is None
    assert wait_all([Event()], 0.01, alertable=True) is False
    assert wait_any([Event(), Event(set=True)], alertable=True) == 1


def test_of_done_operations(unattached):
    """R26: the routines of done operations run in the next alertable wait."""
    sock, peer = unattached
    got = Recorder()
    sock.skip_done_packets = True
    sent = sock.send(b"abc", routine=got)
    peer.sendall(b"xy")
    arrived(sock, 2)
    received = sock.recv(10, routine=got)
    assert (sent.outcome, received.outcome) == ("done", "done")
    assert not got
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    assert got == [(None, 3, sent, 0), (None, 2, received, 0)]
    assert sleep(0, alertable=True) is None


def test_never_without_an_alertable_wait(unattached):
    """Classic mistake: running the port runs no routine without an alertable wait."""
    sock, peer = unattached
    port = sock.port
    got = Recorder()
    op = sock.recv(10, routine=got)
    peer.sendall(b"abc")
    run_until(port, lambda: op.done)
    assert op.result() == (3, 0)
    assert not Event().wait(0.01)
    assert wait_any([Event()], 0.01) is None
    assert not wait_all([Event()], 0.01)
    assert sleep(0.01) is None
    assert port.get(0) is None
    peer.sendall(b"d")
    assert sock.blocking.recv(10) == b"d"
    port.run(until_idle=True)
    assert not got
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    assert len(got) == 1


def test_only_in_the_posting_thread(unattached):
    """R26: another thread's alertable wait runs no routine of this thread."""
    sock, peer = unattached
    threads = []
    sock.send(b"x", routine=lambda *_given: threads.append(threading.get_ident()))
    assert in_thread(lambda: sleep(0.05, alertable=True))() is None
    assert threads == []
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    assert threads == [threading.get_ident()]
    assert peer.recv(1) == b"x"


def test_routine_of_a_thread_whose_port_another_runs(unattached):
    """R26: if another thread runs the port, the routine still runs in the posting thread."""
    sock, peer = unattached
    ready = threading.Event()
    port = sock.port

    def work():
        seen = []
        sock.recv(1, routine=lambda *given: seen.append((given[1], threading.get_ident())))
        ready.set()
        assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
        return seen == [(1, threading.get_ident())]

    came = []
    thread = threading.Thread(target=lambda: came.append(work()))
    port.run_once(0)  # the port is this thread's
    thread.start()
    assert ready.wait(PATIENCE)
    peer.sendall(b"x")
    run_until(port, lambda: not thread.is_alive())
    thread.join()
    assert came == [True]


def test_routines_before_events(unattached):
    """R26: due routines run when a wait begins; a set event stays set."""
    sock, _peer = unattached
    got = Recorder()
    event = Event(manual_reset=False, set=True)
    sock.send(b"x", routine=got)
    assert event.wait(PATIENCE, alertable=True) is ROUTINES_RAN
    assert event.is_set()
    assert event.wait(PATIENCE, alertable=True) is True


def test_routines_and_events_of_one_thread(unattached):
    """A thread may wait for events of some operations, and run routines of others."""
    sock, peer = unattached
    got = Recorder()
    event = Event()
    first = sock.recv(1, routine=got)
    second = sock.recv(1, event=event)
    peer.sendall(b"ab")
    assert event.wait(PATIENCE, alertable=True) is ROUTINES_RAN
    assert [given[2] for given in got] == [first]
    assert event.wait(PATIENCE, alertable=True) is True
    assert bytes(second.data) == b"b"


def test_chain(unattached):
    """A routine posts the next operation; each wait runs the routines that were due."""
    sock, peer = unattached
    got = []

    def routine(error, transferred, operation, flags):
        got.append(bytes(operation.data))
        if len(got) < 50:
            sock.recv(1, routine=routine)

    sock.recv(1, routine=routine)
    peer.sendall(bytes(range(50)))
    waits = 0
    while len(got) < 50:
        assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
        waits += 1
    assert b"".join(got) == bytes(range(50))
    assert waits == 50


def test_wait_inside_a_routine(unattached):
    """An alertable wait inside a routine runs the other due routines."""
    sock, _peer = unattached
    order = []

    def outer(*_given):
        order.append("outer")
        assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
        order.append("after")

    sock.send(b"x", routine=outer)
    sock.send(b"y", routine=lambda *_given: order.append("inner"))
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    assert order == ["outer", "inner", "after"]


def test_an_exception_is_the_waits(unattached):
    """A routine that raises ends the wait with its exception; the other routines stay due."""
    sock, _peer = unattached
    got = Recorder()

    def fails(*_given):
        raise LookupError("of the routine")

    sock.send(b"x", routine=fails)
    sock.send(b"y", routine=got)
    with pytest.raises(LookupError, match="of the routine"):
        sleep(PATIENCE, alertable=True)
    assert not got
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    assert len(got) == 1


def test_errors(unattached):
    """R26: the routine gets the error of a cancel, timeout or close, and the count of bytes."""
    sock, _peer = unattached
    got = Recorder()
    cancelled = sock.recv(1, routine=got)
    cancelled.cancel()
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    late = sock.recv(1, routine=got, timeout=0.01)
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    closed = sock.recv(1, routine=got)
    sock.close(0)
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    assert [given[2] for given in got] == [cancelled, late, closed]
    assert [type(given[0]) for given in got] == [
        iocp_sock.Cancelled,
        iocp_sock.TimedOut,
        iocp_sock.Cancelled,
    ]


def test_every_operation_that_takes_one(own):
    """R26: every receive and send takes a routine, except sends of files."""
    got = Recorder()
    one, other = socket.socketpair()
    with own.adopt(one) as sock, own.adopt(other) as peer:
        ops = [
            sock.recv(2, routine=got),
            sock.recv_into(bytearray(2), routine=got),
            sock.recvmsg_into([bytearray(2)], routine=got),
            peer.send(b"ab", routine=got),
            peer.sendmsg([b"cd", b"ef"], routine=got),
        ]
        while len(got) < 5:
            assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
        assert {given[2] for given in got} == set(ops)
    datagrams = own.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    got.clear()
    with datagrams:
        first = datagrams.recvfrom(5, routine=got)
        second = datagrams.recvfrom_into(bytearray(1), routine=got)
        for _ in range(2):
            datagrams.sendto(b"abc", datagrams.getsockname(), routine=got)
        while len(got) < 4:
            assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
        assert first.address == datagrams.getsockname()
        flags = {given[2]: given[3] for given in got}
        assert flags[first] == 0
        assert flags[second] & socket.MSG_TRUNC


def test_attached_sockets_refuse(pair):
    """Classic mistake: a routine on a socket attached to a port is refused, as on Windows."""
    sock, _peer = pair
    with pytest.raises(ArgumentError, match="attached to a port"):
        sock.recv(10, routine=print)
    with pytest.raises(ArgumentError, match="attached to a port"):
        sock.send(b"x", routine=print)
    assert sock.outstanding == 0


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda s: s.recv(1, routine=5), ArgumentTypeError),
        (lambda s: s.recv(1, routine=print, callback=print), ArgumentError),
        (lambda s: s.recv(1, routine=print, event=Event()), ArgumentError),
        (lambda s: s.accept(routine=print), ArgumentTypeError),
        (lambda s: s.wait_writable(routine=print), ArgumentTypeError),
        (lambda _s: sleep(None), ArgumentTypeError),
        (lambda _s: sleep("long"), ArgumentTypeError),
        (lambda _s: sleep(-1), ArgumentError),
        (lambda _s: thread_port(backend="epoll"), ArgumentError),
        (lambda _s: Event().wait(0, alertable=1), ArgumentTypeError),
    ],
)
def test_bad_input(unattached, call, error):
    """R26: an event beside a routine, and similar arguments, raise a named exception."""
    sock, _peer = unattached
    with pytest.raises(error):
        call(sock)
    assert sock.outstanding == 0


def test_interrupt_ends_an_alertable_sleep(unattached):
    """Ctrl-C ends an alertable sleep; outstanding operations go on."""
    sock, peer = unattached
    got = Recorder()
    sock.recv(1, routine=got)
    timer = threading.Timer(0.1, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        sleep(math.inf, alertable=True)
    timer.join()
    peer.sendall(b"x")
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    assert len(got) == 1


def test_threads_have_ports_of_their_own(own):
    """R09: a thread's own port has a ledger of its own, and is made once."""
    assert thread_port() is own
    other = in_thread(lambda: (thread_port(), thread_port()))()
    assert other[0] is other[1] is not own
    other[0].close(0)
    ours, theirs = socket.socketpair()
    with theirs, own.adopt(ours) as sock:
        sock.recv(1, routine=print)
        assert own.ledger.now == own.ledger.by_kind["receive"] > 0
        sock.cancel()
        run_until(own, lambda: sock.outstanding == 0)
    own.close(0)
    again = thread_port()
    assert again is not own
    assert not again.closed


def test_thread_end_cancels(backend):
    """R26: the end of a thread cancels its operations with routines, and runs none of them."""
    ran = Recorder()
    ours, theirs = socket.socketpair()
    kept = []

    def work():
        port = thread_port(backend=backend)
        sock = port.adopt(ours)
        kept.extend([port, sock, sock.recv(10, routine=ran), sock.send(b"due", routine=ran)])

    with theirs:
        in_thread(work)()
        port, sock, pending, due = kept
        assert due.done
        event = Event()
        # The socket is still open, and a thread that waits for its operation runs the port.
        with pytest.raises(iocp_sock.Cancelled):
            pending.result(timeout=PATIENCE)
        again = sock.recv(10, event=event)
        theirs.sendall(b"more")
        assert event.wait(PATIENCE)
        assert bytes(again.data) == b"more"
        assert sleep(0, alertable=True) is None
        assert not ran
        sock.close(0)
        port.close(0)
        kept.clear()
        del pending, due, again
        settled(port)


def test_thread_end_forgets_its_routines(backend):
    """R26: an operation that outlives its thread drops its routine."""
    ours, theirs = socket.socketpair()
    kept = []

    def work():
        routine = Recorder()
        port = thread_port(backend=backend)
        sock = port.adopt(ours)
        kept.extend([port, sock, sock.recv(10, routine=routine), weakref.ref(routine)])

    with theirs:
        in_thread(work)()
        port, sock, pending, routine = kept
        run_until(port, lambda: pending.done)
        port.run(until_idle=True)
        gc.collect()
        assert routine() is None
        sock.close(0)
        port.close(0)
        settled(port)


def test_thread_end_leaves_other_operations(make_port, peers):
    """R24: operations without a routine outlive their thread."""
    port = make_port()
    sock, peer = peers.pair(port)
    ops = in_thread(lambda: [sock.recv(1), sock.recv(1, event=Event())])()
    peer.sendall(b"ab")
    run_until(port, lambda: all(op.done for op in ops))
    assert [op.error for op in ops] == [None, None]


def test_a_thread_port_goes_with_its_thread(backend):
    """A thread's own port ends with the thread if no object keeps it."""
    before = descriptors()
    ran = Recorder()

    def work():
        port = thread_port(backend=backend)
        ours, theirs = socket.socketpair()
        with theirs:
            sock = port.adopt(ours)
            sock.recv(10, routine=ran)
            sock.send(b"x", routine=ran)
            sock.close(0)

    for _ in range(3):
        in_thread(work)()
    gc.collect()
    wait_for(lambda: descriptors() <= before)
    assert not ran


@linux_only("os.fork()")
def test_forked_child(unattached):
    """A forked child has its own queue of routines: those due in the parent do not run in it."""
    sock, _peer = unattached
    got = Recorder()
    sock.send(b"x", routine=got)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if sleep(0, alertable=True) is None and not got else 2
            status = status if thread_port() is not sock.port else 3
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
    assert len(got) == 1


def test_end_of_the_interpreter(in_subprocess, backend):
    """A program with pending and due routines exits without an error."""
    in_subprocess(
        """
        import socket, threading
        from iocp_sock import Event, thread_port, sleep
        ours, theirs = socket.socketpair()
        sock = thread_port(backend=BACKEND).adopt(ours)
        sock.recv(10, routine=print)
        sock.send(b"x", routine=print)
        sock.recv(10, event=Event())
        threading.Thread(target=lambda: sleep(1000, alertable=True), daemon=True).start()
        """,
        backend,
    )
