"""Datagrams by address: the sender, the target, and the flags of the system."""

import contextlib
import os
import select
import shutil
import socket
import struct
import subprocess

import pytest

from support import (
    PAGE,
    PATIENCE,
    Recorder,
    address_of,
    block,
    finish,
    linux_only,
    needs_unix,
    pages,
    pattern,
    run_until,
)

HOSTS = {"inet": (socket.AF_INET, "127.0.0.1"), "inet6": (socket.AF_INET6, "::1")}


@pytest.fixture(params=["inet", "inet6", pytest.param("unix", marks=needs_unix)])
def unconnected(request, port, peers, tmp_path):
    """A port's bound datagram socket and two raw ones, none of them connected."""
    if request.param == "unix":
        names = [str(tmp_path / name) for name in ("ours", "one", "two")]
        family = socket.AF_UNIX
    else:
        family, host = HOSTS[request.param]
        names = [(host, 0)] * 3
    sock = peers.own(port.socket(family, socket.SOCK_DGRAM))
    sock.bind(names[0])
    raw = []
    for name in names[1:]:
        peer = peers.raw(family, socket.SOCK_DGRAM)
        peer.bind(name)
        raw.append(peer)
    return sock, raw


def pending(port, sock, post):
    """Post a receive, and check that it is pending."""
    op = post()
    port.run_once(0)
    assert not op.done
    return op


@pytest.mark.parametrize("there", [True, False])
def test_sender_is_told(port, unconnected, there):
    """R22: Operation and Completion have the sender's address, in the socket module's form."""
    sock, raw = unconnected
    told = Recorder()
    for peer in raw:
        if there:
            peer.sendto(b"question", sock.getsockname())
            finish(port, sock.recv_zero())
            op = sock.recvfrom(100, callback=told)
            assert op.outcome == "done"
        else:
            op = pending(port, sock, lambda: sock.recvfrom(100, callback=told))
            assert (op.address, op.flags) == (None, 0)
            peer.sendto(b"question", sock.getsockname())
        run_until(port, lambda: told)
        completion = told.pop()
        assert completion.operation is op
        assert op.address == completion.address == peer.getsockname()
        assert (bytes(op.data), op.flags, completion.flags) == (b"question", 0, 0)


@pytest.mark.parametrize("there", [True, False])
def test_into_the_callers_buffer(port, unconnected, there):
    """R22: recvfrom_into() holds the buffer, fills it, and gives the sender."""
    sock, (peer, _) = unconnected
    room = bytearray(100)
    if there:
        peer.sendto(b"question", sock.getsockname())
        finish(port, sock.recv_zero())
        op = sock.recvfrom_into(room)
    else:
        op = pending(port, sock, lambda: sock.recvfrom_into(room))
        with pytest.raises(BufferError):
            room.append(1)
        assert sock.charged == pages(address_of(room), 100)
        peer.sendto(b"question", sock.getsockname())
    finish(port, op)
    port.run_once(0)
    assert (op.transferred, op.data, op.address) == (8, None, peer.getsockname())
    assert room[:8] == b"question"
    room.append(1)


def test_answers_reach_their_askers(port, unconnected):
    """R22 R28: one socket answers many peers, each at its own address."""
    sock, raw = unconnected
    for i, peer in enumerate(raw):
        peer.sendto(b"%d" % i, sock.getsockname())
    for _ in raw:
        question = sock.recvfrom(100)
        finish(port, question)
        answer = sock.sendto(b"to " + bytes(question.data), question.address)
        assert answer.kind == "send"
        finish(port, answer)
        assert (answer.error, answer.transferred, answer.address) == (None, 4, None)
    assert [peer.recv(100) for peer in raw] == [b"to 0", b"to 1"]


def test_gathered_datagram_has_an_address(port, unconnected):
    """R22 R23: sendmsg(address=) sends its buffers as one datagram."""
    sock, (peer, _) = unconnected
    op = sock.sendmsg([b"a", b"", bytearray(b"bc")], address=peer.getsockname())
    finish(port, op)
    assert op.transferred == 3
    assert peer.recvfrom(100) == (b"abc", sock.getsockname())


@pytest.mark.parametrize("there", [True, False])
def test_empty_datagram_has_a_sender(port, unconnected, there):
    """R22: an empty datagram has a sender, and is not an end of the stream."""
    sock, (peer, _) = unconnected
    if there:
        peer.sendto(b"", sock.getsockname())
        finish(port, sock.recv_zero())
        op = sock.recvfrom(10)
    else:
        op = pending(port, sock, lambda: sock.recvfrom(10))
        peer.sendto(b"", sock.getsockname())
    finish(port, op)
    assert (op.error, op.transferred, bytes(op.data)) == (None, 0, b"")
    assert op.address == peer.getsockname()
    finish(port, sock.sendto(b"", peer.getsockname()))
    assert peer.recvfrom(10) == (b"", sock.getsockname())


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("method", ["recv", "recv_into", "recvfrom", "recvmsg_into"])
def test_cut_datagram_says_so(port, unconnected, method, there):
    """R29: a datagram that is truncated sets MSG_TRUNC; the next datagram is whole."""
    sock, (peer, _) = unconnected
    room = bytearray(10)

    def post():
        if method == "recv_into":
            return sock.recv_into(room)
        return sock.recvmsg_into([room]) if method == "recvmsg_into" else getattr(sock, method)(10)

    if there:
        peer.sendto(pattern(1000), sock.getsockname())
        finish(port, sock.recv_zero())
        op = post()
    else:
        op = pending(port, sock, post)
        peer.sendto(pattern(1000), sock.getsockname())
    finish(port, op)
    assert (op.error, op.transferred, op.flags) == (None, 10, socket.MSG_TRUNC)
    assert bytes(room if op.data is None else op.data) == pattern(10)
    peer.sendto(b"0123456789", sock.getsockname())
    op = post()
    finish(port, op)
    assert (op.transferred, op.flags) == (10, 0)


def test_flags_are_0_where_nothing_is_said(port, peers):
    """R29: sends, receives of a stream and posted packets have flags 0 and no address."""
    sock, peer = peers.pair(port)
    send = sock.send(b"x")
    peer.sendall(b"y")
    receive = sock.recvfrom(10)
    finish(port, send, receive)
    assert (send.flags, send.address, send.ancillary) == (0, None, [])
    assert (bytes(receive.data), receive.flags, receive.address) == (b"y", 0, None)
    port.post("packet")
    completion = port.get(1)
    while completion.kind != "packet":
        completion = port.get(1)
    assert (completion.flags, completion.address, completion.ancillary) == (0, None, [])


@linux_only("MSG_OOB comes back in the flags of Linux")
def test_urgent_byte_is_told(port, peers):
    """R29: a receive of urgent data has MSG_OOB in its flags."""
    sock, peer = peers.tcp(port)
    peer.send(b"!", socket.MSG_OOB)
    assert select.select([], [], [sock.fileno()], PATIENCE)[2]
    op = sock.recvfrom(1, flags=socket.MSG_OOB)
    finish(port, op)
    assert (bytes(op.data), op.flags) == (b"!", socket.MSG_OOB)


def test_peek_leaves_the_datagram_and_its_sender(port, unconnected):
    """R29: MSG_PEEK gives the datagram and its sender, and leaves both for the next receive."""
    sock, (peer, _) = unconnected
    op = pending(port, sock, lambda: sock.recvfrom(100, flags=socket.MSG_PEEK))
    peer.sendto(b"abc", sock.getsockname())
    finish(port, op)
    after = sock.recvfrom(100)
    finish(port, after)
    assert bytes(op.data) == bytes(after.data) == b"abc"
    assert op.address == after.address == peer.getsockname()


def test_cancel_takes_no_datagram(port, unconnected):
    """R04: a cancelled recvfrom() holds its charge until it ends, and takes no datagram."""
    sock, (peer, _) = unconnected
    op = pending(port, sock, lambda: sock.recvfrom(5000))
    assert sock.charged == block(5000)
    assert op.cancel()
    finish(port, op)
    assert (type(op.error).__name__, op.data, op.address) == ("Cancelled", None, None)
    assert sock.charged == 0
    peer.sendto(b"kept", sock.getsockname())
    after = sock.recvfrom(100)
    finish(port, after)
    assert bytes(after.data) == b"kept"


def test_timeout(port, unconnected):
    """R31: recvfrom() takes a timeout, as any operation."""
    sock, _ = unconnected
    op = sock.recvfrom(100, timeout=0)
    other = sock.recvmsg_into([bytearray(10)], timeout=0.01)
    finish(port, op, other)
    assert [type(each.error).__name__ for each in (op, other)] == ["TimedOut"] * 2


def test_skipped_packets(port, unconnected):
    """R02: if done packets are skipped, the Operation has sender and flags."""
    sock, (peer, _) = unconnected
    sock.skip_done_packets = True
    told = Recorder()
    sent = sock.sendto(b"out", peer.getsockname(), callback=told)
    assert (sent.outcome, sent.transferred) == ("done", 3)
    peer.sendto(pattern(50), sock.getsockname())
    finish(port, sock.recv_zero())
    op = sock.recvfrom(10, callback=told)
    assert (op.outcome, bytes(op.data)) == ("done", pattern(10))
    assert (op.address, op.flags) == (peer.getsockname(), socket.MSG_TRUNC)
    port.run_once(0)
    assert told == []


def test_connected_socket_hears_its_peer_and_sends_anywhere(port, peers):
    """R22: connect() filters the senders; sendto() still sends to any address."""
    sock = peers.own(port.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    friend, stranger = (peers.raw(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for peer in (friend, stranger):
        peer.bind(("127.0.0.1", 0))
    finish(port, sock.connect(friend.getsockname()))
    stranger.sendto(b"not wanted", sock.getsockname())
    friend.sendto(b"wanted", sock.getsockname())
    op = sock.recvfrom(100)
    finish(port, op)
    assert (bytes(op.data), op.address) == (b"wanted", friend.getsockname())
    finish(port, sock.sendto(b"elsewhere", stranger.getsockname()), sock.send(b"home"))
    assert stranger.recv(100) == b"elsewhere"
    assert friend.recv(100) == b"home"


def test_dual_stack(port, peers):
    """R22: one AF_INET6 socket serves both families where IPV6_V6ONLY is off."""
    sock = peers.own(port.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    number = sock.getsockname()[1]
    four = peers.datagrams()
    six = peers.raw(socket.AF_INET6, socket.SOCK_DGRAM)
    six.bind(("::1", 0))
    four.sendto(b"four", ("127.0.0.1", number))
    op = sock.recvfrom(100)
    finish(port, op)
    assert op.address[:2] == ("::ffff:127.0.0.1", four.getsockname()[1])
    finish(port, sock.sendto(b"back", op.address))
    assert four.recv(100) == b"back"
    six.sendto(b"six", ("::1", number))
    op = sock.recvfrom(100)
    finish(port, op)
    assert op.address[:2] == ("::1", six.getsockname()[1])


def link_local():
    """Return the link-local address of an interface that is up, with its scope, or None."""
    with contextlib.suppress(OSError), open("/proc/net/if_inet6") as table:
        for line in table:
            digits, index, _prefix, scope, flags, _name = line.split()
            if int(scope, 16) == 0x20 and not int(flags, 16) & 0x40:
                return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)), int(index, 16)
    return None


@pytest.fixture
def scoped():
    """Return a link-local address: that of a TUN device if no interface has one."""
    found = link_local()
    if found is not None:
        yield found
        return
    fcntl = pytest.importorskip("fcntl", reason="only Linux has TUN devices")
    try:
        device = os.open("/dev/net/tun", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no link-local IPv6 address, and no TUN device: {error}")
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"iocpscope", 0x1001))
            name = b"iocpscope"
            index = socket.if_nametoindex(name.decode())
            fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", name, 0x1 | 0x40))
            address = socket.inet_pton(socket.AF_INET6, "fe80::1234")
            fcntl.ioctl(control, 0x8916, struct.pack("16sIi", address, 64, index))
        yield "fe80::1234", index
    except OSError as error:
        pytest.skip(f"no link-local IPv6 address, and none can be made: {error}")
    finally:
        os.close(device)


@linux_only("link-local addresses are looked up in /proc")
def test_scope(port, peers, scoped):
    """R22: an IPv6 address keeps its scope in both directions."""
    host, index = scoped
    sock = peers.own(port.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    other = peers.own(port.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    for each in (sock, other):
        each.bind((host, 0, 0, index))
    assert sock.getsockname()[3] == index
    op = sock.recvfrom(100)
    finish(port, other.sendto(b"here", (host, sock.getsockname()[1], 0, index)), op)
    assert (bytes(op.data), op.address) == (b"here", other.getsockname())
    assert op.address[3] == index


NAMED = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
int getaddrinfo(const char* name, const char* service, const struct addrinfo* hints,
                struct addrinfo** found) {
    int (*real)(const char*, const char*, const struct addrinfo*, struct addrinfo**) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    const int numeric = hints != NULL && (hints->ai_flags & AI_NUMERICHOST);
    if (name != NULL && !numeric && strcmp(name, "link.test") == 0) name = getenv("LINK");
    return real(name, service, hints, found);
}
"""
"""A getaddrinfo() to preload, which resolves the name link.test to the link-local address."""


@linux_only("LD_PRELOAD")
def test_scope_and_flow_with_a_name(in_subprocess, backend, scoped, tmp_path, monkeypatch):
    """R22: flowinfo and scope of the tuple are used even if the host is a name."""
    host, index = scoped
    library = tmp_path / "named.so"
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a name of a link-local address with")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-xc", "-", "-o", library], input=NAMED.encode(), check=True
    )
    loaded = os.environ.get("LD_PRELOAD")  # a sanitizer's runtime must come first
    monkeypatch.setenv("LD_PRELOAD", f"{loaded}:{library}" if loaded else str(library))
    monkeypatch.setenv("LINK", host)
    in_subprocess(
        f"""
        import socket
        with iocp_sock.Port(backend=BACKEND) as port:
            sock = port.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.bind(("link.test", 0, 0, {index}))
            name = sock.getsockname()
            assert (name[0].partition("%")[0], name[3]) == ({host!r}, {index}), name
            other = port.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            other.setsockopt(socket.IPPROTO_IPV6, 33, 1)  # IPV6_FLOWINFO_SEND
            op = other.connect(("link.test", name[1], 0x12345, {index}))
            while not op.done:
                port.run_once(1)
            assert other.getpeername() == (name[0], name[1], 0x12345, {index}), other.getpeername()
            sock.close()
            other.close()
        """,
        backend,
    )


@needs_unix
def test_nameless_sender(port, peers, tmp_path):
    """R22: the address of an unnamed sender is None; an abstract name is bytes."""
    sock = peers.own(port.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    sock.bind(str(tmp_path / "ours"))
    peer = peers.raw(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.sendto(b"who", sock.getsockname())
    op = sock.recvfrom(100)
    finish(port, op)
    assert (bytes(op.data), op.address) == (b"who", None)
    named = peers.raw(socket.AF_UNIX, socket.SOCK_DGRAM)
    named.bind(f"\0iocp-sock-{os.getpid()}")
    named.sendto(b"me", sock.getsockname())
    op = sock.recvfrom(100)
    finish(port, op)
    assert op.address == named.getsockname()
    finish(port, sock.sendto(b"you", op.address))
    assert named.recv(100) == b"you"


@needs_unix
def test_send_waits_for_room_of_its_target(port, peers, tmp_path):
    """R02: an addressed datagram waits for room in its target's queue, and keeps its address."""
    sock = peers.own(port.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    peer = peers.raw(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind(str(tmp_path / "slow"))
    ops = []
    while not ops or ops[-1].done:
        ops.append(sock.sendto(b"%d" % len(ops), peer.getsockname()))
        assert len(ops) < 10_000
    assert sock.charged == PAGE
    port.run_once(0)
    received = []
    while not ops[-1].done:
        received.append(peer.recv(100))
        port.run_once(0.001)
    while len(received) < len(ops):
        received.append(peer.recv(100))
    assert received == [b"%d" % i for i in range(len(ops))]


def test_order_and_borders(port, unconnected):
    """R22 R30: each of several outstanding receives gets one datagram, in order."""
    sock, (peer, _) = unconnected
    ops = [sock.recvfrom(1000) for _ in range(5)]
    for i in range(5):
        peer.sendto(pattern(i * 100, i), sock.getsockname())
    finish(port, *ops)
    assert [bytes(op.data) for op in ops] == [pattern(i * 100, i) for i in range(5)]


def test_long_datagram_is_refused(port, unconnected):
    """R05: too long a datagram fails only its own post; the socket stays usable."""
    sock, (peer, _) = unconnected
    error = None
    try:
        op = sock.sendto(bytes(10 << 20), peer.getsockname())
        finish(port, op)
        error = op.error
    except OSError as raised:
        error = raised
    assert error is not None
    finish(port, sock.sendto(b"short", peer.getsockname()))
    assert peer.recv(100) == b"short"
    assert not sock.closed


@pytest.fixture
def crowded(port, peers, tmp_path):
    """Return a socket of the port, a raw socket with a full queue, and the queue's length."""
    sock = peers.own(port.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    peer = peers.raw(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind(str(tmp_path / "crowded"))
    other = peers.raw(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            other.sendto(b"other", peer.getsockname())
            count += 1
    return sock, peer, count


@needs_unix
def test_send_to_a_queue_that_others_filled(port, crowded):
    """R02: no poll reports room in the queue of an unconnected target, so the core retries."""
    sock, peer, count = crowded
    first = sock.sendto(b"first", peer.getsockname())
    second = sock.sendto(b"second", peer.getsockname())
    assert first.queued
    assert second.queued
    port.run_once(0)
    assert not first.done
    assert [peer.recv(100) for _ in range(count)] == [b"other"] * count
    finish(port, first, second)
    assert [peer.recv(100) for _ in range(2)] == [b"first", b"second"]
    assert (first.error, first.transferred, port.ledger.now) == (None, 5, 0)


@needs_unix
@pytest.mark.parametrize("how", ["cancel", "timeout", "close", "abort"])
def test_end_of_a_send_that_asks_again(port, crowded, how):
    """R04 R31: a send that the core retries can be cancelled, and then sends nothing."""
    sock, peer, count = crowded
    op = sock.sendto(b"x", peer.getsockname(), timeout=0.01 if how == "timeout" else None)
    behind = sock.sendto(b"y", peer.getsockname())
    assert not op.done
    if how == "cancel":
        assert op.cancel()
        assert behind.cancel()
    elif how == "timeout":
        finish(port, op)
        behind.cancel()
    elif how == "close":
        sock.close()
    else:
        sock.abort()
    finish(port, op, behind)
    expected = "TimedOut" if how == "timeout" else "Cancelled"
    assert [type(each.error).__name__ for each in (op, behind)] == [expected, "Cancelled"]
    assert [peer.recv(100) for _ in range(count)] == [b"other"] * count
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(100)


@needs_unix
def test_connected_send_to_a_queue_that_others_filled(port, crowded):
    """R02: a poll of a connected socket reports room, and the waiting datagram is sent whole."""
    sock, peer, count = crowded
    finish(port, sock.connect(peer.getsockname()))
    op = sock.send(b"waited")
    assert not op.done
    port.run_once(0)
    assert [peer.recv(100) for _ in range(count)] == [b"other"] * count
    finish(port, op)
    assert peer.recv(100) == b"waited"
