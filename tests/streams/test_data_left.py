"""A close with unsent data: the peer sees a reset, never the end of the stream after a part."""

import socket

import pytest

import iocp_sock
from support import (
    FAMILIES,
    OVERFLOW,
    WINE,
    Recorder,
    finish,
    pattern,
    read_all,
    run_until,
    was_reset,
)

BIG = bytes(OVERFLOW)


def gathered(_port, sock, _path):
    sock.sendmsg([BIG, b"tail"])
    sock.close(timeout=0.05)


def flushed_together(_port, sock, _path):
    sock.receive(Recorder())
    for _ in range(8):
        sock.send(bytes(1 << 20))
    sock.close(timeout=0.05)


def when_writable(_port, sock, _path):
    sock.send_strategy = "when_writable"
    sock.send(BIG)
    sock.close(timeout=0.05)


def direct(_port, sock, _path):
    try:
        sock.send_strategy = "direct"
    except iocp_sock.ArgumentError as refusal:
        pytest.skip(str(refusal))
    sock.send(BIG)
    sock.close(timeout=0.05)


def a_file(_port, sock, path):
    sock.send_file(path)
    sock.close(timeout=0.05)


def shut_down_behind(_port, sock, _path):
    sock.send(BIG)
    sock.shutdown(socket.SHUT_WR)
    sock.close(timeout=0.05)


def disconnect_behind(_port, sock, _path):
    sock.send(BIG)
    sock.disconnect()
    sock.close(timeout=0.05)


def second_close(_port, sock, _path):
    sock.send(BIG)
    sock.close(timeout=8)
    sock.close(timeout=0.05)


def second_close_without_time(port, sock, _path):
    sock.send(BIG)
    sock.close(timeout=8)
    port.run_once(0)
    sock.close(0)


def cancelled_while_it_drains(port, sock, _path):
    op = sock.send(BIG)
    sock.close(timeout=8)
    port.run_once(0)
    op.cancel()


def cut_by_a_cancel(port, sock, _path):
    op = sock.send(BIG)
    port.run_once(0)
    op.cancel()
    finish(port, op)
    sock.close()


def cut_by_its_timeout(port, sock, _path):
    op = sock.send(BIG, timeout=0.05)
    finish(port, op)
    sock.close()


def cut_before_a_shutdown(port, sock, _path):
    op = sock.send(BIG)
    sock.shutdown(socket.SHUT_WR)
    port.run_once(0)
    op.cancel()
    finish(port, op)
    sock.close()


def port_close(port, sock, _path):
    sock.send(BIG)
    port.close(0.05)


def port_close_without_time(port, sock, _path):
    sock.send(BIG)
    port.close(0)


def close_without_time(_port, sock, _path):
    sock.send(BIG)
    sock.close(0)


LEAVING = [
    gathered,
    flushed_together,
    when_writable,
    direct,
    a_file,
    shut_down_behind,
    disconnect_behind,
    second_close,
    second_close_without_time,
    cancelled_while_it_drains,
    cut_by_a_cancel,
    cut_by_its_timeout,
    cut_before_a_shutdown,
    port_close,
    port_close_without_time,
    close_without_time,
]


@pytest.mark.parametrize("leave", LEAVING)
def test_data_left_is_a_reset(port, peers, tmp_path, leave):
    """R37: if data stays unsent, the peer sees a reset, and not the end of the stream."""
    path = tmp_path / "file"
    path.write_bytes(BIG)
    sock, peer = peers.tcp(port, buffers=8192)
    leave(port, sock, path)
    if not port.closed:
        run_until(port, lambda: port.stats().sockets == 0)
    assert was_reset(peer)


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_on_close_says_that_data_was_left(port, pair, timeout):
    """R37: on_close gets TimedOut after the deadline of close(); a receive is cancelled."""
    sock, _peer = pair
    closed = Recorder()
    receiving = sock.receive(Recorder(), on_close=closed)
    sending = sock.send(BIG)
    sock.close(timeout)
    run_until(port, lambda: closed)
    assert isinstance(closed[0][1], iocp_sock.TimedOut)
    assert isinstance(sending.error, iocp_sock.TimedOut)
    assert isinstance(receiving.error, iocp_sock.Cancelled)


def test_eviction_with_data_left_is_a_reset(make_port, peers):
    """R17 R37: idle_timeout resets a connection whose queued data makes no progress."""
    port = make_port(idle_timeout=0.1)
    listener = port.listen(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    closed = Recorder()

    def serve(conn):
        conn.receive(Recorder(), on_close=closed)
        conn.send(BIG)

    listener.accept_each(serve)
    peer = peers.connect(listener.getsockname(), buffers=8192)
    run_until(port, lambda: closed)
    assert isinstance(closed[0][1], iocp_sock.TimedOut)
    assert was_reset(peer)
    listener.close()


def test_nothing_follows_a_cut_send(port, peers):
    """R31 R37: shutdown() after a part of a send is refused: the peer would see a clean end."""
    sock, _peer = peers.tcp(port, buffers=8192)
    op = sock.send(BIG)
    port.run_once(0)
    op.cancel()
    finish(port, op)
    assert op.transferred
    with pytest.raises(iocp_sock.SocketClosed, match="cut part-way"):
        sock.shutdown(socket.SHUT_WR)


def paced(port, peer, total, step, pause):
    """Read `total` bytes in steps; return them and the maximum time between two steps."""
    got = bytearray()
    longest = 0.0
    last = port.time()
    while len(got) < total:
        until = port.time() + pause
        while port.time() < until:
            port.run_once(until - port.time())
        chunk = peer.recv(min(step, total - len(got)))
        longest = max(longest, port.time() - last)
        last = port.time()
        if not chunk:
            break
        got += chunk
    return bytes(got), longest


@pytest.mark.parametrize("what", ["send", "sends", "file", "when_writable", "port"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_slow_peer_gets_everything(make_port, backend, peers, tmp_path, what, kind):
    """R37: each sent byte restarts the deadline of close()."""
    if WINE and backend == "iocp" and what != "when_writable":
        pytest.skip("Wine: without SIO_TCP_INFO a request shows no progress before it is over")
    deadline = 1.0
    data = pattern(3 << 20)
    path = tmp_path / "file"
    path.write_bytes(data)
    for _attempt in range(5):
        port = make_port()
        sock, peer = peers.both(port, kind, buffers=65536)
        closed = Recorder()
        sock.receive(Recorder(), on_close=closed)
        if what == "file":
            sock.send_file(path)
        elif what == "sends":
            for at in range(0, len(data), 1 << 18):
                sock.send(data[at : at + (1 << 18)])
        else:
            sock.send_strategy = "when_writable" if what == "when_writable" else "buffered"
            sock.send(data)
        if what == "port":
            port.post(callback=lambda _, port=port: port.close(deadline))
        else:
            sock.close(deadline)
        port.run_once(0)
        try:
            got, longest = paced(port, peer, 1 << 19, 1 << 18, 0.3)
        except (iocp_sock.PortClosed, ConnectionResetError):
            continue  # the machine was too busy to keep the pace
        if longest >= deadline:
            continue
        got += read_all(port, peer)
        assert got == data
        run_until(port, lambda port=port, closed=closed: port.closed or closed)
        assert closed[0][1] is None
        return
    pytest.fail("the peer could not keep its pace, or the close gave up a peer that reads")
