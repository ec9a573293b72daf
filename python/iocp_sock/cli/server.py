"""The echo server: in this process for ``echo``, in a process of its own for ``demo``."""

import socket
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from iocp_sock import Buffer, Completion, Port, Socket
from iocp_sock.cli.child import Answer
from iocp_sock.cli.choices import Backend, Receive
from iocp_sock.cli.memory import anonymous_bytes


class EchoServer:
    """Sends back whatever arrives, and counts it."""

    def __init__(self, port: Port, address: tuple[Any, ...], receive: Receive) -> None:
        self.connections = 0
        self.messages = 0
        self.bytes = 0
        self._receive = receive
        # One bound method serves all connections: an idle one holds no Python object of its own.
        self._on_data = self._received
        self._on_close = self._closed
        self.listener = port.listen(address)
        self.listener.accept_each(self._accepted)

    def _accepted(self, conn: Socket) -> None:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn.receive(self._on_data, receive=self._receive, on_close=self._on_close)
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


@dataclass(frozen=True)
class Listening:
    """Where the demo's server listens, on which backend and why that one."""

    address: tuple[Any, ...]
    backend: str
    backend_reason: str


@dataclass(frozen=True)
class Sample:
    """The demo's server at one moment; charges and memory in bytes."""

    connections: int
    charged: int
    charged_peak: int
    anonymous: int | None
    cpu_seconds: float


def serve_demo(pipe: Connection, backend: Backend | None, receive: Receive) -> None:
    """The body of the server process: echo on loopback, answer each request with a sample."""
    with Port(backend=backend) as port:
        server = EchoServer(port, ("127.0.0.1", 0), receive)
        address = server.listener.getsockname()

        def answer(request: Completion) -> None:
            if request.value is None:
                port.stop()
            else:
                pipe.send(Answer(_sample(port, server)))

        pipe.send(Answer(Listening(address, port.backend, port.backend_reason)))
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


def _sample(port: Port, server: EchoServer) -> Sample:
    ledger = port.ledger
    return Sample(
        server.connections, ledger.now, ledger.peak, anonymous_bytes(), time.process_time()
    )
