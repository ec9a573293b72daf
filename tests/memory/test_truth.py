"""R09: the ledger agrees with the figures and the refusals of the Linux kernel."""

import json
import os
import re
from pathlib import Path

import pytest

import iocp_sock
from support import PAGE, finish, linux_only, pattern, read, run_until, wait_for

pytestmark = linux_only("VmPin, and RLIMIT_MEMLOCK as io_uring charges it")


@pytest.fixture
def uring(backend):
    """Skip other backends: only io_uring registers memory and sends without a copy."""
    if backend != "uring":
        pytest.skip("epoll registers nothing and copies what it sends")


def pinned() -> int:
    """Return VmPin of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmPin:\s+(\d+) kB", status)[1]) * 1024


def test_registered_memory_is_what_the_kernel_says(uring, make_port, peers):
    """R09: Ledger.registered equals VmPin while memory is registered and released."""
    port = make_port(budget=2 << 20)
    before = pinned()
    held = [port.register(nbytes) for nbytes in (1, PAGE, 3 * PAGE + 1, 1 << 20)]
    assert port.ledger.registered == (1 + 1 + 4 + 256) * PAGE
    assert pinned() - before == port.ledger.registered
    with pytest.raises(iocp_sock.BudgetExceeded):
        port.register(1 << 20)
    held.pop().release()
    run_until(port, lambda: port.ledger.registered == 6 * PAGE)
    wait_for(lambda: pinned() - before == 6 * PAGE)
    del held
    run_until(port, lambda: port.ledger.registered == 0)
    wait_for(lambda: pinned() == before)


def test_registered_memory_is_charged_once(uring, make_port, peers):
    """R06: operations in registered memory are not charged again."""
    port = make_port()
    sock, peer = peers.tcp(port)
    with port.register(1 << 20) as memory:
        view = memoryview(memory)
        data = pattern(len(memory))
        view[:] = data
        sock.send_strategy = "direct"
        op = sock.send(view)
        with pytest.raises(BufferError, match="operation"):
            memory.release()
        assert port.ledger.now == 0
        assert port.ledger.kernel_locked == 0
        assert read(port, peer, len(data)) == data
        finish(port, op)
        post = sock.recv_into(view[:PAGE])
        assert port.ledger.now == 0
        peer.sendall(b"into registered memory")
        finish(port, post)
        assert bytes(view[:22]) == b"into registered memory"
        other = sock.recv(PAGE)
        assert port.ledger.now == PAGE
        other.cancel()
        finish(port, other)
        view.release()
    run_until(port, lambda: port.ledger.registered == 0)
    with pytest.raises(BufferError, match="released"):
        memoryview(memory)


def test_where_nothing_is_registered_it_is_said(port, backend):
    """A backend without registered memory refuses register(); wrong sizes raise."""
    if backend != "uring":
        with pytest.raises(iocp_sock.ArgumentError, match="registers no memory"):
            port.register(PAGE)
    for wrong in (0, -1):
        with pytest.raises(iocp_sock.ArgumentError):
            port.register(wrong)
    with pytest.raises(iocp_sock.ArgumentTypeError):
        port.register("1")
    assert port.ledger.registered == 0


LIMITED = """
import json, os, resource, socket, sys
import iocp_sock

limit, size, uid = {limit}, {size}, {uid}
resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
port = iocp_sock.Port(backend="uring", ring_entries=32)
listener = port.listen(("127.0.0.1", 0))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
in_flight, failed, peers, socks = [], [], [], []
while not failed:
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4608)
    peer.connect(listener.getsockname())
    post = listener.accept()
    while not post.done:
        port.run_once(1)
    sock = post.accepted
    peers.append(peer)
    socks.append(sock)
    while sock.try_send(bytes(65536)):  # what a direct send has to wait behind
        pass
    sock.send_strategy = "direct"
    op = sock.send(bytes(size))
    for _ in range(3):
        port.run_once(0)
    (failed if op.done else in_flight).append(op)
    assert len(in_flight) < 10000
ledger = port.ledger
error = failed[0].error
charged = sum(op.socket.charged for op in in_flight)
result = dict(
    in_flight=len(in_flight), kernel_locked=ledger.kernel_locked, now=ledger.now, charged=charged,
    error=type(error).__name__, errno=error.errno, counters=error.ledger["kernel_locked"],
    transferred=failed[0].transferred,
)
for sock in socks:
    sock.abort()
while port.outstanding:
    port.run_once(1)
result["after"] = [port.ledger.now, port.ledger.kernel_locked]
port.close()
print(json.dumps(result))
"""


@pytest.fixture
def refused(uring, in_subprocess):
    """Return a function that posts direct sends under a lock limit until the kernel refuses one."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user whose lock charges are all its own")
    uid = iter(range(64000 + os.getpid() % 1000 * 10, 1 << 20))

    def run(limit: int, size: int) -> dict:
        return json.loads(
            in_subprocess(LIMITED.format(limit=limit, size=size, uid=next(uid)), "uring")
        )

    return run


def test_the_kernel_refuses_where_kernel_locked_predicts(refused):
    """R09: the kernel refuses a zero-copy send that does not fit according to kernel_locked."""
    limit = 256 << 10
    small = refused(limit, 1)
    assert small["kernel_locked"] == small["in_flight"] * 2 * PAGE
    ring = limit - small["kernel_locked"]  # the charge of the ring itself, to within 2 pages
    assert 0 < ring < 128 << 10
    for size in (PAGE, 65536):
        each = (size // PAGE + 2) * PAGE
        result = refused(limit, size)
        assert result["kernel_locked"] == result["in_flight"] * each
        least, most = (limit - ring) // each, (limit - ring + 2 * PAGE - 1) // each
        assert least <= result["in_flight"] <= most
        assert result["now"] == result["charged"]
        for outcome in (small, result):
            assert outcome["error"] == "ResourceExhausted"
            assert outcome["counters"] == outcome["kernel_locked"]
            assert outcome["transferred"] == 0
            assert outcome["after"] == [0, 0]


SMALL = """
import os, resource
import iocp_sock

resource.setrlimit(resource.RLIMIT_MEMLOCK, ({limit}, {limit}))
os.setgroups([])
os.setgid({uid})
os.setuid({uid})
with iocp_sock.Port() as port:
    print(port.backend, port.backend_reason)
"""


def test_a_small_lock_limit_shrinks_the_ring_or_falls_back(uring, in_subprocess):
    """R09: under a lock limit the port takes a smaller ring, then epoll, with the reason."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user whose lock charges are all its own")
    uid = 74000 + os.getpid() % 1000 * 10
    shrunk = in_subprocess(SMALL.format(limit=64 << 10, uid=uid))
    assert shrunk.startswith("uring")
    assert "RLIMIT_MEMLOCK" in shrunk
    fallen = in_subprocess(SMALL.format(limit=4096, uid=uid + 1))
    assert fallen.startswith("epoll")
    assert "RLIMIT_MEMLOCK" in fallen
