"""Operation.result(): the outcome of an operation, with or without a wait (R25)."""

import os
import threading
import time

import pytest

import iocp_sock
from iocp_sock import Event, StillPending
from support import PATIENCE, Recorder, arrived, interrupt, linux_only, reset, run_until, wait_for
from support.waiters import Runner, in_thread


def test_result_runs_the_port(pair):
    """R25: if no thread runs the port, result() runs it until the operation is done."""
    sock, peer = pair
    op = sock.recv(10)
    assert op.pending
    timer = threading.Timer(0.05, lambda: peer.sendall(b"abc"))
    timer.start()
    assert op.result(timeout=PATIENCE) == (3, 0)
    timer.join()
    assert bytes(op.data) == b"abc"
    assert sock.port.get(0) is None, "result() has taken its completion"


def test_result_of_what_is_done(pair):
    """R25: if the post finishes the operation, every call of result() returns at once."""
    sock, peer = pair
    peer.sendall(b"abcd")
    arrived(sock, 4)
    op = sock.recv(10)
    assert op.outcome == "done"
    assert op.result(wait=False) == op.result() == op.result(True, 0) == (4, 0)
    assert sock.port.get(0) is None


def test_results_alone_leave_nothing_behind(pair):
    """R03: operations whose results are taken leave no completions at the port."""
    sock, peer = pair
    port = sock.port
    for _ in range(200):
        assert sock.send(b"x").result()[0] == 1
        assert peer.recv(1) == b"x"
    ops = [sock.recv(1) for _ in range(100)]
    peer.sendall(bytes(100))
    assert [op.result(timeout=PATIENCE)[0] for op in ops] == [1] * 100
    assert port.outstanding == 0
    assert port.get(0) is None


def test_result_keeps_completions_of_others(pair):
    """R24: a thread that waits for one result leaves the other completions to get()."""
    sock, peer = pair
    ops = [sock.recv(1) for _ in range(5)]
    peer.sendall(b"abcde")
    assert ops[4].result(timeout=PATIENCE) == (1, 0)
    got = [sock.port.get(0) for _ in range(5)]
    assert [c.operation for c in got if c] == ops[:4]


def test_result_runs_callbacks(pair):
    """result() runs the port as get() does, callbacks included."""
    sock, peer = pair
    got = Recorder()
    op = sock.recv(1, callback=got)
    peer.sendall(b"x")
    assert op.result(timeout=PATIENCE) == (1, 0)
    assert [c.operation for c in got] == [op]


@pytest.mark.parametrize("arguments", [{"wait": False}, {"timeout": 0}, {"timeout": 0.01}])
def test_result_of_unfinished(pair, arguments):
    """R25: result() raises StillPending (WSA_IO_INCOMPLETE) until the operation is done."""
    sock, peer = pair
    op = sock.recv(10)
    with pytest.raises(StillPending) as refused:
        op.result(**arguments)
    assert isinstance(refused.value, BlockingIOError)
    assert op.pending
    peer.sendall(b"late")
    completion = sock.port.get(PATIENCE)
    assert completion is not None
    assert completion.operation is op
    assert op.result(wait=False) == (4, 0)


def test_result_without_wait_takes_a_look(pair):
    """R25: result(wait=False) makes a turn, so polling it needs no thread that runs the port."""
    sock, peer = pair
    op = sock.recv(10)
    peer.sendall(b"abc")
    looks = 0

    def finished():
        nonlocal looks
        looks += 1
        try:
            return op.result(wait=False) == (3, 0)
        except StillPending:
            return False

    wait_for(finished)


def test_result_raises_the_error(port, peers):
    """R25: result() raises the error of the operation, every time."""
    sock, peer = peers.tcp(port)
    op = sock.recv(10)
    reset(peer)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            op.result(timeout=PATIENCE)
    assert op.error is not None


def test_result_of_the_timed_out_and_the_cancelled(pair):
    """R31: result() raises TimedOut after a timeout, and Cancelled after a cancel or a close."""
    sock, _peer = pair
    with pytest.raises(iocp_sock.TimedOut):
        sock.recv(10, timeout=0.01).result(timeout=PATIENCE)
    op = sock.recv(10)
    assert op.cancel()
    with pytest.raises(iocp_sock.Cancelled):
        op.result(timeout=PATIENCE)
    op = sock.recv(10)
    sock.close()
    with pytest.raises(iocp_sock.Cancelled):
        op.result(timeout=PATIENCE)


def test_result_of_other_kinds(port, peers):
    """R32: connects and accepts have results as well."""
    with port.listen(("127.0.0.1", 0)) as listener:
        accept = listener.accept()
        connect = port.connect(listener.getsockname())
        assert connect.result(timeout=PATIENCE) == (0, 0)
        assert accept.result(timeout=PATIENCE) == (0, 0)
        assert accept.accepted.getpeername() == connect.socket.getsockname()
        accept.accepted.close()
        connect.socket.close()


def test_there_is_no_unposted_operation():
    """A program cannot make an operation that was never posted."""
    with pytest.raises(TypeError):
        iocp_sock.Operation()
    with pytest.raises(TypeError):
        object.__new__(iocp_sock.Operation)


def test_a_failed_post_leaves_nothing(pair):
    """A post that raises returns no operation, and its event is free again."""
    sock, _peer = pair
    event = Event(set=True)
    sock.close()
    for _ in range(2):
        with pytest.raises(iocp_sock.SocketClosed):
            sock.recv(10, event=event)
    assert not event.is_set()


def test_result_while_another_thread_runs_the_port(port, peers):
    """R24: while another thread runs the port, the caller of result() sleeps until the end."""
    sock, peer = peers.pair(port)
    with Runner(port):
        for size in (1, 2, 3):
            op = sock.recv(10)
            join = in_thread(lambda op=op: op.result(timeout=PATIENCE))
            peer.sendall(bytes(size))
            assert join() == (size, 0)
        op = sock.recv(10)
        with pytest.raises(StillPending):
            op.result(timeout=0.05)


def test_the_end_wakes_who_waits(port, peers):
    """R24: the end of the operation wakes result() at once, not at its next check for signals."""
    sock, peer = peers.pair(port)
    with Runner(port):
        for _ in range(20):
            op = sock.recv(1)
            sent = threading.Timer(0.005, lambda: peer.sendall(b"x"))
            sent.start()
            began = time.monotonic()
            assert op.result(timeout=PATIENCE) == (1, 0)
            assert time.monotonic() - began < 0.9, "a wake-up was lost"
            sent.join()


def test_result_when_the_runner_leaves(make_port, peers):
    """R24: a thread in result() takes the port over when the thread that runs it stops."""
    port = make_port()
    sock, peer = peers.pair(port)
    op = sock.recv(10)
    runner = threading.Thread(target=port.run)
    runner.start()
    join = in_thread(lambda: op.result(timeout=PATIENCE))
    wait_for(lambda: port.stats().waits > 0)
    port.stop()
    runner.join(PATIENCE)
    peer.sendall(b"xy")
    assert join() == (2, 0)  # even on io_uring, where the thread that owned the ring has ended


def test_two_threads_wait_for_one_port(port, peers):
    """R24: of two threads in result() one runs the port; when it is done, the other takes over."""
    sock, peer = peers.pair(port)
    first = sock.recv(1)
    second = sock.recv(1)
    joins = [in_thread(lambda op=op: op.result(timeout=PATIENCE)) for op in (first, second)]
    peer.sendall(b"a")
    wait_for(lambda: first.done)
    peer.sendall(b"b")
    assert [join() for join in joins] == [(1, 0), (1, 0)]


def test_running_takes_over_from_a_wait(port, peers):
    """R24: get(), run_once() and get_batch() take the port over from a waiting thread."""
    if port.backend == "uring":
        pytest.skip("a ring belongs to the thread that first ran it or waited for it")
    sock, peer = peers.pair(port)
    op = sock.recv(10, event=Event())
    join = in_thread(lambda: op.result(timeout=PATIENCE))
    wait_for(lambda: port.stats().waits > 0)
    for _ in range(20):
        assert port.get(0.001) is None
        assert port.run_once(0.001) == 0
        assert port.get_batch(5, 0) == []
    port.post(5)
    assert port.get(PATIENCE).value == 5
    peer.sendall(b"abc")
    assert join() == (3, 0)
    last = sock.recv(10, event=Event())
    join = in_thread(lambda: last.result(timeout=PATIENCE))
    wait_for(lambda: last.pending)
    port.close(0)
    with pytest.raises(iocp_sock.Error):
        join()


def test_result_inside_a_callback(pair):
    """A wait inside a callback runs the port, but no other callback."""
    sock, peer = pair
    port = sock.port
    inner = sock.recv(1)
    order = []
    port.call_later(0.01, lambda: order.append("timer"))

    def outer(_completion):
        peer.sendall(b"x")
        time.sleep(0.02)
        order.append(inner.result(timeout=PATIENCE))

    port.post(callback=outer)
    run_until(port, lambda: len(order) == 2)
    assert order == [(1, 0), "timer"]


def test_result_inside_a_callback_is_told_once(pair):
    """R03: result() inside a callback takes the completion, so that get() never returns it."""
    sock, peer = pair
    port = sock.port
    results = []
    inner = sock.recv(1)
    port.post(callback=lambda _c: results.append(inner.result(timeout=PATIENCE)))
    peer.sendall(b"x")
    while port.outstanding:
        assert port.get(0.02) is None
    assert results == [(1, 0)]


def test_wait_inside_a_callback_of_a_wait(port, peers):
    """While a callback waits for a result, get() in another thread waits for the callback."""
    if port.backend == "uring":
        pytest.skip("a ring belongs to the thread that first ran it or waited for it")
    sock, peer = peers.pair(port)
    inner = sock.recv(1)
    op = sock.recv(1)
    results = []
    contender = threading.Thread(target=lambda: results.append(port.get(0.01)))

    def outer(_completion):
        contender.start()
        time.sleep(0.05)
        peer.sendall(b"xy")
        results.append(inner.result(timeout=PATIENCE / 2))

    port.post(callback=outer)
    assert op.result(timeout=PATIENCE) == (1, 0)
    contender.join(PATIENCE)
    assert results == [(1, 0), None]


def test_a_wait_gives_way_between_two_callbacks(port, peers):
    """R24: once a callback's own wait is over, run_once() of another thread gets the port."""
    if port.backend == "uring":
        pytest.skip("a ring belongs to the thread that first ran it or waited for it")
    sock, peer = peers.pair(port)
    inner = sock.recv(1)
    op = sock.recv(1)
    began = []
    threads = []

    def outer(_completion):
        began.append(port.stats().waits)
        inner.result(timeout=PATIENCE)

    port.post(callback=outer)
    port.post(callback=lambda _c: threads.append(threading.get_ident()))
    join = in_thread(lambda: op.result(timeout=PATIENCE))
    wait_for(lambda: began and port.stats().waits > began[0])
    before = port.stats().waits
    join_contender = in_thread(lambda: (port.run_once(PATIENCE), threading.get_ident()))
    wait_for(lambda: port.stats().waits > before)  # asking for the port ends the inner turn
    peer.sendall(b"x")
    assert join_contender() == (1, threads[0])
    peer.sendall(b"y")
    assert join() == (1, 0)


def test_interrupt_ends_a_result(pair):
    """Ctrl-C ends a wait in result(); the operation goes on."""
    sock, peer = pair
    op = sock.recv(10)
    timer = threading.Timer(0.1, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        op.result()
    timer.join()
    peer.sendall(b"after")
    assert op.result(timeout=PATIENCE) == (5, 0)


@linux_only("os.fork()")
def test_result_in_a_forked_child(port, peers):
    """In a forked child the parent's operations and events raise ForkedPort."""
    sock, peer = peers.pair(port)
    event = Event()
    op = sock.recv(10, event=event)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for use in (op.result, event.wait, event.set, event.is_set, event.reset):
                try:
                    use()
                except iocp_sock.ForkedPort:
                    status -= 0.2
            own = Event(set=True)
            status += 0 if own.wait(0) else 1
        finally:
            os._exit(round(status))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    peer.sendall(b"x")
    assert event.wait(PATIENCE)
