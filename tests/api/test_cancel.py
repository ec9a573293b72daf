"""R31: a cancel is a request; the completion says how the operation ended."""

import socket
import threading

import pytest

import iocp_sock
from support import OVERFLOW, Recorder, arrived, finish, linux_only, pattern, read, run_until


def test_cancelled_receive_leaves_the_data(port, pair):
    """R31: after a cancelled receive the next receive gets every byte."""
    sock, peer = pair
    got = Recorder()
    op = sock.recv(10, callback=got)
    port.run_once(0)
    assert op.cancel()
    assert not op.cancel()
    run_until(port, lambda: got)
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert (op.transferred, op.data) == (0, None)
    assert not op.cancel()
    peer.sendall(b"abc")
    after = sock.recv(10)
    finish(port, after)
    assert bytes(after.data) == b"abc"
    port.run_once(0)
    assert len(got) == 1


def test_lost_race_reports_success(port, pair):
    """R31: data that arrived before the cancel completes the receive with success."""
    sock, peer = pair
    op = sock.recv(10)
    port.run_once(0)
    peer.sendall(b"abc")
    arrived(sock) if port.backend == "epoll" else None
    op.cancel()
    finish(port, op)
    if op.error is None:
        assert bytes(op.data) == b"abc"
    else:
        assert isinstance(op.error, iocp_sock.Cancelled)
        again = sock.recv(10)
        finish(port, again)
        assert bytes(again.data) == b"abc"


def test_no_byte_is_lost_to_cancels(port, pair):
    """R31: receives that race with cancels lose no byte, and deliver none twice."""
    sock, peer = pair
    data = pattern(20_000)
    got = []
    sent = 0

    def note(completion):
        if completion.error is None:
            got.append(bytes(completion.data))

    while sum(map(len, got)) < len(data):
        if sent < len(data):
            peer.sendall(data[sent : sent + 100])
            sent += 100
        ops = [sock.recv(50, callback=note) for _ in range(3)]
        port.run_once(0)
        for op in ops[1:]:
            op.cancel()
        ops[0].cancel()
        finish(port, *ops)
        run_until(port, lambda: port.outstanding == 0)
    assert b"".join(got) == data


def test_cancel_of_a_queued_operation_is_immediate(port, pair):
    """R31: a queued operation ends at once, and the others keep their order."""
    sock, peer = pair
    first, second, third = (sock.recv(3) for _ in range(3))
    assert second.cancel()
    assert second.done
    peer.sendall(b"abcdef")
    finish(port, first, third)
    assert (bytes(first.data), bytes(third.data)) == (b"abc", b"def")
    assert isinstance(second.error, iocp_sock.Cancelled)


@pytest.mark.parametrize("order", ["first", "last"])
def test_cancels_of_a_long_queue(port, pair, order):
    """R31: a cancel does not walk the queue: 200,000 cancels end within the suite's timeout.

    With a walk from the head of the queue, cancels from the last to the first would take minutes.
    """
    sock, _ = pair
    ops = [sock.recv(1) for _ in range(200_000)]
    for op in ops if order == "first" else reversed(ops):
        assert op.cancel()
    run_until(port, lambda: port.outstanding == 0)
    assert all(isinstance(op.error, iocp_sock.Cancelled) for op in ops)
    assert port.ledger.now == 0


def test_cancel_of_a_done_operation(port, pair):
    """R31: a done operation is not cancelled, even before its completion is handed out."""
    sock, peer = pair
    got = Recorder()
    op = sock.send(b"abc", callback=got)
    assert not op.cancel()
    run_until(port, lambda: got)
    assert op.error is None
    assert read(port, peer, 3) == b"abc"


def test_cancel_all_of_a_socket(port, pair):
    """R31: cancel() of a socket cancels all its operations, and returns their number."""
    sock, peer = pair
    got = Recorder()
    ops = [sock.recv(10, callback=got) for _ in range(3)]
    ops += [sock.send(bytes(OVERFLOW), callback=got), sock.send(b"queued", callback=got)]
    assert sock.cancel() == 5
    assert sock.cancel() == 0
    finish(port, *ops)
    run_until(port, lambda: len(got) == 5)
    assert all(isinstance(op.error, iocp_sock.Cancelled) for op in ops)
    assert not sock.closed
    peer.sendall(b"still")
    after = sock.recv(10)
    finish(port, after)
    assert bytes(after.data) == b"still"


def test_cut_send_keeps_its_count_and_ends_the_stream(port, pair):
    """R31 R04: a send that is cancelled part-way reports the sent bytes; no send may follow it."""
    sock, peer = pair
    data = pattern(OVERFLOW)
    op = sock.send(data)
    behind = sock.send(b"behind")
    assert op.cancel()
    finish(port, op, behind)
    assert isinstance(op.error, iocp_sock.Cancelled)
    assert 0 < op.transferred < len(data)
    assert isinstance(behind.error, iocp_sock.Cancelled)
    assert behind.transferred == 0
    with pytest.raises(iocp_sock.SocketClosed, match="cut"):
        sock.send(b"more")
    with pytest.raises(iocp_sock.SocketClosed, match="cut"):
        sock.shutdown(socket.SHUT_WR)
    assert read(port, peer, op.transferred) == data[: op.transferred]


def test_cancelled_unsent_send_leaves_no_hole(port, pair):
    """R31 R04: a cancelled send without a sent byte leaves no gap in the stream."""
    sock, peer = pair
    data = pattern(OVERFLOW)
    first = sock.send(data)
    second = sock.send(b"second")
    third = sock.send(b"third")
    assert second.cancel()
    assert read(port, peer, len(data) + 5) == data + b"third"
    finish(port, first, second, third)
    assert (second.transferred, third.transferred) == (0, 5)


def test_cancel_among_sends_of_one_request(port, pair):
    """R31 R04: sends that share a request are cancelled one by one; the rest arrives."""
    sock, peer = pair
    filler = pattern(OVERFLOW)
    ops = [sock.send(filler)]
    parts = [pattern(5000, seed) for seed in range(20)]
    ops += [sock.send(part) for part in parts]
    read_first = read(port, peer, len(filler) // 2)
    for op in ops[5::3]:
        op.cancel()
    sock.shutdown(socket.SHUT_WR)
    rest = read(port, peer, 1 << 40)
    finish(port, *ops)
    went = b"".join(part[: op.transferred] for part, op in zip([filler, *parts], ops, strict=True))
    assert read_first + rest == went


def test_timeout_is_a_cancel_of_its_own_kind(port, pair):
    """R31: an operation's timeout ends it with TimedOut; the data stays."""
    sock, peer = pair
    got = Recorder()
    op = sock.recv(10, timeout=0.02, callback=got)
    zero = sock.recv_zero(timeout=0)
    run_until(port, lambda: op.done and zero.done)
    assert isinstance(op.error, iocp_sock.TimedOut)
    assert isinstance(op.error, TimeoutError)
    assert isinstance(zero.error, iocp_sock.TimedOut)
    peer.sendall(b"abc")
    after = sock.recv(10, timeout=60)
    finish(port, after)
    assert bytes(after.data) == b"abc"
    assert len(got) == 1


def test_timeout_of_a_send(port, pair):
    """R31: a send that times out reports the sent bytes."""
    sock, _peer = pair
    op = sock.send(bytes(OVERFLOW), timeout=0.02)
    finish(port, op)
    assert isinstance(op.error, iocp_sock.TimedOut)
    assert 0 < op.transferred < OVERFLOW


def test_timeout_of_done_operations_never_fires(port, pair):
    """R31: an operation that was done at once does not time out."""
    sock, peer = pair
    op = sock.send(b"abc", timeout=0)
    run_until(port, lambda: port.outstanding == 0)
    assert op.error is None
    assert read(port, peer, 3) == b"abc"


def test_cancel_from_another_thread(port, pair):
    """R31: any thread may cancel, and the cancel wakes a sleeping port."""
    sock, _peer = pair
    got = Recorder()
    op = sock.recv(10, callback=got)
    thread = threading.Thread(target=op.cancel)
    thread.start()
    run_until(port, lambda: got)
    thread.join()
    assert isinstance(op.error, iocp_sock.Cancelled)


def test_cancel_in_a_callback(port, pair):
    """R31: a callback cancels the operations behind its own."""
    sock, peer = pair
    ops = []
    ops.append(sock.recv(1, callback=lambda _c: sock.cancel()))
    ops += [sock.recv(1) for _ in range(3)]
    peer.sendall(b"a")
    finish(port, *ops)
    assert ops[0].error is None
    assert all(isinstance(op.error, iocp_sock.Cancelled) for op in ops[1:])


def test_cancelled_accept_takes_no_connection(port, peers):
    """R31: after a cancelled accept the connection goes to the next accept."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    op = listener.accept()
    port.run_once(0)
    op.cancel()
    finish(port, op)
    assert op.accepted is None
    peer = peers.connect(listener.getsockname())
    after = listener.accept()
    finish(port, after)
    assert after.accepted.getpeername() == peer.getsockname()
    after.accepted.close()


def test_cancelled_subscription_ends_once(port, pair):
    """R31: a cancelled subscription completes, delivers nothing more, and can be made again."""
    sock, peer = pair
    got = Recorder()
    op = sock.receive(got)
    peer.sendall(b"abc")
    run_until(port, lambda: got)
    assert op.cancel()
    finish(port, op)
    run_until(port, lambda: port.outstanding == 0)
    assert isinstance(op.error, iocp_sock.Cancelled)
    peer.sendall(b"def")
    arrived(sock, 3)
    port.run_once(0)
    assert [bytes(data) for _conn, data in got] == [b"abc"]
    sock.receive(got)
    run_until(port, lambda: len(got) == 2)
    assert bytes(got[1][1]) == b"def"


@linux_only("TCP_MAXSEG")
def test_cancel_that_meets_a_wake_up(port, peers):
    """Kernel fact: io_uring cannot cancel a request that is waking up; the port tries again.

    The peer's end of stream wakes a send that waits for room, while close() cancels that send.
    """
    with port.listen(("127.0.0.1", 0)) as listener:
        ours = peers.own(port.socket())
        for sock in (listener, ours):
            sock.send_buffer = sock.receive_buffer = 8192
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
        accept = listener.accept()
        finish(port, accept, ours.connect(listener.getsockname()))
    theirs = peers.own(accept.accepted)
    stuck = ours.send(bytes(70_000))
    theirs.shutdown(socket.SHUT_WR)
    ours.close(0)
    finish(port, stuck)
    run_until(port, lambda: port.stats().sockets == 1)
    assert stuck.error is not None
    assert not theirs.closed


def test_cancel_that_comes_after_the_end(port, pair):
    """A multishot receive ends in the batch in which the port decides to cancel it.

    Two large messages make the port read instead. The port must not go on cancelling the ended
    request: an idle run_once() waits at most twice.
    """
    sock, peer = pair
    received = []
    subscription = sock.receive(lambda _, data: received.append(len(data)))
    peer.sendall(bytes(40_000))
    run_until(port, lambda: sum(received) == 40_000)
    peer.sendall(bytes(40_000))
    peer.shutdown(socket.SHUT_WR)
    arrived(sock, 40_000)
    finish(port, subscription)
    assert sum(received) == 80_000
    before = port.stats().waits
    port.run_once(0.1)
    assert port.stats().waits - before <= 2
