"""Echo servers in processes of their own: the known kinds of server, and a running server."""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench import wine
from bench.machine import pinned
from bench.program import CompileError, program, windows_program
from bench.selection import choose

_ROOT = Path(__file__).parent.parent
_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_COMPLAINT_BYTES = 4096
_SETTLED_READINGS = 3
_SETTLE_PAUSE = 0.1


class ServerUnavailable(RuntimeError):
    """The server cannot run on this machine; the message gives the reason."""


class ServerSilent(RuntimeError):
    """The server ended, or does not answer; the message is its last line on stderr, if any."""


@dataclass(frozen=True)
class Server:
    """A kind of server: its name in reports, the command that starts it, and where it runs."""

    name: str
    command: Callable[[], list[str]]
    pieces_only: bool = False
    whole_only: bool = False
    under_wine: bool = False

    def start(self, cpu: int, *, pieces: int = 1, size: int = 64) -> "RunningServer":
        """Starts the server on one CPU.

        With pieces > 1 each answer has that many sends of `size` bytes.
        """
        try:
            command = [*self.command(), "--pieces", str(pieces), "--size", str(size)]
        except CompileError as error:
            raise ServerUnavailable(str(error)) from error
        return RunningServer(command, cpu, wine.environment() if self.under_wine else None)


class RunningServer:
    """A server process that has printed its port; leaving the context ends it.

    With an environment the process is a Windows program under Wine. `also` is then the pid of
    Wine's server, which works for the program. Both processes are pinned to the CPU.
    """

    def __init__(self, command: list[str], cpu: int, environment: dict[str, str] | None) -> None:
        self._open = contextlib.ExitStack()
        # The server's stderr is a pipe, because under Wine a regular file as stderr is fatal to a
        # program.
        self._errors, errors = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._open.callback(os.close, self._errors)
        self.also = None if environment is None else wine.server_pid(cpu)
        with pinned(cpu):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=_ROOT,
                env=environment,
            )  # fmt: skip
        os.close(errors)
        self._open.callback(self._end)
        self.pid = self._process.pid
        try:
            self.port = self._read_port()
        except BaseException:
            self.stop()
            raise

    def _read_port(self) -> int:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _START_SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if not line.strip().isdigit():
            raise ServerUnavailable(
                self.complaint() or f"the server printed no port within {_START_SECONDS:.0f} s"
            )
        return int(line)

    def complaint(self) -> str:
        """The server's last line on stderr."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.2)
        written = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._errors, _COMPLAINT_BYTES):
                written = chunk
        lines = written.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def ask(self, question: str) -> str:
        """Writes a line to the server's stdin, and returns its answer, one line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(question.encode() + b"\n")
            self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], _START_SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            late = f"the server gave no answer within {_START_SECONDS:.0f} s"
            raise ServerSilent(self.complaint() or late)
        return line.decode()

    def open_files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def anonymous_bytes(self) -> int:
        """RssAnon: the resident private memory of the process."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("this kernel reports no RssAnon")

    def settled_anonymous_bytes(self, *, limit: float = 10.0) -> int:
        """RssAnon once several readings in a row agree, or the last one after `limit` seconds."""
        end = time.monotonic() + limit
        readings = [self.anonymous_bytes()]
        while time.monotonic() < end:
            time.sleep(_SETTLE_PAUSE)
            readings = [*readings[1 - _SETTLED_READINGS :], self.anonymous_bytes()]
            if len(readings) == _SETTLED_READINGS and len(set(readings)) == 1:
                break
        return readings[-1]

    def stop(self) -> None:
        self._open.close()

    def _end(self) -> None:
        if self.also is None:
            self._process.terminate()
        else:  # killing the program while its peers close could end Wine's server too
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=_STOP_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> "RunningServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def python_server(module: str, *arguments: str) -> Callable[[], list[str]]:
    """The command of a Python server, for Server.command."""
    return lambda: [sys.executable, "-m", f"bench.servers.{module}", *arguments]


def _native(name: str) -> Callable[[], list[str]]:
    return lambda: [str(program(name))]


def _windows(module: str, *arguments: str) -> Callable[[], list[str]]:
    return lambda: [*wine.python(), "-m", f"bench.servers.{module}", *arguments]


def _windows_native(name: str) -> Callable[[], list[str]]:
    return lambda: wine.native(windows_program(name))


ASYNCIO = Server("asyncio", python_server("protocol_server", "--loop", "asyncio"))
UVLOOP = Server("uvloop", python_server("protocol_server", "--loop", "uvloop"))
LOOPS = [
    Server(f"loop-{backend}", python_server("protocol_server", "--loop", backend))
    for backend in ("uring", "epoll")
]

BUFFERED = [
    Server(
        f"{name}-buffered",
        python_server("protocol_server", "--loop", loop, "--buffered"),
        whole_only=True,
    )
    for name, loop in (("loop-uring", "uring"), ("loop-epoll", "epoll"), ("uvloop", "uvloop"))
]

ECHO_SERVERS = [
    Server("iocp_sock-uring", python_server("iocp_server", "--backend", "uring")),
    Server("iocp_sock-epoll", python_server("iocp_server", "--backend", "epoll")),
    *LOOPS,
    UVLOOP,
    ASYNCIO,
    Server(
        "uvloop-writelines",
        python_server("protocol_server", "--loop", "uvloop", "--writelines"),
        pieces_only=True,
    ),
    *BUFFERED,
    Server("c-epoll", _native("epoll_echo")),
    Server("c-uring", _native("uring_echo")),
]

PROACTOR = Server("proactor", _windows("protocol_server", "--loop", "asyncio"), under_wine=True)

WINDOWS_SERVERS = [
    Server("iocp_sock-iocp", _windows("iocp_server", "--backend", "iocp"), under_wine=True),
    Server(
        "iocp_sock-iocp-direct",
        _windows("iocp_server", "--backend", "iocp", "--receive", "direct", "--block", "65536"),
        under_wine=True,
    ),
    PROACTOR,
    Server("winloop", _windows("protocol_server", "--loop", "winloop"), under_wine=True),
    Server("c-iocp", _windows_native("iocp_echo"), under_wine=True),
]

IDLE_SERVERS = [
    *(
        Server(
            f"iocp_sock-{backend}-{receive}",
            python_server("iocp_server", "--backend", backend, "--receive", receive),
        )
        for backend in ("uring", "epoll")
        for receive in ("pooled", "zero_byte", "direct")
    ),
    *LOOPS,
    UVLOOP,
    ASYNCIO,
]


def with_before(known: list[Server], directory: str | None) -> list[Server]:
    """Adds the servers of this package as they are in another tree, to compare two builds."""
    if directory is None:
        return known
    path = f"PYTHONPATH={Path(directory).resolve()}"
    ours = [server for server in known if server.name.startswith(("iocp_sock-", "loop-"))]
    return known + [
        Server(
            "before-" + server.name.removeprefix("iocp_sock-"),
            lambda command=server.command: ["env", path, *command()],
            whole_only=server.whole_only,
        )
        for server in ours
        if not server.under_wine
    ]


def select_servers(known: list[Server], names: list[str] | None) -> list[Server]:
    """The servers of these names, or all. An unknown name ends the program."""
    if names is None:
        return known
    return choose("server", {server.name: server for server in known}, names)
