"""Callbacks, handlers and arguments that threads replace while the port uses them."""

import contextlib
import socket
import threading
from collections import deque
from functools import partial

import iocp_sock
from stress.scenarios import scenario
from stress.stage import GONE, Stage, ignore, times
from support import fill, socket_pair, wait_for

THREADS = 3


@scenario(rounds=10)
def error_handlers(stage: Stage) -> None:
    """Threads set and read the error handler while callbacks raise."""
    port = stage.port()
    handled: deque[None] = deque()

    def fail(_completion):
        raise LookupError("of the callback")

    def replace():
        port.error_handler = lambda _error, _callback: handled.append(None)
        repr(port.error_handler)

    replace()
    with stage.running(port):
        stage.together(
            *[times(300, replace)] * THREADS, times(300, lambda: port.post(callback=fail))
        )
        wait_for(lambda: len(handled) == 300)
    port.error_handler = None


@scenario(rounds=8)
def send_marks(stage: Stage) -> None:
    """Threads replace the callbacks of the send marks while the port calls them."""
    port = stage.port()
    sock, peer = stage.tcp(port)
    called: deque[None] = deque()
    over = threading.Event()

    def replace():
        sock.set_send_marks(
            high=100,
            low=10,
            on_pause=lambda _sock: called.append(None),
            on_resume=lambda _sock: called.append(None),
        )

    def drain():
        peer.settimeout(0.01)
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                peer.recv(1 << 20)

    def send():
        stage.together(
            *[times(100, replace)] * 2, times(100, lambda: sock.send(b"x" * 300, callback=ignore))
        )
        wait_for(lambda: sock.outstanding == 1)
        over.set()

    sock.receive(ignore)
    with stage.running(port):
        stage.together(send, drain)


@scenario(rounds=12)
def pauses_of_new_marks(stage: Stage) -> None:
    """A thread sets send marks below the bytes already queued: on_pause runs once."""
    port = stage.port()
    over = threading.Event()

    def look():
        while not over.is_set():
            port.stats(sockets=64)

    def set_marks():
        for sock, _peer in pairs:
            sock.set_send_marks(high=100, low=10, on_pause=paused.append)
        wait_for(lambda: len(paused) == len(pairs))
        over.set()

    pairs = stage.pairs(port, 16)
    paused: deque[iocp_sock.Socket] = deque()
    for sock, _peer in pairs:
        fill(sock)
        sock.set_send_marks(high=1 << 30, low=0)
        sock.send(bytes(1 << 20))
    with stage.running(port):
        stage.together(set_marks, look, look)


@scenario(rounds=8)
def subscriptions(stage: Stage) -> None:
    """Threads subscribe, change the strategy, and cancel, while data arrives."""
    port = stage.port()
    sock, peer = stage.pair(port)
    over = threading.Event()
    strategies = ("pooled", "direct", "zero_byte", "adaptive")

    def subscribe(strategy):
        with contextlib.suppress(iocp_sock.ArgumentError):
            operation = sock.receive(ignore, receive=strategy)
            operation.cancel()
        with contextlib.suppress(iocp_sock.ArgumentError):
            sock.receive_strategy = strategy
        sock.cancel()

    def send():
        peer.setblocking(False)
        while not over.is_set():
            with contextlib.suppress(BlockingIOError):
                peer.send(b"x" * 10)

    def change():
        stage.together(*(times(40, partial(subscribe, strategy)) for strategy in strategies))
        over.set()

    with stage.running(port):
        stage.together(change, send)


@scenario(rounds=8)
def send_strategies(stage: Stage) -> None:
    """Threads change the send strategy of a socket while others send."""
    port = stage.port()
    sock, peer = stage.tcp(port)
    over = threading.Event()

    def change():
        for strategy in ("direct", "when_writable", "buffered"):
            with contextlib.suppress(iocp_sock.ArgumentError):
                sock.send_strategy = strategy
        sock.skip_done_packets = not sock.skip_done_packets

    def send():
        for _ in range(60):
            sock.send(b"x" * 5000, callback=ignore)
        # Under Wine 8.0 a pending send fails when its posting thread ends.
        wait_for(lambda: sock.outstanding == 0)

    def drain():
        peer.settimeout(0.01)
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                peer.recv(1 << 20)

    def sends():
        stage.together(*[times(60, change)] * 2, *[send] * 2)
        over.set()

    with stage.running(port):
        stage.together(sends, drain)


@scenario(rounds=8)
def lists_of_buffers(stage: Stage) -> None:
    """Threads change the list that sendmsg() reads."""
    port = stage.port()
    ours, theirs = socket_pair(socket.SOCK_DGRAM)
    sock, peer = port.adopt(ours), stage.keep(theirs)
    parts = [bytes([number]) * 3 for number in range(32)]
    over = threading.Event()

    def change():
        number = 0
        while not over.is_set():
            number += 1
            with contextlib.suppress(IndexError):
                parts[number % 32] = bytes([number % 256]) * (3 + number % 5)
            if number % 50 == 0:
                parts.clear()
                parts.extend(bytes([value]) * 3 for value in range(32))

    def drain():
        peer.settimeout(0.01)
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                peer.recv(65536)

    def send():
        with contextlib.suppress(iocp_sock.ArgumentError):
            sock.sendmsg(parts, callback=ignore)

    def sends():
        times(150, send)()
        wait_for(lambda: sock.outstanding == 0)
        over.set()

    with stage.running(port):
        stage.together(sends, drain, change, change)


@scenario(rounds=12)
def callbacks_that_raise_and_drop(stage: Stage) -> None:
    """Callbacks raise, and drop the last references to their objects."""
    port = stage.port(concurrency=2)
    kept: dict[int, object] = {}
    port.error_handler = lambda error, _callback: kept.pop(error.args[0], None)
    pairs = stage.pairs(port, THREADS)

    def post(name, sock, peer):
        def received(completion):
            kept[name] = completion
            raise LookupError(name)

        # The port may close the connection of a callback that raises.
        with contextlib.suppress(ConnectionError, *GONE):
            for number in range(60):
                kept[name] = sock.recv(1, callback=received)
                peer.send(b"x")
                kept[-name - number] = port.call_later(0.0, lambda: kept.clear())

    with stage.running(port, 2):
        stage.together(*(partial(post, n + 1, *pair) for n, pair in enumerate(pairs)))
    kept.clear()
    port.error_handler = None
