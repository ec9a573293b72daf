"""Run a scenario again and again, each time with another allocation that fails.

test_memory.py starts this script as memory_sweep.py BACKEND SCENARIO KIND STRIDE, with the library
failing_allocations preloaded. Each run lets an allocation fail that is STRIDE places after that of
the run before. The script prints one line of JSON: the number of allocations, of runs ("points"),
and of each outcome. A run must leave no object and no descriptor, whatever its outcome.
"""

import errno
import faulthandler
import gc
import json
import os
import socket
import struct
import sys
import time
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import failing_allocations

import iocp_sock
from iocp_sock import _core
from support import SLOWNESS, descriptors, settled

PATIENCE = 20.0 * SLOWNESS
MESSAGE = bytes(range(256)) * 40
NEVER = 1 << 30
# CPython 3.12 and 3.13 release a code object twice if they cannot allocate its function object, and
# crash later. In these versions no allocation of the size of a function object fails.
COLLECTOR_HEAD = 2 * struct.calcsize("P")
FUNCTION_BYTES = (
    types.FunctionType.__basicsize__ + COLLECTOR_HEAD
    if (3, 12) <= sys.version_info < (3, 14)
    else 0
)
OURS = (
    iocp_sock.Operation,
    iocp_sock.Completion,
    iocp_sock.Socket,
    iocp_sock.Timer,
    _core.Handle,
    _core.EventLoop,
)


def of_memory(error: BaseException) -> bool:
    """Return whether the error is a lack of memory."""
    return isinstance(error, MemoryError | iocp_sock.ResourceExhausted) or (
        isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.ENOBUFS)
    )


class HungError(Exception):
    """The scenario neither ended nor raised an error."""


class Run:
    """One run of a scenario, and its reported errors."""

    def __init__(self, port: iocp_sock.Port) -> None:
        self.port = port
        self.told: list[Any] = []  # reported by callbacks, operations and the error handler
        self.received = 0
        self.closed = 0
        self.server: Any = None
        # Made before any allocation fails: socket.socketpair() leaks an end if memory runs out.
        self.ends = socket.socketpair()
        self.passed: Any = ()  # ancillary data with descriptors to close
        self.deadline = time.monotonic() + PATIENCE

    def handler(self, error: BaseException, source: object) -> None:
        """Note the exception of a callback."""
        self.told.append(error)

    def completed(self, completion: Any) -> None:
        """Note an operation's error."""
        if completion.error is not None:
            self.told.append(completion.error)

    def failed(self, sock: Any, error: Any) -> None:
        """Note the error of one accept or datagram of a subscription."""
        self.told.append(error)

    def on_close(self, sock: Any, error: Any) -> None:
        """Note the end of a connection."""
        self.closed += 1
        if error is not None:
            self.told.append(error)

    def until(self, done: Callable[[], Any]) -> bool:
        """Run the port until the condition holds; returns False if an error was reported."""
        while not done():
            if self.told:
                return False
            if time.monotonic() > self.deadline:
                raise HungError
            self.port.run_once(timeout=0.05)
        return True


def listen(run: Run) -> Any:
    """Make a listener on loopback."""
    listener = run.port.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)
    return listener


def operations(run: Run) -> None:
    """Accept, connect, send and receive by single operations with callbacks."""
    listener = listen(run)
    client = run.port.socket()
    accept = listener.accept(callback=run.completed)
    reach = client.connect(listener.getsockname(), callback=run.completed)
    if not run.until(lambda: accept.done and reach.done):
        return
    if accept.error is not None:  # the accept was done at once, and its callback is still due
        run.completed(accept)
        return
    server = accept.accepted
    assert server is not None, "a success without its connection"
    into = bytearray(len(MESSAGE))
    got = server.recv_into(into, flags=socket.MSG_WAITALL, callback=run.completed)
    client.send(MESSAGE, callback=run.completed)
    if not run.until(lambda: got.done):
        return
    assert bytes(into) == MESSAGE or got.error is not None
    back = client.recv(4096, callback=run.completed)
    server.sendmsg([b"one", b"two"], callback=run.completed)
    if not run.until(lambda: back.done):
        return
    assert back.error is not None or back.data is not None, "a success without its data"
    client.close()
    server.close()
    listener.close()
    run.until(lambda: client.closed and server.closed and listener.closed)


def subscriptions(run: Run) -> None:
    """Accept, receive and echo by subscriptions, with a timer and a posted packet."""
    listener = listen(run)

    def echo(sock: Any, buffer: Any) -> None:
        if len(buffer) == 0:
            sock.close()
        else:
            sock.send(buffer)

    def arrived(sock: Any) -> None:
        run.server = sock
        sock.receive(echo, on_close=run.on_close)

    def got(sock: Any, buffer: Any) -> None:
        run.received += len(buffer)

    listener.accept_each(arrived, on_error=run.failed)
    client = run.port.socket()
    reach = client.connect(listener.getsockname(), callback=run.completed)
    if not run.until(lambda: reach.done and run.server is not None):
        return
    client.receive(got, on_close=run.on_close)
    client.send(MESSAGE)
    fired: list[int] = []
    run.port.call_later(delay=0.001, callback=lambda: fired.append(1))
    run.port.post(1, callback=lambda completion: fired.append(2))
    if not run.until(lambda: run.received == len(MESSAGE) and len(fired) == 2):
        return
    client.close()
    listener.close()
    run.until(lambda: run.closed == 2)


def completions(run: Run) -> None:
    """Take completions by get() and get_batch()."""
    listener = listen(run)
    client = run.port.socket()
    accept = listener.accept()
    client.connect(listener.getsockname())
    taken: list[Any] = []
    while len(taken) < 2:
        one = run.port.get(timeout=1)
        if one is None:
            raise HungError
        run.completed(one)
        taken.append(one)
    if run.told:
        return
    server = accept.accepted
    server.recv(100)
    client.send(b"hello")
    run.port.post("packet")
    while len(taken) < 5:
        some = run.port.get_batch(n=4, timeout=1)
        if not some:
            raise HungError
        taken += some
    for one in taken[2:]:
        run.completed(one)


def events(run: Run) -> None:
    """Wait for events, and for results."""
    listener = listen(run)
    client = run.port.socket()
    event = iocp_sock.Event()
    accept = listener.accept(event=event)
    client.connect(listener.getsockname()).result(timeout=5)
    if not event.wait(5):
        raise HungError
    if accept.error is not None:
        run.completed(accept)
        return
    server = accept.accepted
    got = server.recv(100, event=event)
    client.send(b"hello").result(timeout=5)
    if not event.wait(5):
        raise HungError
    run.completed(got)
    assert got.error is not None or got.data is not None, "a success without its data"


def connected(run: Run) -> Any:
    """Make a connection; returns its ends, or None if an error was reported."""
    listener = listen(run)
    client = run.port.socket()
    accept = listener.accept(callback=run.completed)
    reach = client.connect(listener.getsockname(), callback=run.completed)
    if not run.until(lambda: accept.done and reach.done):
        return None
    for one in (accept, reach):
        if one.error is not None:
            run.completed(one)
            return None
    listener.close()
    return client, accept.accepted


def flow(run: Run) -> None:
    """Receive in each strategy, pause, resume, and queue more than the send marks."""
    ends = connected(run)
    if ends is None:
        return
    client, server = ends
    paused: list[int] = []

    def got(sock: Any, buffer: Any) -> None:
        run.received += len(buffer)

    server.set_send_marks(high=2048, low=1024, on_pause=paused.append, on_resume=paused.append)
    client.receive(got, receive="adaptive", on_close=run.on_close)
    for strategy in ("pooled", "direct", "zero_byte"):
        client.receive_strategy = strategy
        before = run.received
        client.pause()
        server.send(MESSAGE)
        client.resume()
        if not run.until(lambda: run.received == before + len(MESSAGE)):  # noqa: B023
            return
    assert not run.port.ledger.budget or run.port.stats(sockets=2).sockets
    server.abort()
    client.close()
    run.until(lambda: run.closed == 1)


def waits(run: Run) -> None:
    """Wait for several events, for blocking calls, and for cancelled or late operations."""
    ends = connected(run)
    if ends is None:
        return
    client, server = ends
    both = [iocp_sock.Event(), iocp_sock.Event(manual_reset=False)]
    got = server.recv(10, event=both[0])
    wrote = client.send(b"first", event=both[1])
    if iocp_sock.wait_any(events=both, timeout=5) is None:
        raise HungError
    both[1].set()
    if not iocp_sock.wait_all(events=both, timeout=5):
        raise HungError
    for one in (got, wrote):
        if one.error is not None:
            run.completed(one)
            return
    assert bytes(got.data) == b"first"
    assert client.blocking.send(b"second") == 6
    assert server.blocking.recv(10) == b"second"
    late = server.recv_zero(timeout=0.001, callback=lambda completion: None)
    timer = run.port.call_later(delay=60, callback=run.on_close)
    assert timer.cancel()
    given_up = client.recv(10, callback=lambda completion: None)
    given_up.cancel()
    able = client.wait_writable()
    run.until(lambda: late.done and given_up.done and able.done)
    for one in (late, given_up):
        if not isinstance(one.error, iocp_sock.TimedOut | iocp_sock.Cancelled):
            run.completed(one)
    iocp_sock.sleep(seconds=0)


def datagrams(run: Run) -> None:
    """Exchange datagrams, by a subscription and by operations."""
    one = run.port.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other = run.port.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    other.bind(("127.0.0.1", 0))

    def echo(sock: Any, buffer: Any, sender: Any) -> None:
        run.received += len(buffer)
        sock.sendto(buffer, sender, callback=run.completed)

    one.receive_from(echo, on_error=run.failed, on_close=run.on_close)
    sent = other.sendto(b"hello", one.getsockname(), callback=run.completed)
    got = other.recvfrom(100, callback=run.completed)
    if not run.until(lambda: got.done and sent.done):
        return
    if got.error is not None:
        run.completed(got)
        return
    assert bytes(got.data) == b"hello"
    assert got.address == one.getsockname()
    one.close()
    run.until(lambda: run.closed == 1)


def messages(run: Run) -> None:
    """Pass a descriptor along with the bytes."""
    pair = [run.port.adopt(end) for end in run.ends]
    into = bytearray(4)
    got = pair[0].recvmsg_into([into], ancillary_size=64, callback=run.completed)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, (2).to_bytes(4, sys.byteorder))
    pair[1].sendmsg([b"ta", b"ke"], ancillary=[rights], callback=run.completed)
    if not run.until(lambda: got.done):
        return
    if got.error is not None:
        run.completed(got)
        return
    assert bytes(into) == b"take"
    run.passed = got.ancillary
    assert len(run.passed) == 1


def routines(run: Run) -> None:
    """Run completion routines in alertable waits."""
    pair = [run.port.adopt(end) for end in run.ends]
    ran: list[int] = []

    def routine(error: Any, count: int, operation: Any, flags: int) -> None:
        if error is not None:
            run.told.append(error)
        ran.append(count)

    got = pair[0].recv(10, routine=routine)
    pair[1].send(b"abc", routine=routine)
    while len(ran) < 2 and not run.told:
        if iocp_sock.sleep(seconds=PATIENCE, alertable=True) is not iocp_sock.ROUTINES_RAN:
            raise HungError
    assert run.told or bytes(got.data) == b"abc"


def another(run: Run) -> None:
    """Make, use and close another port."""
    chosen: Any = iocp_sock.Sim(preset="linux") if run.port.backend == "sim" else run.port.backend
    with iocp_sock.Port(backend=chosen) as port:
        port.socket().close()
        with port.trace(events=64):
            port.post(value=1)
            one = port.get(timeout=1)
        assert one is not None
        assert one.value == 1
        memory = port.register(nbytes=4096) if port.backend == "uring" else None
        if memory is not None:
            memory.release()
        port.close(timeout=0)
    if run.port.backend == "sim":
        assert chosen.counts()
        assert chosen.machines()
        assert chosen.trace() == []


class Loop(_core.EventLoop):
    """The native half of an event loop, without asyncio's."""

    def __init__(self, run: Run) -> None:
        self.told = run.told
        self._attach(run.port)
        self._closed = False

    def _callback_failed(self, handle: Any, error: BaseException) -> None:
        """Note the exception of a callback."""
        self.told.append(error)


def turn(run: Run) -> None:
    """Schedule, cancel and run callbacks, records and timers in the turns of a loop."""
    loop = Loop(run)
    seen: list[Any] = []

    def note(*arguments: Any) -> None:
        seen.append(len(arguments))

    for count in range(6):
        loop.call_soon(note, *range(count))
        loop.call_at(count, note, *range(count))
        loop.call_soon_threadsafe(note).cancel()
    for _ in range(120):
        loop.call_later(1000, note).cancel()
    run.port.post(callback=note)
    for _ in range(2):
        loop._stopping = True
        loop._run_once()
    if not run.told:
        assert seen == [*range(6), 1, *range(6)]
        assert loop._ready_handles() == loop._scheduled_handles() == []


SCENARIOS = {
    "operations": operations,
    "subscriptions": subscriptions,
    "completions": completions,
    "events": events,
    "shared": subscriptions,
    "flow": flow,
    "waits": waits,
    "datagrams": datagrams,
    "messages": messages,
    "routines": routines,
    "another": another,
    "turn": turn,
}
UNRAISABLE: list[Any] = []


def make_port(backend: str, scenario: str) -> iocp_sock.Port:
    """Make a new port; with the backend 'sim', on a new model."""
    chosen: Any = iocp_sock.Sim(preset="linux") if backend == "sim" else backend
    if scenario == "routines":
        return iocp_sock.thread_port(backend=chosen)
    if scenario == "shared":
        return iocp_sock.Port(backend=chosen, concurrency=2)
    return iocp_sock.Port(backend=chosen)


def close_passed(items: Any) -> None:
    """Close the descriptors of ancillary data."""
    for _, _, data in items:
        os.close(int.from_bytes(data[:4], sys.byteorder))


def play(port: iocp_sock.Port, scenario: str, kind: int, nth: int) -> tuple[str, int]:
    """Run the scenario with one failing allocation; return its outcome and allocation count."""
    run = Run(port)
    port.error_handler = run.handler
    body = SCENARIOS[scenario]
    raised: BaseException | None = None
    outcome = "success"
    fail, stop = failing_allocations.fail, failing_allocations.stop
    fail(kind, nth)  # only the scenario allocates up to stop()
    try:
        body(run)
    except BaseException as error:
        count = stop()
        raised = error
        outcome = "raised"
    else:
        count = stop()
    for end in run.ends:
        end.close()
    close_passed(run.passed)
    told = run.told + UNRAISABLE
    UNRAISABLE.clear()  # their tracebacks hold objects of the scenario
    if raised is None and told:
        outcome = "told"
    if raised is not None:
        told.append(raised)
    if told and not any(of_memory(error) for error in told):
        raise told[-1]
    return outcome, count


def finish(backend: str, scenario: str, kind: int, nth: int) -> tuple[str, int]:
    """Run the scenario on a new port, and check that no object and no descriptor is left."""
    before = descriptors()
    port = make_port(backend, scenario)
    result = play(port, scenario, kind, nth)
    port.error_handler = None
    port.close(0)
    iocp_sock.sleep(0, alertable=True)  # runs the routines that are due
    UNRAISABLE.clear()  # errors of callbacks that met the closing port
    settled(port)
    del port
    gc.collect()
    left = [item for item in gc.get_objects() if isinstance(item, OURS)]
    assert not left, f"objects were left: {left[:5]}"
    after = descriptors()
    assert after == before, f"descriptors were left open: {after ^ before}"
    return result


def unraisable(told: Any) -> None:
    """Keep only the exception, because the other fields refer to the object that raised it."""
    UNRAISABLE.append(told.exc_value)


def main() -> None:
    """Run the sweep."""
    backend, scenario, kind, stride = sys.argv[1:5]
    if kind == "1":
        failing_allocations.watch_interpreter(FUNCTION_BYTES)
    sys.unraisablehook = unraisable
    gc.disable()
    for _ in range(3):  # fill the interpreter's caches
        outcome, count = finish(backend, scenario, int(kind), NEVER)
        assert outcome == "success", outcome
    gc.collect()
    gc.freeze()  # existing objects are not leaks, and need no collection at each point
    table: Counter[str] = Counter()
    nth = 1
    while True:
        print(nth, file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(2 * PATIENCE, exit=True)
        outcome, seen = finish(backend, scenario, int(kind), nth)
        faulthandler.cancel_dump_traceback_later()
        if seen < nth:
            break  # beyond the last allocation
        table[outcome] += 1
        nth += int(stride)
    outcomes = {outcome: table[outcome] for outcome in ("success", "raised", "told")}
    print(json.dumps({"allocations": count, "points": table.total(), **outcomes}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
