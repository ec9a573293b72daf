"""Bad input raises a named exception that explains it; nothing is posted or leaked."""

import array
import contextlib
import errno
import itertools
import math
import mmap
import socket
import sys

import pytest

import iocp_sock
from iocp_sock import ArgumentError, ArgumentTypeError, PortConfig
from support import AF_UNIX, WINDOWS, Recorder, finish, needs_unix, read, run_until

NO = object()

POSTS = [
    (lambda s: s.recv(0), ArgumentError),
    (lambda s: s.recv(-1), ArgumentError),
    (lambda s: s.recv((1 << 30) + 1), ArgumentError),
    (lambda s: s.recv(1 << 80), ArgumentError),
    (lambda s: s.recv(1.5), ArgumentTypeError),
    (lambda s: s.recv("10"), ArgumentTypeError),
    (lambda s: s.recv(None), ArgumentTypeError),
    (lambda s: s.recv(), ArgumentTypeError),
    (lambda s: s.recv(1, 2), ArgumentTypeError),
    (lambda s: s.recv(1, nothing=2), ArgumentTypeError),
    (lambda s: s.recv(1, flags="x"), ArgumentTypeError),
    (lambda s: s.recv(1, flags=1 << 40), ArgumentError),
    (lambda s: s.recv(1, callback=5), ArgumentTypeError),
    (lambda s: s.recv(1, timeout=-1), ArgumentError),
    (lambda s: s.recv(1, timeout=math.nan), ArgumentError),
    (lambda s: s.recv(1, timeout="soon"), ArgumentTypeError),
    (lambda s: s.recv_into(b"read-only"), ArgumentTypeError),
    (lambda s: s.recv_into(bytearray()), ArgumentError),
    (lambda s: s.recv_into(10), ArgumentTypeError),
    (lambda s: s.recv_into(memoryview(bytearray(10))[::2]), ArgumentTypeError),
    (lambda s: s.recv_into(memoryview(b"abc")), ArgumentTypeError),
    (lambda s: s.recv_into(bytearray(1), timeout=-0.5), ArgumentError),
    (lambda s: s.recv_zero(5), ArgumentTypeError),
    (lambda s: s.recv_zero(callback="x"), ArgumentTypeError),
    (lambda s: s.send("text"), ArgumentTypeError),
    (lambda s: s.send(5), ArgumentTypeError),
    (lambda s: s.send(None), ArgumentTypeError),
    (lambda s: s.send(), ArgumentTypeError),
    (lambda s: s.send(b"x", callback=1), ArgumentTypeError),
    (lambda s: s.send(memoryview(b"abcd")[::2]), ArgumentTypeError),
    (lambda s: s.sendmsg([]), ArgumentError),
    (lambda s: s.sendmsg(b"one"), ArgumentTypeError),
    (lambda s: s.sendmsg("text"), ArgumentTypeError),
    (lambda s: s.sendmsg(bytearray(b"one")), ArgumentTypeError),
    (lambda s: s.sendmsg(5), ArgumentTypeError),
    (lambda s: s.sendmsg([b"x", 5]), ArgumentTypeError),
    (lambda s: s.sendmsg([b"x", "y"]), ArgumentTypeError),
    (lambda s: s.sendmsg([b"x"] * 1025), ArgumentError),
    (lambda s: s.sendmsg(itertools.repeat(b"x")), ArgumentError),
    (lambda s: s.recvmsg_into(itertools.repeat(bytearray(1))), ArgumentError),
    (lambda s: s.recv(1, **{"\udc80": 1}), ArgumentTypeError),
    (lambda s: s.sendmsg([b"x"], address=("127.0.0.1", 1)), ArgumentError),
    (lambda s: s.sendto(b"x"), ArgumentTypeError),
    (lambda s: s.sendto(b"x", ("127.0.0.1", 1)), ArgumentError),
    (lambda s: s.sendto(b"x", None, 0), ArgumentTypeError),
    (lambda s: s.recvfrom(0), ArgumentError),
    (lambda s: s.recvfrom("10"), ArgumentTypeError),
    (lambda s: s.recvfrom(10, flags="x"), ArgumentTypeError),
    (lambda s: s.recvfrom_into(bytearray()), ArgumentError),
    (lambda s: s.recvfrom_into(b"read-only"), ArgumentTypeError),
    (lambda s: s.recvmsg_into([]), ArgumentError),
    (lambda s: s.recvmsg_into([bytearray()]), ArgumentError),
    (lambda s: s.recvmsg_into(bytearray(5)), ArgumentTypeError),
    (lambda s: s.recvmsg_into([b"read-only"]), ArgumentTypeError),
    (lambda s: s.recvmsg_into([bytearray(1), 5]), ArgumentTypeError),
    (lambda s: s.recvmsg_into(5), ArgumentTypeError),
    (lambda s: s.recvmsg_into([bytearray(1)] * 1025), ArgumentError),
    (lambda s: s.recvmsg_into([bytearray(1)], ancillary_size=-1), ArgumentError),
    (lambda s: s.recvmsg_into([bytearray(1)], ancillary_size="x"), ArgumentTypeError),
    (lambda s: s.recvmsg_into([bytearray(1)], ancillary_size=(1 << 20) + 1), ArgumentError),
    (lambda s: s.try_recv(0), ArgumentError),
    (lambda s: s.try_recv("x"), ArgumentTypeError),
    (lambda s: s.try_send(5), ArgumentTypeError),
    (lambda s: s.receive(None), ArgumentTypeError),
    (lambda s: s.receive(5), ArgumentTypeError),
    (lambda s: s.receive(print, receive="fast"), ArgumentError),
    (lambda s: s.receive(print, receive=5), ArgumentError),
    (lambda s: s.receive(print, size=0), ArgumentError),
    (lambda s: s.receive(print, size="x"), ArgumentTypeError),
    (lambda s: s.receive(print, on_close=5), ArgumentTypeError),
    (lambda s: s.accept_each(None), ArgumentTypeError),
    (lambda s: s.accept_each(print, on_error=5), ArgumentTypeError),
    (lambda s: s.accept(5), ArgumentTypeError),
    (lambda s: s.close(timeout=-1), ArgumentError),
    (lambda s: s.close(timeout="x"), ArgumentTypeError),
    (lambda s: s.shutdown(3), ArgumentError),
    (lambda s: s.shutdown("x"), ArgumentTypeError),
    (lambda s: s.listen("x"), ArgumentTypeError),
    (lambda s: s.listen(1, 2), ArgumentTypeError),
    (lambda s: s.getsockopt(1), ArgumentTypeError),
    (lambda s: s.getsockopt("x", 1), ArgumentTypeError),
    (lambda s: s.getsockopt(1, 1, -1), ArgumentError),
    (lambda s: s.getsockopt(1, 1, 5000), ArgumentError),
    (lambda s: s.setsockopt(1, 1), ArgumentTypeError),
    (lambda s: s.setsockopt(1, 1, "x"), ArgumentTypeError),
    (lambda s: s.setsockopt(1, 1, 1 << 40), ArgumentError),
]


@pytest.mark.parametrize(("call", "expected"), POSTS, ids=[str(i) for i in range(len(POSTS))])
def test_wrong_argument(port, peers, call, expected):
    """Bad input: an invalid argument raises an exception that explains it, and posts nothing."""
    sock, peer = peers.pair(port)
    op = sock.recv(100)
    ledger = port.ledger
    stats = port.stats()
    with pytest.raises(expected) as caught:
        call(sock)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.EINVAL
    assert len(str(caught.value).split()) > 4
    assert port.ledger == ledger
    after = port.stats()
    assert (after.slots_free, after.blocks_out) == (stats.slots_free, stats.blocks_out)
    assert (port.outstanding, sock.closed) == (1, False)
    peer.sendall(b"on")
    finish(port, op)
    assert bytes(op.data) == b"on"


ADDRESSES = [
    (socket.AF_INET, "127.0.0.1", ArgumentTypeError),
    (socket.AF_INET, None, ArgumentTypeError),
    (socket.AF_INET, ("127.0.0.1",), ArgumentTypeError),
    (socket.AF_INET, ("127.0.0.1", 1, 2), ArgumentTypeError),
    (socket.AF_INET, ("127.0.0.1", "80"), ArgumentTypeError),
    (socket.AF_INET, ("127.0.0.1", 65536), ArgumentError),
    (socket.AF_INET, ("127.0.0.1", -1), ArgumentError),
    (socket.AF_INET, (5, 80), ArgumentTypeError),
    (socket.AF_INET, ("a\0b", 80), ArgumentError),
    (socket.AF_INET, ("::1", 80), ArgumentError),
    (socket.AF_INET6, ("127.0.0.1", 80), ArgumentError),
    (socket.AF_INET6, ("::1", 80, -1), ArgumentError),
    pytest.param(AF_UNIX, ("127.0.0.1", 80), ArgumentTypeError, marks=needs_unix),
    pytest.param(AF_UNIX, "x" * 200, ArgumentError, marks=needs_unix),
]


@pytest.mark.parametrize(("family", "address", "expected"), ADDRESSES)
@pytest.mark.parametrize("method", ["bind", "connect"])
def test_wrong_address(port, peers, family, address, expected, method):
    """Bad input: an address of the wrong family or shape raises, and posts nothing."""
    sock = peers.own(port.socket(family, socket.SOCK_STREAM))
    with pytest.raises(expected):
        getattr(sock, method)(address)
    assert port.outstanding == 0


@pytest.mark.parametrize("address", [None, 5, "x" * 200, ("127.0.0.1", "x"), (1, 2), ("::1", -1)])
def test_wrong_address_of_the_port(port, address):
    """Bad input: Port.listen() and Port.connect() refuse a wrong address, and leave no socket."""
    for call in (port.listen, port.connect):
        with pytest.raises((ArgumentError, ArgumentTypeError)):
            call(address)
    run_until(port, lambda: port.stats().sockets == 0)


def test_address_in_use(port, peers):
    """Bad input: an address in use raises the system's OSError, and the new socket is closed."""
    raw = peers.listening()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is checked
        port.listen(raw.getsockname())
    assert caught.value.errno == errno.EADDRINUSE
    assert not isinstance(caught.value, iocp_sock.Error)
    run_until(port, lambda: port.stats().sockets == 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"budget": -1}, ArgumentError),
        ({"budget": "1"}, ArgumentTypeError),
        ({"budget": 1.5}, ArgumentTypeError),
        ({"budget": True}, ArgumentTypeError),
        ({"budget": 1 << 41}, ArgumentError),
        ({"over_budget": "explode"}, ArgumentError),
        ({"max_receives": -1}, ArgumentError),
        ({"max_sends": 1 << 32}, ArgumentError),
        ({"region_size": 1}, ArgumentError),
        ({"region_limit": 0}, ArgumentError),
        ({"ring_entries": 0}, ArgumentError),
        ({"drain_reads": 0}, ArgumentError),
        ({"close_timeout": -1}, ArgumentError),
        ({"close_timeout": math.nan}, ArgumentError),
        ({"close_timeout": "1"}, ArgumentTypeError),
        ({"nothing": 1}, ArgumentTypeError),
        ({"backend": "kqueue"}, ArgumentError),
        ({"backend": 5}, (ArgumentError, ArgumentTypeError)),
    ],
)
def test_wrong_configuration(given, expected):
    """Bad input: every field of the configuration is checked when it is given."""
    with pytest.raises(expected):
        iocp_sock.Port(**given)


def test_configuration_is_frozen_and_exclusive():
    """Bad input: a PortConfig is immutable, and excludes other options."""
    config = PortConfig(budget=4096)
    with pytest.raises(AttributeError):
        config.budget = 1  # type: ignore[misc]
    with pytest.raises(ArgumentError):
        iocp_sock.Port(config, budget=1)
    with pytest.raises(ArgumentTypeError):
        iocp_sock.Port("auto")  # type: ignore[arg-type]
    with iocp_sock.Port(config) as port:
        assert port.config is config
        assert port.ledger.budget == 4096


def test_wrong_calls_on_the_port(port):
    """Bad input: the port's own methods raise a named exception; the port stays open."""
    for call, expected in (
        (lambda: port.run_once(-1), ArgumentError),
        (lambda: port.run_once("x"), ArgumentTypeError),
        (lambda: port.get(math.nan), ArgumentError),
        (lambda: port.get_batch(0), ArgumentError),
        (lambda: port.get_batch("x"), ArgumentTypeError),
        (lambda: port.get_batch(None), ArgumentError),
        (lambda: port.post(callback=5), ArgumentTypeError),
        (lambda: port.call_later(-1, print), ArgumentError),
        (lambda: port.call_later(1, None), ArgumentError),
        (lambda: port.call_later(None, print), ArgumentError),
        (lambda: port.call_later(1, 5), ArgumentTypeError),
        (lambda: port.close(-1), ArgumentError),
        (lambda: setattr(port, "error_handler", 5), ArgumentTypeError),
        (lambda: port.run(1), ArgumentTypeError),
        (lambda: port.run(**{"\udc80": 1}), ArgumentTypeError),
        (lambda: port.run_once(0, 0), ArgumentTypeError),
        (lambda: port.get(wait=0), ArgumentTypeError),
        (lambda: port.get_batch(), ArgumentTypeError),
        (lambda: port.call_later(1), ArgumentTypeError),
        (lambda: port.stop(1), ArgumentTypeError),
        (lambda: port.register("x"), ArgumentTypeError),
        (lambda: port.socket("x"), ArgumentTypeError),
        (lambda: port.socket(socket.AF_INET, "x"), ArgumentTypeError),
        (lambda: port.socket(socket.AF_INET, socket.SOCK_STREAM, "x"), ArgumentTypeError),
        (lambda: port.adopt("x"), ArgumentTypeError),
        (lambda: port.adopt(None), ArgumentTypeError),
        (lambda: port.listen(("127.0.0.1", 0), backlog="x"), ArgumentTypeError),
    ):
        with pytest.raises(expected):
            call()
    assert not port.closed
    run_until(port, lambda: port.stats().sockets == 0)


def test_wrong_calls_of_functions():
    """Bad input: the functions that belong to no port raise a named exception."""
    event = iocp_sock.Event()
    for call, expected in (
        (lambda: iocp_sock.page_span(-1, 1), ArgumentTypeError),
        (lambda: iocp_sock.probe(1), ArgumentTypeError),
        (lambda: iocp_sock.features("\udc80"), ArgumentTypeError),
        (lambda: iocp_sock.sleep(**{"\udc80": 1}), ArgumentTypeError),
        (lambda: iocp_sock.wait_any(), ArgumentTypeError),
        (lambda: iocp_sock.wait_any([event], 0, 0), ArgumentTypeError),
        (lambda: iocp_sock.wait_all(itertools.repeat(event), 0), ArgumentError),
    ):
        with pytest.raises(expected, match=" "):
            call()


def test_adopting_what_is_no_socket(port, tmp_path, peers):
    """Bad input: adopt() refuses invalid descriptors and files, and changes nothing."""
    with open(tmp_path / "file", "wb") as file:
        for number, code in (
            (-1, errno.EBADF),
            (1_000_000, errno.EBADF),
            (file.fileno(), errno.ENOTSOCK),
        ):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at
                port.adopt(number)
            assert caught.value.errno == (errno.ENOTSOCK if WINDOWS else code)
    raw = peers.raw()
    with pytest.raises(OSError):  # noqa: PT011 - any OSError that names the problem
        port.adopt((1 << 32) + raw.fileno())
    assert port.stats().sockets == 0
    assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM


def test_receiving_subscription_on_a_datagram_socket(port, peers):
    """Bad input: receive() refuses a datagram socket, because it is for streams."""
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with pytest.raises(ArgumentError, match="stream"):
        sock.receive(Recorder())


def test_accepting_on_a_connection_ends_with_an_error(port, pair):
    """Bad input: accept() on a socket that does not listen raises, and the socket stays open."""
    sock, peer = pair
    with pytest.raises(OSError):  # noqa: PT011 - EINVAL or EOPNOTSUPP by family
        sock.accept()
    assert not sock.closed
    peer.sendall(b"x")
    op = sock.recv(1)
    finish(port, op)
    assert bytes(op.data) == b"x"


def test_sending_on_a_listener_leaves_it_open(port, peers):
    """Bad input: a send on a listener, or before connecting, raises and closes nothing."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    accepted = Recorder()
    listener.accept_each(accepted)
    with contextlib.suppress(OSError):
        wrong = listener.send(b"x")
        finish(port, wrong)
        assert wrong.error is not None
    assert not listener.closed
    peers.connect(listener.getsockname())
    run_until(port, lambda: accepted)
    accepted[0].close()
    fresh = peers.own(port.socket(socket.AF_INET, socket.SOCK_STREAM))
    with pytest.raises(OSError):  # noqa: PT011 - EPIPE or ENOTCONN
        fresh.send(b"x")
    assert not fresh.closed


def test_types_cannot_be_made_by_hand():
    """Bad input: a program cannot make the objects that only the core makes."""
    for kind in (
        iocp_sock.Socket,
        iocp_sock.Operation,
        iocp_sock.Completion,
        iocp_sock.Buffer,
        iocp_sock.Timer,
    ):
        with pytest.raises(TypeError):
            kind()


def test_any_buffer_can_be_sent(port, pair):
    """Buffers of every kind with contiguous memory are sent as their bytes."""
    sock, peer = pair
    things = [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"view"),
        array.array("i", [1, 2, 3]),
        memoryview(array.array("d", [1.5])),
    ]
    expected = b"".join(bytes(memoryview(t).cast("B")) for t in things)
    for thing in things:
        sock.send(thing)
    sock.sendmsg(iter(things))
    sock.sendmsg(tuple(things))
    assert read(port, peer, 3 * len(expected)) == 3 * expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs __buffer__ in Python")
def test_a_list_that_shrinks_while_it_is_gathered(port, pair):
    """Bad input: an object's __buffer__() may empty the list that sendmsg() reads."""
    sock, _peer = pair
    parts = []

    class Shrinker:
        def __buffer__(self, _flags):
            parts.clear()
            return memoryview(b"x")

    parts += [Shrinker() for _ in range(100)]
    with contextlib.suppress(iocp_sock.Error):
        sock.sendmsg(parts)


def test_exceptions_are_os_errors():
    """Every exception of the package is an OSError, and a subclass of its builtin equivalent."""
    for name in iocp_sock.__all__:
        thing = getattr(iocp_sock, name)
        if not isinstance(thing, type) or issubclass(thing, Warning):
            continue
        if issubclass(thing, BaseException):
            assert issubclass(thing, iocp_sock.Error)
            assert issubclass(thing, OSError)
    assert issubclass(iocp_sock.TimedOut, TimeoutError)
    assert issubclass(ArgumentError, ValueError)
    assert issubclass(ArgumentTypeError, TypeError)
    assert issubclass(iocp_sock.BudgetExceeded, iocp_sock.ResourceExhausted)


def released():
    view = memoryview(bytearray(8))
    view.release()
    return view


def closed_map():
    memory = mmap.mmap(-1, 4096)
    memory.close()
    return memory


def every_other():
    return memoryview(bytearray(16))[::2]


def fortran():
    numpy = pytest.importorskip("numpy")
    return numpy.zeros((4, 4), "u1")[:, ::2]


BUFFERS = [released, closed_map, every_other, fortran]
TAKERS = [
    lambda s, b: s.send(b),
    lambda s, b: s.try_send(b),
    lambda s, b: s.sendmsg([b"x", b]),
    lambda s, b: s.sendmsg([b"x"], ancillary=[(1, 1, b)]),
    lambda s, b: s.recv_into(b),
    lambda s, b: s.recvfrom_into(b),
    lambda s, b: s.recvmsg_into([bytearray(1), b]),
    lambda s, b: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b),
    lambda s, b: s.blocking.send(b),
]


@pytest.mark.parametrize("make", BUFFERS)
@pytest.mark.parametrize("take", TAKERS)
def test_buffers_that_give_no_memory(port, pair, make, take):
    """An object that does not export contiguous memory raises an ArgumentError, an OSError."""
    if WINDOWS and take is TAKERS[3]:
        pytest.skip("there is no ancillary data on Windows")
    sock, peer = pair
    with pytest.raises((ArgumentError, ArgumentTypeError)) as caught:
        take(sock, make())
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.EINVAL
    sock.send(b"still here")
    assert read(port, peer, 10) == b"still here"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="classes have __buffer__ from 3.12 on")
def test_errors_of_the_exporters_own(pair):
    """An exception of an object's own __buffer__(), such as KeyError, reaches the caller."""

    class Broken:
        def __buffer__(self, flags):
            raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        pair[0].send(Broken())


@pytest.mark.parametrize("handshake", [True, False])
def test_adopts_no_tls(port, peers, handshake):
    """adopt() refuses an SSLSocket, because its connection would go on without TLS."""
    ssl = pytest.importorskip("ssl")
    if port.backend == "sim":
        pytest.skip("not in the model: no descriptor stands behind a modelled socket")
    ours, theirs = socket.socketpair()
    peer = peers.keep(theirs)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    secure = context.wrap_socket(ours, do_handshake_on_connect=False)
    number = secure.fileno()
    with pytest.raises(ArgumentTypeError, match="SSLSocket"):
        port.adopt(secure)
    assert secure.fileno() == number
    if handshake:  # the connection still has TLS
        secure.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            secure.do_handshake()
        assert peer.recv(3)[0] == 22
    secure.close()
