"""Peers on the model: the far side of a connection, with the methods of a blocking socket."""

import errno
import os
import socket
from typing import Any

import iocp_sock
from support import PATIENCE, Peers, linger

MOMENT = 0.002
"""Virtual seconds in which a local network delivers data in flight."""


class LacksError(Exception):
    """The model lacks a feature that a test uses; the text names it."""


def pass_time(port: iocp_sock.Port, seconds: float) -> None:
    """Let virtual time pass, even if callbacks of the port run meanwhile."""
    end = port.time() + seconds
    while (left := end - port.time()) > 0:
        port.run_once(left)


class SimPeer:
    """One end of a modelled connection, with methods of socket.socket.

    All peers of a test share one machine, which no port of the test uses. Blocking calls let
    virtual time pass. Sent data has arrived when send() returns, as on loopback.
    """

    def __init__(self, port: iocp_sock.Port, sock: iocp_sock.Socket) -> None:
        self._port = port
        self.own = sock
        self._patience: float | None = PATIENCE

    family = socket.AF_INET
    type = socket.SOCK_STREAM

    def __enter__(self) -> "SimPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        raise LacksError("a raw peer on the model has no descriptor")

    def settimeout(self, seconds: float | None) -> None:
        self._patience = seconds

    def setblocking(self, blocking: bool) -> None:
        self._patience = None if blocking else 0.0

    def getsockname(self) -> Any:
        return self.own.getsockname()

    def getpeername(self) -> Any:
        return self.own.getpeername()

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.own.linger = 0 if value == linger(0) else None
        else:
            self.own.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, length: int = 0) -> Any:
        return self.own.getsockopt(level, option, length)

    def bind(self, address: Any) -> None:
        self.own.bind(address)

    def listen(self, backlog: int = 128) -> None:
        self.own.listen(backlog)

    def accept(self) -> tuple["SimPeer", Any]:
        operation = self.own.accept()
        self._complete(operation)
        assert operation.accepted is not None
        peer = SimPeer(self._port, operation.accepted)
        return peer, peer.getpeername()

    def connect(self, address: Any) -> None:
        self._complete(self.own.connect(address))

    def connect_ex(self, address: Any) -> int:
        operation = self.own.connect(address)
        self.pause()
        return 0 if operation.done else errno.EINPROGRESS

    def shutdown(self, how: int) -> None:
        self.own.shutdown(how)
        self.pause()

    def close(self) -> None:
        self.own.close()
        self.pause()

    def sendall(self, data: Any) -> None:
        self._complete(self.own.send(data))
        self.pause()

    def send(self, data: Any) -> int:
        if self._patience is None or self._patience > 0:
            self.sendall(data)
            return len(data)
        sent = self.own.try_send(data)
        self.pause()
        if not sent and len(data):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return sent

    def recv(self, nbytes: int, flags: int = 0) -> bytes:
        if flags:
            raise LacksError("a raw peer on the model takes no flags in recv()")
        end = None if self._patience is None else self._port.time() + self._patience
        while (data := self.own.try_recv(nbytes)) is None:
            if end is not None and self._port.time() >= end:
                if not self._patience:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                raise TimeoutError("timed out")
            self._port.run_once(MOMENT)
        return bytes(data)

    def recv_into(self, buffer: Any) -> int:
        taken = self.recv(len(buffer))
        buffer[: len(taken)] = taken
        return len(taken)

    def readable(self, patience: float = 0.0) -> bool:
        """Return whether recv() would not block, after a virtual wait of at least MOMENT."""
        looking = self.own.recv_zero()
        end = self._port.time() + max(patience, MOMENT)
        while not looking.done and self._port.time() < end:
            self._port.run_once(end - self._port.time())
        found = looking.done
        if not found:
            looking.cancel()
        self._port.run_once(0)
        return found

    def pause(self) -> None:
        """Let enough virtual time pass for data in flight to arrive."""
        pass_time(self._port, MOMENT)

    def _complete(self, operation: iocp_sock.Operation) -> None:
        end = None if self._patience is None else self._port.time() + max(self._patience, MOMENT)
        while not operation.done:
            if end is not None and self._port.time() >= end:
                operation.cancel()
                self.pause()
                raise TimeoutError("timed out")
            self._port.run_once(MOMENT)
        if operation.error is not None:
            raise operation.error


class SimPeers(Peers):
    """Peers on one further machine of the model that the test's ports share."""

    def __init__(self, sim: iocp_sock.Sim) -> None:
        super().__init__()
        self._far = iocp_sock.Port(backend=sim)
        self.open.callback(self._far.close, 0)

    def pass_time(self, seconds: float) -> None:
        """Let virtual time pass without running the ports of the test."""
        pass_time(self._far, seconds)

    def keep(self, sock: Any) -> Any:
        if not isinstance(sock, SimPeer):
            raise LacksError("a raw peer on the model cannot be a socket of the operating system")
        return self.open.enter_context(sock)

    def raw(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> Any:
        if family != socket.AF_INET or kind != socket.SOCK_STREAM:
            raise LacksError("the model has no families and types besides TCP over IPv4")
        return self.keep(SimPeer(self._far, self._far.socket(family, kind)))

    def tcp(
        self, port: iocp_sock.Port, buffers: int = 0, family: int = socket.AF_INET
    ) -> tuple[iocp_sock.Socket, Any]:
        if family != socket.AF_INET:
            raise LacksError("IPv6")
        return super().tcp(port, buffers, family)

    def pair(
        self, port: iocp_sock.Port, kind: int = socket.SOCK_STREAM
    ) -> tuple[iocp_sock.Socket, Any]:
        """Make a TCP connection, because the model has no socket pairs."""
        if kind != socket.SOCK_STREAM:
            raise LacksError("datagrams")
        return self.tcp(port)

    def both(self, port: iocp_sock.Port, how: str, buffers: int = 0) -> tuple[Any, Any]:
        if how != "tcp":
            raise LacksError("AF_UNIX")
        return self.tcp(port, buffers)
