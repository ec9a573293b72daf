"""Threads that read figures and results while others change them."""

import contextlib
import itertools
import threading
from functools import partial

import iocp_sock
from stress.scenarios import scenario
from stress.stage import Stage, ignore, until_gone
from support import LOCALHOST, wait_for

THREADS = 3


def _read_figures(port: iocp_sock.Port, socks: list[iocp_sock.Socket]) -> None:
    stats = port.stats(sockets=8)
    assert stats.slots_free <= stats.slots
    ledger = port.ledger
    assert 0 <= ledger.now <= ledger.peak
    assert port.outstanding >= 0
    repr(port)
    repr(port.error_handler)
    assert port.closed in (True, False)
    for sock in socks:
        repr(sock)
        assert sock.charged >= 0
        assert sock.queued_bytes >= 0
        assert sock.outstanding >= 0
        assert sock.closed in (True, False)
        sock.fileno()
        repr(sock.send_marks)
        repr(sock.receive_strategy)
        repr(sock.receiving_by)
        repr(sock.send_paused)


def _figures_while_closing(stage: Stage, port: iocp_sock.Port, runners: int) -> None:
    pairs = stage.pairs(port, THREADS)
    socks = [sock for sock, _peer in pairs]
    looks = itertools.count()
    enough = threading.Event()
    over = threading.Event()
    for sock in socks:
        sock.receive(ignore)

    def use(sock, peer):
        with contextlib.suppress(ConnectionError):
            sock.send(b"x" * 100)
            peer.recv(1 << 16)
            peer.send(b"y")

    def look():
        while not over.is_set():
            _read_figures(port, socks)
            if next(looks) == 40:
                enough.set()

    def close():
        enough.wait()
        port.close(0)

    def uses():
        with stage.running(port, runners):
            stage.together(*(until_gone(partial(use, *pair)) for pair in pairs), close)
        over.set()

    stage.together(uses, look, look)


@scenario(rounds=12)
def figures_while_closing(stage: Stage) -> None:
    """Threads read all figures while sockets are used and the port closes."""
    _figures_while_closing(stage, stage.port(latency=True), 1)


@scenario(rounds=12)
def figures_while_closing_shared(stage: Stage) -> None:
    """Threads read all figures while sockets are used and a shared port closes."""
    _figures_while_closing(stage, stage.port(latency=True, concurrency=2), 2)


@scenario(rounds=40)
def figures_of_a_closed_port(stage: Stage) -> None:
    """Threads read all figures of idle ports that close."""
    ports = [stage.port() for _ in range(6)]
    over = threading.Event()

    def look():
        while not over.is_set():
            for port in ports:
                _read_figures(port, [])

    def close():
        for port in ports:
            port.close(0)
        over.set()

    stage.together(close, look, look)


@scenario(rounds=12)
def traces(stage: Stage) -> None:
    """Threads start, stop and read traces while the port works and closes."""
    port = stage.port()
    pairs = stage.pairs(port, 2)
    runs = itertools.count()
    enough = threading.Event()

    def use(sock, peer):
        sock.recv(4, callback=ignore)
        with contextlib.suppress(ConnectionError):
            peer.send(b"abcd")

    def trace():
        with contextlib.suppress(iocp_sock.ArgumentError):
            with port.trace(64) as trace:
                port.post(callback=ignore)
            for event in trace:
                assert event.nbytes >= 0
        if next(runs) == 60:
            enough.set()

    def close():
        enough.wait()
        port.close(0)

    with stage.running(port):
        stage.together(
            *(until_gone(partial(use, *pair)) for pair in pairs),
            *[until_gone(trace)] * THREADS,
            close,
        )


def _settled(operation: iocp_sock.Operation) -> str:
    """Wait for a cancelled operation; return a complaint if it has no error, or an empty string."""
    while not operation.done:
        pass
    if operation.error is None:
        return "an operation that was cancelled looks like a success"
    return ""


@scenario(rounds=4)
def failures_while_they_settle(stage: Stage) -> None:
    """Threads read the result of a failing operation as it ends."""
    port = stage.port()
    sock, _peer = stage.pair(port)
    shown: list[iocp_sock.Operation | None] = [None]
    seen = threading.Barrier(THREADS + 1)
    over = threading.Event()
    wrong = []

    def look():
        while True:
            seen.wait()
            if over.is_set():
                return
            wrong.append(_settled(shown[0]))
            seen.wait()

    def post():
        for _ in range(20):
            shown[0] = sock.recv(16)
            seen.wait()
            shown[0].cancel()
            seen.wait()
        over.set()
        seen.wait()

    with stage.running(port):
        stage.together(post, *[look] * THREADS)
    assert not any(wrong), next(filter(None, wrong))


@scenario(rounds=5)
def accepts_while_they_settle(stage: Stage) -> None:
    """Threads read the connection of an accept as it ends."""
    import socket

    port = stage.port()
    listener = port.listen(LOCALHOST)
    address = listener.getsockname()
    shown: list[iocp_sock.Operation | None] = [None]
    seen = threading.Barrier(THREADS + 1)
    over = threading.Event()
    accepted = []

    def look():
        while True:
            seen.wait()
            if over.is_set():
                return
            operation = shown[0]
            while not operation.done:
                pass
            accepted.append(operation.accepted)
            seen.wait()

    def post():
        for _ in range(20):
            shown[0] = listener.accept()
            seen.wait()
            stage.keep(socket.create_connection(address))
            seen.wait()
        over.set()
        seen.wait()

    with stage.running(port):
        stage.together(post, *[look] * THREADS)
        assert None not in accepted, "an accept that succeeded has no connection"
        assert len(set(map(id, accepted))) == 20
        accepted.clear()
        shown[0] = None


@scenario(rounds=4)
def receives_while_they_settle(stage: Stage) -> None:
    """Threads read data, count and repr of receives as they end."""
    port = stage.port()
    pairs = stage.pairs(port, THREADS)
    operations: list[iocp_sock.Operation] = []
    over = threading.Event()

    def look():
        while not over.is_set():
            for operation in operations[-4:]:
                repr(operation)
                if operation.done:
                    assert operation.transferred == 4
                    assert bytes(operation.data) == b"abcd"
                assert operation.outcome in ("done", "pending", "queued")
                assert operation.state
                assert operation.accepted is None
                assert operation.flags == 0
                assert operation.socket.family

    def post(sock, peer):
        for _ in range(60):
            operation = sock.recv(4, callback=ignore)
            operations.append(operation)
            peer.send(b"abcd")
            wait_for(lambda operation=operation: operation.done)

    def posts():
        stage.together(*(partial(post, *pair) for pair in pairs))
        over.set()

    with stage.running(port):
        stage.together(posts, look, look)
        operations.clear()


@scenario(rounds=8)
def addresses_and_options(stage: Stage) -> None:
    """Threads read and set names and options of sockets that others close."""
    port = stage.port()

    def look(sock):
        sock.getsockname()
        sock.available()
        sock.nodelay = True
        assert sock.nodelay in (True, False)
        sock.send_buffer = 65536
        sock.receive_buffer = 65536
        sock.duplicate().close()
        with contextlib.suppress(OSError):
            sock.getpeername()
        sock.skip_done_packets = True
        repr(sock.linger)
        repr(sock.keep_alive)

    def looks(sock):
        with contextlib.suppress(OSError):
            while True:
                look(sock)

    def close(sock):
        for _ in range(20):
            repr(sock)
        sock.close(0)

    with stage.running(port):
        for _ in range(4):
            sock, _peer = stage.tcp(port)
            stage.together(partial(looks, sock), partial(looks, sock), partial(close, sock))
