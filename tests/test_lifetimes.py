"""Objects that die, and ports that end, beside threads that still use them.

What is wrong here crashes: each program runs in an interpreter of its own, for so many rounds.
"""

import gc
import shutil
import subprocess

import pytest

import iocp_sock
from support import BACKENDS, linux_only

THREADS = """
    import os, socket, sys, threading, time, warnings

    warnings.simplefilter("ignore", ResourceWarning)
    sys.setswitchinterval(1e-5)
    failures = []
    sys.unraisablehook = lambda given: failures.append(repr(given.exc_value))

    def backend():
        return iocp_sock.Sim(preset="linux") if BACKEND == "sim" else BACKEND

    def guarded(work, *arguments):
        def run():
            try:
                work(*arguments)
            except BaseException as error:
                failures.append(repr(error))
        return run

    def together(*works):
        threads = [threading.Thread(target=guarded(work), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        return threads

    def join(threads):
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a thread hangs"
        assert not failures, failures[:5]

    def check(port):
        from support import settled
        settled(port)
"""


@pytest.fixture(params=[*BACKENDS, "sim"])
def threads(request, in_subprocess):
    """Run a program with helpers for threads, on each backend."""
    return lambda program: in_subprocess(program, request.param, preamble=THREADS)


@pytest.fixture(params=BACKENDS)
def system_threads(request, in_subprocess):
    """The same, where several threads at once use what the model has not."""
    return lambda program: in_subprocess(program, request.param, preamble=THREADS)


def test_posts_beside_a_close(threads):
    """A packet that is posted while the port ends belongs to the poster or to the port."""
    threads(
        """
        for rounds in range(60):
            port = iocp_sock.Port(backend=backend())
            go = threading.Barrier(6)
            def poster():
                go.wait()
                try:
                    while True:
                        port.post(1, callback=lambda completion: None)
                except iocp_sock.PortClosed:
                    pass
            works = together(*[poster] * 5)
            go.wait()
            for _ in range(rounds % 5):
                port.run_once(0)
            port.close(0)
            join(works)
            check(port)
        """
    )


def test_posts_beside_a_close_of_a_shared_port(system_threads):
    """The same, while several threads run the port: one of them ends it."""
    system_threads(
        """
        for rounds in range(80):
            port = iocp_sock.Port(concurrency=2, backend=BACKEND)
            go = threading.Barrier(9)
            def poster():
                go.wait()
                try:
                    while True:
                        port.post(1, callback=lambda completion: None)
                except iocp_sock.PortClosed:
                    pass
            def run():
                go.wait()
                try:
                    port.run()
                except iocp_sock.PortClosed:
                    pass
            works = together(*[poster] * 5, *[run] * 3)
            go.wait()
            for _ in range(20 * (rounds % 5)):
                port.ledger
            port.close(0)
            join(works)
            check(port)
        """
    )


def test_calls_beside_a_close(threads):
    """Timers, operations and figures of threads while the port ends: done, or refused."""
    threads(
        """
        for rounds in range(30):
            port = iocp_sock.Port(backend=backend())
            pairs = [socket.socketpair() for _ in range(3)] if BACKEND != "sim" else []
            socks = [port.adopt(ours) for ours, theirs in pairs]
            go = threading.Barrier(4)
            def poster(index):
                go.wait()
                try:
                    while True:
                        timer = port.call_later(0.0001, lambda: None)
                        timer.active, timer.cancel()
                        port.call_later(60, lambda: None)
                        port.time()
                        if socks:
                            socks[index].recv(64, callback=lambda completion: None)
                            socks[index].send(b"x")
                        port.ledger, port.stats(sockets=2)
                except (iocp_sock.PortClosed, iocp_sock.SocketClosed):
                    pass
            works = together(*[lambda index=index: poster(index) for index in range(3)])
            go.wait()
            for _ in range(20 * (rounds % 4)):
                port.run_once(0)
            port.close(0)
            join(works)
            for ours, theirs in pairs:
                theirs.close()
            check(port)
        """
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_closes_of_a_shared_port(in_subprocess, backend):
    """close() of a port that several threads run: all return, none raises, and it is closed."""
    in_subprocess(
        """
        for rounds in range(300):
            port = iocp_sock.Port(concurrency=4, backend=backend())
            pairs = [socket.socketpair() for _ in range(4)]
            for ours, theirs in pairs:
                port.adopt(ours).receive(lambda sock, data: None)
            go = threading.Barrier(6)
            def run():
                go.wait()
                try:
                    port.run()
                except iocp_sock.PortClosed:
                    pass  # it was closed before this thread came
            def close():
                go.wait()
                port.close(0)
                assert port.closed
            join(together(*[run] * 4, *[close] * 2))
            for ours, theirs in pairs:
                theirs.close()
            check(port)
        """,
        backend,
        preamble=THREADS,
    )


@pytest.mark.parametrize("options", ["", "concurrency=2"])
def test_a_close_beside_waits(system_threads, options):
    """close() while threads wait for operations: none raises, and nothing is kept after them."""
    system_threads(
        f"""
        for rounds in range(20):
            port = iocp_sock.Port(backend=BACKEND, {options})
            pairs = [socket.socketpair() for _ in range(2)]
            socks = [port.adopt(ours) for ours, theirs in pairs]
            go = threading.Barrier(3)
            def wait_for_event():
                event = iocp_sock.Event()
                socks[0].recv(1, event=event)
                go.wait()
                assert event.wait(60)
            def wait_for_result():
                operation = socks[1].recv(1)
                go.wait()
                try:
                    operation.result(timeout=60)
                except (iocp_sock.Cancelled, iocp_sock.PortClosed):
                    pass
            def close():
                go.wait()
                port.close(0)
            join(together(wait_for_event, wait_for_result, close))
            for ours, theirs in pairs:
                theirs.close()
            port.close(0)
            check(port)
        """
    )


@pytest.mark.parametrize("dropped", ["sock", "sock.receive(lambda sock, data: None)"])
def test_dropped_while_the_port_ends_it(system_threads, dropped):
    """The last reference to a Socket, or a subscription, goes while the port hands out its end.

    The port finds all connections idle at once, and is still closing them when the first peer
    hears of it.
    """
    system_threads(
        f"""
        connections = 450
        for rounds in range(8):
            port = iocp_sock.Port(backend=BACKEND, idle_timeout=0.2)
            listener = port.listen(("127.0.0.1", 0), backlog=connections)
            kept = []
            come = []
            all_here = threading.Event()
            def accepted(sock):
                try:
                    kept.append({dropped})
                except iocp_sock.SocketClosed:
                    pass  # on a busy machine it was idle for too long before it came here
                come.append(None)
                if len(come) == connections:
                    all_here.set()
            listener.accept_each(accepted)
            runner = together(port.run)
            address = listener.getsockname()
            peers = [socket.create_connection(address) for _ in range(connections)]
            assert all_here.wait(60)
            port.post(callback=lambda completion: time.sleep(0.3))  # until all are idle
            assert peers[0].recv(1) == b""
            kept.clear()
            for peer in peers:
                assert peer.recv(1) == b""
                peer.close()
            listener.close()
            port.close(0)
            join(runner)
            port.close(0)
            check(port)
        """
    )


def test_a_result_is_whole_once_it_is_told(port, peers):
    """What is done has its error: no thread, nor the collector, sees the one without the other.

    Each round lets the collector run at another allocation; from 3.12 on it runs between
    bytecodes.
    """
    sock, _peer = peers.pair(port)
    seen = []
    thresholds = gc.get_threshold()
    for threshold in range(1, 40):
        op = sock.recv(10)
        op.cancel()

        def look(_phase, _info, op=op):
            if op.done:
                seen.append(op.error)

        gc.collect()
        gc.callbacks.append(look)
        gc.set_threshold(threshold)
        try:
            while not op.done:
                port.run_once(1)
        finally:
            gc.callbacks.remove(look)
            gc.set_threshold(*thresholds)
        assert isinstance(op.error, iocp_sock.Cancelled)
    assert None not in seen


def test_new_marks_are_told_to_their_callbacks(system_threads):
    """Marks that resume at once: the thread that runs the port finds on_resume in place.

    What on_pause was before goes last, and waits until the port has handed everything out.
    """
    system_threads(
        """
        port = iocp_sock.Port(backend=BACKEND)
        runner = together(port.run)
        ours, theirs = socket.socketpair()
        sock = port.adopt(ours)
        resumed = []
        def handed_out():
            packet = threading.Event()
            port.post(callback=lambda completion: packet.set())
            assert packet.wait(20)
        class Before:
            def __call__(self, sock):
                pass
            def __del__(self):
                handed_out()
        sock.set_send_marks(high=100, low=10, on_pause=Before())
        for _ in range(3):
            sock.send(bytes(4 << 20), callback=lambda completion: None)
        assert sock.send_paused
        sock.set_send_marks(
            high=0, low=0, on_pause=lambda sock: None, on_resume=lambda sock: resumed.append(1)
        )
        handed_out()
        assert resumed == [1]
        sock.close(0)
        theirs.close()
        port.close(0)
        join(runner)
        port.close(0)
        check(port)
        """
    )


def test_subscriptions_beside_closes(system_threads):
    """receive() and close() of two threads: one of them is first, and nothing is kept after it."""
    system_threads(
        """
        import gc, weakref
        class Marked:
            def __call__(self, sock, data):
                pass
        port = iocp_sock.Port(backend=BACKEND)
        runner = together(port.run)
        marks = []
        for rounds in range(200):
            ours, theirs = socket.socketpair()
            sock = port.adopt(ours)
            go = threading.Barrier(4)
            def subscribe():
                callback = Marked()
                marks.append(weakref.ref(callback))
                go.wait()
                try:
                    sock.receive(callback)
                except (iocp_sock.ArgumentError, iocp_sock.SocketClosed):
                    pass
            def close():
                go.wait()
                sock.close(0)
            join(together(subscribe, subscribe, close, close))
            theirs.close()
        del sock
        port.close(0)
        join(runner)
        port.close(0)
        gc.collect()
        assert not [mark for mark in marks if mark() is not None]
        check(port)
        """
    )


def test_buffers_beside_their_release(system_threads):
    """What reads a Buffer reads what was received, or nothing, whenever another thread releases."""
    system_threads(
        """
        port = iocp_sock.Port(backend=BACKEND)
        ours, theirs = socket.socketpair()
        sock = port.adopt(ours)
        whole = b"abcdefgh" * 512
        shared = [None]
        stop = threading.Event()
        def read():
            while not stop.is_set():
                buffer = shared[0]
                if buffer is None:
                    continue
                assert bytes(buffer) in (b"", whole)
                assert len(buffer) in (0, len(whole))
                assert buffer[0:8] in (b"", whole[:8])
                assert (buffer == whole) in (True, False)
                try:
                    assert buffer[0] == whole[0]
                except IndexError:
                    pass
                with memoryview(buffer) as view:
                    assert bytes(view) in (b"", whole)
        readers = together(read, read, read)
        def received(data):
            operation = sock.recv(len(whole))
            theirs.sendall(data)
            while not operation.done:
                port.run_once(1)
            return operation.data
        for rounds in range(1500):
            shared[0] = received(whole)
            try:
                shared[0].release()
            except BufferError:
                pass
            received(b"ZZZZZZZZ" * 512).release()  # the same block, if it was free
        stop.set()
        join(readers)
        shared.clear()
        port.close(0)
        theirs.close()
        check(port)
        """
    )


def test_timers_are_called_or_cancelled(threads):
    """cancel() of several threads while the port fires: each timer comes to exactly one end."""
    threads(
        """
        port = iocp_sock.Port(backend=backend())
        fired = []
        cancelled = []
        current = [None] * 3
        def cancel(index):
            for _ in range(1500):
                if port.call_later(0, lambda: fired.append(1)).cancel():
                    cancelled.append(1)
                current[index] = timer = port.call_later(1e-5, lambda: fired.append(1))
                timer.active
                if timer.cancel():
                    cancelled.append(1)
        stop = threading.Event()
        def cancel_again():
            while not stop.is_set():
                for timer in current:
                    if timer is not None and timer.cancel():
                        cancelled.append(1)
        workers = together(*[lambda index=index: cancel(index) for index in range(3)])
        others = together(cancel_again)
        while any(worker.is_alive() for worker in workers):
            port.run_once(0.001)
        stop.set()
        join(workers + others)
        port.run(until_idle=True)
        assert len(fired) + len(cancelled) == 3 * 2 * 1500, (len(fired), len(cancelled))
        port.close(0)
        check(port)
        """
    )


def test_error_handlers_are_replaced_while_they_are_called(threads):
    """An error handler is called with what it needs, also when another thread has replaced it."""
    threads(
        """
        port = iocp_sock.Port(backend=backend())
        handled = []
        stop = threading.Event()
        def replace():
            while not stop.is_set():
                port.error_handler = lambda error, callback: handled.append(error)
                port.error_handler
        port.error_handler = lambda error, callback: handled.append(error)
        workers = together(replace, replace)
        def bad(completion):
            raise ValueError
        for _ in range(3000):
            port.post(callback=bad)
            port.run_once(0)
        stop.set()
        join(workers)
        port.run(until_idle=True)
        assert len(handled) == 3000
        port.error_handler = None
        port.close(0)
        check(port)
        """
    )


def test_flow_callbacks_are_replaced_while_they_are_called(system_threads):
    """on_pause and on_resume of a socket that is sending."""
    system_threads(
        """
        port = iocp_sock.Port(backend=BACKEND)
        ours, theirs = socket.socketpair()
        sock = port.adopt(ours)
        told = []
        stop = threading.Event()
        def replace():
            while not stop.is_set():
                pause, resume = (lambda sock, what=what: told.append(what) for what in (1, 0))
                sock.set_send_marks(high=100, low=10, on_pause=pause, on_resume=resume)
        def drain():
            theirs.settimeout(0.1)
            while not stop.is_set():
                try:
                    theirs.recv(1 << 20)
                except OSError:
                    pass
        workers = together(replace, replace, drain)
        for _ in range(1500):
            sock.send(bytes(100_000), callback=lambda completion: None)
            port.run_once(0.01)
        stop.set()
        join(workers)
        sock.close(0)
        port.close(0)
        theirs.close()
        check(port)
        """
    )


@linux_only("datagrams of AF_UNIX, which keep their borders")
def test_a_list_that_changes_while_it_is_sent(system_threads):
    """sendmsg() sends the buffers that were in the list at one moment."""
    system_threads(
        """
        port = iocp_sock.Port(backend=BACKEND)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock = port.adopt(ours)
        parts = [bytes([index]) * 3 for index in range(64)]
        stop = threading.Event()
        def change():
            count = 0
            while not stop.is_set():
                count += 1
                parts[count % 64] = bytes([count % 256]) * (3 + count % 5)
                if count % 100 == 0:
                    parts[:] = [bytes([index]) * 3 for index in range(64)]
        workers = together(change, change)
        for _ in range(3000):
            sock.sendmsg(parts, callback=lambda completion: None)
            assert len(theirs.recv(65536)) >= 3 * 64
            port.run(until_idle=True)
        stop.set()
        join(workers)
        sock.close(0)
        port.close(0)
        theirs.close()
        check(port)
        """
    )


@linux_only("thread ids that the kernel gives again, and io_uring")
def test_a_thread_with_the_id_of_one_that_ended(in_subprocess):
    """A ring belongs to a thread, not to its id: the next one with that id gets another ring."""
    if iocp_sock.probe()["uring"] != "ok":
        pytest.skip("io_uring is refused here")
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], check=False).returncode
    ):
        pytest.skip("no process namespace of one's own, where ids can be chosen")
    in_subprocess(
        """
        port = iocp_sock.Port(backend="uring")
        ours, theirs = socket.socketpair()
        sock = port.adopt(ours)
        ids = []
        def receive():
            ids.append(threading.get_native_id())
            operation = sock.recv(1)
            port.run_once(0)
            theirs.send(b"x")
            while not operation.done:
                assert port.run_once(20) != 0
            assert operation.error is None
        join(together(receive))
        def receive_if_the_same():
            if threading.get_native_id() == ids[0]:
                receive()
        while len(ids) < 2:
            with open("/proc/sys/kernel/ns_last_pid", "w") as last:
                last.write(str(ids[0] - 1))
            join(together(receive_if_the_same))
        assert ids[0] == ids[1]
        port.close(0)
        theirs.close()
        check(port)
        """,
        preamble=THREADS,
        before=unshare,
    )


@linux_only("os.fork and io_uring")
def test_a_ring_of_a_forked_child(in_subprocess):
    """In a child, too, a ring that a thread has keeps others from running the port."""
    if iocp_sock.probe()["uring"] != "ok":
        pytest.skip("io_uring is refused here")
    in_subprocess(
        """
        parent = iocp_sock.Port(backend="uring")
        parent.run_once(0)
        child = os.fork()
        if child == 0:
            port = iocp_sock.Port(backend="uring")
            port.run_once(0)
            refused = []
            def run():
                try:
                    port.run_once(0)
                except iocp_sock.WrongThread:
                    refused.append(1)
            join(together(run))
            port.close(0)
            os._exit(0 if refused else 7)
        assert os.waitpid(child, 0)[1] == 0
        parent.close(0)
        check(parent)
        """,
        preamble=THREADS,
    )
