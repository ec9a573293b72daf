"""R24, R30: several threads run one port."""

import contextlib
import gc
import os
import socket
import threading
import time

import pytest

import iocp_sock
from support import PATIENCE, Recorder, finish, linux_only, pattern, wait_for
from support.waiters import in_thread

THREADS = 8
PACKETS = 100_000


def exactly(peer, nbytes):
    """Read exactly `nbytes` bytes from a blocking raw socket."""
    got = b""
    while len(got) < nbytes:
        part = peer.recv(nbytes - len(got))
        assert part, "the stream ended"
        got += part
    return got


def take(port):
    """Get one completion of the port; fails after a timeout."""
    completion = port.get(PATIENCE)
    assert completion is not None, "no completion before the timeout"
    return completion


class Gate:
    """Counts the threads that process a completion, and keeps the maximum."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = 0
        self.most = 0

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_details):
        with self.lock:
            self.now -= 1


def test_each_packet_once_by_eight_threads(make_port):
    """R24: one thread gets each posted packet; at most three threads are active."""
    port = make_port(concurrency=3)
    gate = Gate()
    seen = [[] for _ in range(THREADS)]

    def work(i):
        while True:
            completion = take(port)
            with gate:
                if completion.value is None:
                    return
                seen[i].append(completion.value)

    joins = [in_thread(lambda i=i: work(i)) for i in range(THREADS)]
    for number in range(PACKETS):
        port.post(number)
    for _ in range(THREADS):
        port.post(None)
    for join in joins:
        join()
    assert sorted(number for numbers in seen for number in numbers) == list(range(PACKETS))
    assert 1 <= gate.most <= 3
    for numbers in seen:
        assert numbers == sorted(numbers), "packets are taken in the order of their posts"


def test_in_order_each_sockets_completions_follow_each_other(make_port, peers):
    """R30: with in_order a socket's next completion waits until the last one is processed."""
    port = make_port(concurrency=THREADS, in_order=True)
    pairs = [peers.pair(port) for _ in range(20)]
    each = 100
    sequences = {sock: [] for sock, _peer in pairs}
    in_hand = dict.fromkeys(sequences, 0)
    left = threading.Semaphore(0)

    def work():
        while True:
            completion = take(port)
            operation = completion.operation
            if operation is None:
                return
            sock = operation.socket
            in_hand[sock] += 1
            assert in_hand[sock] == 1, "two threads have this socket's completions"
            sequences[sock].append(operation.sequence)
            assert operation.data.tobytes() == bytes([len(sequences[sock]) % 256])
            in_hand[sock] -= 1
            left.release()

    joins = [in_thread(work) for _ in range(THREADS)]
    for i in range(1, each + 1):
        for sock, peer in pairs:
            sock.recv(1)
            peer.sendall(bytes([i % 256]))
    for _ in range(each * len(pairs)):
        assert left.acquire(timeout=PATIENCE)
    for _ in joins:
        port.post()
    for join in joins:
        join()
    for numbers in sequences.values():
        assert len(numbers) == each
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("in_order", [False, True])
def test_threads_that_do_not_ask_again_hold_the_rest_back(make_port, peers, in_order):
    """R24: with a concurrency of 2 a third thread waits until one of the two asks again."""
    port = make_port(concurrency=2, in_order=in_order)
    for number in range(3):
        port.post(number)
    release = [threading.Event() for _ in range(2)]
    got = threading.Semaphore(0)

    def hold(i):
        take(port)
        got.release()
        assert release[i].wait(PATIENCE)
        return port.get(0)

    joins = [in_thread(lambda i=i: hold(i)) for i in range(2)]
    for _ in joins:
        assert got.acquire(timeout=PATIENCE)
    assert port.get(0.05) is None, "two threads have not asked again"
    release[0].set()
    assert joins[0]().value == 2, "the thread that asks again gets the next completion"
    release[1].set()
    assert joins[1]() is None


def test_a_thread_that_ends_gives_its_place_back(make_port):
    """R24: a thread counts as active from its last get until its end."""
    port = make_port(concurrency=1, in_order=True)
    port.post(1)
    port.post(2)
    assert in_thread(lambda: take(port).value)() == 1
    assert take(port).value == 2


def test_the_order_of_a_thread_that_ended_goes_on(make_port, peers):
    """R30: if a thread ends with a completion, others get the socket's next completions."""
    port = make_port(concurrency=4, in_order=True)
    sock, peer = peers.pair(port)
    for _ in range(2):
        sock.recv(1)
    peer.sendall(b"ab")
    first = in_thread(lambda: take(port).operation)()
    second = take(port).operation
    assert (first.data.tobytes(), second.data.tobytes()) == (b"a", b"b")
    assert second.sequence == first.sequence + 1


def test_callbacks_of_many_threads(make_port, peers):
    """R24: run() in eight threads serves all connections; stop() ends each of them."""
    port = make_port(concurrency=THREADS)
    gate = Gate()
    served = threading.Semaphore(0)

    def accepted(connection):
        connection.receive(answer)

    def answer(connection, data):
        with gate:
            if data:
                connection.send(data)
            else:
                connection.close()
                served.release()

    listener = port.listen(("127.0.0.1", 0))
    listener.accept_each(accepted)
    joins = [in_thread(port.run) for _ in range(THREADS)]

    def talk():
        for _ in range(5):
            with peers.connect(listener.getsockname()) as peer:
                for i in range(20):
                    peer.sendall(pattern(64, i))
                    assert exactly(peer, 64) == pattern(64, i)

    talks = [in_thread(talk) for _ in range(4)]
    for join in talks:
        join()
    for _ in range(20):
        assert served.acquire(timeout=PATIENCE)
    port.stop()
    for join in joins:
        join()
    assert gate.most <= THREADS


def test_data_of_a_subscription_comes_to_one_thread_at_a_time(make_port, peers):
    """receive() delivers the data of a socket in order, even without in_order."""
    port = make_port(concurrency=4)
    sock, peer = peers.pair(port)
    taken = bytearray()
    inside = []
    ended = threading.Event()

    def data(_sock, buffer):
        inside.append(threading.get_ident())
        assert len(inside) == 1
        if buffer:
            taken.extend(buffer)
        else:
            ended.set()
        inside.clear()

    sock.receive(data)
    joins = [in_thread(port.run) for _ in range(4)]
    wanted = pattern(1 << 20)
    for at in range(0, len(wanted), 1000):
        peer.sendall(wanted[at : at + 1000])
    peer.close()
    assert ended.wait(PATIENCE)
    port.stop()
    for join in joins:
        join()
    assert bytes(taken) == wanted


def test_run_until_idle_ends_in_every_thread(make_port):
    """run(until_idle=True) returns in every thread once nothing is outstanding."""
    port = make_port(concurrency=4)
    ran = []

    def packet(completion):
        ran.append(completion.value)
        if completion.value < 200:
            port.post(completion.value + 1, callback=packet)

    port.post(0, callback=packet)
    joins = [in_thread(lambda: port.run(until_idle=True)) for _ in range(4)]
    for join in joins:
        join()
    assert ran == list(range(201))


def test_close_ends_whoever_waits(make_port, peers):
    """Closing the port ends get() and run() in every thread, and runs every on_close."""
    port = make_port(concurrency=2, in_order=True)
    sock, _peer = peers.pair(port)
    told = Recorder()
    sock.receive(Recorder(), on_close=told)
    sock2, _peer2 = peers.pair(port)
    cancelled = Recorder()
    sock2.recv(1, callback=cancelled)
    started = threading.Semaphore(0)
    port.post(callback=lambda _c: started.release())
    joins = [in_thread(port.run), in_thread(lambda: port.get(PATIENCE)), in_thread(port.run)]
    assert started.acquire(timeout=PATIENCE)
    port.close(0)
    assert port.closed
    for join in joins:
        assert join() is None
    assert len(told) == 1
    assert len(cancelled) == 1
    with pytest.raises(iocp_sock.PortClosed):
        port.get()


def test_close_waits_for_no_thread_that_went_away(make_port, peers):
    """A thread that never returns for another completion does not delay close()."""
    port = make_port(concurrency=1, in_order=True)
    sock, _peer = peers.pair(port)
    told = Recorder()
    sock.receive(Recorder(), on_close=told)
    port.post(1)
    away, back = threading.Event(), threading.Event()

    def hold():
        take(port)
        away.set()
        assert back.wait(PATIENCE)

    join = in_thread(hold)
    assert away.wait(PATIENCE)
    port.close(0)
    assert port.closed
    assert len(told) == 1
    back.set()
    join()


def test_close_inside_a_callback(make_port, peers):
    """close() in a callback returns at once; the threads that run the port close it."""
    port = make_port(concurrency=2)
    sock, _peer = peers.pair(port)
    sock.receive(Recorder())
    joins = [in_thread(port.run) for _ in range(2)]
    port.post(callback=lambda _c: port.close(0))
    for join in joins:
        join()
    assert port.closed


def test_a_callback_cannot_run_its_own_port(make_port):
    """Running the port inside a callback raises, even on a port of several threads."""
    port = make_port(concurrency=2)
    errors = []

    def packet(_completion):
        for ask in (port.run, port.get, port.run_once, lambda: port.get_batch(2)):
            with pytest.raises(iocp_sock.PortRunning) as caught:
                ask()
            errors.append(caught.value)

    port.post(callback=packet)
    port.run(until_idle=True)
    assert len(errors) == 4


def test_wake_and_timeouts(make_port):
    """get() returns None after its timeout and after a wake(), in every thread."""
    port = make_port(concurrency=1)
    assert port.get(0) is None
    assert port.get(0.01) is None
    assert port.run_once(0) == 0
    assert port.get_batch(3, 0) == []
    for _ in range(50):
        join = in_thread(lambda: port.get(PATIENCE))
        port.wake()
        assert join() is None
    port.post(1)
    assert port.get(0).value == 1


def test_batches(make_port):
    """get_batch() takes several completions, but its thread counts as active only once."""
    port = make_port(concurrency=1)
    for number in range(5):
        port.post(number)
    assert [completion.value for completion in port.get_batch(3, 0)] == [0, 1, 2]
    assert in_thread(lambda: port.get(0.05))() is None, "this thread has not asked again"
    assert [completion.value for completion in port.get_batch(9, 0)] == [3, 4]


def test_an_exception_of_a_callback_ends_one_run(make_port):
    """KeyboardInterrupt ends run() of the thread that ran the callback; others go on."""
    port = make_port(concurrency=2)
    rest = threading.Event()

    def interrupt(_completion):
        raise KeyboardInterrupt

    joins = [in_thread(port.run) for _ in range(2)]
    port.post(callback=interrupt)
    port.post(callback=lambda _c: rest.set())
    assert rest.wait(PATIENCE)
    port.stop()
    ends = []
    for join in joins:
        try:
            ends.append(join())
        except KeyboardInterrupt:
            ends.append(KeyboardInterrupt)
    assert sorted(ends, key=str) == sorted([None, KeyboardInterrupt], key=str)


def test_completions_that_were_gathered_are_not_lost(make_port):
    """Completions that get_batch() held when a callback raised go to the next call."""
    port = make_port(concurrency=1)

    def interrupt(_completion):
        raise KeyboardInterrupt

    port.post(1)
    port.post(callback=interrupt)
    port.post(2)
    with pytest.raises(KeyboardInterrupt):
        port.get_batch(5, 0)
    assert [completion.value for completion in port.get_batch(5, 0)] == [1, 2]


def test_completions_that_were_gathered_wake_another_get(make_port):
    """Completions that get_batch() held when a callback raised go to a thread that is in get()."""
    port = make_port(concurrency=1)
    joins = []

    def interrupt(_completion):
        before = port.stats().waits
        joins.append(in_thread(lambda: (port.get(timeout=PATIENCE), time.monotonic())))
        wait_for(lambda: port.stats().waits > before)
        raise KeyboardInterrupt

    port.post(1)
    port.post(callback=interrupt)
    with pytest.raises(KeyboardInterrupt):
        port.get_batch(5, 0)
    began = time.monotonic()
    completion, ended = joins[0]()
    assert completion.value == 1
    assert ended - began < 0.9, "a wake-up was lost"


def test_events_and_results_of_a_shared_port(make_port, peers):
    """R25: a thread that waits for an event needs no other thread to run the port."""
    port = make_port(concurrency=2)
    sock, peer = peers.pair(port)
    event = iocp_sock.Event()
    operation = sock.recv(4, event=event)
    peer.sendall(b"ping")
    assert event.wait(PATIENCE)
    assert operation.data.tobytes() == b"ping"
    joins = [in_thread(port.run) for _ in range(2)]
    for i in range(50):
        operation = sock.recv(4, event=event)
        peer.sendall(pattern(4, i))
        assert event.wait(PATIENCE)
        assert operation.result()[0] == 4
        operation = sock.recv(4)
        peer.sendall(pattern(4, i))
        assert operation.result(timeout=PATIENCE)[0] == 4
    port.stop()
    for join in joins:
        join()


def test_detach_beside_running_threads(make_port, peers):
    """detach() cancels outstanding operations while another thread runs the port."""
    port = make_port(concurrency=2)
    joins = [in_thread(port.run) for _ in range(2)]
    for _ in range(20):
        sock, peer = peers.pair(port)
        cancelled = Recorder()
        sock.recv(1, callback=cancelled)
        with socket.socket(fileno=sock.detach()) as raw:
            raw.sendall(b"still connected")
            assert exactly(peer, 15) == b"still connected"
        wait_for(lambda calls=cancelled: calls)
    port.stop()
    for join in joins:
        join()


def test_operations_outlive_the_threads_that_ran_the_port(make_port, peers):
    """R24: a receive goes on after the thread that started it has ended."""
    port = make_port(concurrency=2)
    sock, peer = peers.pair(port)
    got = Recorder()
    standing, other = peers.pair(port)
    arrived = Recorder()
    standing.receive(arrived)

    def post_and_turn():
        sock.recv(5, callback=got)
        port.run_once(0)

    in_thread(post_and_turn)()
    assert port.run_once(0) == 0
    assert not got
    peer.sendall(b"alive")
    other.sendall(b"too")
    for _ in range(100):
        if got and arrived:
            break
        port.run_once(PATIENCE)
    assert got[0].operation.data.tobytes() == b"alive"
    assert arrived[0][1].tobytes() == b"too"


def test_a_thread_is_forgotten_with_its_port(make_port):
    """An active thread does not keep its port alive."""
    for _ in range(3):
        port = make_port(concurrency=1)
        port.post(1)
        assert take(port).value == 1
        port.close()
        del port
        gc.collect()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"concurrency": -1}, iocp_sock.ArgumentError),
        ({"concurrency": 1 << 40}, iocp_sock.ArgumentError),
        ({"concurrency": "two"}, iocp_sock.ArgumentTypeError),
        ({"concurrency": True}, iocp_sock.ArgumentTypeError),
        ({"in_order": True}, iocp_sock.ArgumentError),
        ({"concurrency": 2, "in_order": 1}, iocp_sock.ArgumentTypeError),
        ({"concurrency": 2, "backend": iocp_sock.Sim()}, iocp_sock.ArgumentError),
    ],
)
def test_what_cannot_be(options, error):
    """A port with an invalid concurrency or in_order raises a named exception."""
    with pytest.raises(error):
        iocp_sock.Port(**options)


def test_as_many_as_there_are_processors(make_port):
    """A concurrency of 0 is the number of processors, as for CreateIoCompletionPort."""
    port = make_port(concurrency=0)
    port.post(1)
    assert take(port).value == 1


def test_one_thread_at_a_time_without_it(make_port):
    """Without concurrency a second thread that runs the port is refused."""
    port = make_port()
    started = threading.Event()
    port.post(callback=lambda _c: started.set())
    join = in_thread(port.run)
    assert started.wait(PATIENCE)
    with pytest.raises(iocp_sock.PortRunning):
        port.get(0)
    port.stop()
    join()
    finish(port)


def test_memory_is_registered_beside_a_running_thread(make_port):
    """With io_uring any thread registers and releases memory of a shared port."""
    port = make_port(concurrency=2)
    if not iocp_sock.features(port.backend).get("zero_copy_send"):
        with pytest.raises(iocp_sock.ArgumentError):
            port.register(4096)
        return
    join = in_thread(port.run)
    for _ in range(5):
        memory = port.register(4096)
        assert port.ledger.registered == 4096
        memory.release()
        wait_for(lambda: port.ledger.registered == 0)
    port.stop()
    join()


@linux_only("os.fork()")
def test_a_child_leaves_its_parents_workers_alone(make_port, peers):
    """After a fork by an active thread, the port raises in the child and goes on in the parent."""
    port = make_port(concurrency=1)
    port.post(1)
    port.post(2)
    assert take(port).value == 1
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(iocp_sock.ForkedPort):
            port.get(0)
            status = 2
        os._exit(0 if status == 1 else status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert take(port).value == 2
