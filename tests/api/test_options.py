"""R22: keep-alive, linger and REUSEPORT as values, and sockets for other processes."""

import socket
import subprocess
import sys
import textwrap

import pytest

import iocp_sock
from iocp_sock import KeepAlive
from support import AF_UNIX, WINDOWS, WINE, finish, linger, linux_only, read, run_until, was_reset

probes = pytest.mark.skipif(
    WINE, reason="Wine 8.0 has no TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT (Windows 10 has)"
)


@probes
def test_keep_alive(port, peers):
    """The keep-alive values that were set are read back, from the Socket and from the system."""
    sock, _peer = peers.tcp(port)
    assert sock.keep_alive is None
    for given in (KeepAlive(), KeepAlive(1, 2, 3), KeepAlive(32767, 32767, 127)):
        sock.keep_alive = given
        assert sock.keep_alive == given
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == given.interval
    sock.keep_alive = None
    assert sock.keep_alive is None
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@probes
def test_accepted_sockets_keep_alive_as_their_listener(port, peers):
    """Accepted sockets inherit the keep-alive of their listener from the system."""
    with port.listen(("127.0.0.1", 0)) as listener:
        listener.keep_alive = KeepAlive(60, 10, 3)
        peers.connect(listener.getsockname())
        post = listener.accept()
        finish(port, post)
        assert peers.own(post.accepted).keep_alive == KeepAlive(60, 10, 3)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("keep_alive", KeepAlive(0, 1, 1), iocp_sock.ArgumentError),
        ("keep_alive", KeepAlive(1, 40000, 1), iocp_sock.ArgumentError),
        ("keep_alive", KeepAlive(1, 1, 128), iocp_sock.ArgumentError),
        ("keep_alive", KeepAlive(1.5, 1, 1), iocp_sock.ArgumentTypeError),
        ("keep_alive", KeepAlive(True, 1, 1), iocp_sock.ArgumentTypeError),
        ("keep_alive", True, iocp_sock.ArgumentTypeError),
        ("keep_alive", (1, 2, 3), iocp_sock.ArgumentTypeError),
        ("linger", -1, iocp_sock.ArgumentError),
        ("linger", 5, iocp_sock.ArgumentError),
        ("linger", 0.0, iocp_sock.ArgumentTypeError),
        ("linger", False, iocp_sock.ArgumentTypeError),
        ("reuse_port", 1, iocp_sock.ArgumentTypeError),
    ],
)
def test_what_cannot_be(port, peers, name, value, error):
    """An invalid value raises an error that names the option, and sets nothing."""
    sock, _peer = peers.tcp(port)
    with pytest.raises(error, match=name if name != "keep_alive" else "(?i)keep_?alive"):
        setattr(sock, name, value)
    assert sock.keep_alive is None
    assert sock.linger is None
    with pytest.raises(iocp_sock.ArgumentTypeError, match="deleted"):
        delattr(sock, name)


def test_keep_alive_is_of_tcp(port, peers):
    """A socket that is not TCP refuses keep_alive with an error that names TCP."""
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with pytest.raises(iocp_sock.ArgumentError, match="TCP"):
        sock.keep_alive = KeepAlive()
    with pytest.raises(iocp_sock.ArgumentError, match="TCP"):
        assert sock.keep_alive


def test_linger(port, peers):
    """With linger 0 a close resets the connection; with None it ends the stream."""
    for value in (0, None):
        sock, peer = peers.tcp(port)
        sock.linger = value
        assert sock.linger == value
        sock.send(b"last words")
        run_until(port, lambda sock=sock: sock.outstanding == 0)
        sock.close()
        run_until(port, lambda: not port.stats().sockets)
        if value is None:
            assert read(port, peer, 10) == b"last words"
            assert peer.recv(1) == b""
        else:
            assert was_reset(peer)
    sock, _peer = peers.tcp(port)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger(7))
    assert sock.linger == 7, "what setsockopt() has set is shown"
    sock.linger = None


@linux_only("SO_REUSEPORT")
def test_reuse_port(port, peers):
    """Two sockets share one address if both set REUSEPORT."""
    one = peers.own(port.socket())
    assert one.reuse_port is False
    one.reuse_port = True
    assert one.reuse_port is True
    one.bind(("127.0.0.1", 0))
    other = peers.own(port.socket())
    with pytest.raises(OSError, match="in use"):
        other.bind(one.getsockname())
    other.reuse_port = True
    other.bind(one.getsockname())


@pytest.mark.skipif(not WINDOWS, reason="this system has SO_REUSEPORT")
def test_no_reuse_port(port, peers):
    """The error says that Windows has no REUSEPORT."""
    sock = peers.own(port.socket())
    with pytest.raises(iocp_sock.ArgumentError, match="SO_REUSEPORT"):
        sock.reuse_port = True


def test_duplicate_is_the_same_connection(port, peers):
    """A duplicate is the same connection, owned by the caller; closing it spares the Socket."""
    sock, peer = peers.tcp(port)
    with sock.duplicate() as copy:
        assert copy.fileno() != sock.fileno()
        assert copy.getsockname() == sock.getsockname()
        copy.settimeout(20)
        copy.sendall(b"of the copy")
        assert read(port, peer, 11) == b"of the copy"
    sock.send(b"of the socket")
    assert read(port, peer, 13) == b"of the socket"
    sock.close()
    with pytest.raises(iocp_sock.SocketClosed):
        sock.duplicate()


SERVE = """
    import socket, sys
    if sys.platform == "win32":
        raw = socket.fromshare(bytes.fromhex(sys.stdin.readline()))
        raw.settimeout(20)
        raw.sendall(raw.recv(64)[::-1])
        raw.close()
    else:
        import iocp_sock
        channel = socket.socket(fileno=int(sys.argv[1]))
        _data, descriptors, _flags, _address = socket.recv_fds(channel, 1, 1)
        with iocp_sock.Port(backend=sys.argv[2]) as port:
            sock = port.adopt(descriptors[0])
            back = sock.blocking.recv(64, timeout=20)
            sock.blocking.sendall(back[::-1], timeout=20)
"""


def test_another_process_serves_a_duplicate(port, peers):
    """Another process serves a duplicate, passed by SCM_RIGHTS or WSADuplicateSocket."""
    sock, peer = peers.tcp(port)
    channel, theirs = socket.socketpair() if AF_UNIX is not None else (None, None)
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(SERVE),
            str(theirs.fileno() if theirs is not None else ""),
            port.backend,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[theirs.fileno()] if theirs is not None else [],
    )
    with sock.duplicate() as copy:
        if channel is not None:
            socket.send_fds(channel, [b"s"], [copy.fileno()])
            given = b""
            theirs.close()
        else:
            given = copy.share(child.pid).hex().encode() + b"\n"
        sock.close(0)
        run_until(port, lambda: not port.stats().sockets)
        peer.sendall(b"abcdef")
        _out, errors = child.communicate(given, timeout=30)
    if channel is not None:
        channel.close()
    assert child.returncode == 0, errors
    assert read(port, peer, 6) == b"fedcba"
