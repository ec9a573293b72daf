"""Received Buffers: their interface, their lifetime, and the cost of keeping them."""

import gc
import hashlib
import mmap
import re
import socket

import pytest

import iocp_sock
from support import OVERFLOW, Recorder, arrived, finish, pattern, read, run_until


@pytest.fixture
def buffer(port, pair):
    """A Buffer that holds the bytes of 'hello world'."""
    sock, peer = pair
    peer.sendall(b"hello world")
    arrived(sock, 11)
    data = sock.recv(100).data
    yield data
    gc.collect()
    data.release()


def test_reads_as_bytes(buffer):
    """A Buffer is read-only memory of one dimension: len, bytes, slices, comparison, iteration."""
    assert len(buffer) == buffer.nbytes == 11
    assert bytes(buffer) == buffer.tobytes() == b"hello world"
    assert (buffer[0], buffer[-1], buffer[2:5], buffer[::-1]) == (104, 100, b"llo", b"dlrow olleh")
    assert list(buffer) == list(b"hello world")
    assert buffer == b"hello world"
    assert buffer == bytearray(b"hello world")
    assert buffer != b"hello"
    assert buffer != "hello world"
    assert bool(buffer)
    for index in (11, -12, 1 << 80):
        with pytest.raises(IndexError):
            buffer[index]
    with pytest.raises(TypeError):
        buffer["x"]
    with pytest.raises(TypeError):
        hash(buffer)
    with pytest.raises(TypeError):
        buffer[0] = 1
    with memoryview(buffer) as view:
        assert view.readonly
        assert (view.format, view.ndim, view.nbytes) == ("B", 1, 11)
        with pytest.raises(TypeError):
            view[0] = 1
    assert repr(buffer) == "<iocp_sock.Buffer of 11 bytes>"


class Index:
    """An object with __index__() that is not an int."""

    def __index__(self):
        return ord("w")


@pytest.mark.parametrize(
    "wanted",
    [b"h", b"world", b"hello world", b"", b"wrld", b"hello world!", b"d", b"o w", b"\0",
     bytearray(b"lo"), memoryview(b"xlox")[1:3], memoryview(b"xlxo")[::2],
     ord("h"), ord("x"), 0, 255, True, Index(), -1, 256, 1 << 80,
     "h", None, 1.0, [104], object()],
    ids=repr,
)  # fmt: skip
def test_in(buffer, wanted):
    """`in` searches a Buffer as it searches bytes, and raises the same exceptions."""
    try:
        expected = wanted in bytes(buffer)
    except (TypeError, ValueError, BufferError) as error:
        with pytest.raises(type(error)):
            wanted in buffer  # noqa: B015 - it raises
    else:
        assert (wanted in buffer) is expected
        assert (wanted not in buffer) is not expected


def test_in_what_was_received_and_given_back(buffer):
    """A Buffer contains itself; an empty one contains only empty bytes."""
    assert buffer in buffer
    assert buffer in b"> hello world <"
    buffer.release()
    assert b"" in buffer
    assert b"h" not in buffer
    assert 104 not in buffer


@pytest.mark.parametrize(
    "use",
    [
        lambda data: data.startswith(b"h"),
        lambda data: data.find(b"h"),
        lambda data: data.split(),
        lambda data: data.decode(),
        lambda data: data + b"x",
        lambda data: data * 2,
        lambda data: data < b"x",
        lambda data: {data: 1},
        lambda data: ord(data),
    ],
)
def test_what_a_buffer_does_not_do_is_an_error(buffer, use):
    """Methods of bytes that a Buffer lacks raise."""
    with pytest.raises((AttributeError, TypeError)):
        use(buffer)


def test_what_takes_bytes_like_objects_takes_a_buffer(buffer):
    """Searches, joins, formats and digests take a Buffer as its bytes."""
    assert b"".join([b"> ", buffer]) == b"> hello world"
    assert b"> " + buffer == b"> hello world"
    assert b"hello world".find(buffer) == 0
    assert b"hello world!".startswith(buffer)
    assert b"%b" % buffer == b"hello world"
    assert re.search(rb"w\w+", buffer)[0] == b"world"
    assert str(buffer, "ascii") == "hello world"
    assert int.from_bytes(buffer, "big") == int.from_bytes(b"hello world", "big")
    assert hashlib.md5(buffer).digest() == hashlib.md5(b"hello world").digest()
    assert list(reversed(buffer)) == list(b"dlrow olleh")
    assert buffer in [b"hello world"]


def test_release(buffer):
    """release() gives the memory back; it refuses while a view exists."""
    view = memoryview(buffer)
    with pytest.raises(BufferError):
        buffer.release()
    assert bytes(view) == b"hello world"
    view.release()
    buffer.release()
    buffer.release()
    assert (len(buffer), bytes(buffer), bool(buffer)) == (0, b"", False)
    with memoryview(buffer) as empty:
        assert empty.nbytes == 0


def test_with_block_releases(buffer):
    """A with block releases its Buffer at the end."""
    with buffer as same:
        assert same is buffer
    assert len(buffer) == 0


@pytest.mark.parametrize("strategy", ["pooled", "direct", "zero_byte"])
def test_kept_buffers_never_change(port, pair, strategy):
    """Later messages do not change a Buffer, however long it is kept."""
    sock, peer = pair
    got = Recorder()
    sock.receive(got, receive=strategy)
    expected = []
    for seed in range(200):
        part = pattern(3000, seed)
        expected.append(part)
        peer.sendall(part)
        total = 3000 * (seed + 1)
        run_until(port, lambda total=total: sum(len(d) for _c, d in got) == total)
    assert b"".join(bytes(d) for _c, d in got) == b"".join(expected)


def test_buffers_outlive_the_port(make_port, peers):
    """A Buffer and its views are valid after the port is closed and freed."""
    port = make_port()
    sock, peer = peers.pair(port)
    kept = []
    for strategy in ("pooled", "direct", "zero_byte"):
        got = Recorder()
        op = sock.receive(got, receive=strategy)
        peer.sendall(strategy.encode())
        run_until(port, lambda got=got: got)
        kept.append(got[0][1])
        op.cancel()
        run_until(port, lambda: port.outstanding == 0)
        del got
    op = sock.recv(100)
    peer.sendall(b"single")
    finish(port, op)
    kept.append(memoryview(op.data))
    del op
    port.close(0)
    gc.collect()
    assert [bytes(k) for k in kept] == [b"pooled", b"direct", b"zero_byte", b"single"]
    kept.pop().release()
    for buffer in kept:
        buffer.release()


def test_hoarding_costs_the_hoarder_only(make_port, peers):
    """A reader that keeps every Buffer does not stop other readers; the pool stays bounded."""
    port = make_port(region_size=65536, region_limit=4)
    hoarder, hoarder_peer = peers.pair(port)
    other, other_peer = peers.pair(port)
    hoard = Recorder()
    got = []
    hoarder.receive(hoard)
    other.receive(lambda _conn, data: got.append(bytes(data)))
    total = 0
    for seed in range(300):
        hoarder_peer.sendall(pattern(5000, seed))
        total += 5000
        run_until(port, lambda total=total: sum(len(d) for _c, d in hoard) == total)
        if seed % 30 == 0:
            other_peer.sendall(b"%d" % seed)
            run_until(port, lambda seed=seed: got[-1:] == [b"%d" % seed])
    assert port.stats().blocks_out <= 4 + 4
    assert b"".join(bytes(d) for _c, d in hoard) == b"".join(pattern(5000, s) for s in range(300))
    hoard.clear()


def test_received_buffer_is_sent_and_dropped(port, peers):
    """A pending send keeps its Buffer alive."""
    sock, peer = peers.pair(port)
    other, other_peer = peers.pair(port)
    filler = other.send(bytes(OVERFLOW))
    peer.sendall(b"kept alive")
    arrived(sock, 10)
    data = sock.recv(100).data
    op = other.send(data)
    assert op.queued
    data.release()
    del data
    gc.collect()
    assert read(port, other_peer, OVERFLOW + 10)[-10:] == b"kept alive"
    finish(port, filler, op)


def test_bytearray_cannot_be_resized_while_pending(port, pair):
    """Bad input: the buffers of a pending operation cannot be resized."""
    sock, peer = pair
    target = bytearray(100)
    op = sock.recv_into(target)
    for change in (target.clear, lambda: target.append(1), lambda: target.extend(b"x")):
        with pytest.raises(BufferError):
            change()
    peer.sendall(b"abc")
    finish(port, op)
    run_until(port, lambda: port.outstanding == 0)
    target.append(1)
    parts = [bytearray(3 << 20), bytearray(3 << 20)]
    op = sock.sendmsg(parts)
    assert op.pending
    for part in parts:
        with pytest.raises(BufferError):
            part.append(1)
    assert len(read(port, peer, 6 << 20)) == 6 << 20
    finish(port, op)
    run_until(port, lambda: port.outstanding == 0)
    for part in parts:
        part.append(1)


def test_huge_target(port, peers):
    """A receive takes a target of 4 GiB and more."""
    sock, peer = peers.pair(port)
    area = mmap.mmap(-1, 1 << 32)
    op = sock.recv_into(area)
    port.run_once(0)
    peer.sendall(b"abc")
    finish(port, op)
    assert (op.transferred, op.error) == (3, None)
    run_until(port, lambda: port.outstanding == 0)
    assert area[:3] == b"abc"
    area.close()


def test_empty_buffer_at_the_end_only(port, pair):
    """An empty Buffer is the end of the stream."""
    sock, peer = pair
    peer.shutdown(socket.SHUT_WR)
    op = sock.recv(10)
    finish(port, op)
    assert isinstance(op.data, iocp_sock.Buffer)
    assert (len(op.data), op.data == b"") == (0, True)
