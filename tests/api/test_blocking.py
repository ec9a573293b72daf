"""Blocking mode: Socket.blocking, the calls of the socket module on a socket of a port."""

import os
import socket
import threading
import time

import pytest

import iocp_sock
from iocp_sock import ArgumentError, ArgumentTypeError, BlockingSocket, SocketClosed, TimedOut
from support import (
    PATIENCE,
    Recorder,
    finish,
    interrupt,
    linux_only,
    needs_unix,
    pattern,
    reset,
    run_until,
    wait_for,
)


def later(work, delay=0.05):
    """Run the work in another thread after a delay; return its timer, for the test to join."""
    timer = threading.Timer(delay, work)
    timer.start()
    return timer


def left_nothing(port):
    """Check that blocking calls left no operation, charge or completion at the port."""
    assert port.outstanding == 0
    assert port.ledger.now == 0
    assert port.get(0) is None


def test_receive_and_send(pair):
    """R27: recv, recv_into, send, sendall and sendmsg act as in the socket module."""
    sock, peer = pair
    calls = sock.blocking
    assert isinstance(calls, BlockingSocket)
    assert calls.socket is sock
    timer = later(lambda: peer.sendall(b"late"))
    assert calls.recv(100) == b"late"
    timer.join()
    peer.sendall(b"abc")
    room = bytearray(10)
    assert calls.recv_into(room) == 3
    assert room[:3] == b"abc"
    assert calls.send(b"12") == 2
    assert calls.sendall(b"34") is None
    assert calls.sendmsg([b"5", b"67"]) == 3
    assert peer.recv(100, socket.MSG_WAITALL if hasattr(socket, "MSG_WAITALL") else 0)[:2] == b"12"
    peer.close()
    left_nothing(sock.port)


def test_end_of_stream(pair):
    """R27: recv() returns b"" at the end of the stream, every time."""
    sock, peer = pair
    peer.shutdown(socket.SHUT_WR)
    assert [sock.blocking.recv(10, timeout=PATIENCE) for _ in range(3)] == [b""] * 3


def test_large_transfers(port, peers):
    """R04, R27: a send returns once all bytes are sent, while another thread receives."""
    sock, peer = peers.pair(port)
    data = pattern(4 << 20)
    sent = []
    sender = threading.Thread(target=lambda: sent.append(sock.blocking.send(data)))
    got = bytearray()
    sender.start()
    while len(got) < len(data):
        got += peer.recv(1 << 16)
    sender.join(PATIENCE)
    assert sent == [len(data)]
    assert got == data


def test_flags(pair):
    """R29: blocking receives take the socket module's flags, with MSG_WAITALL on every backend."""
    sock, peer = pair
    peer.sendall(b"ab")
    assert sock.blocking.recv(10, flags=socket.MSG_PEEK) == b"ab"
    timer = later(lambda: peer.sendall(b"cd"))
    assert sock.blocking.recv(4, flags=socket.MSG_WAITALL, timeout=PATIENCE) == b"abcd"
    timer.join()


def test_connect_and_accept(port):
    """R27: a client and a server use blocking calls alone, without callbacks or events."""
    with port.listen(("127.0.0.1", 0)) as listener, port.socket() as client:
        client.blocking.connect(listener.getsockname())
        server, address = listener.blocking.accept(timeout=PATIENCE)
        with server:
            assert address == client.getsockname()
            client.blocking.sendall(b"hello")
            assert server.blocking.recv(10) == b"hello"
            server.blocking.wait_writable()
            server.blocking.sendall(b"bye")
            client.blocking.recv_zero()
            assert client.blocking.recv(10) == b"bye"
        with pytest.raises(TimedOut):
            listener.blocking.accept(timeout=0.01)


def test_refused(port, peers):
    """R27: a refused connection raises the system's error."""
    taken = peers.raw(socket.AF_INET, socket.SOCK_STREAM)
    taken.bind(("127.0.0.1", 0))  # bound, but not listening
    with port.socket() as sock, pytest.raises(ConnectionRefusedError):
        sock.blocking.connect(taken.getsockname(), timeout=PATIENCE)


def test_reset_by_the_peer(port, peers):
    """R05, R27: a reset ends the blocking call and the socket with an error."""
    sock, peer = peers.tcp(port)
    timer = later(lambda: reset(peer))
    with pytest.raises(ConnectionResetError):
        sock.blocking.recv(10, timeout=PATIENCE)
    timer.join()
    with pytest.raises((SocketClosed, ConnectionResetError)):
        sock.blocking.send(b"x")


def test_datagrams(port):
    """R22, R27: recvfrom and recvfrom_into return the sender; sendto returns the count."""
    one, other = (port.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with one, other:
        for sock in (one, other):
            sock.bind(("127.0.0.1", 0))
        assert one.blocking.sendto(b"hello", other.getsockname()) == 5
        assert other.blocking.recvfrom(100, timeout=PATIENCE) == (b"hello", one.getsockname())
        assert one.blocking.sendto(b"", other.getsockname()) == 0
        assert other.blocking.recvfrom(100, timeout=PATIENCE) == (b"", one.getsockname())
        one.blocking.sendto(b"more", other.getsockname())
        room = bytearray(10)
        assert other.blocking.recvfrom_into(room, timeout=PATIENCE) == (4, one.getsockname())
        assert room[:4] == b"more"


@needs_unix
@linux_only("ancillary data, of which the library passes none on Windows")
def test_messages(port, peers):
    """R23, R27: sendmsg and recvmsg_into pass a descriptor."""
    one, other = socket.socketpair()
    with port.adopt(one) as sock, peers.keep(other):
        read, write = os.pipe()
        try:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, read.to_bytes(4, "little"))]
            assert sock.blocking.sendmsg([b"take", b" it"], ancillary) == 7
            data, fds, _flags, _address = socket.recv_fds(other, 100, 1)
            assert data == b"take it"
            os.close(fds[0])
            other.sendmsg([b"back"], ancillary)
            rooms = bytearray(2), bytearray(4)
            count, came, flags, _address = sock.blocking.recvmsg_into(rooms, socket.CMSG_SPACE(4))
            assert (count, rooms[0] + rooms[1][:2]) == (4, b"back")
            assert flags & socket.MSG_CTRUNC == 0
            os.close(int.from_bytes(came[0][2], "little"))
        finally:
            os.close(read)
            os.close(write)


def test_file_and_disconnect(port, peers, tmp_path):
    """R32, R27: send_file returns the count; disconnect returns once the peer has also ended."""
    path = tmp_path / "file"
    path.write_bytes(pattern(10_000))
    sock, peer = peers.tcp(port)
    assert sock.blocking.send_file(path, 100, 5000, timeout=PATIENCE) == 5000
    got = b""
    while len(got) < 5000:
        got += peer.recv(10_000)
    assert got == pattern(10_000)[100:5100]
    peer.shutdown(socket.SHUT_WR)
    sock.blocking.disconnect(timeout=PATIENCE)
    assert peer.recv(1) == b""


def test_timeout(pair):
    """R27: a timeout cancels the operation of a blocking call; the socket stays usable."""
    sock, peer = pair
    with pytest.raises(TimedOut) as late:
        sock.blocking.recv(10, timeout=0.01)
    assert isinstance(late.value, TimeoutError)
    assert late.value.transferred == 0
    assert sock.outstanding == 0
    peer.sendall(b"after")
    assert sock.blocking.recv(10, timeout=PATIENCE) == b"after"
    left_nothing(sock.port)


def test_timeout_of_a_part(port, peers):
    """R31: a send that times out part-way reports the sent bytes; later sends are refused."""
    sock, _peer = peers.tcp(port, buffers=4096)
    with pytest.raises(TimedOut) as late:
        sock.blocking.send(bytes(16 << 20), timeout=0.1)
    assert 0 < late.value.transferred < 16 << 20
    with pytest.raises(iocp_sock.Error):
        sock.blocking.send(b"x")
    peer_bytes = bytearray(10)
    with pytest.raises(TimedOut) as late:
        sock.blocking.recv_into(peer_bytes, timeout=0.01)


def test_done_at_once_needs_no_turn(pair):
    """R27: a blocking call returns without a turn of the port if its post is done at once."""
    sock, peer = pair
    turns = sock.port.stats().waits
    for _ in range(100):
        assert sock.blocking.send(b"x") == 1
        assert peer.recv(1) == b"x"
    assert sock.port.stats().waits == turns
    assert sock.port.outstanding == 0


def test_interrupt(pair):
    """R27: Ctrl-C ends a blocking call and its operation; the socket stays usable."""
    sock, peer = pair
    timer = later(interrupt, 0.1)
    with pytest.raises(KeyboardInterrupt):
        sock.blocking.recv(10)
    timer.join()
    assert sock.outstanding == 0
    peer.sendall(b"after")
    assert sock.blocking.recv(10) == b"after"


def test_other_threads_go_on(port, peers):
    """R27: a waiting blocking call does not hold up other threads of the interpreter."""
    sock, peer = peers.pair(port)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(sock.blocking.recv(10)))
    thread.start()
    wait_for(lambda: sock.outstanding == 1)
    count = sum(range(1000))  # this thread runs meanwhile
    assert not seen
    peer.sendall(b"x")
    thread.join(PATIENCE)
    assert seen == [b"x"]
    assert count == 499500


def test_while_another_thread_runs_the_port(port, peers):
    """R27: one thread runs the port and serves a client, while others make blocking calls."""
    served, client = peers.pair(port)
    served.receive(lambda s, data: s.send(data))
    pairs = [peers.pair(port) for _ in range(4)]
    errors = []

    def work(sock, peer):
        try:
            for i in range(100):
                peer.sendall(b"%03d" % i)
                assert sock.blocking.recv(3, flags=socket.MSG_WAITALL) == b"%03d" % i
                sock.blocking.sendall(b"ok")
                assert peer.recv(2) == b"ok"
        except BaseException as error:
            errors.append(error)

    runner = threading.Thread(target=port.run)
    runner.start()
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    client.sendall(b"echo")
    assert client.recv(4) == b"echo"
    for thread in threads:
        thread.join(PATIENCE)
    port.stop()
    runner.join(PATIENCE)
    assert errors == []


def test_inside_a_callback(pair):
    """R27: a callback may make a blocking call; other callbacks wait until it returns."""
    sock, peer = pair
    got = Recorder()
    peer.sendall(b"ab")

    def first(completion):
        got(bytes(completion.data))
        got(sock.blocking.recv(1, timeout=PATIENCE))

    op = sock.recv(1, callback=first)
    finish(sock.port, op)
    run_until(sock.port, lambda: len(got) == 2)
    assert got == [b"a", b"b"]


def test_order_with_operations(pair):
    """R30: blocking calls and operations share the posting order of the socket."""
    sock, peer = pair
    first = sock.recv(2)
    timer = later(lambda: peer.sendall(b"abcd"))
    assert sock.blocking.recv(2, timeout=PATIENCE) == b"cd"
    timer.join()
    assert bytes(first.data) == b"ab"
    assert sock.port.get(0).operation is first


def test_the_sockets_own_mode_is_untouched(port, peers):
    """R27: a socket that was non-blocking when adopted is non-blocking after detach()."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peers.keep(peer)
    sock = port.adopt(ours)
    peer.sendall(b"x")
    assert sock.blocking.recv(1) == b"x"
    with socket.socket(fileno=sock.detach()) as back, pytest.raises(BlockingIOError):
        back.recv(1)


def test_closed_by_another_thread(pair):
    """Classic mistake: closing a socket while a blocking call waits ends the call with an error."""
    sock, _peer = pair
    timer = later(lambda: sock.close(0))
    began = time.monotonic()
    with pytest.raises(iocp_sock.Error):
        sock.blocking.recv(10, timeout=PATIENCE)
    assert time.monotonic() - began < PATIENCE
    timer.join()
    with pytest.raises(SocketClosed):
        sock.blocking.recv(10)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda b: b.recv(0), ArgumentError),
        (lambda b: b.recv("1"), ArgumentTypeError),
        (lambda b: b.recv(1, timeout=-1), ArgumentError),
        (lambda b: b.recv_into(b"no room"), ArgumentTypeError),
        (lambda b: b.send("text"), ArgumentTypeError),
        (lambda b: b.accept(), OSError),
    ],
)
def test_bad_input(pair, call, error):
    """Bad input raises the same error as the operation's post, and leaves nothing outstanding."""
    sock, _peer = pair
    with pytest.raises(error):
        call(sock.blocking)
    assert sock.outstanding == 0
