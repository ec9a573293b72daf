"""The benchmarks' relay of packets between two network namespaces: delay, loss, and cleanup."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import descriptors
from support.benchmarks import HERE, ROOT, needs_benchmarks

if HERE:
    from bench import namespace, relay, tun
    from bench.program import CompileError

pytestmark = needs_benchmarks

PATIENCE = 20.0
PACKETS = 200


@pytest.fixture
def make():
    """Return a function that makes relays, closed after the test; skip if none can be made."""
    made = []

    def one(**options):
        try:
            made.append(relay.Relay(**options))
        except (relay.RelayUnavailable, CompileError) as error:
            pytest.skip(str(error))
        return made[-1]

    yield one
    for path in made:
        with path:
            pass


def datagram(path, which):
    """Make a UDP socket in the namespace of one end of the relay, bound to that end's address."""
    place, address = (
        (path.near, relay.NEAR_ADDRESS)
        if which == "near"
        else (
            path.far,
            relay.FAR_ADDRESS,
        )
    )
    with place.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.bind((address, 0))
    return sock


def pair(path):
    return datagram(path, "near"), datagram(path, "far")


def test_a_packet_takes_the_delay_each_way(make):
    """R19: a packet through the relay takes at least the delay, in each direction."""
    path = make(delay=0.03)
    near, far = pair(path)
    with near, far:
        fastest = 1.0
        for _ in range(5):
            began = time.monotonic()
            near.sendto(b"ping", far.getsockname())
            far.recv(10)
            there = time.monotonic()
            far.sendto(b"pong", near.getsockname())
            near.recv(10)
            back = time.monotonic()
            assert there - began >= 0.03
            assert back - there >= 0.03
            fastest = min(fastest, back - began)
        assert fastest < 0.09
    traffic = path.close()
    assert traffic.packets >= 10
    assert traffic.lost == 0


def test_packets_come_in_order_and_all(make):
    """The relay forwards every packet once, in order."""
    path = make(delay=0.001)
    near, far = pair(path)
    with near, far:
        for number in range(PACKETS):
            near.sendto(str(number).encode(), far.getsockname())
        assert [int(far.recv(10)) for _ in range(PACKETS)] == list(range(PACKETS))


def survivors(path):
    """Send numbered packets through the relay; return the numbers of those that arrive.

    A packet "end" is repeated until one arrives.
    """
    near, far = pair(path)
    came = []
    with near, far:
        for number in range(PACKETS):
            near.sendto(str(number).encode(), far.getsockname())
        far.settimeout(0.1)
        while True:
            near.sendto(b"end", far.getsockname())
            try:
                while (word := far.recv(10)) != b"end":
                    came.append(int(word))
            except TimeoutError:
                continue
            return came


def test_the_seed_says_which_packets_are_lost(make):
    """The relay drops a share of the packets, and the same packets for the same seed."""
    first, again, other = (survivors(make(delay=0, loss=0.3, seed=seed)) for seed in (1, 1, 2))
    assert PACKETS / 2 < len(first) < PACKETS
    assert first == again != other


def test_the_counts_tell_of_what_was_lost(make):
    """The relay counts the packets that it gets, and those that it drops."""
    path = make(delay=0, loss=1.0)
    near, far = pair(path)
    with near, far:
        for _ in range(PACKETS):
            near.sendto(b"x", far.getsockname())
    traffic = path.close()
    assert traffic.packets == traffic.lost
    assert traffic.lost >= PACKETS / 2


def test_a_program_that_failed_is_told_of(make):
    """close() of a relay whose program was killed raises RuntimeError, and leaks no descriptor."""
    before = descriptors()
    path = make(delay=0)
    path._process.kill()
    with pytest.raises(RuntimeError, match="status -9"):
        path.close()
    assert descriptors() == before


def devices():
    return socket.if_nameindex()


def namespaces():
    """Return the inodes of the network namespaces of all threads of all processes."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/task/*/ns/net"):
        try:
            found.add(link.stat().st_ino)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_stays(make, fails):
    """A relay's `with` block leaks no descriptor, process or namespace, even after an exception."""
    make(delay=0).close()
    before, seen, home = descriptors(), devices(), os.stat("/proc/thread-self/ns/net").st_ino
    try:
        with relay.Relay(delay=0.001) as path:
            inodes = {path.near.inode, path.far.inode}
            process = path._process
            assert devices() == seen
            with path.near.entered():
                assert os.stat("/proc/thread-self/ns/net").st_ino == path.near.inode
                assert "relay0" in [name for _, name in devices()]
                if fails:
                    raise KeyError("in the block")
    except KeyError:
        assert fails
    assert os.stat("/proc/thread-self/ns/net").st_ino == home
    assert process.returncode == 0
    assert descriptors() == before
    assert devices() == seen
    assert not inodes & namespaces()


def test_the_program_ends_with_the_one_that_made_it(make):
    """If the process that made a relay is killed, the relay's program and namespace end too."""
    make(delay=0)
    code = (
        "from bench.relay import Relay; path = Relay(delay=0.001);"
        "print(path._process.pid, path.near.inode, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as maker:
        pid, inode = (int(word) for word in maker.stdout.readline().split())
        maker.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}/exe").exists()
    assert inode not in namespaces()


@pytest.mark.parametrize("wrong", [{"delay": -1}, {"delay": 11}, {"loss": 1.5}, {"loss": -0.1}])
def test_a_value_that_cannot_be(wrong):
    """An invalid delay or loss raises ValueError before the relay makes anything."""
    before = descriptors()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        relay.Relay(**wrong)
    assert descriptors() == before


def test_a_congestion_control_that_there_is_not(make):
    """The error names an unknown congestion control; the machine's own setting never changes."""
    make(delay=0).close()
    ours = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii")
    before = descriptors()
    with pytest.raises(ValueError, match="nonsense"):
        relay.Relay(congestion="nonsense")
    assert descriptors() == before
    with make(delay=0, congestion="reno") as path, path.far.entered():
        setting = Path("/proc/sys/net/ipv4/tcp_congestion_control")
        assert setting.read_text(encoding="ascii") == "reno\n"
    assert Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii") == ours


def refuse(*_):
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("what", ["namespace", "device"])
def test_what_is_missing_is_named(make, monkeypatch, what):
    """The error names the capability that namespaces or devices need; no descriptor leaks."""
    make(delay=0).close()
    before = descriptors()
    if what == "namespace":
        monkeypatch.setattr(relay, "Namespace", refuse)
        words = "CAP_SYS_ADMIN"
    else:
        monkeypatch.setattr(tun, "open_device", refuse)
        words = "CAP_NET_ADMIN"
    with pytest.raises(relay.RelayUnavailable, match=words):
        relay.Relay(delay=0)
    assert descriptors() == before
    assert words in relay.obstacle()


def test_a_namespace_is_left_by_an_exception(make):
    """A thread returns to its own namespace after an exception in a block of entered()."""
    make(delay=0)
    home = os.stat("/proc/thread-self/ns/net").st_ino
    place = namespace.Namespace()
    try:
        with contextlib.suppress(KeyError), place.entered():
            assert os.stat("/proc/thread-self/ns/net").st_ino == place.inode
            raise KeyError
        assert os.stat("/proc/thread-self/ns/net").st_ino == home
    finally:
        place.close()
