"""Kernel buffers and Nagle's algorithm: set, and read back as in effect (R18)."""

import socket

import pytest

import iocp_sock
from support import LOCALHOST, WINDOWS, finish, linux_only, needs_unix, pattern, read, run_until

BUFFERS = {"send_buffer": socket.SO_SNDBUF, "receive_buffer": socket.SO_RCVBUF}
LEAST = {"send_buffer": 4608, "receive_buffer": 2304}
TUNABLE = [*BUFFERS, "nodelay"]


def taken(nbytes):
    """Return the size that takes effect: Linux doubles it for its own bookkeeping."""
    return nbytes if WINDOWS else 2 * nbytes


@pytest.mark.parametrize("name", BUFFERS)
def test_a_size_is_read_back_as_it_took_effect(port, pair, name):
    """R18: a buffer size is read back as in effect, from the attribute and by getsockopt()."""
    sock, _peer = pair
    for nbytes in (16384, 65536, 10000):
        setattr(sock, name, nbytes)
        assert getattr(sock, name) == taken(nbytes)
        assert sock.getsockopt(socket.SOL_SOCKET, BUFFERS[name]) == taken(nbytes)


@pytest.mark.parametrize("name", BUFFERS)
def test_zero_is_allowed(port, peers, name):
    """R18: a buffer size of 0 is 0 on Windows, and the minimum on Linux; data is still sent."""
    sock, peer = peers.tcp(port)
    setattr(sock, name, 0)
    assert getattr(sock, name) == (0 if WINDOWS else LEAST[name])
    data = pattern(20_000)
    sending = sock.send(data)
    assert read(port, peer, len(data)) == data
    finish(port, sending)
    got = b""
    peer.sendall(data[:1000])
    while len(got) < 1000:
        op = sock.recv(1000)
        finish(port, op)
        got += bytes(op.data)
    assert got == data[:1000]


@linux_only("net.core.wmem_max and rmem_max")
@pytest.mark.parametrize(("name", "limit"), [("send_buffer", "wmem"), ("receive_buffer", "rmem")])
def test_a_size_beyond_the_limit_is_cut(port, peers, name, limit):
    """R18: the system reduces a size beyond its limit; the attribute reads the result."""
    with open(f"/proc/sys/net/core/{limit}_max") as file:
        most = int(file.read())
    sock, _peer = peers.tcp(port)
    setattr(sock, name, 2**31 - 1)
    assert getattr(sock, name) == min(2 * most, 2**31 - 1)


@linux_only("how much a send buffer of Linux takes")
def test_a_smaller_send_buffer_takes_less(port, peers):
    """R18: a smaller send buffer takes less data."""
    fits = []
    for nbytes in (0, 100_000):
        sock, _peer = peers.tcp(port, buffers=4096)
        sock.send_buffer = nbytes
        total = 0
        while went := sock.try_send(bytes(65536)):
            total += went
        fits.append(total)
    assert 0 < fits[0] < fits[1]


@pytest.mark.parametrize("nodelay", [True, False])
def test_accepted_sockets_take_after_their_listener(make_port, peers, nodelay):
    """R18: accepted sockets start with their listener's sizes and nodelay."""
    port = make_port(nodelay=nodelay)
    with port.listen(LOCALHOST) as listener:
        listener.send_buffer = 20_000
        listener.receive_buffer = 30_000
        listener.nodelay = not nodelay
        peers.connect(listener.getsockname())
        post = listener.accept()
        finish(port, post)
        sock = peers.own(post.accepted)
    assert (sock.send_buffer, sock.receive_buffer) == (taken(20_000), taken(30_000))
    assert sock.nodelay is not nodelay


MAKES = {
    "socket": lambda port, peers, listener: port.socket(),
    "listen": lambda port, peers, listener: listener,
    "connect": lambda port, peers, listener: connected(port, listener),
    "accept": lambda port, peers, listener: accepted(port, peers, listener),
    "accept_each": lambda port, peers, listener: each(port, peers, listener),
    "connect_by_name": lambda port, peers, listener: by_name(port, listener),
}
"""The ways to get a TCP socket of a port."""


def connected(port, listener):
    op = port.connect(listener.getsockname())
    finish(port, op)
    return op.socket


def accepted(port, peers, listener):
    peers.connect(listener.getsockname())
    op = listener.accept()
    finish(port, op)
    return op.accepted


def each(port, peers, listener):
    got = []
    subscription = listener.accept_each(got.append)
    peers.connect(listener.getsockname())
    run_until(port, lambda: got)
    subscription.cancel()
    run_until(port, lambda: subscription.done)
    return got[0]


def by_name(port, listener):
    connecting = port.connect_by_name(*listener.getsockname())
    run_until(port, lambda: connecting.done)
    return connecting.socket


@pytest.mark.parametrize("nodelay", [None, True, False])
@pytest.mark.parametrize("way", MAKES)
def test_nodelay_is_the_ports(make_port, peers, way, nodelay):
    """R18: every TCP socket of a port starts with the port's nodelay."""
    port = make_port(**({} if nodelay is None else {"nodelay": nodelay}))
    listener = peers.own(port.listen(LOCALHOST))
    sock = peers.own(MAKES[way](port, peers, listener))
    assert sock.nodelay is (nodelay is not False)


@pytest.mark.parametrize("nodelay", [True, False])
def test_nodelay_of_what_an_adopted_listener_accepts(make_port, peers, nodelay):
    """R18: accepted sockets get the port's nodelay until that of the listener is set."""
    port = make_port(nodelay=nodelay)
    raw = peers.listening()
    if not isinstance(raw, socket.socket):
        pytest.skip("not in the model: no descriptor stands behind a modelled socket")
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not nodelay)
    listener = peers.own(port.adopt(raw))
    assert listener.nodelay is not nodelay
    if nodelay:
        for way in ("accept", "accept_each"):
            assert peers.own(MAKES[way](port, peers, listener)).nodelay is True
    for on in (True, False):
        listener.nodelay = on
        assert peers.own(accepted(port, peers, listener)).nodelay is on


def test_nodelay_of_an_adopted_socket(port, peers):
    """R18: an adopted socket keeps its nodelay."""
    listener = peers.own(port.listen(LOCALHOST))
    raw = peers.raw()
    if not isinstance(raw, socket.socket):
        pytest.skip("not in the model: no descriptor stands behind a modelled socket")
    raw.connect(listener.getsockname())
    assert peers.own(port.adopt(raw)).nodelay is False


def test_nodelay_is_true_or_false():
    """R18: the nodelay of a port must be a bool."""
    with pytest.raises(iocp_sock.ArgumentTypeError, match="nodelay"):
        iocp_sock.Port(nodelay=1)


def test_nodelay(port, peers):
    """R18: nodelay can be set, cleared and set again; the system reports the same."""
    sock, _peer = peers.tcp(port)
    assert sock.nodelay is True
    for on in (False, True):
        sock.nodelay = on
        assert sock.nodelay is on
        assert bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is on


def test_before_connecting(port):
    """R18: buffer sizes and nodelay can be set before the socket is connected."""
    with port.socket() as sock:
        sock.send_buffer, sock.receive_buffer, sock.nodelay = 12_000, 13_000, False
        assert (sock.send_buffer, sock.receive_buffer) == (taken(12_000), taken(13_000))
        assert sock.nodelay is False


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        *((name, value, iocp_sock.ArgumentTypeError) for name in BUFFERS for value in (1.5, True)),
        *((name, value, iocp_sock.ArgumentTypeError) for name in BUFFERS for value in ("8", None)),
        *((name, value, iocp_sock.ArgumentError) for name in BUFFERS for value in (-1, 1 << 31)),
        ("nodelay", 1, iocp_sock.ArgumentTypeError),
        ("nodelay", None, iocp_sock.ArgumentTypeError),
    ],
)
def test_bad_values(port, peers, name, value, kind):
    """An invalid value raises a named error, and changes nothing."""
    sock, _peer = peers.tcp(port)
    before = getattr(sock, name)
    with pytest.raises(kind) as caught:
        setattr(sock, name, value)
    assert name in str(caught.value) or "buffer" in str(caught.value) or "32" in str(caught.value)
    assert getattr(sock, name) == before


@pytest.mark.parametrize("name", TUNABLE)
def test_they_cannot_be_deleted(port, peers, name):
    sock, _peer = peers.tcp(port)
    with pytest.raises(iocp_sock.ArgumentTypeError):
        delattr(sock, name)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@needs_unix
def test_only_tcp_has_nagle_unix(port, peers, kind):
    """Reading or setting nodelay of a socket that is not TCP raises, with the reason."""
    sock, _peer = peers.pair(port, kind)
    refuses_nodelay(sock)


def test_only_tcp_has_nagle_udp(port):
    """UDP has buffers, and no Nagle's algorithm."""
    with port.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.receive_buffer = 15_000
        assert sock.receive_buffer == taken(15_000)
        refuses_nodelay(sock)


def refuses_nodelay(sock):
    with pytest.raises(iocp_sock.ArgumentError, match="TCP"):
        sock.nodelay = True
    with pytest.raises(iocp_sock.ArgumentError, match="TCP"):
        _ = sock.nodelay


@pytest.mark.parametrize("name", TUNABLE)
def test_closed_socket(port, peers, name):
    """Reading or setting an option of a closed socket raises SocketClosed."""
    sock, _peer = peers.tcp(port)
    sock.close(0)
    run_until(port, lambda: port.stats().sockets == 0)
    with pytest.raises(iocp_sock.SocketClosed):
        getattr(sock, name)
    with pytest.raises(iocp_sock.SocketClosed):
        setattr(sock, name, name == "nodelay" or 4096)
