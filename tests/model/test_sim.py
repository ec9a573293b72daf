"""Ports on the model: the same API in virtual time, with faults from a seed (R20)."""

import dataclasses
import errno
import gc
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import iocp_sock
from iocp_sock import NothingDue, Port, ResourceExhausted, Sim, TimedOut
from iocp_sock.sim import PRESETS
from support import PAGE, Recorder, block, drain_get, finish, pattern, run_until, settled

WINDOWS_2000 = {"preset": "windows-2000"}
HOUR = 3600.0
KEPT: list[iocp_sock.Socket] = []
"""Sockets of the running test; they are closed with their port."""


@pytest.fixture
def make() -> Iterator[Callable[..., Port]]:
    """Return a function that makes ports on models; close them after the test, and check for leaks.

    The ports set no TCP_NODELAY, so that the Sim decides whether Nagle's algorithm is on.
    """
    ports: list[Port] = []

    def on(sim: Sim, **options: Any) -> Port:
        ports.append(Port(backend=sim, nodelay=False, **options))
        return ports[-1]

    yield on
    for port in ports:
        port.close(0)
        settled(port)
        sim = port.config.backend
        assert isinstance(sim, Sim)
        for machine in sim.machines():
            assert machine["locked"] == 0
    KEPT.clear()


def connected(port: Port) -> tuple[iocp_sock.Socket, iocp_sock.Socket]:
    """Connect two sockets of the port to each other, and return them."""
    with port.listen(("10.0.0.1", 80)) as listener:
        accept = listener.accept()
        connect = port.connect(("10.0.0.1", 80))
        finish(port, accept, connect)
        assert accept.accepted is not None
    run_until(port, lambda: port.outstanding == 0)
    KEPT.extend([connect.socket, accept.accepted])
    return connect.socket, accept.accepted


def dial(port: Port) -> iocp_sock.Operation:
    """Post a connect to the echo server."""
    return dial_to(port, ("127.0.0.1", 7000))


def dial_to(port: Port, address: Any) -> iocp_sock.Operation:
    """Post a connect to the address, and keep its socket until the end of the test."""
    connect = port.connect(address)
    KEPT.append(connect.socket)
    return connect


def echo(port: Port, address: Any = ("127.0.0.1", 7000)) -> iocp_sock.Socket:
    """Listen at the address, and echo all data that arrives."""
    listener = port.listen(address)
    listener.accept_each(lambda conn: conn.receive(lambda conn, data: conn.send(data)))
    KEPT.append(listener)
    return listener


@pytest.mark.parametrize("preset", PRESETS)
def test_an_echo_on_every_preset(make: Callable[..., Port], preset: str) -> None:
    sim = Sim(seed=1, preset=preset)
    port = make(sim)
    assert port.backend == "sim"
    assert "model" in port.backend_reason
    echo(port)
    connect = dial(port)
    data = pattern(100_000)
    received = bytearray()
    connect.socket.send(data)
    connect.socket.receive(lambda _, chunk: received.extend(bytes(chunk)))
    run_until(port, lambda: len(received) == len(data))
    assert received == data
    assert sim.counts()["delivered_bytes"] == 2 * len(data)
    assert 0 < sim.now < 10


def test_the_names_are_the_models(make: Callable[..., Port]) -> None:
    one, other = connected(make(Sim()))
    assert one.getpeername() == other.getsockname() == ("10.0.0.1", 80)
    assert one.getsockname() == other.getpeername()
    assert one.family == socket.AF_INET


def test_ports_of_one_sim_share_its_world_and_others_do_not(make: Callable[..., Port]) -> None:
    sim = Sim()
    server, client = make(sim), make(sim)
    echo(server)
    connect = dial(client)
    finish(client, connect)
    assert connect.error is None
    stranger = make(Sim())
    alone = dial(stranger)
    finish(stranger, alone)
    assert isinstance(alone.error, ConnectionRefusedError)


def test_time_stops_for_whichever_port_is_first(make: Callable[..., Port]) -> None:
    """pass_time() stops at the next event of any port; ports that run in turn handle it on time."""
    sim = Sim(delay=0.25)
    server, client = make(sim), make(sim)
    accepted: list[float] = []
    listener = server.listen(("10.0.0.1", 80))
    KEPT.append(listener)
    listener.accept_each(lambda conn: (KEPT.append(conn), accepted.append(sim.now)))
    connect = dial_to(client, ("10.0.0.1", 80))
    assert sim.pass_time(HOUR)
    assert sim.now == 0.5
    assert sim.pass_time(HOUR), "the event stays due until its port runs"
    assert sim.now == 0.5
    client.run_once(0)
    server.run_once(0)
    assert connect.done
    assert sim.pass_time(HOUR)
    server.run_once(0)
    assert accepted == [0.75]
    assert not sim.pass_time(HOUR)
    assert sim.now == HOUR + 0.75
    for wrong in (-1, "long", None, True):
        with pytest.raises(iocp_sock.Error, match="timeout must be a number"):
            sim.pass_time(wrong)


def test_who_is_woken_late_is_so_whoever_passes_the_time(make: Callable[..., Port]) -> None:
    sim = Sim(delay=0.25, wake_delay=0.125)
    port = make(sim)
    echo(port)
    dial(port)
    assert sim.pass_time(HOUR)
    assert sim.now == 0.625


def test_an_hour_passes_at_once(make: Callable[..., Port]) -> None:
    sim = Sim()
    port = make(sim)
    order: list[str] = []
    port.call_later(2 * HOUR, lambda: order.append("two hours"))
    port.call_later(HOUR, lambda: order.append("one hour"))
    start = port.time()
    run_until(port, lambda: len(order) == 2)
    assert order == ["one hour", "two hours"]
    assert port.time() - start == 2 * HOUR == sim.now


def test_a_timeout_comes_in_virtual_time(make: Callable[..., Port]) -> None:
    port = make(Sim())
    _, other = connected(port)
    since = port.time()
    op = other.recv(10, timeout=HOUR)
    assert op.pending
    while not op.done:
        port.run_once()
    assert isinstance(op.error, TimedOut)
    assert port.time() - since == HOUR
    assert port.ledger.now == 0


def test_a_wait_that_nothing_could_end_raises(make: Callable[..., Port]) -> None:
    port = make(Sim())
    one, other = connected(port)
    op = other.recv(10)
    with pytest.raises(NothingDue, match="never end") as caught:
        port.run()
    assert caught.value.errno == errno.EDEADLK
    assert not op.done
    one.send(b"x")
    finish(port, op)
    assert op.data == b"x"
    with pytest.raises(NothingDue):
        port.get()


def test_a_handle_is_no_descriptor_of_the_system(make):
    port = make(Sim())
    sock, _ = connected(port)
    for call in (lambda: os.fstat(sock.fileno()), sock.duplicate):
        with pytest.raises(OSError, match=r"Errno|WinError"):
            call()
    with port.adopt(sock.detach()) as again:
        assert again.getpeername() == ("10.0.0.1", 80)


def test_a_wait_with_a_timeout_passes_its_time(make: Callable[..., Port]) -> None:
    port = make(Sim())
    since = port.time()
    assert port.get(1000.0) is None
    assert port.time() - since == 1000.0


def test_posts_of_a_thread_end_a_wait(make: Callable[..., Port]) -> None:
    import threading

    port = make(Sim(threads=True))
    taken = Recorder()
    thread = threading.Thread(target=lambda: port.post("from afar", callback=taken))
    thread.start()
    run_until(port, lambda: taken)
    thread.join()
    assert taken[0].value == "from afar"


def test_a_cancel_takes_no_byte(make: Callable[..., Port]) -> None:
    port = make(Sim())
    one, other = connected(port)
    op = other.recv(10)
    assert op.cancel()
    finish(port, op)
    assert isinstance(op.error, iocp_sock.Cancelled)
    one.send(b"still here")
    again = other.recv(10)
    finish(port, again)
    assert again.data == b"still here"


def test_a_close_sends_what_is_queued_and_the_peer_sees_the_end(make: Callable[..., Port]) -> None:
    port = make(Sim(**WINDOWS_2000))
    one, other = connected(port)
    ended = Recorder()
    chunks = Recorder()
    data = pattern(200_000)
    other.receive(lambda _, chunk: chunks(bytes(chunk)), on_close=ended)
    one.send(data)
    one.close()
    run_until(port, lambda: chunks and chunks[-1] == b"")
    assert b"".join(chunks) == data
    other.close()
    run_until(port, lambda: ended)
    assert ended[0][1] is None


def test_an_abort_is_a_reset(make: Callable[..., Port]) -> None:
    port = make(Sim())
    one, other = connected(port)
    op = other.recv(10)
    one.abort()
    finish(port, op)
    assert isinstance(op.error, ConnectionResetError)


def test_the_budget_holds_on_the_model(make: Callable[..., Port]) -> None:
    port = make(Sim(**WINDOWS_2000), budget=2 * PAGE)
    one, other = connected(port)
    op = other.recv(PAGE)
    assert port.ledger.now == port.ledger.kernel_locked == block(PAGE)
    with pytest.raises(iocp_sock.BudgetExceeded):
        one.recv(2 * PAGE)
    one.send(b"x")
    finish(port, op)
    assert port.ledger.now == 0


def test_linux_locks_nothing_and_windows_what_is_charged(make: Callable[..., Port]) -> None:
    for preset in PRESETS:
        sim = Sim(preset=preset)
        port = make(sim)
        _, other = connected(port)
        other.recv(3 * PAGE)
        ledger = port.ledger
        assert ledger.now == 3 * PAGE
        assert ledger.kernel_locked == (0 if preset == "linux" else 3 * PAGE)
        assert sim.machines()[0]["locked"] == ledger.kernel_locked


def test_the_lock_limit_is_resource_exhausted(make: Callable[..., Port]) -> None:
    port = make(Sim(preset="windows-10", lock_limit=2))
    one, other = connected(port)
    op = other.recv(3 * PAGE)
    finish(port, op)
    assert isinstance(op.error, ResourceExhausted)
    assert op.error.errno == errno.ENOBUFS
    assert port.ledger.now == 0
    again = other.recv(PAGE)
    one.send(b"fits")
    finish(port, again)
    assert again.data == b"fits"


def test_a_pool_without_room_refuses_a_socket(make: Callable[..., Port]) -> None:
    port = make(Sim(preset="windows-2000", pool_limit=4096))
    KEPT.extend([port.socket(), port.socket()])
    with pytest.raises(ResourceExhausted) as caught:
        port.socket()
    assert "now" in caught.value.ledger
    KEPT.pop().close(0)
    run_until(port, lambda: port.stats().sockets == 1)
    KEPT.append(port.socket())


@pytest.mark.parametrize(
    ("nagle", "send_buffer", "stalls"),
    [(True, 0, True), (False, 0, False), (True, 8192, False), (False, 8192, False)],
)
def test_the_one_way_stall_of_windows(
    make: Callable[..., Port], nagle: bool, send_buffer: int, stalls: bool
) -> None:
    """R20: small one-way sends take 200 ms each with Nagle and a send buffer of 0."""
    port = make(Sim(preset="windows-2000", nagle=nagle, send_buffer=send_buffer))
    one, other = connected(port)
    other.receive(lambda *_: None, receive="zero_byte")
    one.receive(lambda *_: None, receive="zero_byte")  # sends of one turn go out together
    since = port.time()
    ops = [one.send(b"sixteen bytes...") for _ in range(10)]
    finish(port, *ops)
    assert (port.time() - since >= 10 * 0.2) is stalls


def test_write_write_read_stalls_on_linux(make: Callable[..., Port]) -> None:
    """R19, R20: write-write-read stalls for 40 ms with Nagle's algorithm, and never without."""
    for nagle in (True, False):
        port = make(Sim(preset="linux", nagle=nagle))
        one, other = connected(port)
        slowest = 0.0
        for _ in range(4):
            since = port.time()
            one.send(b"x" * 16)
            one.send(b"y" * 48)
            finish(port, other.recv(64, flags=socket.MSG_WAITALL))
            other.send(b"answer")
            finish(port, one.recv(6))
            slowest = max(slowest, port.time() - since)
        assert (slowest >= 0.04) is nagle


def test_options_are_the_models(make: Callable[..., Port]) -> None:
    linux = make(Sim(preset="linux")).socket()
    KEPT.append(linux)
    linux.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
    assert linux.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 4608
    linux.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
    assert linux.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 20_000
    linux.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    assert linux.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2304
    windows = make(Sim(preset="windows-10")).socket()
    KEPT.append(windows)
    windows.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
    assert windows.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 0
    windows.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert windows.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    with pytest.raises(OSError, match=r"\w"):
        windows.getsockopt(socket.SOL_SOCKET, 9999)


def busy(make: Callable[..., Port], seed: int) -> Sim:
    """Run a server and clients over a lossy wire for ten seconds."""
    sim = Sim(
        seed=seed, loss=0.05, reorder=0.05, jitter=0.001, reset_rate=0.2, short_operations=0.1
    )
    sim.keep_trace()
    port = make(sim)
    echo(port)
    for i in range(20):
        connect = dial(port)
        connect.socket.send(pattern(5000 * (i + 1)))
        connect.socket.receive(lambda *_: None)
        port.run_once(0.01)
    until = port.time() + 10
    while port.time() < until:
        port.run_once(until - port.time())
    return sim


def test_the_same_seed_gives_the_same_trace(make: Callable[..., Port]) -> None:
    first, second, other = busy(make, 1), busy(make, 1), busy(make, 2)
    assert len(first.trace()) > 1000
    assert first.counts()["retransmissions"] > 0
    assert first.counts()["faults"] > 0
    assert first.trace_hash() == second.trace_hash()
    assert first.trace() == second.trace()
    assert first.trace_hash() != other.trace_hash()


def test_what_befalls_a_connection(make: Callable[..., Port]) -> None:
    sim = Sim()
    port = make(sim)
    one, other = connected(port)
    op = other.recv(10)
    assert sim.inject_fault(one, "reset")
    finish(port, op)
    assert isinstance(op.error, ConnectionResetError)
    assert not sim.inject_fault(other, "reset") if not other.closed else True
    one, other = connected(port)
    op = other.recv(10)
    assert sim.inject_fault(one, "half_close")
    finish(port, op)
    assert op.error is None
    assert op.transferred == 0
    one, other = connected(port)
    assert sim.inject_fault(one, "vanish")
    op = other.send(pattern(1_000_000))
    since = port.time()
    run_until(port, lambda: op.done)
    assert isinstance(op.error, TimeoutError)
    assert port.time() - since > 60
    with pytest.raises(iocp_sock.ArgumentError, match="fault"):
        sim.inject_fault(one, "meteor")


def test_a_trace_tells_of_a_send(make: Callable[..., Port]) -> None:
    sim = Sim(preset="windows-2000", send_buffer=0)
    port = make(sim)
    one, other = connected(port)
    sim.keep_trace()
    finish(port, one.send(b"x" * 100), other.recv(100))
    steps = [line.step for line in sim.trace() if line.endpoint == one.fileno()]
    assert steps[:2] == ["locked", "sent"]
    assert "unlocked" in steps
    sent = next(line for line in sim.trace() if line.step == "sent" and line.length)
    assert (sent.length, sent.endpoint) == (100, one.fileno())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"preset": "beos"}, iocp_sock.ArgumentError),
        ({"seed": -1}, iocp_sock.ArgumentError),
        ({"seed": 1 << 64}, iocp_sock.ArgumentError),
        ({"seed": "1"}, iocp_sock.ArgumentTypeError),
        ({"seed": True}, iocp_sock.ArgumentTypeError),
        ({"loss": 1.5}, iocp_sock.ArgumentError),
        ({"loss": "much"}, iocp_sock.ArgumentTypeError),
        ({"loss": float("nan")}, iocp_sock.ArgumentError),
        ({"delay": -1}, iocp_sock.ArgumentError),
        ({"delay": float("inf")}, iocp_sock.ArgumentError),
        ({"mss": 0}, iocp_sock.ArgumentError),
        ({"mss": 1.5}, iocp_sock.ArgumentTypeError),
        ({"nagle": 1}, iocp_sock.ArgumentTypeError),
        ({"page_size": 5000}, iocp_sock.ArgumentError),
    ],
)
def test_a_value_that_cannot_be(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(wrong))):
        Sim(**wrong)


def test_values_are_the_presets_and_what_was_given() -> None:
    sim = Sim(preset="windows-2000", delay=0.02, loss=0.5)
    assert sim.values["receive_window"] == 17_520
    assert sim.values["ack_delay"] == 0.2
    assert sim.values["delay"] == 0.02
    assert sim.values["loss"] == 0.5
    assert dataclasses.replace(sim, seed=2).world is not sim.world
    assert sim == Sim(preset="windows-2000", delay=0.02, loss=0.5)


def test_a_socket_of_the_system_is_no_socket_of_the_model(make: Callable[..., Port]) -> None:
    port = make(Sim())
    with socket.socket() as real, pytest.raises(OSError, match=r"\w"):
        port.adopt(real)
    with pytest.raises(OSError, match=r"\w"):
        port.socket(socket.AF_INET6)


def test_a_port_dropped_with_everything_outstanding() -> None:
    sim = Sim(preset="windows-2000")
    port = Port(backend=sim)
    one, other = connected(port)
    other.recv(PAGE)
    one.send(pattern(500_000))
    echo(port)
    port.run_once(0.001)
    assert sim.machines()[0]["locked"] > 0
    KEPT.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del port, one, other
        gc.collect()
    assert sim.machines()[0]["locked"] == 0


def test_completions_by_get(make: Callable[..., Port]) -> None:
    port = make(Sim())
    one, other = connected(port)
    one.send(b"x")
    other.recv(10)
    kinds = {completion.kind for completion in drain_get(port, 2)}
    assert kinds == {"send", "receive"}


@pytest.mark.parametrize("receive", ["pooled", "direct", "zero_byte", "adaptive"])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_receive_strategy_gets_the_stream(
    make: Callable[..., Port], preset: str, receive: Any
) -> None:
    """R13: each receive strategy gets every byte, in order, over a modelled network with losses."""
    port = make(Sim(seed=3, preset=preset, loss=0.02, nagle=False))
    one, other = connected(port)
    got = bytearray()
    other.receive(lambda _, chunk: got.extend(bytes(chunk)), receive=receive)
    data = pattern(100_000)
    for at in range(0, len(data), 7001):
        one.send(data[at : at + 7001])
        port.run_once(0.001)
    run_until(port, lambda: len(got) == len(data))
    assert got == data


@pytest.mark.parametrize("send_buffer", [0, 1000, None])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_send_when_writable_locks_nothing(
    make: Callable[..., Port], preset: str, send_buffer: int | None
) -> None:
    """R15, R16: a when_writable send fills the send buffer; its rest waits without a charge."""
    sim = Sim(preset=preset, send_buffer=send_buffer, nagle=False)
    port = make(sim)
    one, other = connected(port)
    one.send_strategy = "when_writable"
    data = pattern(100_000)
    op = one.send(data)
    assert op.pending
    got = bytearray()
    other.receive(lambda _, chunk: got.extend(bytes(chunk)), receive="zero_byte")
    run_until(port, lambda: len(got) == len(data))
    finish(port, op)
    assert got == data
    assert sim.machines()[0]["locked_peak"] == port.ledger.peak == 0


def test_a_direct_send_locks_its_pages_until_the_ack(make: Callable[..., Port]) -> None:
    """R16: a direct send_strategy sets SO_SNDBUF to 0 on Windows; the modelled Linux refuses it."""
    port = make(Sim(preset="windows-10"))
    one, other = connected(port)
    one.send_strategy = "direct"
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 0
    op = one.send(b"x" * 100)
    assert op.pending
    assert port.ledger.kernel_locked == port.ledger.now > 0
    finish(port, op, other.recv(100))
    one.send_strategy = "buffered"
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 65_536
    assert one.send(b"x").outcome == "done"
    linux, _ = connected(make(Sim(preset="linux")))
    with pytest.raises(iocp_sock.ArgumentError):
        linux.send_strategy = "direct"


def test_the_nagle_stall_is_warned_of(make: Callable[..., Port]) -> None:
    """R19: the port warns of two small sends before a receive under Nagle's algorithm."""
    port = make(Sim(preset="linux"))
    one, other = connected(port)
    with pytest.warns(iocp_sock.NagleStallWarning):  # noqa: PT031 - it may come in any round
        for _ in range(8):
            one.send(b"x" * 16)
            one.send(b"y" * 48)
            answer = one.recv(6)
            finish(port, other.recv(64, flags=socket.MSG_WAITALL))
            other.send(b"answer")
            finish(port, answer)


@pytest.mark.parametrize("preset", PRESETS)
def test_wakeups_out_of_order_and_short_operations_lose_nothing(
    make: Callable[..., Port], preset: str
) -> None:
    sim = Sim(seed=5, preset=preset, shuffle_wakeups=True, short_operations=0.3, nagle=False)
    port = make(sim)
    echo(port)
    received: dict[iocp_sock.Socket, bytearray] = {}
    for number in range(30):
        client = dial(port).socket
        received[client] = bytearray()
        client.receive(lambda sock, chunk: received[sock].extend(bytes(chunk)))
        client.send(pattern(20_000, number))
    run_until(port, lambda: all(len(got) == 20_000 for got in received.values()))
    for number, got in enumerate(received.values()):
        assert got == pattern(20_000, number)
