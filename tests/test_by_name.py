"""R22 R32: connecting by name: the lookup does not hold the port, and the first answer wins."""

import gc
import socket
import threading

import pytest

import iocp_sock
from support import WINDOWS, WINE, Recorder, descriptors, run_until, settled, wait_for

full_queue_is_silent = pytest.mark.skipif(
    WINDOWS and not WINE, reason="Windows refuses a connect to a listener whose queue is full"
)


def found(*addresses):
    """Make a resolver that finds these."""

    def resolver(host, service, *, family, type):
        assert (host, service, type) == ("name", "service", socket.SOCK_STREAM)
        return [
            (socket.AF_INET6 if len(address) > 2 else socket.AF_INET, type, 0, "", address)
            for address in addresses
        ]

    return resolver


@pytest.fixture
def refused(peers):
    """Make an address that refuses."""

    def make():
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        sock.close()
        return address

    return make


@pytest.fixture
def silent(peers):
    """An address that does not answer: the queue of its listener is full."""
    listener = peers.raw()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    crowd = [peers.raw() for _ in range(3)]
    for sock in crowd:
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
    return listener.getsockname()


def connect(port, resolver, **options):
    """Connect by a name that means these addresses, to the end; the callback comes once."""
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
    """The system's resolver is asked, and the connection carries bytes."""
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
    """The one that did not answer is given up, and its socket closed."""
    with port.listen(("127.0.0.1", 0)) as listener:
        connecting = connect(port, found(silent, listener.getsockname()))
        with connecting.socket as sock:
            assert sock.getpeername() == listener.getsockname()
            run_until(port, lambda: port.stats().sockets == 2)
    assert connecting.attempts == []


def test_families_take_turns(port, refused):
    """RFC 8305, 4: the first family's first address, then the other family's."""
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
    """While the answer is awaited others are served, and a cancel ends it at once."""
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
    """It is over then, and nobody can be called back; nothing stays open."""
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
