"""Threads that use a port at the same time, with every completion counted."""

import contextlib
import os
import socket
import tempfile
import threading
from collections import deque
from functools import partial

import iocp_sock
from stress.scenarios import scenario
from stress.stage import GONE, Stage, ignore, times
from support import LOCALHOST, PATIENCE, wait_for

THREADS = 4


def _packets(stage: Stage, port: iocp_sock.Port, runners: int) -> None:
    taken: deque[int] = deque()

    def post(first):
        for number in range(first, first + 400):
            port.post(number, callback=lambda completion: taken.append(completion.value))

    with stage.running(port, runners):
        stage.together(*(partial(post, 400 * number) for number in range(THREADS)))
        wait_for(lambda: len(taken) == 400 * THREADS)
    assert sorted(taken) == list(range(400 * THREADS))


@scenario(rounds=6)
def packets(stage: Stage) -> None:
    """Each packet that threads post is handed out once."""
    _packets(stage, stage.port(), 1)


@scenario(rounds=6)
def packets_shared(stage: Stage) -> None:
    """Each packet that threads post to a shared port is handed out once."""
    _packets(stage, stage.port(concurrency=2), 4)


def _echo(stage: Stage, port: iocp_sock.Port, runners: int) -> None:
    listener = port.listen(LOCALHOST)
    address = listener.getsockname()
    closed: deque[None] = deque()

    def accepted(sock):
        sock.receive(
            lambda sock, data: sock.send(data) if len(data) else sock.close(),
            on_close=lambda *_given: closed.append(None),
        )

    def talk():
        for number in range(6):
            with socket.create_connection(address) as peer:
                message = b"%d" % number * 100
                peer.sendall(message)
                got = b""
                while len(got) < len(message):
                    got += peer.recv(1000)
                assert got == message

    listener.accept_each(accepted)
    with stage.running(port, runners):
        stage.together(*[talk] * THREADS)
        wait_for(lambda: len(closed) == 6 * THREADS)


@scenario(rounds=8)
def echo(stage: Stage) -> None:
    """Threads connect, get their echo and close, at a port that one thread runs."""
    _echo(stage, stage.port(), 1)


@scenario(rounds=8)
def echo_shared(stage: Stage) -> None:
    """Threads connect, get their echo and close, at a shared port that four threads run."""
    _echo(stage, stage.port(concurrency=2, in_order=True), 4)


@scenario(rounds=10)
def completions_taken_by_several(stage: Stage) -> None:
    """Threads take completions one by one and by the batch; each is handed out once."""
    port = stage.port(concurrency=2)
    pairs = stage.pairs(port, 2)
    taken: deque[object] = deque()
    each = 80

    def post(sock, peer):
        for _ in range(each):
            sock.recv(1)
            peer.send(b"x")
            port.post("packet")

    def enough():
        return len(taken) >= 2 * each * len(pairs)

    def take_one():
        while not enough():
            completion = port.get(0.001)
            if completion is not None:
                taken.append(completion.kind)

    def take_several():
        while not enough():
            taken.extend(completion.kind for completion in port.get_batch(8, 0.001))

    stage.together(*(partial(post, *pair) for pair in pairs), take_one, take_one, take_several)
    assert len(taken) == 2 * each * len(pairs)


@scenario(rounds=10)
def threads_that_end_with_a_completion(stage: Stage) -> None:
    """Threads take one completion each and end; an ended thread no longer counts as active."""
    port = stage.port(concurrency=1)
    taken: deque[object] = deque()
    for number in range(40):
        port.post(number)

    def take():
        completion = port.get(PATIENCE)
        taken.append(completion.value)

    for _ in range(10):
        stage.together(*[take] * 4)
    assert sorted(taken) == list(range(40))


@scenario(rounds=8)
def direct_sends_that_are_aborted(stage: Stage) -> None:
    """Threads abort and close sockets while the system reads the memory of their direct sends."""
    port = stage.port()
    ended: deque[None] = deque()
    posted: deque[None] = deque()

    def send():
        for number in range(6):
            sock, peer = stage.tcp(port)
            with contextlib.suppress(iocp_sock.ArgumentError):
                sock.send_strategy = "direct"
            block = bytearray(200_000)
            for _ in range(4):
                sock.send(block, callback=lambda _c: ended.append(None))
                posted.append(None)
            if number % 3 == 0:
                peer.close()
            elif number % 3 == 1:
                sock.abort()
            sock.close(0)
            del block, sock

    with stage.running(port):
        stage.together(*[send] * THREADS)
        wait_for(lambda: len(ended) == len(posted))


@scenario(rounds=10)
def handles_from_port_to_port(stage: Stage) -> None:
    """Threads move sockets with unread data from port to port, by detach() and adopt()."""
    first, second = stage.port(concurrency=2), stage.port(concurrency=2)

    def move():
        sock, peer = stage.pair(first)
        for number in range(20):
            peer.send(b"%04d" % number)
            sock.recv(4, callback=ignore)
            handle = sock.detach()
            sock = (second, first)[number % 2].adopt(handle)
        sock.close(0)

    with stage.running(first, 2), stage.running(second, 2):
        stage.together(*[move] * THREADS)


@scenario(rounds=8)
def files(stage: Stage) -> None:
    """Threads send files and close them, and the sockets, while the port sends."""
    port = stage.port()
    with tempfile.TemporaryFile() as file:
        file.write(bytes(100_000))
        file.flush()
        pairs = [stage.tcp(port) for _ in range(THREADS)]

        def send(sock, peer):
            for _ in range(3):
                mine = os.dup(file.fileno())
                sock.send_file(mine, 0, 100_000, callback=ignore)
                os.close(mine)
            got = 0
            while got < 200_000:
                got += len(peer.recv(1 << 16))
            sock.close(0)

        with stage.running(port):
            stage.together(*(partial(send, *pair) for pair in pairs))


@scenario(rounds=8)
def connects(stage: Stage) -> None:
    """Threads connect, some to unused addresses, cancel, and close."""
    port = stage.port()
    with socket.create_server(LOCALHOST) as server, socket.socket() as reserved:
        reserved.bind(LOCALHOST)
        targets = (server.getsockname(), reserved.getsockname())
        ended: deque[None] = deque()
        begun: deque[None] = deque()

        def connect():
            for number in range(12):
                operation = port.connect(
                    targets[number % 2], callback=lambda _c: ended.append(None), timeout=5
                )
                begun.append(None)
                if number % 3 == 0:
                    operation.cancel()
                if number % 3 == 1:
                    operation.socket.abort()
                operation.socket.close()

        with stage.running(port):
            stage.together(*[connect] * THREADS)
            wait_for(lambda: len(ended) == len(begun))


@scenario(rounds=8)
def timeouts(stage: Stage) -> None:
    """Threads post operations whose timeout passes as their data arrives."""
    port = stage.port()
    pairs = stage.pairs(port, THREADS)
    ended: deque[object] = deque()

    def post(sock, peer):
        for number in range(40):
            sock.recv(1, timeout=number % 3 * 1e-3, callback=lambda c: ended.append(c.error))
            peer.send(b"x")

    with stage.running(port):
        stage.together(*(partial(post, *pair) for pair in pairs))
        wait_for(lambda: len(ended) == 40 * THREADS)
    errors = {type(error) for error in ended}
    assert errors <= {type(None), iocp_sock.TimedOut}, errors


@scenario(rounds=8)
def budgets(stage: Stage) -> None:
    """Threads post over the budget with the policy 'queue', cancel, and read the ledger."""
    port = stage.port(budget=8 * iocp_sock.PAGE_SIZE, over_budget="queue", queue_patience=0.001)
    pairs = stage.pairs(port, THREADS)
    ended: deque[None] = deque()
    posted: deque[None] = deque()

    def post(sock, peer):
        for number in range(40):
            operation = sock.recv(3 * 4096, callback=lambda _c: ended.append(None))
            posted.append(None)
            assert port.ledger.now <= 8 * iocp_sock.PAGE_SIZE
            if number % 4 == 0:
                operation.cancel()
            peer.send(b"x")

    with stage.running(port):
        stage.together(*(partial(post, *pair) for pair in pairs))
        for sock, _peer in pairs:
            sock.cancel()
        wait_for(lambda: len(ended) == len(posted))


@scenario(rounds=8)
def datagrams(stage: Stage) -> None:
    """Threads send datagrams to each other's subscribed sockets, and then close their own."""
    port = stage.port()
    socks = []
    for _ in range(THREADS):
        sock = port.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(LOCALHOST)
        sock.receive_from(ignore)
        socks.append(sock)
    addresses = [sock.getsockname() for sock in socks]

    def send(number):
        for _ in range(60):
            with contextlib.suppress(*GONE):
                socks[number].sendto(b"abcd", addresses[number - 1], callback=ignore)
        socks[number].close(0)

    with stage.running(port):
        stage.together(*(partial(send, number) for number in range(THREADS)))


@scenario(rounds=4)
def forks(stage: Stage) -> None:
    """Children are forked while threads use the port: in a child, only a port of its own works."""
    if not hasattr(os, "fork"):
        return
    port = stage.port()
    pairs = stage.pairs(port, 2)
    over = threading.Event()

    def use(sock, peer):
        while not over.is_set():
            operation = sock.recv(1, callback=ignore)
            peer.send(b"x")
            operation.cancel()
            event = iocp_sock.Event()
            sock.recv(1, event=event)
            peer.send(b"x")
            event.wait()
            port.post(callback=ignore)
            port.stats()

    def in_child() -> None:
        for call in (port.post, port.wake, port.stats, pairs[0][0].cancel, port.run_once):
            try:
                call()
            except iocp_sock.ForkedPort:
                continue
            os._exit(3)
        repr(pairs[0][0])
        pairs[0][0].close()
        pairs.clear()
        own = iocp_sock.Port(backend=stage.backend)
        event = iocp_sock.Event()
        (ours, theirs) = socket.socketpair()
        own.adopt(ours).recv(1, event=event)
        theirs.send(b"x")
        if not event.wait(PATIENCE):
            os._exit(4)
        own.close(0)
        os._exit(0)

    def fork():
        for _ in range(8):
            child = os.fork()
            if child == 0:
                in_child()
            assert os.waitpid(child, 0)[1] == 0
        over.set()

    with stage.running(port):
        stage.together(fork, *(partial(use, *pair) for pair in pairs))


@scenario(rounds=6)
def interrupts(stage: Stage) -> None:
    """A callback raises KeyboardInterrupt while others post; the port goes on afterwards."""
    port = stage.port(concurrency=2)
    taken: deque[None] = deque()
    interrupted: deque[None] = deque()

    def interrupt(_completion):
        raise KeyboardInterrupt

    def post():
        port.post(callback=lambda _c: taken.append(None))
        port.post(callback=interrupt)

    def run():
        while len(taken) + len(interrupted) < 400:
            try:
                port.run_once(0.001)
            except KeyboardInterrupt:
                interrupted.append(None)

    stage.together(*[times(100, post)] * 2, run, run)
    assert len(interrupted) == len(taken) == 200
