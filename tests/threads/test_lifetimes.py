"""Objects that are dropped or replaced while other threads use them.

A defect here crashes the interpreter, so each program runs in a process of its own.
"""

import gc

import pytest

import iocp_sock
from support import linux_only


@pytest.mark.parametrize("dropped", ["sock", "sock.receive(lambda sock, data: None)"])
def test_dropped_while_the_port_ends_it(system_threads, dropped):
    """The last reference to a Socket, or a subscription, is dropped while the port closes it.

    The port finds all connections idle at once. It is still closing the others when the first peer
    sees the end of its connection.
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
    """A done operation has its error, for every thread and for the collector.

    The collector runs at another allocation in each round; from 3.12 on it runs between bytecodes.
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
    """New send marks that resume the sender at once invoke the new on_resume.

    The destructor of the old on_pause waits until the port has handed out every record.
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
            sock.send(bytes(8 << 20), callback=lambda completion: None)
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


def test_buffers_beside_their_release(system_threads):
    """A read of a Buffer that another thread releases gets all received bytes, or none."""
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
    """Timers that several threads cancel either fire or are cancelled, exactly once."""
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
    """An error handler stays alive while it runs, even if another thread replaces it."""
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
    """on_pause and on_resume stay alive while they run, even if other threads replace them."""
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
    """sendmsg() sends the buffers that the list had at one moment."""
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
