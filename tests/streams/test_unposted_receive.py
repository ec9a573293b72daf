"""R13: the warning for a receive buffer of 0 with a strategy that leaves no receive posted."""

import socket
import warnings

import pytest

import iocp_sock
from support import WINE, arrived, run_until

LEAVES_NONE = ["zero_byte", "adaptive"]


def nothing(*_):
    """Ignore the received data."""


@pytest.fixture
def sock(port, peers):
    """Return the port's end of a TCP connection to a raw peer."""
    return peers.tcp(port)[0]


@pytest.fixture
def pooled_warns(backend, port):
    """Return whether pooled receives leave no receive posted on this port."""
    return backend != "uring" or "buffer ring" in port.backend_reason


@pytest.mark.parametrize("strategy", LEAVES_NONE)
def test_a_receive_warns(sock, strategy):
    sock.receive_buffer = 0
    with pytest.warns(iocp_sock.UnpostedReceiveWarning, match="leaves no receive posted"):
        sock.receive(nothing, receive=strategy)
    assert sock.receive_strategy == strategy


def test_pooled_warns_where_it_does_not_stand_in_the_kernel(sock, pooled_warns):
    sock.receive_buffer = 0
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        sock.receive(nothing)
    assert [one.category for one in seen] == [iocp_sock.UnpostedReceiveWarning] * pooled_warns


def test_direct_does_not_warn(sock):
    sock.receive_buffer = 0
    sock.receive(nothing, receive="direct")
    sock.receive_buffer = 0


def test_other_sizes_do_not_warn(sock):
    sock.receive_buffer = 8192
    sock.receive(nothing, receive="zero_byte")
    sock.receive_buffer = 1 << 16


def test_a_buffer_that_grew_again_does_not_warn(sock):
    sock.receive_buffer = 0
    sock.receive_buffer = 8192
    sock.receive(nothing, receive="zero_byte")


@pytest.mark.parametrize(
    "empty",
    [
        lambda sock: setattr(sock, "receive_buffer", 0),
        lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0),
    ],
    ids=["property", "setsockopt"],
)
def test_taking_the_buffer_away_warns_and_refused_changes_nothing(sock, empty):
    sock.receive(nothing, receive="zero_byte")
    before = sock.receive_buffer
    with pytest.raises(iocp_sock.UnpostedReceiveWarning):
        empty(sock)
    assert sock.receive_buffer == before
    with pytest.warns(iocp_sock.UnpostedReceiveWarning):
        empty(sock)
    assert sock.receive_buffer < before


def test_a_change_of_strategy_warns_and_refused_changes_nothing(sock):
    sock.receive_buffer = 0
    sock.receive(nothing, receive="direct")
    with pytest.raises(iocp_sock.UnpostedReceiveWarning):
        sock.receive_strategy = "zero_byte"
    assert sock.receive_strategy == "direct"
    with pytest.warns(iocp_sock.UnpostedReceiveWarning):
        sock.receive_strategy = "zero_byte"
    assert sock.receive_strategy == "zero_byte"


@pytest.mark.skipif(WINE, reason="Wine: an accepted socket has a receive buffer of its own")
def test_accepted_sockets_have_what_their_listener_has(port, peers):
    with port.listen(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        conns = []
        listener.accept_each(conns.append)
        peers.connect(listener.getsockname())
        run_until(port, lambda: conns)
    with pytest.warns(iocp_sock.UnpostedReceiveWarning):
        conns[0].receive(nothing, receive="zero_byte")


def test_refused_receives_nothing(port, peers):
    """A warning raised as an error leaves the socket as it was."""
    sock, peer = peers.tcp(port)
    sock.receive_buffer = 0
    with pytest.raises(iocp_sock.UnpostedReceiveWarning):
        sock.receive(nothing, receive="zero_byte")
    assert sock.receive_strategy is None
    assert port.outstanding == 0
    peer.sendall(b"all the same")
    arrived(sock)
    assert bytes(sock.recv(100).data) == b"all the same"
