"""One run of the demo: a server process, its load, and their figures."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from iocp_sock.cli.child import Child, ChildError, wait_for_all
from iocp_sock.cli.choices import Backend, Receive, Send
from iocp_sock.cli.latency import Latencies
from iocp_sock.cli.load import MESSAGE_BYTES, Traffic, load_demo, load_processes
from iocp_sock.cli.server import Listening, Sample, serve_demo

_WARM_UP_CONNECTIONS = 16
_SAMPLE_SECONDS = 0.1
_SETTLE_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """The parameters of a run: `hot` of the `connections` exchange messages for `seconds`.

    A message has `message` bytes. A receive that the server posts has a block of `block` bytes.
    `trace` is the file for the trace of the server's operations.
    """

    connections: int
    hot: int
    seconds: float
    backend: Backend | None
    trace: Path | None = None
    message: int = MESSAGE_BYTES
    block: int = 4096


@dataclass(frozen=True)
class Run:
    """The figures of one run; `charges` has (seconds since the start, charged bytes)."""

    receive: Receive
    backend: str
    backend_reason: str
    connections: int
    hot: int
    messages_per_second: float
    p50_us: float
    p99_us: float
    charged_bytes: int
    charged_bytes_peak: int
    rss_bytes_per_connection: float | None
    server_cpu_us: float
    server_busy: float
    charges: tuple[tuple[float, int], ...]

    def figures(self) -> dict[str, Any]:
        """Return the run in the form of the demo's JSON."""
        memory = self.rss_bytes_per_connection
        return {
            "receive": self.receive,
            "connections": self.connections,
            "hot": self.hot,
            "messages_per_second": round(self.messages_per_second, 1),
            "p50_us": round(self.p50_us, 1),
            "p99_us": round(self.p99_us, 1),
            "charged_bytes": self.charged_bytes,
            "charged_bytes_peak": self.charged_bytes_peak,
            "rss_bytes_per_connection": None if memory is None else round(memory, 1),
        }


class Watch(Protocol):
    """A display of the progress of one run of the demo; Experiment calls its methods."""

    def phase(self, title: str, total: float) -> None:
        """Begin a new phase, which is complete at `total`."""

    def show(self, done: float, note: str) -> None:
        """Show the progress of the phase, and a note."""


def measure(plan: Plan, receive: Receive, watch: Watch, send: Send = "buffered") -> Run:
    """Run the demo once with these strategies for receives and for the echo's sends."""
    with _processes(plan, receive, send) as (server, load):
        return Experiment(plan, receive, watch, server, load).run()


@contextmanager
def _processes(plan: Plan, receive: Receive, send: Send) -> Iterator[tuple[Child, list[Child]]]:
    children: list[Child] = []
    try:
        server = Child("the echo server", serve_demo, plan.backend, receive, send, plan.block)
        children.append(server)
        for number in range(load_processes(plan.hot)):
            children.append(Child(f"load process {number}", load_demo))
        yield children[0], children[1:]
    finally:
        for child in children:
            child.end()


class Experiment:
    """The execution of a plan; `run` has its phases in order."""

    def __init__(
        self, plan: Plan, receive: Receive, watch: Watch, server: Child, load: list[Child]
    ) -> None:
        self._plan = plan
        self._receive = receive
        self._watch = watch
        self._server = server
        self._load = load
        self._started = time.monotonic()
        self._charges: list[tuple[float, int]] = []

    def run(self) -> Run:
        """Run all phases. Memory is measured after a warm-up, to leave one-off costs out."""
        listening: Listening = self._server.answer()
        self._open("warming up", listening, min(_WARM_UP_CONNECTIONS, self._plan.connections))
        self._close()
        before = self._settled(0)
        self._open("opening", listening, self._plan.connections)
        idle = self._settled(self._plan.connections)
        with self._traced():
            traffic, cpu_seconds = self._drive(idle)
        quiet = self._settled(self._plan.connections)
        self._close()
        self._settled(0)
        return self._summary(listening, before, idle, quiet, traffic, cpu_seconds)

    def _open(self, title: str, listening: Listening, connections: int) -> None:
        self._watch.phase(title, connections)
        first = 0
        for child, share in zip(self._load, _shares(connections, len(self._load)), strict=True):
            child.ask("open", listening.address, share, first)
            first += share
        self._wait(
            lambda sample: self._watch.show(
                sum(child.done for child in self._load), _charge_note(sample)
            )
        )

    @contextmanager
    def _traced(self) -> Iterator[None]:
        if self._plan.trace is None:
            yield
            return
        self._server.call("start_trace")
        yield
        self._server.call("write_trace", str(self._plan.trace))

    def _drive(self, idle: Sample) -> tuple[list[Traffic], float]:
        self._watch.phase("echoing", self._plan.seconds)
        for child, share in zip(self._load, _shares(self._plan.hot, len(self._load)), strict=True):
            child.ask("drive", share, self._plan.seconds, self._plan.message)
        began = time.monotonic()
        last = idle

        def show(sample: Sample) -> None:
            nonlocal last
            last = sample
            elapsed = time.monotonic() - began
            messages = sum(child.done for child in self._load)
            rate = messages / elapsed if elapsed else 0.0  # a clock may tick every 16 ms
            self._watch.show(elapsed, f"{rate:,.0f} messages/s, {_charge_note(sample)}")

        traffic: list[Traffic] = self._wait(show)
        return traffic, self._sample().cpu_seconds - idle.cpu_seconds

    def _close(self) -> None:
        for child in self._load:
            child.ask("close")
        self._wait(lambda sample: None)

    def _wait(self, show: Callable[[Sample], None]) -> list[Any]:
        return wait_for_all(self._load, _SAMPLE_SECONDS, lambda: show(self._sample()))

    def _settled(self, connections: int) -> Sample:
        """Wait until the server has that many connections and a steady charge; return a sample."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        last = self._sample()
        while True:
            time.sleep(_SAMPLE_SECONDS / 2)
            sample = self._sample()
            if sample.connections == connections and sample.charged == last.charged:
                return sample
            if time.monotonic() > deadline:
                raise ChildError(
                    f"the echo server has {sample.connections} connections open, not {connections}"
                )
            last = sample

    def _sample(self) -> Sample:
        sample: Sample = self._server.call("sample")
        self._charges.append((time.monotonic() - self._started, sample.charged))
        return sample

    def _summary(
        self,
        listening: Listening,
        before: Sample,
        idle: Sample,
        quiet: Sample,
        traffic: list[Traffic],
        cpu_seconds: float,
    ) -> Run:
        latencies = Latencies()
        for part in traffic:
            latencies.merge(part.latencies)
        messages = latencies.total
        if not messages:
            raise ChildError("no echo came back in time; try more --seconds")
        return Run(
            receive=self._receive,
            backend=listening.backend,
            backend_reason=listening.backend_reason,
            connections=self._plan.connections,
            hot=self._plan.hot,
            messages_per_second=sum(part.messages / part.seconds for part in traffic),
            p50_us=latencies.percentile(50),
            p99_us=latencies.percentile(99),
            charged_bytes=quiet.charged,
            charged_bytes_peak=quiet.charged_peak,
            rss_bytes_per_connection=_memory_per_connection(before, idle, self._plan.connections),
            server_cpu_us=cpu_seconds / messages * 1e6,
            server_busy=cpu_seconds / max(part.seconds for part in traffic),
            charges=tuple(self._charges),
        )


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]


def _charge_note(sample: Sample) -> str:
    return f"{sample.charged:,} B charged"


def _memory_per_connection(before: Sample, idle: Sample, connections: int) -> float | None:
    if before.anonymous is None or idle.anonymous is None:
        return None
    return (idle.anonymous - before.anonymous) / connections
