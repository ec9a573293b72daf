"""Ancillary data: descriptors, credentials and options; no descriptor leaks."""

import array
import errno
import gc
import os
import socket
import struct

import pytest

import iocp_sock
from support import (
    WINDOWS,
    Recorder,
    arrived,
    descriptors,
    finish,
    linux_only,
    pattern,
    run_until,
    windows_only,
)

RIGHTS = getattr(socket, "SCM_RIGHTS", 1)
on_linux = linux_only("ancillary data, of which the library passes none on Windows")


def rights(*numbers):
    """Return the ancillary data that passes these descriptors."""
    return [(socket.SOL_SOCKET, RIGHTS, array.array("i", numbers))]


def room(count):
    """Return the ancillary size for this many descriptors."""
    return socket.CMSG_SPACE(count * array.array("i").itemsize)


def numbers_of(ancillary):
    """Return the descriptors in received ancillary data."""
    found = array.array("i")
    for level, kind, data in ancillary:
        assert (level, kind) == (socket.SOL_SOCKET, RIGHTS)
        found.frombytes(data)
    return list(found)


@pytest.fixture
def pipe():
    """A pipe, closed with the test."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture(params=[socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["stream", "datagram"])
def couple(request, port, peers):
    """Two sockets of the port, connected over AF_UNIX."""
    return two(port, peers, request.param)


def two(port, peers, kind=socket.SOCK_STREAM):
    """Make a connected pair of one type."""
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    return peers.own(port.adopt(one)), peers.own(port.adopt(other))


@on_linux
@pytest.mark.parametrize("there", [True, False])
def test_descriptors_go_round(port, couple, pipe, there):
    """R22: descriptors arrive as new ones of the same files, close-on-exec, owned by the caller."""
    one, other = couple
    buffer = bytearray(10)

    def post():
        return other.recvmsg_into([buffer], ancillary_size=room(2))

    op = None if there else post()
    port.run_once(0)
    sent = one.sendmsg([b"take"], ancillary=rights(*pipe))
    if there:
        arrived(other, 4)
        op = post()
    finish(port, op, sent)
    assert (op.transferred, bytes(buffer[:4]), op.flags) == (4, b"take", 0)
    mine = numbers_of(op.ancillary)
    assert len(mine) == 2
    assert not set(mine) & set(pipe)
    for own, passed in zip(mine, pipe, strict=True):
        assert os.fstat(own).st_ino == os.fstat(passed).st_ino
        assert not os.get_inheritable(own)
    os.write(mine[1], b"through")
    assert os.read(pipe[0], 10) == b"through"
    assert numbers_of(op.ancillary) == mine, "a second read gives the same descriptors"
    for own in mine:
        os.close(own)
    del op
    gc.collect()


@on_linux
def test_what_nobody_takes_is_closed(port, couple, pipe):
    """R22: the Operation closes the descriptors that the program has not read."""
    one, other = couple
    before = descriptors()
    for silent in (False, True):
        other.skip_done_packets = silent
        for told in (False, True):
            seen = Recorder()
            one.sendmsg([b"x"], ancillary=rights(*pipe))
            arrived(other, 1)
            op = other.recvmsg_into(
                [bytearray(5)], ancillary_size=room(2), callback=seen if told else None
            )
            finish(port, op)
            run_until(port, lambda: port.outstanding == 0)
            assert len(descriptors() - before) == 2
            del op, seen
            gc.collect()
            assert descriptors() == before


@on_linux
def test_pending_receive_that_nobody_keeps(port, couple, pipe):
    """R22: a dropped Operation closes the descriptors that arrive for it."""
    one, other = couple
    before = descriptors()
    other.recvmsg_into([bytearray(5)], ancillary_size=room(2))
    port.run_once(0)
    one.sendmsg([b"x"], ancillary=rights(*pipe))
    run_until(port, lambda: port.outstanding == 0)
    gc.collect()
    assert descriptors() == before


@on_linux
@pytest.mark.parametrize("how", ["cancel", "close", "port"])
def test_cancel_leaks_nothing(make_port, pipe, how):
    """R04 R22: a receive that is cancelled as descriptors arrive leaves none open."""
    port = make_port()
    for _ in range(20):
        one, other = (port.adopt(end) for end in socket.socketpair())
        before = descriptors()
        op = other.recvmsg_into([bytearray(5)], ancillary_size=room(2))
        port.run_once(0)
        one.sendmsg([b"x"], ancillary=rights(*pipe))
        if how == "cancel":
            op.cancel()
        elif how == "close":
            other.close(0)
        else:
            port.close(0)
            port = make_port()
        if how != "port":
            finish(port, op)
        assert op.done
        del op
        gc.collect()
        left = descriptors() - before
        assert all("pipe" not in entry for entry in left), left
        if how != "port":
            one.close(0)
            other.close(0)
            run_until(port, lambda sock=other: sock.fileno() == -1)


@on_linux
def test_without_room_they_are_cut(port, couple, pipe):
    """R29: too little room sets MSG_CTRUNC, and descriptors that do not fit are closed."""
    one, other = couple
    before = descriptors()
    one.sendmsg([b"x"], ancillary=rights(*pipe))
    arrived(other, 1)
    op = other.recvmsg_into([bytearray(5)])
    finish(port, op)
    assert (op.ancillary, op.flags) == ([], socket.MSG_CTRUNC)
    one.sendmsg([b"x"], ancillary=rights(pipe[0], pipe[1], pipe[0], pipe[1]))
    arrived(other, 1)
    op = other.recvmsg_into([bytearray(5)], ancillary_size=socket.CMSG_LEN(4))
    finish(port, op)
    assert op.flags & socket.MSG_CTRUNC
    mine = numbers_of(op.ancillary)
    assert len(mine) == 1
    os.close(mine[0])
    assert descriptors() == before


@on_linux
def test_plain_receives_close_what_comes_along(port, couple, pipe):
    """R22: recv() has no room for descriptors, so the system closes them."""
    one, other = couple
    before = descriptors()
    op = other.recv(10)
    port.run_once(0)
    one.sendmsg([b"x"], ancillary=rights(*pipe))
    finish(port, op)
    assert bytes(op.data) == b"x"
    assert descriptors() == before


@on_linux
def test_goes_with_the_first_byte_of_a_stream(port, peers, pipe):
    """R22 R30: descriptors of a long send arrive once, with its first byte, and in order."""
    one, other = two(port, peers)
    big = pattern(2 << 20)
    sent = [one.send(b"before"), one.sendmsg([big], ancillary=rights(pipe[1])), one.send(b"after")]
    got = bytearray()
    passed = []
    while len(got) < len(big) + 11:
        buffer = bytearray(100_000)
        op = other.recvmsg_into([buffer], ancillary_size=room(4))
        finish(port, op)
        mine = numbers_of(op.ancillary)
        if mine:
            passed.append((len(got), mine))
        got += buffer[: op.transferred]
    finish(port, *sent)
    assert got == b"before" + big + b"after"
    assert len(passed) == 1
    at, mine = passed[0]
    assert at <= 6, "no later than the first byte of its send"
    os.close(mine[0])


@on_linux
def test_subscribed_stream_keeps_the_order(port, peers, pipe):
    """R30: a send with descriptors keeps its place among sends that share a flush."""
    one, other = two(port, peers)
    one.receive(Recorder())
    ops = [one.send(b"a"), one.sendmsg([b"b"], ancillary=rights(pipe[0])), one.send(b"c")]
    got = b""
    mine = []
    while len(got) < 3:
        buffer = bytearray(10)
        op = other.recvmsg_into([buffer], ancillary_size=room(1))
        finish(port, op)
        mine += numbers_of(op.ancillary)
        got += bytes(buffer[: op.transferred])
    finish(port, *ops)
    assert got == b"abc"
    os.close(mine.pop())
    assert not mine


@on_linux
@pytest.mark.parametrize("there", [True, False])
def test_packet_info(port, peers, there):
    """R22: the raw option IP_PKTINFO gives the address to which a datagram was sent."""
    pktinfo = getattr(socket, "IP_PKTINFO", 8)
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.setsockopt(socket.IPPROTO_IP, pktinfo, 1)
    sock.bind(("0.0.0.0", 0))
    peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    op = None

    def post():
        return sock.recvmsg_into([bytearray(10)], ancillary_size=socket.CMSG_SPACE(12))

    if not there:
        op = post()
        port.run_once(0)
    peer.sendto(b"hi", ("127.0.0.7", sock.getsockname()[1]))
    if there:
        finish(port, sock.recv_zero())
        op = post()
    finish(port, op)
    ((level, kind, data),) = op.ancillary
    assert (level, kind) == (socket.IPPROTO_IP, pktinfo)
    assert socket.inet_ntoa(data[8:12]) == "127.0.0.7"
    answer = struct.pack("=I4s4s", 0, socket.inet_aton("127.0.0.7"), bytes(4))
    finish(
        port,
        sock.sendmsg([b"yo"], address=op.address, ancillary=[(level, pktinfo, answer)]),
    )
    assert peer.recvfrom(10) == (b"yo", ("127.0.0.7", sock.getsockname()[1]))


@on_linux
def test_error_queue_and_datagrams_do_not_wait_for_each_other(port, peers):
    """R29: a receive from the error queue completes only with an error, and takes no datagram."""
    recverr, errqueue = 11, 0x2000
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.setsockopt(socket.IPPROTO_IP, recverr, 1)
    sock.bind(("127.0.0.1", 0))
    nowhere = peers.unreachable().getsockname()
    peer = peers.raw(socket.AF_INET, socket.SOCK_DGRAM)
    buffer = bytearray(20)
    op = sock.recvmsg_into([buffer], ancillary_size=512, flags=errqueue)
    port.run_once(0)
    peer.sendto(b"data", sock.getsockname())
    after = sock.recvfrom(10)
    port.run_once(0.02)
    assert not op.done
    sock.sendto(b"lost", nowhere)
    finish(port, op)
    assert op.error is None
    assert (bytes(buffer[:4]), op.address, op.flags & errqueue) == (b"lost", nowhere, errqueue)
    ((level, kind, data),) = op.ancillary
    assert (level, kind) == (socket.IPPROTO_IP, recverr)
    assert struct.unpack_from("=I", data)[0] == errno.ECONNREFUSED
    finish(port, after)
    assert bytes(after.data) == b"data"


BAD = [
    (5, iocp_sock.ArgumentTypeError),
    ([5], iocp_sock.ArgumentTypeError),
    ([(1, 2)], iocp_sock.ArgumentTypeError),
    ([(1, 2, 3)], iocp_sock.ArgumentTypeError),
    ([("x", 2, b"")], iocp_sock.ArgumentTypeError),
    ([(1 << 40, 2, b"")], iocp_sock.ArgumentError),
]


@on_linux
@pytest.mark.parametrize(("items", "expected"), BAD)
def test_bad_items(port, peers, items, expected):
    """Bad input: invalid ancillary data raises, and posts nothing."""
    sock, _ = peers.pair(port)
    with pytest.raises(expected):
        sock.sendmsg([b"x"], ancillary=items)
    assert port.outstanding == 0


@on_linux
def test_what_the_system_refuses(port, peers):
    """R05: the system refuses to pass an invalid descriptor; the socket stays usable."""
    sock, peer = peers.pair(port)
    with pytest.raises(OSError, match="descriptor") as caught:
        sock.sendmsg([b"x"], ancillary=rights(1 << 30))
    assert caught.value.errno == errno.EBADF
    finish(port, sock.send(b"y"))
    assert peer.recv(10) == b"y"


@windows_only("there is no ancillary data")
def test_refused_where_there_is_none(port, peers):
    """R22: a system without ancillary data refuses it; the error says so."""
    assert WINDOWS
    sock, _ = peers.pair(port)
    for call in (
        lambda: sock.sendmsg([b"x"], ancillary=[(1, 1, b"")]),
        lambda: sock.recvmsg_into([bytearray(1)], ancillary_size=10),
    ):
        with pytest.raises(iocp_sock.ArgumentError, match="ancillary") as caught:
            call()
        assert caught.value.errno == errno.EOPNOTSUPP


SO_PASSPIDFD, SCM_PIDFD = 76, 4


@on_linux
@pytest.mark.parametrize("read_it", [True, False])
def test_descriptors_of_every_kind(port, couple, read_it):
    """A descriptor that the kernel opens (SO_PASSPIDFD) is closed unless the program reads it."""
    one, other = couple
    try:
        other.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    except OSError:
        pytest.skip("no SO_PASSPIDFD in this kernel")
    finish(port, one.send(b"x"))
    before = descriptors()
    op = other.recvmsg_into([bytearray(10)], ancillary_size=room(4))
    finish(port, op)
    run_until(port, lambda: port.outstanding == 0)
    assert len(descriptors()) == len(before) + 1
    if read_it:
        [(level, kind, data)] = op.ancillary
        assert (level, kind) == (socket.SOL_SOCKET, SCM_PIDFD)
        os.close(struct.unpack("i", data)[0])
    del op
    gc.collect()
    assert descriptors() == before


@on_linux
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
@pytest.mark.parametrize("style", ["recv", "receive"])
def test_errors_of_what_goes_along(port, peers, kind, style):
    """R05: EBADF concerns the descriptor in the message; the socket and its receives go on."""
    sock, peer = peers.pair(port, kind)
    got = Recorder()
    closed = Recorder()
    if style == "recv":
        sock.recv(100, callback=lambda completion: got(bytes(completion.data)))
    elif kind == socket.SOCK_STREAM:
        sock.receive(lambda _sock, data: got(bytes(data)), on_close=closed)
    else:
        sock.receive_from(lambda _sock, data, _sender: got(bytes(data)), on_close=closed)
    port.run_once(0)
    for _ in range(2):
        try:
            op = sock.sendmsg([b"x"], ancillary=rights(9999))
        except OSError as error:
            refused = error
        else:
            finish(port, op)
            refused = op.error
        assert refused.errno == errno.EBADF
        assert not sock.closed
    peer.send(b"goes on")
    run_until(port, lambda: got)
    assert (got, closed) == ([b"goes on"], [])
    sock.send(b"both ways")
    run_until(port, lambda: sock.queued_bytes == 0)
    assert peer.recv(100) == b"both ways"
