"""Ports and sockets that are closed while other threads use them.

A defect here crashes the interpreter, so each program runs in a process of its own.
"""

import pytest


def test_posts_beside_a_close(threads):
    """A packet posted while the port closes is refused, or accepted without a leak."""
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
    """A packet posted while a shared port closes is refused, or accepted without a leak."""
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
    """Calls for timers, operations and figures while the port closes succeed or raise."""
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


def test_closes_of_a_shared_port(system_threads):
    """Two threads close a port that four threads run; each call returns without an exception."""
    system_threads(
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
        """
    )


@pytest.mark.parametrize("options", ["", "concurrency=2"])
def test_a_close_beside_waits(system_threads, options):
    """close() while threads wait for operations raises no exception and leaks nothing."""
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


def test_subscriptions_beside_closes(system_threads):
    """receive() while other threads close the socket succeeds or raises, and keeps no callback."""
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
