"""Objects that are dropped while another thread runs their port."""

import contextlib
import gc
import socket
import threading
from collections import deque
from functools import partial

import iocp_sock
from stress.scenarios import scenario
from stress.stage import GONE, Stage, ignore, shares, times
from support import LOCALHOST, reset, wait_for

THREADS = 4


@scenario(rounds=60)
def subscriptions_of_ended_peers(stage: Stage) -> None:
    """Threads subscribe to connections whose peer has ended, and drop the Operations."""
    port = stage.port()
    pairs = stage.pairs(port, 24)
    for _sock, peer in pairs:
        peer.close()

    def subscribe(mine):
        for sock, _peer in mine:
            with contextlib.suppress(*GONE):
                sock.receive(ignore)

    with stage.running(port):
        stage.together(*(partial(subscribe, mine) for mine in shares(pairs, THREADS)))


@scenario(rounds=40)
def subscriptions_of_reset_peers(stage: Stage) -> None:
    """Threads subscribe, with on_close, to connections that are reset, and drop the sockets."""
    port = stage.port()
    pairs = deque(stage.tcp(port) for _ in range(16))
    closed = []

    def subscribe():
        with contextlib.suppress(IndexError, *GONE):
            while True:
                sock, peer = pairs.popleft()
                reset(peer)
                sock.receive(ignore, on_close=lambda _sock, error: closed.append(error))

    with stage.running(port):
        stage.together(*[subscribe] * THREADS)
        wait_for(lambda: len(closed) == 16)


@scenario(rounds=5)
def accepted_while_idle_ones_are_evicted(stage: Stage) -> None:
    """Threads drop accepted sockets while the port closes idle ones."""
    port = stage.port(idle_timeout=0.02)
    count = 200
    kept: list[iocp_sock.Socket] = []
    listener = port.listen(LOCALHOST)
    listener.accept_each(kept.append)
    address = listener.getsockname()
    over = threading.Event()

    def look():
        while not over.is_set():
            port.stats(sockets=count)

    def drop(mine, first):
        while first is not None and not first.closed:
            pass
        while mine:
            mine.pop()

    def drop_all():
        first = kept[0]
        dealt = shares(kept, 2 * THREADS)
        kept.clear()
        stage.together(
            *(partial(drop, mine, None) for mine in dealt[::2]),
            *(partial(drop, mine, first) for mine in dealt[1::2]),
        )
        over.set()

    with stage.running(port):
        for _ in range(count):
            stage.keep(socket.create_connection(address))
        wait_for(lambda: len(kept) == count)
        stage.together(drop_all, look, look, look)


@scenario(rounds=20)
def sockets_of_ended_peers(stage: Stage) -> None:
    """Threads drop the last reference to subscribed sockets while their peers end."""
    port = stage.port()
    pairs = stage.pairs(port, 32)
    dealt = shares(pairs, THREADS)
    pairs.clear()

    def drop(mine):
        while mine:
            sock, peer = mine.pop()
            with contextlib.suppress(*GONE):
                sock.receive(ignore)
                sock.send(b"x")
            peer.close()
            del sock

    with stage.running(port):
        stage.together(*(partial(drop, mine) for mine in dealt))


@scenario(rounds=16)
def operations_with_and_without_data(stage: Stage) -> None:
    """Threads post receives and sends and drop them, or cancel them first; each completes once."""
    port = stage.port()
    pairs = stage.pairs(port, THREADS)
    completed: deque[None] = deque()
    posted: deque[None] = deque()

    def post(sock, peer):
        for number in range(100):
            operation = sock.recv(16, callback=lambda _c: completed.append(None))
            posted.append(None)
            if number % 3:
                peer.send(b"x")
            if number % 2:
                operation.cancel()
            del operation
            sock.send(b"y", callback=lambda _c: completed.append(None))
            posted.append(None)

    with stage.running(port):
        stage.together(*(partial(post, *pair) for pair in pairs))
        for sock, _peer in pairs:
            sock.cancel()
        wait_for(lambda: len(completed) == len(posted))


@scenario(rounds=16)
def timers(stage: Stage) -> None:
    """Threads make, drop and cancel timers: each timer fires or is cancelled, never both."""
    port = stage.port()
    made: deque[None] = deque()
    called: deque[None] = deque()
    cancelled: deque[None] = deque()
    shared: deque[iocp_sock.Timer] = deque(maxlen=4)

    def make():
        for number in range(100):
            timer = port.call_later(number % 3 * 1e-4, lambda: called.append(None))
            made.append(None)
            shared.append(timer)
            if number % 2 and timer.cancel():
                cancelled.append(None)
            assert timer.active in (True, False)
            del timer

    def cancel():
        for _ in range(200):
            with contextlib.suppress(IndexError):
                if shared.popleft().cancel():
                    cancelled.append(None)

    with stage.running(port):
        stage.together(*[make] * 3, cancel, cancel)
        wait_for(lambda: len(made) == len(called) + len(cancelled))


@scenario(rounds=12)
def buffers(stage: Stage) -> None:
    """Threads read, slice, send and release the same Buffers: they see all bytes or none."""
    port = stage.port()
    (sock, peer), (other, sink) = stage.pairs(port, 2)
    sink.setblocking(False)
    shown: list[iocp_sock.Buffer | None] = [None]
    over = threading.Event()

    def check(data):
        assert data == data[:1] * len(data), "memory that was released is shown"

    def read():
        while not over.is_set():
            buffer = shown[0]
            if buffer is None:
                continue
            with contextlib.suppress(BufferError, IndexError):
                check(bytes(buffer))
                check(buffer.tobytes())
                check(buffer[1:200])
                with memoryview(buffer) as view:
                    check(bytes(view))
                assert buffer[0] == buffer[0]
                assert buffer != b"no message"
                assert len(buffer) in (0, 512)
                repr(buffer)

    def release():
        while not over.is_set():
            buffer = shown[0]
            if buffer is not None:
                with contextlib.suppress(BufferError):
                    buffer.release()

    def feed():
        for number in range(100):
            operation = sock.recv(512)
            peer.sendall(bytes([number]) * 512)
            operation.result()
            shown[0] = operation.data
            with contextlib.suppress(BlockingIOError):
                other.try_send(operation.data)
                sink.recv(1 << 16)
        shown[0] = None
        over.set()

    stage.together(feed, read, read, release)


@scenario(rounds=6)
def ports(stage: Stage) -> None:
    """Threads drop open ports, in cycles with their callbacks, while another runs the collector."""
    over = threading.Event()

    def make():
        port = iocp_sock.Port(backend=stage.backend)
        ours, theirs = socket.socketpair()
        sock = port.adopt(ours)

        def callback(*_given):
            return port, sock

        port.error_handler = callback
        port.post(callback, callback=callback)
        port.call_later(1000, callback)
        operation = sock.send(b"x", callback=callback)
        sock.receive(callback, on_close=callback)
        theirs.send(b"x")
        port.run_once(0)
        port.post(operation, callback=callback)
        theirs.close()

    def collect():
        while not over.is_set():
            gc.collect()

    # With io_uring the sweeper would abandon the rings of the ports it drops, with their memory.
    sweeper = threading.Thread(target=collect)
    if stage.backend == "epoll":
        sweeper.start()
    stage.together(*[times(10, make)] * THREADS)
    over.set()
    if stage.backend == "epoll":
        sweeper.join()


@scenario(rounds=10)
def cycles_of_a_running_port(stage: Stage) -> None:
    """Operations, sockets and timers in cycles are collected while the port runs."""
    port = stage.port()
    over = threading.Event()
    pairs = stage.pairs(port, THREADS)

    def make(sock, peer):
        cycle: list[object] = []
        cycle.append(cycle)
        kept = lambda *_given: cycle  # noqa: E731 - a cell, so that the cycle goes through it
        operation = sock.recv(4, callback=kept)
        cycle.append(operation)
        cycle.append(port.call_later(0.0, kept))
        cycle.append(sock)
        peer.send(b"abcd")
        port.post(cycle, callback=kept)
        if len(cycle) % 2:
            operation.cancel()

    def collect():
        while not over.is_set():
            gc.collect(0)
            gc.collect()

    sweeper = threading.Thread(target=collect)
    with stage.running(port):
        sweeper.start()
        stage.together(*(times(60, partial(make, *pair)) for pair in pairs))
        over.set()
        sweeper.join()


@scenario(rounds=16)
def accepted_by_operations(stage: Stage) -> None:
    """Threads drop accepts with the connections that they accepted."""
    port = stage.port()
    listener = port.listen(LOCALHOST)
    address = listener.getsockname()

    def accept():
        for number in range(12):
            operation = listener.accept(callback=ignore if number % 2 else None)
            peer = socket.create_connection(address)
            if number % 3 == 0:
                operation.cancel()
            if number % 3 == 1:
                assert operation.accepted is None or operation.accepted.family == socket.AF_INET
            del operation
            peer.close()

    with stage.running(port):
        stage.together(*[accept] * THREADS)


@scenario(rounds=12)
def messages_and_descriptors(stage: Stage) -> None:
    """Threads drop received messages whose descriptors they have read, or left unread."""
    if not hasattr(socket, "send_fds"):
        return
    port = stage.port()
    pairs = stage.pairs(port, THREADS)

    def receive(sock, peer):
        for number in range(40):
            event = iocp_sock.Event()
            operation = sock.recvmsg_into([bytearray(4)], ancillary_size=64, event=event)
            socket.send_fds(peer, [b"abcd"], [peer.fileno()])
            assert event.wait()
            if number % 2:
                for _level, _kind, data in operation.ancillary:
                    for passed in memoryview(data).cast("i"):
                        socket.socket(fileno=passed).close()

    with stage.running(port):
        stage.together(*(partial(receive, *pair) for pair in pairs))


@scenario(rounds=10)
def registered_memory(stage: Stage) -> None:
    """Threads drop and release registered memory while operations use it."""
    port = stage.port()
    # The thread that runs the port registers memory, so this thread runs it before others wait.
    port.run_once(0)
    pairs = stage.pairs(port, THREADS)
    with contextlib.suppress(iocp_sock.ArgumentError, iocp_sock.ResourceExhausted):
        blocks = [port.register(8192) for _ in range(8)]
        dealt = shares(blocks, THREADS)
        blocks.clear()

        def use(mine, sock, peer):
            while mine:
                memory = mine.pop()
                operation = sock.recv_into(memory)
                with memoryview(memory) as view:
                    sock.send(view[:64])
                peer.send(b"x")
                operation.result()
                with contextlib.suppress(BufferError):
                    memory.release()
                del memory, operation

        over = threading.Event()

        def use_all():
            works = zip(dealt, pairs, strict=True)
            stage.together(*(partial(use, mine, *pair) for mine, pair in works))
            over.set()

        crowd = threading.Thread(target=use_all)
        crowd.start()
        while not over.is_set():
            port.run_once(0.01)
        crowd.join()


@scenario(rounds=12)
def events(stage: Stage) -> None:
    """Threads drop and close Events of unfinished operations."""
    port = stage.port()
    pairs = stage.pairs(port, THREADS)

    def post(sock, peer):
        event = iocp_sock.Event()
        operation = sock.recv(1, event=event)
        peer.send(b"x")
        sock.send(b"y", event=iocp_sock.Event())
        event.close()
        del event
        if operation.done:
            operation.data  # noqa: B018 - takes the result over

    with stage.running(port):
        stage.together(*(times(100, partial(post, *pair)) for pair in pairs))
        for sock, _peer in pairs:
            sock.cancel()
        wait_for(lambda: port.outstanding == 0)


@scenario(rounds=10)
def lookups(stage: Stage) -> None:
    """Threads begin connects by name, cancel and drop them, while the port runs and closes."""
    port = stage.port()
    with socket.create_server(LOCALHOST) as server:
        number = server.getsockname()[1]

        def connect():
            connecting = port.connect_by_name("127.0.0.1", number, callback=ignore, timeout=5)
            connecting.cancel()
            port.connect_by_name("127.0.0.1", number)

        with stage.running(port):
            stage.together(*[times(6, connect)] * THREADS)
