"""Ports and sockets that several threads close, while others use them."""

import contextlib
import itertools
import socket
import threading
from functools import partial

import iocp_sock
from stress.scenarios import scenario
from stress.stage import GONE, Stage, ignore, shares, times, until_gone
from support import PATIENCE

THREADS = 4
REFUSED = (*GONE, iocp_sock.PortRunning, iocp_sock.WrongThread)


def _post_while_closing(stage: Stage, port: iocp_sock.Port, runners: int) -> None:
    posts = itertools.count()
    enough = threading.Event()

    def post():
        port.post(1, callback=ignore)
        if next(posts) == 300:
            enough.set()

    with stage.running(port, runners):
        threads = threading.Thread(target=lambda: stage.together(*[until_gone(post)] * THREADS))
        threads.start()
        enough.wait()
        port.close(0)
        threads.join()


@scenario(rounds=60)
def post_while_closing(stage: Stage) -> None:
    """Threads post packets until the port is closed."""
    _post_while_closing(stage, stage.port(), 1)


@scenario(rounds=60)
def post_while_closing_shared(stage: Stage) -> None:
    """Threads post packets until the port that several threads run is closed."""
    _post_while_closing(stage, stage.port(concurrency=2), 3)


def _use_while_closing(stage: Stage, port: iocp_sock.Port, runners: int) -> None:
    pairs = stage.pairs(port, THREADS)
    rounds = itertools.count()
    enough = threading.Event()

    def use(sock):
        port.post(sock, callback=ignore)
        sock.recv(64, callback=ignore)
        sock.send(b"x")
        timer = port.call_later(0.0, lambda: None)
        port.call_later(1000, lambda: None)
        sock.wait_writable()
        assert port.ledger.now >= 0
        timer.cancel()
        if next(rounds) == 60:
            enough.set()

    def close():
        enough.wait()
        port.close(0)

    with stage.running(port, runners):
        stage.together(*(until_gone(partial(use, sock)) for sock, _peer in pairs), close)


@scenario(rounds=20)
def use_while_closing(stage: Stage) -> None:
    """Threads post packets, operations and timers until the port is closed."""
    _use_while_closing(stage, stage.port(), 1)


@scenario(rounds=20)
def use_while_closing_shared(stage: Stage) -> None:
    """Threads post packets, operations and timers until a shared port is closed."""
    _use_while_closing(stage, stage.port(concurrency=2), 3)


def _close_by_several(stage: Stage, port: iocp_sock.Port, runners: int) -> None:
    for sock, _peer in stage.pairs(port, 8):
        sock.receive(ignore)

    def close():
        port.close(0)
        port.close()

    with stage.running(port, runners):
        stage.together(*[close] * THREADS)


@scenario(rounds=60)
def close_by_several(stage: Stage) -> None:
    """Several threads close the port that another thread runs."""
    _close_by_several(stage, stage.port(), 1)


@scenario(rounds=60)
def close_shared_by_several(stage: Stage) -> None:
    """Several threads close the port that four threads run."""
    _close_by_several(stage, stage.port(concurrency=4), 4)


@scenario(rounds=60)
def close_of_a_resting_port(stage: Stage) -> None:
    """Several threads close a port that none runs; `closed` is True when each call returns."""
    port = stage.port(concurrency=2)
    for sock, _peer in stage.pairs(port, 4):
        sock.receive(ignore)

    def close():
        port.close(0)
        assert port.closed

    stage.together(*[close] * THREADS)


@scenario(rounds=30)
def sockets_closed_by_several(stage: Stage) -> None:
    """Threads close, abort, shut down, detach and cancel the same sockets."""
    port = stage.port()
    pairs = stage.pairs(port, 24)
    closed = []
    for number, (sock, _peer) in enumerate(pairs):
        if number % 2:
            sock.receive(ignore, on_close=lambda *_given: closed.append(None))
        else:
            sock.recv(10, callback=ignore)
            sock.send(b"x" * 1000)

    def close(socks):
        for number, (sock, _peer) in enumerate(socks):
            with contextlib.suppress(*GONE):
                if number % 2:
                    sock.close(0)
                sock.shutdown(1)
            sock.close()

    def abort(socks):
        for sock, _peer in socks:
            with contextlib.suppress(*GONE):
                sock.cancel()
            sock.abort()

    with stage.running(port):
        stage.together(
            *(partial(close, mine) for mine in shares(pairs, 2)),
            *(partial(abort, mine) for mine in shares(pairs[::-1], 2)),
        )
    assert len(closed) == 12, "on_close runs once for each subscription"


def _close_handle(handle: int) -> None:
    assert handle != -1, "detach() returned no descriptor"
    socket.socket(fileno=handle).close()


def _detach_against_close(stage: Stage, port: iocp_sock.Port, runners: int) -> None:
    pairs = stage.pairs(port, 16)

    def detach(socks):
        for sock, _peer in socks:
            with contextlib.suppress(*REFUSED):
                _close_handle(sock.detach())

    def close(socks):
        for sock, _peer in socks:
            sock.close(0)

    with stage.running(port, runners):
        stage.together(
            *(partial(detach, pairs) for _ in range(2)),
            *(partial(close, pairs[::-1]) for _ in range(2)),
        )


@scenario(rounds=30)
def detach_against_close(stage: Stage) -> None:
    """Threads detach sockets that others close: each socket is detached or closed, once."""
    _detach_against_close(stage, stage.port(), 1)


@scenario(rounds=30)
def detach_against_close_shared(stage: Stage) -> None:
    """Threads detach sockets of a shared port that others close: each is detached or closed."""
    _detach_against_close(stage, stage.port(concurrency=2), 2)


@scenario(rounds=30)
def detach_against_posts(stage: Stage) -> None:
    """Threads detach sockets to which others post; a socket with operations stays attached."""
    port = stage.port()
    pairs = stage.pairs(port, 16)

    def post():
        for sock, _peer in pairs:
            with contextlib.suppress(*GONE):
                sock.recv(4, callback=ignore)

    def detach():
        for sock, _peer in pairs:
            with contextlib.suppress(*REFUSED):
                _close_handle(sock.detach())

    with stage.running(port):
        stage.together(post, post, detach, detach)


@scenario(rounds=30)
def close_inside_callbacks(stage: Stage) -> None:
    """Callbacks close sockets and the port, while another thread closes the port as well."""
    port = stage.port(concurrency=3)
    pairs = stage.pairs(port, 8)

    def received(sock, _data):
        sock.close(0)
        port.close(0)

    def send(peer):
        with contextlib.suppress(OSError):
            peer.send(b"x")

    for sock, _peer in pairs:
        sock.receive(received, on_close=lambda *_given: port.close(0))
    with stage.running(port, 3):
        stage.together(*(partial(send, peer) for _sock, peer in pairs), partial(port.close, 0))


@scenario(rounds=20)
def stop_and_wake(stage: Stage) -> None:
    """Threads stop and wake a port that others run again and again, until one closes it."""
    port = stage.port(concurrency=3)
    stops = itertools.count()

    def run():
        with contextlib.suppress(*GONE):
            while True:
                port.run()

    def stop():
        port.stop()
        port.wake()
        port.post()
        if next(stops) == 200:
            port.close(0)

    stage.together(*[run] * 3, *[until_gone(stop)] * 2)


@scenario(rounds=12)
def run_by_threads_in_turn(stage: Stage) -> None:
    """Threads take over the port from ending threads, while others post."""
    port = stage.port()
    pairs = stage.pairs(port, 2)
    over = threading.Event()
    completed = []
    posted = []

    def post(sock, peer):
        for _ in range(60):
            sock.recv(1, callback=lambda _c: completed.append(None))
            posted.append(None)
            peer.send(b"x")

    def turn():
        for _ in range(3):
            with contextlib.suppress(iocp_sock.PortRunning, iocp_sock.WrongThread):
                port.run_once(0.001)

    def turns():
        while not over.is_set() or len(completed) < len(posted):
            thread = threading.Thread(target=turn)
            thread.start()
            thread.join()

    def posts():
        stage.together(*(partial(post, *pair) for pair in pairs))
        over.set()

    stage.together(posts, turns)


@scenario(rounds=20)
def runners_that_compete(stage: Stage) -> None:
    """Several threads try to run a port made for one: one runs it, and the others are refused."""
    port = stage.port()
    sock, peer = stage.pair(port)

    def run():
        with contextlib.suppress(iocp_sock.PortRunning, iocp_sock.WrongThread, *GONE):
            port.run_once(0.0)
        with contextlib.suppress(iocp_sock.PortRunning, iocp_sock.WrongThread, *GONE):
            port.get(0.0)
        with contextlib.suppress(iocp_sock.PortRunning, iocp_sock.WrongThread, *GONE):
            port.get_batch(4, 0.0)

    def post():
        port.post(1)
        sock.recv(1)
        peer.send(b"x")

    stage.together(*[times(30, run)] * 3, times(60, post))


@scenario(rounds=20)
def waits_while_closing(stage: Stage) -> None:
    """Threads wait for operations that the port's close ends."""
    port = stage.port(concurrency=2)
    pairs = stage.pairs(port, 4)
    begun = threading.Barrier(5)

    def wait(sock):
        event = iocp_sock.Event()
        sock.recv(1, event=event)
        operation = sock.recv(1)
        begun.wait()
        assert event.wait(PATIENCE)
        with contextlib.suppress(iocp_sock.Cancelled, *GONE):
            operation.result(timeout=PATIENCE)

    def close():
        begun.wait()
        port.close(0)

    stage.together(*(partial(wait, sock) for sock, _peer in pairs), close)
