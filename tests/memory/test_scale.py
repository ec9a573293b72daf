"""Nine thousand connections on one port: their charge while idle, and their echoes."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import iocp_sock
from support import PAGE, PATIENCE, WINDOWS
from support import run_until as run_port

CONNECTIONS = 9_000
LONG = 3 * PATIENCE
DESCRIPTORS = CONNECTIONS + 200

# The client process. It opens its connections. For each line on standard input it sends one message
# on every connection and reads the echoes. It prints a line once connected, and after each round.
CLIENT = """
import socket, sys
address, count = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
if sys.platform != "win32":
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
socks = [socket.create_connection(address) for _ in range(count)]
print("connected", flush=True)
for line in sys.stdin:
    for i, sock in enumerate(socks):
        sock.sendall(b"message %d" % i)
    for i, sock in enumerate(socks):
        wanted = b"message %d" % i
        got = b""
        while len(got) < len(wanted):
            part = sock.recv(100)
            assert part, "the end of the stream"
            got += part
        assert got == wanted, (got, wanted)
    print("echoed", flush=True)
"""


def run_until(port: iocp_sock.Port, condition: Callable[[], bool]) -> None:
    """Run the port until the condition holds; it has time for thousands of connections."""
    run_port(port, condition, LONG)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Raise the limit of open files to the number that these tests need."""
    if WINDOWS:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"{DESCRIPTORS} open files are needed, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Client:
    """The process with the client's connections, and its lines of output."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, address[0], str(address[1]), str(CONNECTIONS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.strip())

    def said(self, word: str) -> Callable[[], bool]:
        """Return a condition: the client has printed its next line, which must be the word."""

        def check() -> bool:
            if not self._lines:
                return False
            line = self._lines.pop(0)
            assert line == word, line
            return True

        return check

    def echo(self) -> None:
        """Make the client send on every connection."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kill the client, unless it has ended."""
        self._process.kill()
        self._process.wait(30)
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def end(self) -> None:
        """Close the client, and check its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._reader.join()
        self._process.stdout.close()
        assert self._process.wait(30) == 0


@pytest.fixture
def make_client() -> Iterator[Callable[[tuple[str, int]], Client]]:
    """Return a function that starts clients; kill them after the test to free their sockets."""
    clients: list[Client] = []

    def make(address: tuple[str, int]) -> Client:
        clients.append(Client(address))
        return clients[-1]

    yield make
    for client in clients:
        client.kill()


def _listen(port: iocp_sock.Port) -> tuple[iocp_sock.Socket, list[iocp_sock.Socket]]:
    accepted: list[iocp_sock.Socket] = []
    listener = port.listen(("127.0.0.1", 0), backlog=4096)
    listener.accept_each(accepted.append)
    return listener, accepted


def test_zero_byte_receives_of_9000_connections_lock_nothing(port, many_descriptors, make_client):
    """R06 R11: pending zero-byte receives charge 0 bytes, and every connection echoes."""
    listener, accepted = _listen(port)
    client = make_client(listener.getsockname())
    run_until(port, lambda: len(accepted) == CONNECTIONS)

    def ready(completion: iocp_sock.Completion) -> None:
        sock = completion.socket
        received = sock.recv(4096)
        assert received.outcome == "done"
        sock.send(received.data)

    pending = [sock.recv_zero(callback=ready) for sock in accepted]
    run_until(port, client.said("connected"))
    assert all(op.pending for op in pending)
    assert port.ledger.now == 0
    assert port.outstanding == CONNECTIONS + 1
    client.echo()
    run_until(port, client.said("echoed"))
    assert port.ledger.now == 0
    client.end()


def test_posted_receives_of_9000_connections_charge_a_page_each(
    port, many_descriptors, make_client
):
    """R06: posted page-aligned 4 KiB receives charge 36,864,000 bytes in all."""
    listener, accepted = _listen(port)
    client = make_client(listener.getsockname())
    run_until(port, lambda: len(accepted) == CONNECTIONS)

    def echo(completion: iocp_sock.Completion) -> None:
        completion.socket.send(completion.data)

    pending = [sock.recv(PAGE, callback=echo) for sock in accepted]
    run_until(port, client.said("connected"))
    assert all(op.pending for op in pending)
    assert port.ledger.now == CONNECTIONS * PAGE
    if PAGE == 4096:
        assert port.ledger.now == 36_864_000
    assert {sock.charged for sock in accepted} == {PAGE}
    client.echo()
    run_until(port, client.said("echoed"))
    assert port.ledger.now == 0
    assert port.ledger.peak >= CONNECTIONS * PAGE
    client.end()


@pytest.mark.parametrize("receive", ["pooled", "zero_byte"])
def test_idle_stream_connections_hold_no_buffer(port, many_descriptors, make_client, receive):
    """R13: 9,000 subscriptions without traffic charge nothing and hold no block of the pool."""
    echoed = 0

    def on_data(conn: iocp_sock.Socket, data: iocp_sock.Buffer) -> None:
        nonlocal echoed
        if data:
            echoed += 1
            conn.send(data)
        else:
            conn.close()

    listener, accepted = _listen(port)
    client = make_client(listener.getsockname())
    run_until(port, lambda: len(accepted) == CONNECTIONS)
    blocks = port.stats().blocks_out
    for sock in accepted:
        sock.receive(on_data, receive=receive)
    run_until(port, client.said("connected"))
    assert port.ledger.now == 0
    assert port.stats().blocks_out == blocks
    client.echo()
    run_until(port, client.said("echoed"))
    assert echoed == CONNECTIONS
    assert port.ledger.now == 0
    client.end()


BUDGET = 4 << 20


@pytest.fixture
def bounded(make_port, many_descriptors, make_client):
    """Return a function that makes a port with a budget of 4 MiB, and its 9,000 connections."""

    def make(policy: str) -> tuple[iocp_sock.Port, list[iocp_sock.Socket], Client]:
        port = make_port(budget=BUDGET, over_budget=policy, queue_patience=0.05)
        listener, accepted = _listen(port)
        client = make_client(listener.getsockname())
        run_until(port, lambda: len(accepted) == CONNECTIONS)
        run_until(port, client.said("connected"))
        return port, accepted, client

    return make


def _served(port: iocp_sock.Port, client: Client, served: list[int]) -> None:
    client.echo()
    run_until(port, client.said("echoed"))
    assert served[0] == CONNECTIONS
    assert BUDGET // 2 < port.ledger.peak <= BUDGET
    client.end()


def test_within_4_mib_raise_serves_whoever_asks_again(bounded):
    """R07: with 'raise' posts over the budget are refused, and retries succeed."""
    port, accepted, client = bounded("raise")
    waiting = list(accepted)
    served = [0]

    def post() -> None:
        while waiting:
            try:
                waiting[-1].recv(PAGE, callback=echo)
            except iocp_sock.BudgetExceeded:
                waiting[-1].recv_zero(callback=again)
            waiting.pop()

    def again(completion: iocp_sock.Completion) -> None:
        waiting.append(completion.socket)
        post()

    def echo(completion: iocp_sock.Completion) -> None:
        served[0] += 1
        completion.socket.send(completion.data)

    post()
    assert port.ledger.now == BUDGET
    assert port.stats().refusals == CONNECTIONS - BUDGET // PAGE
    _served(port, client, served)


@pytest.mark.parametrize("policy", ["queue", "degrade"])
def test_within_4_mib_every_posted_receive_is_served(bounded, policy):
    """R07: with 'queue' and 'degrade' every receive is accepted, and every client is answered."""
    port, accepted, client = bounded(policy)
    served = [0]

    def echo(completion: iocp_sock.Completion) -> None:
        served[0] += 1
        completion.socket.send(completion.data)

    pending = [sock.recv(PAGE, callback=echo) for sock in accepted]
    assert all(not op.done for op in pending)
    assert port.ledger.now == BUDGET
    _served(port, client, served)


def test_a_queue_behind_idle_receives_moves_on(bounded):
    """R07: receives that never complete do not block the budget queue for ever."""
    port, accepted, client = bounded("queue")
    for sock in accepted[: CONNECTIONS - 10]:
        sock.recv(PAGE)
    got: list[int] = []
    for sock in accepted[-10:]:
        sock.recv(PAGE, callback=lambda c: got.append(c.transferred))
    sends = [sock.send(bytes(1 << 20)) for sock in accepted[:3]]
    run_until(port, lambda: port.stats().degraded >= CONNECTIONS - BUDGET // PAGE)
    client.echo()
    run_until(port, lambda: len(got) == 10)
    for op in sends:
        op.cancel()
    for sock in accepted:
        sock.abort()
    client.kill()
    assert port.ledger.peak <= BUDGET
