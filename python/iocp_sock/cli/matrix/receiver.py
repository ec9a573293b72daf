"""The receiving end of a cell: a port of its own, run by a thread."""

from __future__ import annotations

import threading
import time
from typing import Any

from iocp_sock import Buffer, Port, Socket
from iocp_sock.cli.choices import Backend


class Receiver:
    """Takes one connection and notes when each whole message is there; answers it if asked to."""

    def __init__(
        self, backend: Backend | None, receive_buffer: int | None, message: int, answer: bytes
    ) -> None:
        self.arrivals: list[int] = []
        self.connected = threading.Event()
        self.receive_buffer_bytes = 0
        self.failure: BaseException | None = None
        self._message = message
        self._answer = answer
        self._got = 0
        self._port = Port(backend=backend)
        self._port.error_handler = self._failed
        self._receive_buffer = receive_buffer
        self._listener = self._port.listen(("127.0.0.1", 0))
        self._configure(self._listener)
        self.address: tuple[Any, ...] = self._listener.getsockname()
        self._listener.accept_each(self._accepted)
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, which closes the port."""
        self._port.stop()
        self._thread.join()

    def _run(self) -> None:
        with self._port as port:
            port.run()

    def _configure(self, sock: Socket) -> None:
        """Set the size: on the listener for the scale of the window, on what Windows accepts."""
        if self._receive_buffer is not None:
            sock.receive_buffer = self._receive_buffer

    def _accepted(self, conn: Socket) -> None:
        self._configure(conn)
        conn.nodelay = True  # its answers are no part of what is measured
        self.receive_buffer_bytes = conn.receive_buffer
        conn.receive(self._received)
        self.connected.set()

    def _received(self, conn: Socket, data: Buffer) -> None:
        if not data:
            conn.close()
            return
        now = time.perf_counter_ns()
        self._got += len(data)
        while self._got >= self._message * (len(self.arrivals) + 1):
            self.arrivals.append(now)
            if self._answer:
                conn.send(self._answer)

    def _failed(self, failure: BaseException, source: object) -> None:
        self.failure = failure
        self.connected.set()
