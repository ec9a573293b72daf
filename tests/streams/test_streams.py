"""R04 and R30: a stream goes out whole and in order, and fills receives in posting order."""

import socket

import pytest

import iocp_sock
from support import (
    OVERFLOW,
    Recorder,
    arrived,
    finish,
    pattern,
    read,
    read_all,
    reset,
    run_until,
)


@pytest.mark.parametrize("size", [1, 4095, 65536, 3_000_001])
def test_sends_go_out_whole(port, pair, size):
    """R04: a send completes with all its bytes, in however many steps the kernel takes them."""
    sock, peer = pair
    data = pattern(size)
    op = sock.send(data)
    assert read(port, peer, size) == data
    finish(port, op)
    assert (op.transferred, op.error) == (size, None)


def test_sends_go_out_in_posting_order(port, pair):
    """R04 R30: sends of mixed sizes never interleave, and leave no gap."""
    sock, peer = pair
    sizes = [1, 70_000, 3, 900_000, 0, 17, 8192, 8191, 300_000, 5] * 3
    parts = [pattern(size, seed) for seed, size in enumerate(sizes)]
    got = Recorder()
    ops = [sock.send(part, callback=got) for part in parts]
    expected = b"".join(parts)
    assert read(port, peer, len(expected)) == expected
    finish(port, *ops)
    run_until(port, lambda: len(got) == len(ops))
    assert [op.transferred for op in ops] == sizes
    assert [c.operation for c in got] == ops


def test_sends_from_callbacks_keep_their_order(port, pair):
    """R30: sends posted while others are in flight follow them."""
    sock, peer = pair
    parts = [pattern(200_000, seed) for seed in range(20)]
    left = iter(parts)

    def more(_completion=None):
        for part in (next(left, None), next(left, None)):
            if part is not None:
                sock.send(part, callback=more)

    more()
    expected = b"".join(parts)
    assert read(port, peer, len(expected)) == expected


def test_gathered_send_is_in_order(port, pair):
    """R04: a send of several buffers delivers them in order, even if it goes out in many parts."""
    sock, peer = pair
    parts = [pattern(size, size) for size in (0, 1, 5000, 400_000, 2, 0, 300_000, 4096)]
    op = sock.sendmsg([bytearray(p) if i % 2 else p for i, p in enumerate(parts)])
    expected = b"".join(parts)
    assert read(port, peer, len(expected)) == expected
    finish(port, op)
    assert op.transferred == len(expected)


def test_huge_gather(port, pair):
    """R04: one post takes 1024 buffers, the maximum of the system."""
    sock, peer = pair
    parts = [pattern(1000 + i, i) for i in range(1024)]
    op = sock.sendmsg(parts)
    behind = sock.send(b"behind")
    expected = b"".join(parts) + b"behind"
    assert read(port, peer, len(expected)) == expected
    finish(port, op, behind)


def test_gathered_sends_behind_each_other(port, pair):
    """R04: gathered sends share requests without losing a part."""
    sock, peer = pair
    first = sock.send(pattern(2_000_000, 1))
    expected = [pattern(2_000_000, 1)]
    ops = [first]
    for i in range(30):
        parts = [pattern(100 + i, 7 * i + j) for j in range(40)]
        expected += parts
        ops.append(sock.sendmsg(parts))
    whole = b"".join(expected)
    assert read(port, peer, len(whole)) == whole
    finish(port, *ops)


def test_receives_are_filled_in_posting_order(port, pair):
    """R30: several receives outstanding on one socket are filled in posting order."""
    sock, peer = pair
    data = pattern(64 * 16)
    got = Recorder()
    ops = [sock.recv(16, callback=got) for _ in range(128)]
    for i in range(0, len(data), 100):
        peer.sendall(data[i : i + 100])
        port.run_once(0.01)
    run_until(port, lambda: sum(op.transferred for op in ops) == len(data))
    done = [op for op in ops if op.done]
    assert b"".join(bytes(op.data) for op in done) == data
    assert done == ops[: len(done)]
    run_until(port, lambda: [c.operation for c in got] == done)


def test_mixed_receives_in_posting_order(port, pair):
    """R30 R11: receives of every kind complete in order; a zero-byte receive leaves the data."""
    sock, peer = pair
    target = bytearray(4)
    ops = [sock.recv(4), sock.recv_zero(), sock.recv_into(target), sock.recv(4)]
    peer.sendall(b"aaaabbbbcccc")
    finish(port, *ops)
    assert bytes(ops[0].data) == b"aaaa"
    assert target == b"bbbb"
    assert bytes(ops[3].data) == b"cccc"
    assert ops[1].transferred == 0


def test_end_of_stream_is_an_empty_buffer(port, pair):
    """R04: after the peer's half-close receives get the remaining bytes, then empty buffers."""
    sock, peer = pair
    ops = [sock.recv(100), sock.recv(100), sock.recv(100)]
    peer.sendall(b"last")
    peer.shutdown(socket.SHUT_WR)
    finish(port, *ops)
    assert b"".join(bytes(op.data) for op in ops) == b"last"
    assert [op.error for op in ops] == [None, None, None]
    assert bytes(ops[-1].data) == b""
    late = sock.recv(100)
    assert (late.outcome, bytes(late.data)) == ("done", b"")


def test_half_closed_peer_is_still_sent_to(port, pair):
    """R04: after the peer's half-close, sends to the peer still arrive."""
    sock, peer = pair
    peer.shutdown(socket.SHUT_WR)
    end = sock.recv(10)
    finish(port, end)
    data = pattern(1_000_000)
    op = sock.send(data)
    assert read(port, peer, len(data)) == data
    finish(port, op)


def test_shutdown_follows_queued_sends(port, pair):
    """R04: shutdown for writing follows the queued sends."""
    sock, peer = pair
    data = pattern(3_000_000)
    op = sock.send(data)
    behind = sock.send(b"last")
    sock.shutdown(socket.SHUT_WR)
    with pytest.raises(iocp_sock.SocketClosed):
        sock.send(b"too late")
    assert read_all(port, peer) == data + b"last"
    finish(port, op, behind)
    peer.sendall(b"answer")
    answer = sock.recv(10)
    finish(port, answer)
    assert bytes(answer.data) == b"answer"


def test_shutdown_at_once_when_nothing_is_queued(port, pair):
    """R04: shutdown on an idle socket is seen by the peer at once."""
    sock, peer = pair
    sock.shutdown(socket.SHUT_WR)
    assert read_all(port, peer) == b""


def test_reset_fails_the_send_with_its_count(port, peers):
    """R04: a send that cannot be sent whole ends with an error, and its count."""
    sock, peer = peers.tcp(port, buffers=8192)
    data = bytes(OVERFLOW)
    got = Recorder()
    op = sock.send(data, callback=got)
    behind = sock.send(b"behind", callback=got)
    taken = read(port, peer, 100_000)
    assert len(taken) == 100_000
    reset(peer)
    finish(port, op, behind)
    assert isinstance(op.error, ConnectionResetError)
    assert 100_000 <= op.transferred < len(data)
    assert behind.error is not None
    assert behind.transferred == 0
    run_until(port, lambda: len(got) == 2)


def test_try_recv_and_try_send(port, pair):
    """R04: try_recv() and try_send() never wait: they return None and 0."""
    sock, peer = pair
    assert sock.try_recv(10) is None
    assert sock.try_send(b"abc") == 3
    assert read(port, peer, 3) == b"abc"
    peer.sendall(b"xyz")
    arrived(sock, 3)
    assert bytes(sock.try_recv(2)) == b"xy"
    assert bytes(sock.try_recv(10)) == b"z"
    total = 0
    while went := sock.try_send(bytes(100_000)):
        total += went
    assert total > 0
    peer.shutdown(socket.SHUT_WR)
    arrived_end = sock.recv_zero()
    finish(port, arrived_end)
    assert bytes(sock.try_recv(10)) == b""
    run_until(port, lambda: port.outstanding == 0)


def test_try_calls_stand_behind_posted_operations(port, pair):
    """R30: try_recv() and try_send() never overtake posted operations."""
    sock, peer = pair
    op = sock.recv(3)
    peer.sendall(b"abcdef")
    arrived(sock, 3)
    assert sock.try_recv(3) is None
    finish(port, op)
    assert bytes(op.data) == b"abc"
    assert bytes(sock.try_recv(3)) == b"def"
    big = sock.send(bytes(OVERFLOW))
    assert big.pending
    assert sock.try_send(b"x") == 0
    sock.close(0)


def test_send_held_until_it_went(port, pair):
    """R04: a pending send holds its buffer, which cannot be resized."""
    sock, peer = pair
    data = bytearray(pattern(OVERFLOW))
    expected = bytes(data)
    op = sock.send(data)
    assert op.pending
    with pytest.raises(BufferError):
        data.clear()
    assert read(port, peer, len(expected)) == expected
    finish(port, op)
    run_until(port, lambda: port.outstanding == 0)
    data.clear()
