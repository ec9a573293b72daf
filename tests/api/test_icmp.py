"""ICMP errors of sent datagrams: each completes one operation, and receiving goes on."""

import errno
import socket

import pytest

from support import QUIET, WINDOWS, WINE, finish, linux_only, packets_of_turns, run_until

IP_RECVERR = 11
BOUNCES = {errno.ECONNREFUSED, errno.ECONNRESET}


@pytest.fixture
def holder(peers):
    """Return a raw socket that keeps an address at which every datagram causes an ICMP error."""
    return peers.unreachable()


@pytest.fixture
def nowhere(holder):
    """Return an address at which no socket receives."""
    return holder.getsockname()


@pytest.fixture
def told(port, peers):
    """Return an unconnected socket of a port, for which the system reports errors (IP_RECVERR)."""
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.fixture
def bounced(port, peers, nowhere):
    """Return a socket of a port, connected to an address without a receiver, and the address."""
    if WINE:
        pytest.skip("Wine 8.0: a connected datagram socket receives nothing more after an error")
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    finish(port, sock.connect(nowhere))
    return sock, nowhere


def send(sock, data):
    """Send a datagram, again if the send raises the error of an earlier one; count these errors."""
    errors = 0
    while True:
        try:
            return sock.send(data), errors
        except (ConnectionRefusedError, ConnectionResetError):
            errors += 1


@pytest.mark.parametrize("method", ["recv", "recvfrom", "recv_into", "recvmsg_into"])
def test_one_receive_gets_it(port, peers, holder, bounced, method):
    """R05: an ICMP error fails one receive; the next receive gets the next datagram."""
    sock, nowhere = bounced
    rooms = [bytearray(100), bytearray(100)]
    posts = {
        "recv": lambda _: sock.recv(100),
        "recvfrom": lambda _: sock.recvfrom(100),
        "recv_into": sock.recv_into,
        "recvmsg_into": lambda room: sock.recvmsg_into([room]),
    }
    first, second = (posts[method](room) for room in rooms)
    port.run_once(0)
    send(sock, b"to nobody")
    finish(port, first)
    assert first.error.errno in BOUNCES
    assert (first.address, first.data, first.flags, first.transferred) == (None, None, 0, 0)
    assert not second.done
    assert not sock.closed
    peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    holder.close()
    peer.bind(nowhere)
    peer.sendto(b"here", sock.getsockname())
    finish(port, second)
    assert (second.error, second.transferred) == (None, 4)


def test_send_that_meets_it_raises(port, peers, holder, bounced):
    """R05: without a receive, the next send raises the ICMP error of a send, and sends nothing."""
    sock, nowhere = bounced
    sock.send(b"first")
    if not WINDOWS:
        with pytest.raises(ConnectionRefusedError):
            sock.send(b"met")
    assert not sock.closed
    peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    holder.close()
    peer.bind(nowhere)
    send(sock, b"came")
    assert peer.recv(100) == b"came"


@linux_only("IP_RECVERR")
@pytest.mark.parametrize("subscribed", [True, False])
def test_unconnected_with_recverr(port, peers, told, nowhere, subscribed):
    """R05: an unconnected socket with IP_RECVERR gets the ICMP errors; receiving goes on."""
    peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    errors = []
    got = []

    def again(completion):
        if completion.error is not None:
            errors.append(completion.error.errno)
        else:
            got.append(bytes(completion.data))
        if len(got) < 20:
            told.recvfrom(100, callback=again)

    if subscribed:
        told.receive_from(
            lambda _s, data, _a: got.append(bytes(data)),
            on_error=lambda _s, error: errors.append(error.errno),
        )
    else:
        told.recvfrom(100, callback=again)
    for i in range(20):
        told.sendto(b"to nobody", nowhere)
        run_until(port, lambda i=i: len(errors) == i + 1)
        peer.sendto(b"%d" % i, told.getsockname())
        run_until(port, lambda i=i: len(got) == i + 1)
    assert got == [b"%d" % i for i in range(20)]
    assert set(errors) == {errno.ECONNREFUSED}
    assert not told.closed


@linux_only("IP_RECVERR")
def test_errors_that_nobody_reads(port, peers, told, nowhere):
    """R05 R15: an error that stays in the system's error queue does not make the port spin."""
    errors = []
    got = []
    told.receive_from(
        lambda _s, data, _a: got.append(bytes(data)),
        on_error=lambda _s, error: errors.append(error.errno),
    )
    peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(5):
        told.sendto(b"to nobody", nowhere)
        run_until(port, lambda i=i: len(errors) == i + 1)
        assert packets_of_turns(port) < QUIET
        peer.sendto(b"here", told.getsockname())
        run_until(port, lambda i=i: len(got) == i + 1)
        assert packets_of_turns(port) < QUIET
    assert set(errors) == {errno.ECONNREFUSED}


def test_unconnected_without_it_goes_on(port, peers, nowhere):
    """R05: receiving goes on, whether or not the system reports ICMP errors to the socket."""
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(10):
        op = sock.recvfrom(100)
        port.run_once(0)
        sock.sendto(b"to nobody", nowhere)
        peer.sendto(b"%d" % i, sock.getsockname())
        finish(port, op)
        while op.error is not None:
            assert op.error.errno in BOUNCES
            op = sock.recvfrom(100)
            finish(port, op)
        assert bytes(op.data) == b"%d" % i


@pytest.mark.parametrize("how", ["receives", "subscription"])
def test_100_000_datagrams_with_errors_in_between(port, peers, holder, bounced, how):
    """R03 R05 R22: each accepted datagram arrives once and in order, past every error.

    Before each batch the peer's address has no socket, so that one datagram causes an ICMP error.
    """
    sock, nowhere = bounced
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    total, batch = 100_000, 50
    errors = 0
    expected = 0
    done = False

    def arrived(data):
        nonlocal expected
        assert int.from_bytes(data, "little") == expected
        expected += 1

    def failed(error):
        nonlocal errors
        assert error.errno in BOUNCES
        errors += 1

    def again(completion):
        if done:
            return  # cancelled
        if completion.error is not None:
            failed(completion.error)
        else:
            arrived(bytes(completion.data))
        sock.recvfrom(16, callback=again)

    if how == "receives":
        for _ in range(4):
            sock.recvfrom(16, callback=again)
    else:
        sock.receive_from(
            lambda _s, data, _a: arrived(bytes(data)), on_error=lambda _s, e: failed(e)
        )
    port.run_once(0)
    met = 0
    holder.close()
    for start in range(0, total, batch):
        # The address has no socket now, so this datagram causes an ICMP error.
        met += send(sock, b"to nobody")[1]
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind(nowhere)
        peer.connect(sock.getsockname())
        for number in range(start, start + batch):
            peer.send(number.to_bytes(4, "little"))
        peer.close()
        run_until(port, lambda end=start + batch: expected >= end)
    done = True
    assert expected == total
    assert errors + met > 0
    assert errors + met <= total // batch
    assert not sock.closed
    sock.cancel()
    run_until(port, lambda: port.outstanding == 0)
