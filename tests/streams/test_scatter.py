"""Receives into several buffers, and the maximum number of buffers."""

import socket

import pytest

from iocp_sock import ArgumentError
from support import (
    Recorder,
    address_of,
    arrived,
    finish,
    linux_only,
    pages,
    pattern,
    read,
    run_until,
    span,
)


def joined(rooms, count):
    """Return the first `count` bytes of the buffers, in order."""
    return b"".join(bytes(room) for room in rooms)[:count]


@pytest.mark.parametrize("there", [True, False])
def test_fills_one_after_another(port, pair, there):
    """R23: the buffers are filled in order, each to its end."""
    sock, peer = pair
    rooms = [bytearray(3), memoryview(bytearray(9))[2:6], bytearray(0), bytearray(100)]
    if there:
        peer.sendall(pattern(20))
        arrived(sock, 20)
    op = sock.recvmsg_into(rooms)
    if not there:
        assert op.outcome == "pending"
        peer.sendall(pattern(20))
    finish(port, op)
    assert (op.kind, op.transferred, op.data, op.flags) == ("receive", 20, None, 0)
    assert joined(rooms, 20) == pattern(20)
    assert rooms[3][13:] == bytes(87)


def test_any_iterable(port, pair):
    """R23: buffers come from any iterable, and are held until the completion."""
    sock, peer = pair
    rooms = [bytearray(5), bytearray(5)]
    op = sock.recvmsg_into(room for room in rooms)
    port.run_once(0)
    for room in rooms:
        with pytest.raises(BufferError):
            room.clear()
    peer.sendall(b"0123456789")
    finish(port, op)
    run_until(port, lambda: port.outstanding == 0)
    assert joined(rooms, 10) == b"0123456789"[: op.transferred]
    for room in rooms:
        room.clear()


def test_charge_is_every_page_of_every_buffer(port, pair):
    """R06: each buffer is charged for all pages it touches, even pages shared with another."""
    sock, peer = pair
    whole = bytearray(40_000)
    view = memoryview(whole)
    rooms = [view[10:20], view[30:5000], view[6000:6000], view[9000:39_000]]
    op = sock.recvmsg_into(rooms)
    base = address_of(whole)
    expected = sum(pages(base + at, n) for at, n in ((10, 10), (30, 4970), (9000, 30_000)))
    assert sock.charged == port.ledger.now == expected
    peer.sendall(b"x")
    finish(port, op)
    assert port.ledger.now == 0


def test_limit(port, pair):
    """R23: a post takes 1024 buffers; one more raises an error that names the limit."""
    sock, peer = pair
    rooms = [bytearray(1) for _ in range(1024)]
    op = sock.recvmsg_into(rooms, flags=socket.MSG_WAITALL)
    with pytest.raises(ArgumentError, match="1024"):
        sock.recvmsg_into([*rooms, bytearray(1)])
    assert port.outstanding == 1
    for at in range(0, 1024, 256):
        peer.sendall(pattern(1024)[at : at + 256])
        port.run_once(0)
    finish(port, op)
    assert joined(rooms, 1024) == pattern(1024)
    with pytest.raises(ArgumentError, match="1024"):
        sock.sendmsg([b"x"] * 1025)
    gathered = sock.sendmsg([b"x"] * 1024)
    finish(port, gathered)
    assert read(port, peer, 1024) == b"x" * 1024


def test_waits_for_all(port, pair):
    """R23 R29: MSG_WAITALL fills every buffer, across any number of arrivals."""
    sock, peer = pair
    rooms = [bytearray(1000) for _ in range(7)]
    op = sock.recvmsg_into(rooms, flags=socket.MSG_WAITALL)
    for at in range(0, 7000, 700):
        assert not op.done
        peer.sendall(pattern(7000)[at : at + 700])
        port.run_once(0.01)
    finish(port, op)
    assert joined(rooms, 7000) == pattern(7000)


def test_waits_for_all_up_to_the_end(port, pair):
    """R29: the end of the stream completes a receive with MSG_WAITALL, with the received bytes."""
    sock, peer = pair
    rooms = [bytearray(10), bytearray(10)]
    op = sock.recvmsg_into(rooms, flags=socket.MSG_WAITALL)
    peer.sendall(pattern(15))
    peer.shutdown(socket.SHUT_WR)
    finish(port, op)
    assert (op.transferred, joined(rooms, 15)) == (15, pattern(15))


def test_order_among_receives(port, pair):
    """R30: scattered and plain receives are filled in posting order."""
    sock, peer = pair
    rooms = [bytearray(4), bytearray(4)]
    ops = [sock.recv(8), sock.recvmsg_into(rooms), sock.recvfrom(8)]
    for at in range(0, 24, 8):
        peer.sendall(pattern(24)[at : at + 8])
        run_until(port, lambda at=at: ops[at // 8].done)
    got = bytes(ops[0].data) + joined(rooms, 8) + bytes(ops[2].data)
    assert got == pattern(24)


def test_many_in_flight(port, peers):
    """R03 R28: scattered receives on many sockets: one completion each."""
    told = Recorder()
    pairs = [peers.pair(port) for _ in range(30)]
    posts = []
    for sock, _peer in pairs:
        rooms = [bytearray(2), bytearray(98)]
        posts.append((rooms, sock.recvmsg_into(rooms, callback=told)))
    for i, (_sock, peer) in enumerate(pairs):
        peer.sendall(pattern(50, i))
    run_until(port, lambda: len(told) == 30)
    assert {id(completion.operation) for completion in told} == {id(op) for _, op in posts}
    assert [joined(rooms, 50) for rooms, _ in posts] == [pattern(50, i) for i in range(30)]


@linux_only("datagrams that wait for room in the peer's queue")
def test_gathered_send_with_address_is_charged_by_page(port, peers):
    """R06: a waiting gathered datagram is charged only for the pages of its buffers."""
    sock, _peer = peers.pair(port, socket.SOCK_DGRAM)
    parts = [bytearray(100), bytearray(5000)]
    ops = []
    while not ops or ops[-1].done:
        ops.append(sock.sendmsg(parts))
        assert len(ops) < 10_000
    assert sock.charged == sum(span(part) for part in parts)
    ops[-1].cancel()
    finish(port, *ops)
