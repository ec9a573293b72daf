"""R22: every call reads an address by the same rules."""

import pathlib
import socket

import pytest

from iocp_sock import ArgumentError, ArgumentTypeError
from support import AF_UNIX, finish, needs_unix, run_until

WIDE = 0xFEE0
"""Maps ASCII to its full-width forms, which IDNA's nameprep maps back."""


def wide(host):
    """Write a host in full-width characters; IDNA maps it back to the host."""
    return "".join(chr(ord(char) + WIDE) if char.isalnum() else char for char in host)


def by_name(port, host, number, **options):
    """Connect by name and wait; raise the operation's error."""
    came = []
    connecting = port.connect_by_name(host, number, callback=came.append, **options)
    run_until(port, lambda: came)
    assert came == [connecting]
    if connecting.error is not None:
        raise connecting.error
    return connecting.socket


def connected(port, address):
    """Connect and wait; raise the operation's error."""
    op = port.connect(address)
    finish(port, op)
    if op.error is not None:
        op.socket.close()
        raise op.error
    return op.socket


STREAM_CALLS = {
    "bind": lambda port, sock, host, number: sock.bind((host, number)),
    "connect": lambda port, sock, host, number: sock.connect((host, number)),
    "blocking.connect": lambda port, sock, host, number: sock.blocking.connect(
        (host, number), timeout=10
    ),
    "Port.listen": lambda port, sock, host, number: port.listen((host, number)),
    "Port.connect": lambda port, sock, host, number: port.connect((host, number)),
    "connect_by_name": lambda port, sock, host, number: by_name(
        port, host, number, family=socket.AF_INET
    ),
}
DATAGRAM_CALLS = {
    "sendto": lambda port, sock, host, number: sock.sendto(b"x", (host, number)),
    "sendmsg": lambda port, sock, host, number: sock.sendmsg([b"x"], address=(host, number)),
    "blocking.sendto": lambda port, sock, host, number: sock.blocking.sendto(
        b"x", (host, number), timeout=10
    ),
}

INVALID = {
    "zero byte": ("a\0b", ArgumentError),
    "zero byte in bytes": (b"127.0.0.1\0", ArgumentError),
    "zero byte beyond ASCII": ("caf\xe9\0", ArgumentError),
    "lone surrogate": ("caf\ud800", ArgumentError),
    "label too long for IDNA": ("\xe9" * 64, ArgumentError),
    "number": (5, ArgumentTypeError),
    "path": (pathlib.Path("localhost"), ArgumentTypeError),
    "label too long for the resolver": ("a" * 64 + ".invalid", socket.gaierror),
    "empty label": (".invalid", socket.gaierror),
}


@pytest.mark.parametrize("call", [*STREAM_CALLS, *DATAGRAM_CALLS])
@pytest.mark.parametrize("case", INVALID)
def test_invalid_hosts(port, peers, call, case):
    """Every call refuses an invalid host with the same exception, an OSError, and leaks nothing."""
    host, expected = INVALID[case]
    kind = socket.SOCK_DGRAM if call in DATAGRAM_CALLS else socket.SOCK_STREAM
    sock = peers.own(port.socket(socket.AF_INET, kind))
    if call == "connect_by_name" and port.backend == "sim" and expected is socket.gaierror:
        pytest.skip("names are looked up by other threads, whose time is not the model's")
    with pytest.raises(expected) as caught:
        (STREAM_CALLS | DATAGRAM_CALLS)[call](port, sock, host, 9)
    assert type(caught.value) is expected
    assert isinstance(caught.value, OSError)
    run_until(port, lambda: port.stats().sockets == 1)
    assert port.outstanding == 0


@pytest.mark.parametrize("call", ["bind", "connect", "blocking.connect", "connect_by_name"])
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "::1"), (socket.AF_INET6, "127.0.0.1")]
)
def test_a_numeric_host_of_another_family(port, peers, call, family, host):
    """A numeric host of the wrong family is refused without a lookup."""
    sock = peers.own(port.socket(family, socket.SOCK_STREAM))
    calls = {**STREAM_CALLS, "connect_by_name": lambda *_: by_name(port, host, 9, family=family)}
    with pytest.raises(ArgumentError, match="another family"):
        calls[call](port, sock, host, 9)


@pytest.mark.parametrize("call", ["bind", "sendto", "Port.connect", "Port.listen"])
def test_a_failed_lookup_keeps_its_code(port, peers, call):
    """gaierror has the error number of getaddrinfo(), so that a caller can retry EAI_AGAIN."""
    host = "a" * 64 + ".invalid"
    with pytest.raises(socket.gaierror) as expected:
        socket.getaddrinfo(host.encode(), None)
    kind = socket.SOCK_DGRAM if call in DATAGRAM_CALLS else socket.SOCK_STREAM
    sock = peers.own(port.socket(socket.AF_INET, kind))
    with pytest.raises(socket.gaierror, match=host) as caught:
        (STREAM_CALLS | DATAGRAM_CALLS)[call](port, sock, host, 9)
    assert caught.value.errno == expected.value.errno
    run_until(port, lambda: port.stats().sockets == 1)


SPELLINGS = ["127.0.0.1", b"127.0.0.1", bytearray(b"127.0.0.1"), "127.1", wide("127.0.0.1")]
NAMES = ["localhost", b"localhost", wide("localhost")]


@pytest.mark.parametrize("host", [*SPELLINGS, *NAMES], ids=repr)
def test_spellings_of_a_host(port, host):
    """A host is a str, bytes or bytearray, numeric or a name; IDNA encodes what is not ASCII."""
    with port.listen((host, 0)) as listener:
        name = listener.getsockname()
        assert name[0] == "127.0.0.1"
        with connected(port, (host, name[1])) as sock:
            assert sock.getpeername() == name


@pytest.mark.parametrize("host", [*SPELLINGS, *NAMES], ids=repr)
def test_spellings_of_a_host_by_name(port, host):
    """connect_by_name() takes the same hosts as connect(); on the model only numeric ones."""
    if port.backend == "sim" and host in NAMES:
        pytest.skip("names are looked up by other threads, whose time is not the model's")
    with port.listen(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        for service in (number, str(number), str(number).encode()):
            with by_name(port, host, service, family=socket.AF_INET) as sock:
                assert sock.getpeername() == ("127.0.0.1", number)


def test_an_empty_host(port):
    """An empty host means every interface to listen(), and this host to connect()."""
    with port.listen(("", 0)) as listener:
        host, number = listener.getsockname()
        assert host == "0.0.0.0"
        if port.backend in ("sim", "iocp"):
            return  # Winsock and the model refuse such an address
        for connect in (connected(port, ("", number)), by_name(port, "", number)):
            with connect as sock:
                assert sock.getpeername() == ("127.0.0.1", number)


def test_broadcast(port, peers):
    """'<broadcast>' is 255.255.255.255, as in the socket module."""
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind(("<broadcast>", 0))
    assert sock.getsockname()[0] == "255.255.255.255"
    six = peers.own(port.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    with pytest.raises(ArgumentError):
        six.bind(("<broadcast>", 0))


@pytest.mark.parametrize("host", ["::1", b"::1", bytearray(b"::1"), wide("::1")], ids=repr)
@pytest.mark.parametrize("rest", [(), (0,), (0, 0)], ids=len)
def test_ipv6(port, host, rest):
    """A host with a colon, str or bytes, means AF_INET6, with or without flowinfo and scope."""
    with port.listen((host, 0, *rest)) as listener:
        name = listener.getsockname()
        assert name[0] == "::1"
        for connect in (connected(port, (host, name[1], *rest)), by_name(port, host, name[1])):
            with connect as sock:
                assert sock.getpeername() == name


class Index:
    """An object with __index__() that is not an int."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (65536, ArgumentError),
        (-1, ArgumentError),
        (1 << 80, ArgumentError),
        (Index(65536), ArgumentError),
        (1.0, ArgumentTypeError),
    ],
    ids=repr,
)
@pytest.mark.parametrize("call", [*STREAM_CALLS, *DATAGRAM_CALLS])
def test_invalid_ports(port, peers, call, number, expected):
    """Every call refuses an invalid port number, and never reduces it modulo 65,536."""
    kind = socket.SOCK_DGRAM if call in DATAGRAM_CALLS else socket.SOCK_STREAM
    sock = peers.own(port.socket(socket.AF_INET, kind))
    with pytest.raises(expected):
        (STREAM_CALLS | DATAGRAM_CALLS)[call](port, sock, "127.0.0.1", number)
    run_until(port, lambda: port.stats().sockets == 1)


@pytest.mark.parametrize(
    "service",
    ["65536", b"65536", " 65558", "+65558", "-1", "-65514", "065558", "9" * 5000],
    ids=lambda service: repr(service)[:12],
)
def test_invalid_services(port, service):
    """Text that is no port number is refused, even if strtoul() in getaddrinfo() would read it."""
    with pytest.raises(ArgumentError):
        port.connect_by_name("127.0.0.1", service)


def test_an_index_is_a_port(port):
    """An object with __index__ is a port number, as for the socket module."""
    with port.listen(("127.0.0.1", Index(0))) as listener:
        number = Index(listener.getsockname()[1])
        for connect in (
            connected(port, ("127.0.0.1", number)),
            by_name(port, "127.0.0.1", number),
        ):
            connect.close()


class Path:
    """An os.PathLike whose __fspath__() returns `path`, or raises it."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        if isinstance(self.path, Exception):
            raise self.path
        return self.path


@needs_unix
@pytest.mark.parametrize(
    "spell",
    [str, pathlib.Path, lambda path: str(path).encode(), lambda path: bytearray(bytes(path)),
     lambda path: Path(str(path)), lambda path: Path(bytes(path))],
    ids=["str", "Path", "bytes", "bytearray", "PathLike", "PathLike of bytes"],
)  # fmt: skip
def test_spellings_of_a_path(port, tmp_path, spell):
    """Every call takes a path as str, bytes, bytearray or os.PathLike."""
    if port.backend == "sim":
        pytest.skip("not in the model: AF_UNIX")
    path = spell(tmp_path / "caf\xe9")
    with port.listen(path) as listener:
        assert listener.getsockname() == str(tmp_path / "caf\xe9")
        connected(port, path).close()
    to = spell(tmp_path / "datagrams")
    with port.socket(AF_UNIX, socket.SOCK_DGRAM) as target:
        target.bind(to)
        op = target.recvfrom(10)
        with port.socket(AF_UNIX, socket.SOCK_DGRAM) as sock:
            finish(port, sock.sendto(b"x", to), op)
        assert bytes(op.data) == b"x"


@needs_unix
@pytest.mark.parametrize(
    ("spell", "expected"),
    [
        (lambda path: f"{path}/x\0y", ArgumentError),
        (lambda path: f"{path}/x\0y".encode(), ArgumentError),
        (lambda path: Path(f"{path}/x\0y"), ArgumentError),
        (lambda path: f"{path}/\ud8ff", ArgumentError),
        (lambda path: Path(f"{path}/\ud8ff"), ArgumentError),
        (lambda path: f"{path}/" + "x" * 200, ArgumentError),
        (lambda path: Path(5), TypeError),
        (lambda path: Path(LookupError("its own")), LookupError),
        (lambda path: 5, ArgumentTypeError),
        (lambda path: None, ArgumentTypeError),
    ],
)
@pytest.mark.parametrize("call", ["listen", "connect", "bind", "sendto"])
def test_invalid_paths(port, peers, tmp_path, spell, expected, call):
    """Invalid paths are refused; a zero byte would cut the path, which would name another file."""
    if port.backend == "sim":
        pytest.skip("not in the model: AF_UNIX")
    peers.raw(AF_UNIX).bind(str(tmp_path / "x"))
    path = spell(tmp_path)
    sock = peers.own(port.socket(AF_UNIX, socket.SOCK_DGRAM))
    calls = {
        "listen": port.listen,
        "connect": port.connect,
        "bind": sock.bind,
        "sendto": lambda address: sock.sendto(b"x", address),
    }
    with pytest.raises(expected):
        calls[call](path)
    run_until(port, lambda: port.stats().sockets == 1)
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


@needs_unix
def test_abstract_names_hold_zeros(port):
    """A name whose first byte is zero is an abstract name of Linux, not a file."""
    if port.backend in ("sim", "iocp"):
        pytest.skip("abstract names are Linux'")
    name = b"\0iocp_sock\0test" + str(id(port)).encode() + b":80"
    with port.listen(name) as listener:
        assert listener.getsockname() == name
        connected(port, name).close()


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("127.0.0.1:80", "('127.0.0.1', 80)"),
        (b"localhost:80", "('localhost', 80)"),
        (":8080", "('', 8080)"),
        ("[::1]:443", "('::1', 443)"),
    ],
    ids=repr,
)
def test_host_and_port_in_one_str(port, tmp_path, monkeypatch, address, meant):
    """host:port in one str is refused, because it would name a file; the error shows the tuple."""
    monkeypatch.chdir(tmp_path)
    for call in (port.listen, port.connect):
        with pytest.raises(ArgumentError, match="did you mean") as caught:
            call(address)
        assert meant in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert port.stats().sockets == 0


@needs_unix
@pytest.mark.parametrize("path", ["./host:80", "name:http", pathlib.Path("host:80")], ids=repr)
def test_paths_with_a_colon(port, tmp_path, monkeypatch, path):
    """A path with a slash, a name without a port number and a PathLike may have a colon."""
    if port.backend == "sim":
        pytest.skip("not in the model: AF_UNIX")
    monkeypatch.chdir(tmp_path)
    with port.listen(path):
        connected(port, path).close()


@pytest.mark.parametrize(
    "address", [None, 5, ("127.0.0.1",), ["127.0.0.1", 80], (5, 80), (None, 80), object()], ids=repr
)
def test_no_address(port, address):
    """An object that is neither a tuple with a host nor a path is refused."""
    for call in (port.listen, port.connect):
        with pytest.raises(ArgumentTypeError):
            call(address)
    assert port.stats().sockets == 0
