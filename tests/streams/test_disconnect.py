"""disconnect(): the queued sends go out, the connection ends, and the socket stays for reuse."""

import socket

import pytest

import iocp_sock
from support import (
    AF_UNIX,
    OVERFLOW,
    WINDOWS,
    WINE,
    Recorder,
    finish,
    linux_only,
    needs_unix,
    pattern,
    read,
    read_all,
    run_until,
)

waits_for_the_peer = pytest.mark.skipif(
    WINE, reason="DisconnectEx of Wine 8.0 does not wait for the peer's end of stream"
)


def test_behind_the_sends(port, pair):
    """R30, R32: a disconnect ends the stream behind earlier sends; the socket stays open."""
    sock, peer = pair
    got = Recorder()
    data = pattern(OVERFLOW)
    send = sock.send(data)
    op = sock.disconnect(callback=got)
    assert op.kind == "disconnect"
    with pytest.raises(iocp_sock.SocketClosed):
        sock.send(b"late")
    assert read_all(port, peer) == data
    peer.close()
    run_until(port, lambda: got)
    assert (send.error, op.error, len(got)) == (None, None, 1)
    assert not sock.closed
    with pytest.raises(iocp_sock.SocketClosed):
        sock.send(b"late")
    sock.close()


def test_the_peer_goes_on(port, pair):
    """Data is received up to the peer's end of stream; then the disconnect completes."""
    sock, peer = pair
    got = []
    sock.receive(lambda _conn, data: got.append(bytes(data)))
    op = sock.disconnect()
    assert read_all(port, peer) == b""
    peer.sendall(b"goodbye")
    peer.close()
    run_until(port, lambda: op.done and got[-1:] == [b""])
    assert (op.error, b"".join(got)) == (None, b"goodbye")
    sock.close()


@waits_for_the_peer
def test_waits_and_cancels(port, pair):
    """R31: a disconnect that waits for the peer's end of stream can be cancelled or time out."""
    sock, peer = pair
    op = sock.disconnect()
    port.run_once(0)
    assert not op.done
    assert op.cancel()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    late = sock.disconnect(timeout=0.01)
    finish(port, late)
    assert isinstance(late.error, iocp_sock.TimedOut)
    peer.close()
    last = sock.disconnect()
    finish(port, last)
    assert last.error is None


@pytest.mark.parametrize("ended_by", ["us", "the peer"])
def test_reuse(port, peers, ended_by):
    """R32: a socket disconnected for reuse connects again, even to another address."""
    listeners = []
    for _ in range(2):
        raw = peers.listening()
        listeners.append(raw)
    sock = peers.own(port.socket(socket.AF_INET))
    for raw in [*listeners, listeners[0]]:
        connect = sock.connect(raw.getsockname())
        peer = peers.keep(raw.accept()[0])
        finish(port, connect)
        assert connect.error is None
        handle = sock.fileno()
        if ended_by == "the peer":
            peer.shutdown(socket.SHUT_WR)
        sock.send(b"question")
        op = sock.disconnect(reuse=True)
        if not op.done:
            with pytest.raises(iocp_sock.SocketClosed, match="disconnect is outstanding"):
                sock.recv(10)
        assert read_all(port, peer) == b"question"
        peer.close()
        finish(port, op)
        assert op.error is None
        assert sock.fileno() == handle
        if WINE:
            pytest.skip("ConnectEx of Wine 8.0 refuses a socket that was disconnected for reuse")
        run_until(port, lambda: sock.outstanding == 0)
        with pytest.raises(iocp_sock.ArgumentError, match="not connected"):
            sock.receive(lambda _conn, _data: None)


@linux_only("Windows lets a reused socket connect and be accepted into, not listen")
def test_reuse_to_listen(port, peers):
    """Linux: a reused socket may listen as well."""
    sock, peer = peers.tcp(port)
    op = sock.disconnect(reuse=True)
    peer.close()
    finish(port, op)
    sock.listen()
    peers.connect(sock.getsockname())
    accept = sock.accept()
    finish(port, accept)
    assert accept.accepted is not None
    peers.own(accept.accepted)


@linux_only("connect(2) with AF_UNSPEC")
def test_nothing_is_lost_by_reuse(port, peers):
    """Linux: disconnect(reuse=True) waits until a peer that ended first has read all data."""
    sock, peer = peers.tcp(port, buffers=8192)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    peer.shutdown(socket.SHUT_WR)
    data = pattern(200_000)
    send = sock.send(data)
    finish(port, send)
    op = sock.disconnect(reuse=True)
    for _ in range(10):
        port.run_once(0.005)
    assert not op.done
    assert read_all(port, peer) == data
    finish(port, op)
    assert op.error is None


@needs_unix
def test_no_reuse_of_other_families(port, peers):
    """An AF_UNIX socket takes a plain disconnect, but cannot be reused."""
    sock, peer = peers.pair(port)
    assert sock.family == AF_UNIX
    with pytest.raises(iocp_sock.ArgumentError, match="used again"):
        sock.disconnect(reuse=True)
    op = sock.disconnect()
    peer.close()
    finish(port, op)
    assert op.error is None


def test_refused(port, peers):
    """disconnect() needs a connected stream, no other disconnect, and for reuse no receive."""
    with port.socket(socket.AF_INET) as fresh, pytest.raises(iocp_sock.ArgumentError):
        fresh.disconnect()
    with (
        port.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        pytest.raises(iocp_sock.ArgumentError),
    ):
        datagram.disconnect()
    sock, peer = peers.tcp(port)
    with pytest.raises(iocp_sock.ArgumentTypeError):
        sock.disconnect(callback=1)
    with pytest.raises(iocp_sock.ArgumentTypeError):
        sock.disconnect(True)
    receive = sock.recv(10)
    with pytest.raises(iocp_sock.ArgumentError, match="receives are outstanding"):
        sock.disconnect(reuse=True)
    receive.cancel()
    finish(port, receive)
    big = sock.send(pattern(16 << 20))
    op = sock.disconnect()
    with pytest.raises(iocp_sock.SocketClosed, match="disconnect is outstanding"):
        sock.disconnect()
    assert len(read_all(port, peer)) == 16 << 20
    peer.close()
    finish(port, big, op)
    sock.close()
    run_until(port, lambda: sock.closed)
    with pytest.raises(iocp_sock.SocketClosed):
        sock.disconnect()


def test_after_a_half_close(port, peers):
    """shutdown(SHUT_WR) and then a disconnect send the end of the stream once."""
    sock, peer = peers.tcp(port)
    sock.send(b"data")
    sock.shutdown(socket.SHUT_WR)
    op = sock.disconnect()
    assert read_all(port, peer) == b"data"
    peer.close()
    finish(port, op)
    assert op.error is None


def test_behind_a_connect(port, peers):
    """A disconnect behind a connect waits for it."""
    raw = peers.listening()
    sock = peers.own(port.socket(socket.AF_INET))
    ops = [sock.connect(raw.getsockname()), sock.send(b"hello"), sock.disconnect()]
    peer = peers.keep(raw.accept()[0])
    assert read(port, peer, 5) == b"hello"
    peer.close()
    finish(port, *ops)
    assert [op.error for op in ops] == [None] * 3


def test_close_overtakes(port, peers):
    """A close cancels a waiting disconnect, and a disconnect that is queued behind sends."""
    sock, peer = peers.tcp(port)
    waiting = sock.disconnect()
    port.run_once(0)
    sock.close()
    finish(port, waiting)
    assert WINDOWS or isinstance(waiting.error, iocp_sock.Cancelled)
    run_until(port, lambda: sock.closed)
    other, reader = peers.tcp(port)
    data = pattern(16 << 20)
    send = other.send(data)
    behind = other.disconnect()
    other.close(20)
    finish(port, behind)
    assert isinstance(behind.error, iocp_sock.Cancelled)
    assert read_all(port, reader) == data
    finish(port, send)
    assert send.error is None
    peer.close()
