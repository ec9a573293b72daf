"""The echo server: in this process for ``echo``, in its own process for ``demo``."""

import contextlib
import errno
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from iocp_sock import Buffer, Completion, ControlUnavailable, Port, Socket, Trace
from iocp_sock.cli.child import Answer, Failure
from iocp_sock.cli.choices import Backend, Receive, Send
from iocp_sock.cli.memory import anonymous_bytes
from iocp_sock.control import ControlServer


class EchoServer:
    """Sends all received data back, and counts it."""

    def __init__(
        self,
        port: Port,
        address: tuple[Any, ...],
        receive: Receive,
        send: Send = "buffered",
        block: int = 4096,
    ) -> None:
        self.connections = 0
        self.messages = 0
        self.bytes = 0
        self._receive = receive
        self._send = send
        self._block = block
        # One bound method serves all connections, so that an idle connection has no Python object
        # of its own.
        self._on_data = self._received
        self._on_close = self._closed
        self.listener = port.listen(address)
        self.listener.accept_each(self._accepted)

    def _accepted(self, conn: Socket) -> None:
        if self._send != "buffered":
            conn.send_strategy = self._send
        conn.receive(
            self._on_data, receive=self._receive, size=self._block, on_close=self._on_close
        )
        self.connections += 1

    def _received(self, conn: Socket, data: Buffer) -> None:
        if not data:
            conn.close()
            return
        self.messages += 1
        self.bytes += len(data)
        try:
            conn.send(data)
        except OSError:
            conn.abort()

    def _closed(self, conn: Socket, error: OSError | None) -> None:
        self.connections -= 1


def controlled(
    port: Port, name: str, wanted: bool | None = None
) -> contextlib.AbstractContextManager[object]:
    """Serve a control socket, unless `wanted` is False.

    If the socket cannot be made, `wanted` True raises ControlUnavailable. None prints the reason,
    except on a system without control sockets.
    """
    if wanted is False:
        return contextlib.nullcontext()
    try:
        return ControlServer(port, name)
    except ControlUnavailable as error:
        if wanted:
            raise
        if error.errno != errno.ENOSYS:
            print(f"iocp-sock: no control socket: {error.strerror}", file=sys.stderr)
        return contextlib.nullcontext()


@dataclass(frozen=True)
class Listening:
    """The address of the demo's server, its backend, and the reason for that backend."""

    address: tuple[Any, ...]
    backend: str
    backend_reason: str


@dataclass(frozen=True)
class Sample:
    """The figures of the demo's server at one moment; charges and memory in bytes."""

    connections: int
    charged: int
    charged_peak: int
    anonymous: int | None
    cpu_seconds: float


class DemoServer:
    """The demo's echo server, with a method for each request of its pipe."""

    def __init__(self, port: Port, receive: Receive, send: Send, block: int) -> None:
        self._port = port
        self._server = EchoServer(port, ("127.0.0.1", 0), receive, send, block)
        self._trace: Trace | None = None

    def listening(self) -> Listening:
        """Return the server's address and backend."""
        port = self._port
        return Listening(self._server.listener.getsockname(), port.backend, port.backend_reason)

    def sample(self) -> Sample:
        """Return the server's figures now."""
        ledger = self._port.ledger
        return Sample(
            self._server.connections,
            ledger.now,
            ledger.peak,
            anonymous_bytes(),
            time.process_time(),
        )

    def start_trace(self) -> None:
        """Record the life of operations from now on; later events overwrite the oldest."""
        self._trace = self._port.trace()

    def write_trace(self, path: str) -> None:
        """End the trace and write it to a file."""
        if self._trace is not None:
            self._trace.stop().write(path)


def serve_demo(
    pipe: Connection, backend: Backend | None, receive: Receive, send: Send, block: int
) -> None:
    """Run the server process: echo on loopback, and answer the requests of the pipe."""
    with Port(backend=backend) as port, controlled(port, "demo"):
        server = DemoServer(port, receive, send, block)

        def answer(request: Completion) -> None:
            if request.value is None:
                port.stop()
                return
            name, arguments = request.value
            try:
                pipe.send(Answer(getattr(server, name)(*arguments)))
            except OSError as error:
                pipe.send(Failure(str(error)))

        pipe.send(Answer(server.listening()))
        relay = threading.Thread(target=_relay, args=(pipe, port, answer), daemon=True)
        relay.start()
        port.run()


def _relay(pipe: Connection, port: Port, answer: Any) -> None:
    while True:
        try:
            request = pipe.recv()
        except (EOFError, OSError):
            request = None
        port.post(request, callback=answer)
        if request is None:
            return
