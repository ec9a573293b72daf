"""Threads: one runs the port, any may post, cancel, close and wake."""

import threading
import time

import pytest

import iocp_sock
from support import Recorder, drain_get, finish, pattern, read, run_until, wait_for
from support.waiters import Runner


def test_posts_from_eight_threads(port, peers):
    """R03: packets and operations of eight threads complete once while the port runs."""
    counts = [0] * 8
    pairs = [peers.pair(port) for _ in range(8)]
    done = threading.Event()
    total = 0

    def packet(completion):
        nonlocal total
        counts[completion.value] += 1
        total += 1
        if total == 8 * 700:
            done.set()

    def received(completion):
        packet_value = completion.operation.socket
        index = [sock for sock, _peer in pairs].index(packet_value)
        nonlocal total
        counts[index] += 1
        total += 1
        if total == 8 * 700:
            done.set()

    def work(i):
        sock, peer = pairs[i]
        for n in range(500):
            port.post(i, callback=packet)
            if n < 200:
                sock.recv(1, callback=received)
                peer.sendall(b"x")

    with Runner(port):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done.wait(30), f"{total} of {8 * 700}"
    assert counts == [700] * 8


def test_wakes_a_sleeping_port_at_once(port, peers):
    """A post from another thread wakes the sleeping port; no wake-up is lost."""
    arrived = threading.Event()
    with Runner(port):
        for _ in range(300):
            arrived.clear()
            port.post(callback=lambda _c: arrived.set())
            began = time.monotonic()
            assert arrived.wait(0.9), "a wake-up was lost"
            assert time.monotonic() - began < 0.9


def test_operations_of_other_threads_are_started_at_once(port, peers):
    """A receive that another thread posts while the port sleeps is started at once."""
    sock, peer = peers.pair(port)
    arrived = threading.Event()
    with Runner(port):
        for _ in range(200):
            arrived.clear()
            sock.recv(1, callback=lambda _c: arrived.set())
            peer.sendall(b"x")
            assert arrived.wait(0.9), "a receive was not started"


def test_sends_of_other_threads(port, peers):
    """R04: sends from another thread while the port runs keep their order."""
    sock, peer = peers.pair(port)
    sock.receive(Recorder())
    parts = [b"%06d" % i for i in range(5000)]
    with Runner(port):
        sender = threading.Thread(target=lambda: [sock.send(part) for part in parts])
        sender.start()
        expected = b"".join(parts)
        got = b""
        while len(got) < len(expected):
            got += peer.recv(65536)
        sender.join()
        assert got == expected


def test_cancel_races_with_data(port, peers):
    """R31: cancels that race with arriving data end each operation once."""
    sock, peer = peers.pair(port)
    results = []
    event = threading.Event()

    def ended(completion):
        results.append((completion.error, bytes(completion.data or b"")))
        event.set()

    sent = 0
    with Runner(port):
        for i in range(300):
            event.clear()
            op = sock.recv(1, callback=ended)
            if i % 2:
                peer.sendall(b"x")
                sent += 1
                op.cancel()
            else:
                op.cancel()
                peer.sendall(b"x")
                sent += 1
            assert event.wait(20)
    assert len(results) == 300
    received = sum(len(data) for _error, data in results)
    assert all(
        (error is None and data) or isinstance(error, iocp_sock.Cancelled)
        for error, data in results
    )
    assert received <= sent


def test_close_from_eight_threads_while_running(port, peers):
    """Sockets with operations outstanding are closed by several threads at once."""
    socks = [peers.pair(port)[0] for _ in range(80)]
    got = Recorder()
    closed = Recorder()
    for i, sock in enumerate(socks):
        if i % 2:
            sock.receive(Recorder(), on_close=closed)
        else:
            sock.recv(10, callback=got)
            sock.send(bytes(1 << 20), callback=got)
    with Runner(port):
        threads = [
            threading.Thread(target=lambda part: [s.close(0) for s in part], args=(socks[i::4],))
            for i in range(4)
        ] + [
            threading.Thread(target=lambda part: [s.abort() for s in part], args=(socks[i::4],))
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: len(got) == 80 and len(closed) == 40)


def test_stop_from_another_thread(port):
    """stop() from any thread ends run(), even if it is called before run()."""
    for _ in range(50):
        thread = threading.Thread(target=port.run)
        thread.start()
        port.stop()
        thread.join(20)
        assert not thread.is_alive(), "the stop was lost"


def test_wake_ends_a_wait(port):
    """wake() ends the wait of run_once() and get()."""
    waiting = threading.Event()

    def waker():
        waiting.wait(20)
        while not finished.is_set():
            port.wake()
            time.sleep(0.005)

    for call in (lambda: port.run_once(20), lambda: port.get(20), lambda: port.get_batch(1, 20)):
        finished = threading.Event()
        waiting.clear()
        thread = threading.Thread(target=waker)
        thread.start()
        waiting.set()
        began = time.monotonic()
        assert not call()
        finished.set()
        thread.join()
        assert time.monotonic() - began < 10


def test_one_thread_runs_a_port(port):
    """A second thread that runs the same port at the same time is refused."""
    with Runner(port):
        for call in (
            lambda: port.run_once(0),
            port.run,
            lambda: port.get(0),
            lambda: port.get_batch(1, 0),
        ):
            with pytest.raises((iocp_sock.PortRunning, iocp_sock.WrongThread)):
                call()


def test_the_runner_may_change(port, peers):
    """Kernel fact: io_uring cancels the requests of a thread that ends; the port's operations go
    on in another thread, and lose no data.
    """
    sock, peer = peers.pair(port)
    got = Recorder()
    ops = []

    def first():
        ops.append(sock.recv(10, callback=got))
        port.run_once(0)

    thread = threading.Thread(target=first)
    thread.start()
    thread.join()
    assert ops[0].pending
    peer.sendall(b"data")
    finish(port, *ops)
    assert ops[0].error is None
    assert bytes(ops[0].data) == b"data"
    run_until(port, lambda: len(got) == 1)


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("strategy", ["pooled", "direct", "zero_byte"])
def test_subscriptions_outlive_their_thread(port, peers, strategy):
    """Kernel fact: subscriptions outlive the thread that ran the port, and lose no data."""
    pairs = [peers.pair(port) for _ in range(10)]
    got = {sock: [] for sock, _peer in pairs}
    for sock, _peer in pairs:
        sock.receive(lambda conn, data: got[conn].append(bytes(data)), receive=strategy)
    for round_number in range(5):
        in_thread(lambda: port.run_once(0))
        for _sock, peer in pairs:
            peer.sendall(b"%d" % round_number)
    in_thread(lambda: port.run_once(0))
    for _sock, peer in pairs:
        peer.sendall(b"end")
    in_thread(
        lambda: run_until(port, lambda: all(b"".join(d) == b"01234end" for d in got.values()))
    )


def test_sends_outlive_their_thread(port, peers):
    """Kernel fact: a send goes out whole, and once, although the thread that started it ends."""
    sock, peer = peers.pair(port)
    data = pattern(6 << 20)
    ops = [sock.send(data), sock.send(b"last")]
    in_thread(lambda: port.run_once(0))
    first = read_some(peer)
    in_thread(lambda: port.run_once(0))
    rest = []
    in_thread(lambda: rest.append(read(port, peer, len(data) + 4 - len(first))))
    assert first + rest[0] == data + b"last"
    in_thread(lambda: finish(port, *ops))
    assert [op.transferred for op in ops] == [len(data), 4]


def read_some(peer):
    return peer.recv(100_000)


def test_accepts_outlive_their_thread(port, peers):
    """Kernel fact: accept_each() outlives the thread that ran the port."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    got = Recorder()
    listener.accept_each(got)
    in_thread(lambda: port.run_once(0))
    peers.connect(listener.getsockname())
    in_thread(lambda: run_until(port, lambda: got))
    got[0].close()


def test_closing_a_port_whose_thread_has_ended(make_port, peers):
    """Another thread can close a port with pending operations after its thread has ended."""
    port = make_port()
    sock, _peer = peers.pair(port)
    ops = [sock.recv(10), sock.recv_zero()]
    thread = threading.Thread(target=lambda: port.run_once(0))
    thread.start()
    thread.join()
    port.close(0)
    assert port.closed
    assert all(isinstance(op.error, iocp_sock.Cancelled) for op in ops)


def test_posting_thread_may_end(port, peers):
    """R24: an operation outlives the thread that posted it."""
    sock, peer = peers.pair(port)
    ops = []
    thread = threading.Thread(target=lambda: ops.append(sock.recv(10)))
    thread.start()
    thread.join()
    peer.sendall(b"abc")
    finish(port, *ops)
    assert bytes(ops[0].data) == b"abc"


def test_ports_in_threads(make_port, peers):
    """Two ports in two threads send to each other; neither disturbs the other."""
    one, two = make_port(), make_port()
    listener = one.listen(("127.0.0.1", 0))
    listener.accept_each(
        lambda conn: conn.receive(lambda c, data: c.send(data) if data else c.close())
    )
    with Runner(one):
        op = two.connect(listener.getsockname())
        sock = peers.own(op.socket)
        finish(two, op)
        for i in range(100):
            sock.send(b"%03d" % i)
            back = sock.recv(3)
            finish(two, back)
            assert bytes(back.data) == b"%03d" % i


def test_socket_dropped_by_another_thread(port, peers):
    """Any thread may drop the last reference to an object."""
    socks = [[peers.pair(port)[0]] for _ in range(20)]
    peers.ours.clear()
    got = Recorder()
    for holder in socks:
        holder[0].recv(10, callback=got)
        holder[0].close()
    with Runner(port):
        thread = threading.Thread(target=lambda: [holder.clear() for holder in socks])
        thread.start()
        thread.join()
        wait_for(lambda: len(got) == 20)


def test_ledger_is_read_by_other_threads(port, peers):
    """R09: the ledger can be read at any time, by any thread."""
    sock, peer = peers.pair(port)
    stop = threading.Event()
    seen = []

    def reader():
        while not stop.is_set():
            ledger = port.ledger
            seen.append(ledger.now == sum(ledger.by_state.values()) == sum(ledger.by_kind.values()))

    thread = threading.Thread(target=reader)
    thread.start()
    for _ in range(300):
        op = sock.recv(5000)
        peer.sendall(b"x")
        finish(port, op)
    stop.set()
    thread.join()
    assert all(seen)
    run_until(port, lambda: port.outstanding == 0)


def test_get_in_a_thread_of_its_own(port, peers):
    """A thread gets the completions of operations that another thread posts."""
    taken = []
    ready = threading.Event()

    def getter():
        ready.set()
        taken.extend(drain_get(port, 10))

    thread = threading.Thread(target=getter)
    thread.start()
    ready.wait(20)
    for i in range(10):
        port.post(i)
    thread.join(20)
    assert [c.value for c in taken] == list(range(10))
    sock, peer = peers.pair(port)
    sock.send(b"x")
    assert read(port, peer, 1) == b"x"


def test_daemon_thread_at_exit(backend, in_subprocess):
    """A daemon thread in run() does not disturb the end of the interpreter."""
    in_subprocess(
        """
        import threading, time
        port = iocp_sock.Port(backend=BACKEND)
        started = threading.Event()
        port.post(callback=lambda _c: started.set())
        threading.Thread(target=port.run, daemon=True).start()
        started.wait()
        class Slow:
            def __del__(self, sleep=time.sleep):
                sleep(1.5)
        slow = Slow()
        """,
        backend,
    )
