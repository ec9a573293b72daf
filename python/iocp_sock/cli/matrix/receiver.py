"""The receiving end of a cell."""

from __future__ import annotations

from typing import Any

from iocp_sock import Buffer, Port, Socket


class Receiver:
    """Accepts one connection, notes the arrival of each whole message, and answers it if wanted.

    Arrivals are in nanoseconds of Port.time().
    """

    def __init__(
        self, port: Port, host: str, receive_buffer: int | None, message: int, answer: bytes
    ) -> None:
        self.arrivals: list[int] = []
        self.connected = False
        self.receive_buffer_bytes = 0
        self.failure: BaseException | None = None
        self._message = message
        self._answer = answer
        self._got = 0
        self._port = port
        port.error_handler = self._failed
        self._receive_buffer = receive_buffer
        self._listener = port.listen((host, 0))
        self._configure(self._listener)
        self.address: tuple[Any, ...] = self._listener.getsockname()
        self._listener.accept_each(self._accepted)

    def _configure(self, sock: Socket) -> None:
        """Set the receive buffer.

        The listener needs it for the scale of TCP's window, and the connection needs it on Windows.
        """
        if self._receive_buffer is not None:
            sock.receive_buffer = self._receive_buffer

    def _accepted(self, conn: Socket) -> None:
        self._configure(conn)
        conn.nodelay = True  # the answers are no part of the measurement
        self.receive_buffer_bytes = conn.receive_buffer
        conn.receive(self._received)
        self.connected = True

    def _received(self, conn: Socket, data: Buffer) -> None:
        if not data:
            conn.close()
            return
        now = nanoseconds(self._port)
        self._got += len(data)
        while self._got >= self._message * (len(self.arrivals) + 1):
            self.arrivals.append(now)
            if self._answer:
                conn.send(self._answer)

    def _failed(self, failure: BaseException, source: object) -> None:
        self.failure = failure


def nanoseconds(port: Port) -> int:
    """Return Port.time() in whole nanoseconds, virtual ones on a model."""
    return round(port.time() * 1e9)
