"""Sending files: exact contents, order, cancel, close, and refusals."""

import contextlib
import errno
import io
import os
import select
import socket
import threading

import pytest

import iocp_sock
from support import (
    OVERFLOW,
    PAGE,
    PATIENCE,
    WINE,
    Recorder,
    block,
    finish,
    linux_only,
    pattern,
    read,
    read_all,
    run_until,
    was_reset,
)

MANY = 5 << 20


@pytest.fixture
def make_file(tmp_path):
    """Make a file with these bytes, and return its path."""

    def make(data, name="data.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return make


@pytest.mark.parametrize("size", [0, 1, PAGE, PAGE + 1, MANY])
def test_exact(port, pair, make_file, size):
    """R32: every byte of the file arrives, once, and nothing is charged."""
    sock, peer = pair
    data = pattern(size)
    op = sock.send_file(make_file(data))
    assert op.kind == "send"
    assert port.ledger.now == 0
    assert read(port, peer, size) == data
    finish(port, op)
    assert (op.error, op.transferred) == (None, size)


def test_every_kind_of_file(port, pair, make_file):
    """send_file() takes paths, descriptors and file objects, and ignores a file's position."""
    sock, peer = pair
    data = pattern(10_000)
    path = make_file(data)
    with open(path, "rb") as file:
        file.read(77)
        for given in (path, str(path), os.fsencode(path), file, file.fileno()):
            op = sock.send_file(given)
            assert read(port, peer, len(data)) == data
            finish(port, op)
            assert op.error is None
        assert file.tell() == 77


def test_the_file_is_held(port, pair, make_file):
    """The caller may close and remove the file before the completion."""
    sock, peer = pair
    data = pattern(32 << 20)
    path = make_file(data)
    with open(path, "rb") as file:
        op = sock.send_file(file)
    assert op.outcome == "pending"
    assert (port.ledger.now, sock.charged, port.ledger.kernel_locked) == (0, 0, 0)
    if os.name == "posix":
        path.unlink()
    assert read(port, peer, len(data)) == data
    finish(port, op)
    assert op.transferred == len(data)


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 0), (0, 10), (1, PAGE), (PAGE - 1, 2), (70_001, None), (100_000, None), (200_000, 5)],
)
def test_part(port, pair, make_file, offset, count):
    """offset and count choose the bytes; beyond the end no bytes are sent."""
    sock, peer = pair
    data = pattern(100_000)
    op = sock.send_file(make_file(data), offset, count)
    wanted = data[offset : None if count is None else offset + count]
    assert read(port, peer, len(wanted)) == wanted
    finish(port, op)
    assert (op.error, op.transferred) == (None, len(wanted))


def test_count_beyond_the_end(port, pair, make_file):
    """A file that is shorter than its count is sent whole."""
    sock, peer = pair
    data = pattern(5000)
    op = sock.send_file(make_file(data), 1000, 1 << 40)
    assert read(port, peer, 4000) == data[1000:]
    finish(port, op)
    assert (op.error, op.transferred) == (None, 4000)


def test_order(port, pair, make_file):
    """R30: a file keeps its place among the sends before and after it."""
    sock, peer = pair
    parts = [pattern(1 + i * 37_813 % 200_000, i) for i in range(15)]
    ops = [
        sock.send(part) if i % 3 else sock.send_file(make_file(part, f"{i}.bin"))
        for i, part in enumerate(parts)
    ]
    assert read(port, peer, sum(map(len, parts))) == b"".join(parts)
    finish(port, *ops)
    assert all(op.error is None for op in ops)


def test_order_with_a_subscription(port, pair, make_file):
    """A file follows the sends that wait for the flush; later sends follow it."""
    sock, peer = pair
    sock.receive(lambda _conn, _data: None)
    path = make_file(pattern(300_000))
    ops = [sock.send(b"before"), sock.send_file(path), sock.send(b"after")]
    assert read(port, peer, 300_011) == b"before" + pattern(300_000) + b"after"
    finish(port, *ops)


def test_callback_and_completion(port, pair, make_file):
    """R03: a file has one completion, in order with those of other sends."""
    sock, peer = pair
    got = Recorder()
    sock.send(b"x", callback=got)
    sock.send_file(make_file(pattern(MANY)), callback=got)
    sock.send(b"y", callback=got)
    read(port, peer, MANY + 2)
    run_until(port, lambda: len(got) == 3)
    assert [completion.transferred for completion in got] == [1, MANY, 1]


def test_cancel_part_way(port, pair, make_file):
    """R31: a cancel of a partly sent file ends the stream's sending side."""
    sock, peer = pair
    data = pattern(32 << 20)
    op = sock.send_file(make_file(data))
    behind = sock.send(b"never")
    head = read(port, peer, 100_000)
    assert op.cancel()
    finish(port, op, behind)
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert isinstance(behind.error, iocp_sock.Cancelled)
    assert len(head) <= op.transferred < len(data)
    with pytest.raises(iocp_sock.SocketClosed, match="cut part-way"):
        sock.send(b"never")
    sock.close(0)
    run_until(port, lambda: port.stats().sockets == 0)
    if sock.family == socket.AF_INET:
        received = bytearray(head)
        assert was_reset(peer, received), "a clean end behind a part of the file"
        assert data.startswith(received)  # a reset may discard data in flight
    else:
        assert head + read_all(port, peer) == data[: op.transferred]


def test_timeout(port, pair, make_file):
    """R31: a file to a peer that does not read ends with TimedOut and its count."""
    sock, _peer = pair
    op = sock.send_file(make_file(pattern(32 << 20)), timeout=0.05)
    finish(port, op)
    assert isinstance(op.error, iocp_sock.TimedOut)
    assert 0 < op.transferred < 32 << 20


@pytest.mark.parametrize("drain", [True, False])
def test_close_while_pending(port, pair, make_file, drain):
    """close() sends a pending file whole, close(0) cuts it; its operation completes once."""
    sock, peer = pair
    data = pattern(16 << 20)
    got = Recorder()
    op = sock.send_file(make_file(data), callback=got)
    sock.close(20 if drain else 0)
    if drain or sock.family != socket.AF_INET:
        received = read_all(port, peer)
        run_until(port, lambda: got and port.stats().sockets == 0)
        assert received == data[: op.transferred]
    else:
        run_until(port, lambda: got and port.stats().sockets == 0)
        part = bytearray()
        assert was_reset(peer, part), "a clean end behind a part of the file"
        assert data.startswith(part)
    assert len(got) == 1
    assert (op.transferred == len(data)) == drain
    assert drain == (op.error is None)
    assert drain or isinstance(op.error, iocp_sock.TimedOut)


def test_from_another_thread(port, pair, make_file):
    """The thread that runs the port sends a file that another thread posted."""
    sock, peer = pair
    path = make_file(pattern(MANY))
    sock.receive(lambda _conn, _data: None)
    ops = []
    over = threading.Event()
    if not WINE:
        over.set()  # Wine ends TransmitFile with its calling thread, without a count

    def post():
        ops.append(sock.send_file(path))
        over.wait(PATIENCE)

    poster = threading.Thread(target=post)
    poster.start()
    run_until(port, lambda: ops)
    if not WINE:
        poster.join()
    assert read(port, peer, MANY) == pattern(MANY)
    finish(port, *ops)
    over.set()
    poster.join()


def test_the_peer_is_gone(port, pair, make_file):
    """R05: a closed peer ends the send of a file; the socket ends once the peer's data is read."""
    sock, peer = pair
    op = sock.send_file(make_file(pattern(32 << 20)))
    peer.close()
    finish(port, op)
    assert isinstance(op.error, (ConnectionError, iocp_sock.Cancelled)), op.error
    if isinstance(op.error, BrokenPipeError):
        with contextlib.suppress(ConnectionResetError):  # AF_UNIX: unread data is a reset
            end = sock.recv(1)
            finish(port, end)
            assert end.error is None or isinstance(end.error, ConnectionResetError)
    run_until(port, lambda: sock.closed)


@linux_only("what SIGPIPE does")
def test_no_signal(backend, in_subprocess, make_file):
    """A file sent to a closed peer raises an error, even if SIGPIPE has its default action."""
    in_subprocess(
        f"""
        import signal, socket
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        ours, theirs = socket.socketpair()
        with iocp_sock.Port(backend=BACKEND) as port:
            sock = port.adopt(ours)
            theirs.close()
            try:
                op = sock.send_file({str(make_file(pattern(10_000)))!r})
                port.run_once(5)
                assert isinstance(op.error, BrokenPipeError), op.error
            except BrokenPipeError:
                pass
        assert signal.SIGPIPE not in signal.sigpending()
        """,
        backend,
    )


def test_refused(port, pair, make_file, tmp_path):
    """Bad input raises a named exception, and leaves the socket as it was."""
    sock, peer = pair
    path = make_file(b"data")
    with pytest.raises(FileNotFoundError):
        sock.send_file(tmp_path / "missing")
    with pytest.raises((IsADirectoryError, PermissionError)):
        sock.send_file(tmp_path)
    for wrong in (None, 1.5, object(), True, -1, 1 << 31, 1 << 80, io.BytesIO(b"x")):
        with pytest.raises((iocp_sock.ArgumentTypeError, io.UnsupportedOperation)):
            sock.send_file(wrong)
    with path.open("rb") as file:
        number = file.fileno()

        class Numbered:
            """A PathLike whose path is a descriptor."""

            def __fspath__(self):
                return number

            __index__ = __fspath__

        with pytest.raises(TypeError):
            sock.send_file(Numbered())
        os.fstat(number)
    with pytest.raises(OSError, match=r"[Bb]ad file"):
        sock.send_file(1 << 20)
    for name in ("offset", "count"):
        with pytest.raises(iocp_sock.ArgumentError, match=name):
            sock.send_file(path, **{name: -1})
        with pytest.raises(iocp_sock.ArgumentError, match=name):
            sock.send_file(path, **{name: 1 << 63})
        with pytest.raises(iocp_sock.ArgumentTypeError, match=name):
            sock.send_file(path, **{name: "1"})
    with pytest.raises(iocp_sock.ArgumentTypeError):
        sock.send_file()
    with pytest.raises(iocp_sock.ArgumentTypeError):
        sock.send_file(path, callback=1)
    reader, writer = os.pipe()
    try:
        with pytest.raises(iocp_sock.ArgumentError, match="regular file"):
            sock.send_file(reader)
    finally:
        os.close(reader)
        os.close(writer)
    sock.send(b"still here")
    assert read(port, peer, 10) == b"still here"


def test_needs_a_stream(port, make_file):
    """Datagram sockets, closed sockets and closed ports refuse send_file()."""
    path = make_file(b"data")
    with (
        port.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(iocp_sock.ArgumentError, match="stream"),
    ):
        sock.send_file(path)
    run_until(port, lambda: sock.closed)
    with pytest.raises(iocp_sock.SocketClosed):
        sock.send_file(path)
    port.close()
    with pytest.raises(iocp_sock.PortClosed):
        sock.send_file(path)


@linux_only("reads beside it with MSG_DONTWAIT")
def test_other_sockets_have_their_turn(port, peers, make_file):
    """A file to a fast reader does not keep the port from other sockets."""
    fast, reader = peers.both(port, "tcp")
    other, peer = peers.both(port, "tcp")
    total = 256 << 20
    path = make_file(b"")
    os.truncate(path, total)
    read_until_now = 0

    def drain():
        nonlocal read_until_now
        while read_until_now < total and select.select([reader], [], [], 20)[0]:
            read_until_now += len(reader.recv(1 << 20))

    consumer = threading.Thread(target=drain)
    op = fast.send_file(path)
    consumer.start()
    echoes = 0
    while not op.done:
        if echoes < 5:
            echo = other.recv(1)
            peer.sendall(b"x")
            run_until(port, lambda echo=echo: echo.done)
            echoes += 1
            assert echoes == 5 or not op.done
        else:
            port.run_once(0.05)
    consumer.join()
    assert read_until_now == total
    assert echoes == 5


def test_caps(make_port, peers, make_file):
    """R07: a file counts as a send against the caps, and not against the budget."""
    port = make_port(budget=block(1), max_sends=1)
    sock, peer = peers.both(port, "tcp")
    op = sock.send_file(make_file(pattern(32 << 20)))
    with pytest.raises(iocp_sock.BudgetExceeded):
        sock.send_file(make_file(b"x", "other"))
    assert read(port, peer, 32 << 20) == pattern(32 << 20)
    finish(port, op)


@linux_only("descriptors that are open for writing alone")
def test_errors_of_the_file(port, pair, make_file):
    """R05: an EBADF of the file ends only the post; the socket and its receives go on."""
    sock, peer = pair
    waiting = sock.recv(100)
    writer = os.open(make_file(b"data"), os.O_WRONLY)
    try:
        op = sock.send_file(writer)
    except OSError as error:
        refused = error
    else:
        finish(port, op)
        refused = op.error
    finally:
        os.close(writer)
    assert refused.errno == errno.EBADF
    assert not sock.closed
    peer.sendall(b"goes on")
    finish(port, waiting)
    assert bytes(waiting.data) == b"goes on"


PROC = ["/proc/version", "/proc/self/limits", "/proc/filesystems", "/proc/self/cmdline"]


@linux_only("/proc and /sys")
@pytest.mark.parametrize("name", [*PROC, "/sys/kernel/mm/transparent_hugepage/enabled"])
@pytest.mark.parametrize("part", ["all", "first ten", "from ten on"])
def test_files_that_do_not_tell_their_length(port, pair, name, part):
    """A file of /proc or /sys, which states a wrong length, is sent as read() returns it."""
    sock, peer = pair
    if not os.path.exists(name):
        pytest.skip(f"no {name} here")
    offset, count = {"all": (0, None), "first ten": (0, 10), "from ten on": (10, None)}[part]
    with open(name, "rb") as file:
        expected = file.read()[offset:][:count]
    before = sock.send(b"before")
    op = sock.send_file(name, offset, count)
    after = sock.send(b"after")
    finish(port, before, op, after)
    assert (op.error, after.error) == (None, None)
    got = read(port, peer, 6 + op.transferred + 5)
    assert (got[:6], got[-5:]) == (b"before", b"after")
    assert got[6:-5] == expected


@linux_only("files that read(2) refuses")
def test_a_file_that_cannot_be_read(port, pair):
    """The post of an unreadable file raises the system's error."""
    sock, _peer = pair
    with pytest.raises(OSError, match=r"Input/output|Invalid|No such process"):
        sock.send_file("/proc/self/mem")
    assert not sock.closed


def test_counts_in_queued_bytes_and_marks(port, peers, make_file):
    """R16 R37: the bytes of a file count as queued, for on_pause and on_resume too."""
    sock, peer = peers.tcp(port)
    told = []
    sock.set_send_marks(
        high=1 << 16,
        low=1 << 12,
        on_pause=lambda _: told.append("pause"),
        on_resume=lambda s: told.append(("resume", s.queued_bytes)),
    )
    size = 32 << 20
    path = make_file(pattern(size))
    op = sock.send_file(path)
    assert 0 < sock.queued_bytes <= size
    assert sock.send_paused
    before = sock.queued_bytes
    sock.send(b"behind")
    assert sock.queued_bytes == before + 6
    assert port.stats().send_queue_bytes == before + 6
    run_until(port, lambda: told)
    assert told == ["pause"]
    assert len(read(port, peer, size + 6)) == size + 6
    finish(port, op)
    run_until(port, lambda: len(told) == 2)
    assert told[1][0] == "resume"
    assert told[1][1] <= 1 << 12
    assert (sock.queued_bytes, port.stats().send_queue_bytes) == (0, 0)


def test_cap_of_the_queue(port, peers, make_file):
    """R16 R37: a send queue below its high mark takes a file of any size, beyond the cap too."""
    sock, peer = peers.tcp(port)
    path = make_file(pattern(OVERFLOW))
    sock.set_send_marks(high=1000, low=10, cap=2000)
    first = sock.send_file(path)
    refusals = port.stats().refusals
    with pytest.raises(iocp_sock.BudgetExceeded, match="file"):
        sock.send_file(path)
    with pytest.raises(iocp_sock.BudgetExceeded, match="cap"):
        sock.send(b"x" * 2001)
    assert port.stats().refusals == refusals + 2
    assert read(port, peer, OVERFLOW) == pattern(OVERFLOW)
    finish(port, first)
    sock.set_send_marks(high=0, low=0, cap=2000)
    second = sock.send_file(path)
    with pytest.raises(iocp_sock.BudgetExceeded, match="file"):
        sock.send_file(path)
    assert read(port, peer, OVERFLOW) == pattern(OVERFLOW)
    finish(port, second)


def test_a_file_that_ends_early_counts_no_more(port, peers, make_file):
    """R37: bytes that are missing from a truncated file no longer count as queued."""
    sock, peer = peers.tcp(port)
    size = 16 << 20
    path = make_file(pattern(size))
    op = sock.send_file(path)
    behind = sock.send(b"behind")
    run_until(port, lambda: op.pending)
    os.truncate(path, 12 << 20)
    got = read(port, peer, (12 << 20) + 6)
    finish(port, op, behind)
    assert op.transferred == 12 << 20
    assert got[-6:] == b"behind"
    assert (sock.queued_bytes, port.stats().send_queue_bytes) == (0, 0)


def test_a_cancelled_file_counts_no_more(port, pair, make_file):
    """R31 R37: a cancelled file no longer counts as queued."""
    sock, _peer = pair
    size = 16 << 20
    ops = [sock.send_file(make_file(pattern(size), f"{i}")) for i in range(3)]
    assert sock.queued_bytes > size
    for op in reversed(ops):
        op.cancel()
    finish(port, *ops)
    assert (sock.queued_bytes, port.stats().send_queue_bytes) == (0, 0)


@linux_only("files with holes")
def test_sizes_beyond_what_a_queue_counts(port, peers, make_file):
    """R37: files up to 2**43 bytes are counted exactly; a send queue takes at most 2**47."""
    sock, _peer = peers.tcp(port)
    path = make_file(b"")
    huge = 1 << 43
    os.truncate(path, huge)
    ops = [sock.send_file(path) for _ in range(15)]
    assert 14 * huge < sock.queued_bytes <= 15 * huge
    ops.append(sock.send_file(path))
    for _ in range(2):
        with pytest.raises(iocp_sock.ArgumentError, match="parts"):
            sock.send_file(path)
    for op in reversed(ops):
        op.cancel()
    finish(port, *ops)
    assert sock.queued_bytes == 0
