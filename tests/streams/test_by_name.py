"""R22 R32: connecting by name: a lookup does not block the port, and the first connection wins."""

import errno
import gc
import socket
import threading

import pytest

import iocp_sock
from iocp_sock import lookup
from support import WINDOWS, WINE, Recorder, descriptors, linux_only, run_until, settled, wait_for

full_queue_is_silent = pytest.mark.skipif(
    WINDOWS and not WINE, reason="Windows refuses a connect to a listener whose queue is full"
)


def found(*addresses):
    """Make a resolver that finds these addresses."""

    def resolver(host, service, *, family, type):
        assert (host, service, type) == ("name", "service", socket.SOCK_STREAM)
        return [
            (socket.AF_INET6 if len(address) > 2 else socket.AF_INET, type, 0, "", address)
            for address in addresses
        ]

    return resolver


@pytest.fixture
def refused(peers):
    """Return a function that makes an address at which connects are refused."""

    def make():
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        sock.close()
        return address

    return make


@pytest.fixture
def silent(peers):
    """Return an address that does not answer, because the queue of its listener is full."""
    listener = peers.listening(0)
    crowd = [peers.raw() for _ in range(3)]
    for sock in crowd:
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
    return listener.getsockname()


def connect(port, resolver, **options):
    """Connect by a name that the resolver resolves, and check that the callback runs once."""
    told = Recorder()
    connecting = port.connect_by_name(
        "name", "service", callback=told, resolver=resolver, **options
    )
    run_until(port, lambda: told)
    port.run_once(0)
    assert told == [connecting]
    assert connecting.done
    assert (connecting.socket is None) == (connecting.error is not None)
    return connecting


def test_a_real_name(port):
    """connect_by_name() resolves a real name by the system, and the connection carries data."""
    with port.listen(("127.0.0.1", 0)) as listener:
        accept = listener.accept()
        told = Recorder()
        number = listener.getsockname()[1]
        connecting = port.connect_by_name("localhost", number, callback=told)
        run_until(port, lambda: told and accept.done)
        with connecting.socket as ours, accept.accepted as theirs:
            ours.send(b"by name")
            op = theirs.recv(100)
            run_until(port, lambda: op.done)
            assert bytes(op.data) == b"by name"


def test_the_next_address_after_a_refusal(port, refused):
    first, second = refused(), refused()
    with port.listen(("127.0.0.1", 0)) as listener:
        connecting = connect(port, found(first, second, listener.getsockname()))
        with connecting.socket as sock:
            assert sock.getpeername() == listener.getsockname()
    assert [address for address, _error in connecting.attempts] == [first, second]
    assert all(isinstance(error, ConnectionRefusedError) for _address, error in connecting.attempts)


@full_queue_is_silent
def test_the_next_address_beside_one_that_is_silent(port, silent):
    """Once one address has connected, the attempt at a silent one is cancelled."""
    with port.listen(("127.0.0.1", 0)) as listener:
        connecting = connect(port, found(silent, listener.getsockname()))
        with connecting.socket as sock:
            assert sock.getpeername() == listener.getsockname()
            run_until(port, lambda: port.stats().sockets == 2)
    assert connecting.attempts == []


def test_families_take_turns(port, refused):
    """Attempts alternate between the address families, as RFC 8305 says in section 4."""
    number = refused()[1]
    four = [("127.0.0.1", number), ("127.0.0.2", number), ("127.0.0.3", number)]
    six = [("::1", number, 0, 0)]
    connecting = connect(port, found(*four, *six))
    tried = [address for address, _error in connecting.attempts]
    assert tried == [four[0], six[0], four[1], four[2]]


def test_every_address_fails(port, refused):
    first, second = refused(), refused()
    connecting = connect(port, found(first, second))
    assert isinstance(connecting.error, ConnectionRefusedError)
    assert [address for address, _error in connecting.attempts] == [first, second]
    assert connecting.attempts[-1][1] is connecting.error


def test_a_name_without_an_address(port):
    assert isinstance(connect(port, found()).error, iocp_sock.ArgumentError)


def test_a_name_that_is_not_found(port):
    def resolver(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    assert isinstance(connect(port, resolver).error, socket.gaierror)


@full_queue_is_silent
def test_timeout(port, silent):
    connecting = connect(port, found(silent), timeout=0.05)
    assert isinstance(connecting.error, iocp_sock.TimedOut)
    run_until(port, lambda: port.stats().sockets == 0)


@full_queue_is_silent
def test_cancel_from_another_thread(port, silent):
    told = Recorder()
    connecting = port.connect_by_name("name", "service", callback=told, resolver=found(silent))
    run_until(port, lambda: port.stats().sockets == 1)
    canceller = threading.Thread(target=connecting.cancel)
    canceller.start()
    run_until(port, lambda: told)
    canceller.join()
    assert isinstance(connecting.error, iocp_sock.Cancelled)
    connecting.cancel()
    run_until(port, lambda: port.stats().sockets == 0)
    port.run_once(0)
    assert len(told) == 1


def test_a_lookup_does_not_hold_the_port(port, refused):
    """The port runs callbacks during a lookup, and cancel() ends the connecting at once."""
    asked, answer = threading.Event(), threading.Event()

    def resolver(*_, **__):
        asked.set()
        assert answer.wait(60)
        return found(refused())("name", "service", family=0, type=socket.SOCK_STREAM)

    told, served = Recorder(), Recorder()
    connecting = port.connect_by_name("name", "service", callback=told, resolver=resolver)
    assert asked.wait(60)
    port.post(callback=served)
    run_until(port, lambda: served)
    assert not connecting.done
    connecting.cancel()
    run_until(port, lambda: told)
    answer.set()
    assert isinstance(connecting.error, iocp_sock.Cancelled)
    before = port.stats().sockets
    wait_for(lambda: port.run_once(0) == 0 and not port.outstanding)
    assert (len(told), port.stats().sockets) == (1, before)


@pytest.mark.parametrize("when", ["looking up", "connecting"])
@full_queue_is_silent
def test_a_port_that_is_closed_meanwhile(make_port, silent, when):
    """Closing the port ends connect_by_name() with PortClosed, and leaks no descriptor."""
    before = descriptors()
    port = make_port()
    asked, answer = threading.Event(), threading.Event()

    def resolver(*_, **__):
        asked.set()
        assert when == "connecting" or answer.wait(60)
        return found(silent)("name", "service", family=0, type=socket.SOCK_STREAM)

    connecting = port.connect_by_name("name", "service", resolver=resolver)
    assert asked.wait(60)
    if when == "connecting":
        run_until(port, lambda: port.stats().sockets == 1)
    port.close(0)
    answer.set()
    wait_for(lambda: connecting.done)
    assert isinstance(connecting.error, iocp_sock.PortClosed)
    assert connecting.socket is None
    settled(port)
    gc.collect()
    assert descriptors() <= before


def test_wrong_arguments(port):
    with pytest.raises(iocp_sock.ArgumentTypeError):
        port.connect_by_name("name", 1, resolver="no function")
    with pytest.raises(iocp_sock.ArgumentTypeError):
        port.connect_by_name("name", 1, callback=1)
    port.close()
    with pytest.raises(iocp_sock.PortClosed):
        port.connect_by_name("name", 1, timeout=1)


def unhashable(*_, **__):
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ["127.0.0.1", 1])]


def raising(error):
    def resolver(*_, **__):
        raise error

    return resolver


def endless_recursion(*_, **__):
    return endless_recursion()


@pytest.mark.parametrize(
    ("resolver", "cause"),
    [
        (raising(LookupError("a resolver of one's own")), LookupError),
        (raising(UnicodeError("label empty or too long")), UnicodeError),
        (raising(TypeError("no such argument")), TypeError),
        (raising(SystemExit(3)), SystemExit),
        (raising(KeyboardInterrupt()), KeyboardInterrupt),
        (endless_recursion, RecursionError),
        (lambda *_, **__: None, TypeError),
        (lambda *_, **__: 5, TypeError),
        (lambda *_, **__: [()], ValueError),
        (lambda *_, **__: ["x"], ValueError),
        (unhashable, TypeError),
        (list, TypeError),
    ],
)
def test_a_resolver_that_fails_in_another_way(port, resolver, cause):
    """Every failure of a resolver ends the operation with a gaierror, and runs the callback."""
    handled = Recorder()
    port.error_handler = handled
    error = connect(port, resolver).error
    assert isinstance(error, socket.gaierror)
    assert error.errno == socket.EAI_FAIL
    assert type(error.__cause__) is cause
    assert handled == []


@pytest.mark.parametrize("answer", [("x", ("127.0.0.1", 1)), (socket.AF_INET, ("127.0.0.1", "x"))])
def test_an_address_that_is_none(port, answer):
    """An invalid address in a resolver's answer counts as a failed attempt."""
    family, address = answer

    def resolver(*_, **__):
        return [(family, socket.SOCK_STREAM, 0, "", address)]

    connecting = connect(port, resolver)
    assert isinstance(connecting.error, iocp_sock.ArgumentTypeError)
    assert connecting.attempts == [(address, connecting.error)]
    run_until(port, lambda: port.stats().sockets == 0)


@pytest.mark.parametrize("host", [".invalid", "a" * 64 + ".invalid", "caf\ud800", "\xe9" * 64])
def test_a_host_that_cannot_be_looked_up(port, host):
    """An invalid host is reported like a failed lookup: the callback runs, and `error` is set."""
    told = Recorder()
    connecting = port.connect_by_name(host, 80, callback=told)
    assert not told
    run_until(port, lambda: told)
    assert told == [connecting]
    assert isinstance(connecting.error, (socket.gaierror, iocp_sock.ArgumentError))


def test_a_callback_that_raises_is_reported_once(port):
    handled = Recorder()
    port.error_handler = handled
    connecting = port.connect_by_name(
        "name",
        "service",
        callback=raising(ZeroDivisionError()),
        resolver=raising(OSError(errno.EIO, "x")),
    )
    run_until(port, lambda: handled)
    port.run_once(0)
    assert [type(error) for error, _callback in handled] == [ZeroDivisionError]
    assert connecting.error.errno == errno.EIO


@pytest.fixture
def hanging():
    """Return a resolver that does not answer before the test is over."""
    answer = threading.Event()
    asked = threading.Semaphore(0)

    def resolver(*_, **__):
        asked.release()
        answer.wait(60)
        return []

    resolver.asked = asked
    yield resolver
    answer.set()
    wait_for(lambda: not lookup_threads())


def lookup_threads():
    return [each for each in threading.enumerate() if each.name == "iocp_sock-lookup"]


def test_a_numeric_host_needs_no_lookup(port, hanging):
    """A numeric host connects without a lookup, even while other lookups hang."""
    waiting = [port.connect_by_name("name", 1, resolver=hanging) for _ in range(8)]
    with port.listen(("127.0.0.1", 0)) as listener:
        told = Recorder()
        port.connect_by_name(
            "127.0.0.1", listener.getsockname()[1], callback=told, resolver=raising(AssertionError)
        )
        run_until(port, lambda: told)
        with told[0].socket as sock:
            assert sock.getpeername() == listener.getsockname()
    for each in waiting:
        each.cancel()
    run_until(port, lambda: all(each.done for each in waiting))


@pytest.mark.parametrize("end", ["cancel", "timeout"])
def test_lookups_that_ended_keep_no_place(make_port, hanging, monkeypatch, end):
    """A lookup that ended makes way for another, although its thread hangs and its port is idle."""
    monkeypatch.setattr(lookup, "_PATIENCE", 1000.0)
    port, other = make_port(), make_port()
    options = {"timeout": 0.01} if end == "timeout" else {}
    over = [other.connect_by_name("name", 1, resolver=hanging, **options) for _ in range(4)]
    for _ in over:
        assert hanging.asked.acquire(timeout=60)
    if end == "cancel":
        for each in over:
            each.cancel()
    else:
        run_until(other, lambda: all(each.done for each in over))
    assert connect(port, found()).done
    run_until(other, lambda: all(each.done for each in over))


def test_lookups_that_hang_keep_their_place_for_a_while(port, hanging, monkeypatch):
    """A lookup that hangs for some seconds makes way for another, even if it is not cancelled."""
    monkeypatch.setattr(lookup, "_PATIENCE", 0.05)
    over = [port.connect_by_name("name", 1, resolver=hanging) for _ in range(9)]
    assert connect(port, found()).done
    for each in over:
        each.cancel()
    run_until(port, lambda: all(each.done for each in over))


def test_a_lookup_that_was_given_up_is_not_made(port, hanging, monkeypatch):
    """A lookup that is cancelled while four others run before it never calls its resolver."""
    monkeypatch.setattr(lookup, "_PATIENCE", 1000.0)
    before = [port.connect_by_name("name", 1, resolver=hanging) for _ in range(4)]
    for _ in before:
        assert hanging.asked.acquire(timeout=60)
    asked = Recorder()
    behind = port.connect_by_name("name", 1, resolver=lambda *_, **__: asked(1))
    behind.cancel()
    for each in before:
        each.cancel()
    run_until(port, lambda: behind.done and all(each.done for each in before))
    assert connect(port, found()).done
    assert asked == []


def test_at_most_four_lookups_at_a_time(port, hanging, monkeypatch):
    monkeypatch.setattr(lookup, "_PATIENCE", 1000.0)
    all_of_them = [port.connect_by_name("name", 1, resolver=hanging) for _ in range(20)]
    for _ in range(4):
        assert hanging.asked.acquire(timeout=60)
    assert len(lookup_threads()) <= 5  # four lookups, and a thread that waits to begin another
    assert not hanging.asked.acquire(blocking=False)
    for each in all_of_them:
        each.cancel()
    run_until(port, lambda: all(each.done for each in all_of_them))


def test_no_thread_stays(port):
    """The threads of lookups end, so that a later fork copies none."""
    for _ in range(3):
        connect(port, found())
    wait_for(lambda: not lookup_threads())


def test_no_thread_to_be_had(port, monkeypatch):
    """connect_by_name() raises if no thread can be started; the next call may start one."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(iocp_sock.ResourceExhausted):
            port.connect_by_name("name", 1, timeout=60, resolver=found())
    assert connect(port, found()).done


@linux_only("os.fork()")
def test_a_child_of_a_fork_looks_names_up(in_subprocess, backend):
    """A forked child looks names up while the parent's lookups hang."""
    in_subprocess(
        """
        import os, socket, threading

        def hang(*_, **__):
            asked.release()
            threading.Event().wait()

        asked = threading.Semaphore(0)
        parents = iocp_sock.Port(backend=BACKEND)
        for _ in range(4):
            parents.connect_by_name("name", 1, resolver=hang)
            asked.acquire()
        parents.connect_by_name("name", 1, resolver=hang)  # a thread waits with it for a place
        child = os.fork()
        if child == 0:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                with iocp_sock.Port(backend=BACKEND) as port:
                    number = listener.getsockname()[1]
                    connecting = port.connect_by_name(
                        "localhost", number, family=socket.AF_INET, timeout=30
                    )
                    while not connecting.done:
                        port.run_once(1)
                    os._exit(connecting.socket is None)
        assert os.waitpid(child, 0)[1] == 0
        parents.close(0)
        """,
        backend,
    )


def test_a_lookup_does_not_hold_up_the_exit(in_subprocess, backend):
    in_subprocess(
        """
        import threading
        asked = threading.Event()
        def hang(*_, **__):
            asked.set()
            threading.Event().wait()
        port = iocp_sock.Port(backend=BACKEND)
        port.connect_by_name("name", 1, resolver=hang)
        asked.wait()
        """,
        backend,
    )


def test_repr(port, hanging):
    """The repr has the name, and the state of the lookup or the connect."""
    connecting = port.connect_by_name("name", "http", resolver=hanging)
    assert repr(connecting) == "<iocp_sock.Connecting 'name' 'http', looking up>"
    connecting.cancel()
    run_until(port, lambda: connecting.done)
    assert "failed, Cancelled(" in repr(connecting)
    with port.listen(("127.0.0.1", 0)) as listener:
        name = listener.getsockname()
        connecting = port.connect_by_name(*name)
        port.run_once(0)
        if not connecting.done:
            assert f"connecting to {name}" in repr(connecting)
        run_until(port, lambda: connecting.done)
        with connecting.socket:
            assert "connected, <iocp_sock.Socket" in repr(connecting)
