"""Options of a socket whose value is more than a number."""

from __future__ import annotations

import socket as _socket
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

from iocp_sock.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from iocp_sock._core import Socket

__all__ = ["KeepAlive"]

_LINGER = "HH" if sys.platform == "win32" else "ii"
_MOST_SECONDS = 32767
_MOST_PROBES = 127
_REUSE_PORT: int | None = getattr(_socket, "SO_REUSEPORT", None)


class KeepAlive(NamedTuple):
    """When a silent TCP connection is asked whether its peer is still there (tcp(7))."""

    idle: int = 7200
    """Seconds without data before the first probe, from 1 to 32767 (TCP_KEEPIDLE)."""

    interval: int = 75
    """Seconds between probes, from 1 to 32767 (TCP_KEEPINTVL)."""

    probes: int = 9
    """Probes without an answer after which the connection ends, from 1 to 127 (TCP_KEEPCNT)."""


def _named(name: str) -> int:
    option: int | None = getattr(_socket, name, None)
    if option is None:
        raise ArgumentError(22, f"there is no {name} here")
    return option


def _check_tcp(sock: Socket) -> None:
    if sock.type != _socket.SOCK_STREAM or sock.family not in (_socket.AF_INET, _socket.AF_INET6):
        raise ArgumentError(22, "keep_alive belongs to TCP; this socket has no probes to send")


def get_keep_alive(sock: Socket) -> KeepAlive | None:
    """Read Socket.keep_alive."""
    _check_tcp(sock)
    if not sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE):
        return None
    return KeepAlive(
        *(
            sock.getsockopt(_socket.IPPROTO_TCP, _named(name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        )
    )


def set_keep_alive(sock: Socket, value: KeepAlive | None) -> None:
    """Write Socket.keep_alive; the probes are set before they are switched on."""
    if value is not None and not isinstance(value, KeepAlive):
        raise ArgumentTypeError(22, f"keep_alive is a KeepAlive or None, not {value!r}")
    _check_tcp(sock)
    if value is not None:
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        most = (_MOST_SECONDS, _MOST_SECONDS, _MOST_PROBES)
        for field, number, limit in zip(value._fields, value, most, strict=True):
            if not isinstance(number, int) or isinstance(number, bool):
                raise ArgumentTypeError(22, f"KeepAlive.{field} is an int, not {number!r}")
            if not 1 <= number <= limit:
                raise ArgumentError(22, f"KeepAlive.{field} is from 1 to {limit}, not {number}")
        for name, number in zip(names, value, strict=True):
            sock.setsockopt(_socket.IPPROTO_TCP, _named(name), number)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, int(value is not None))


def get_linger(sock: Socket) -> int | None:
    """Read Socket.linger."""
    size = struct.calcsize(_LINGER)
    on, seconds = struct.unpack(
        _LINGER, sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, size)
    )
    return seconds if on else None


def set_linger(sock: Socket, value: int | None) -> None:
    """Write Socket.linger."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ArgumentTypeError(22, f"linger is 0 or None, not {value!r}")
    if value not in (None, 0):
        raise ArgumentError(
            22,
            "linger is 0 or None: closing a descriptor that lingers stops its thread, and with it "
            "the port; close(timeout) gives queued sends time without that",
        )
    packed = struct.pack(_LINGER, value is not None, 0)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, packed)


def _reuse_port_option() -> int:
    if _REUSE_PORT is None:
        raise ArgumentError(22, "there is no SO_REUSEPORT here")
    return _REUSE_PORT


def get_reuse_port(sock: Socket) -> bool:
    """Read Socket.reuse_port."""
    return bool(sock.getsockopt(_socket.SOL_SOCKET, _reuse_port_option()))


def set_reuse_port(sock: Socket, value: bool) -> None:
    """Write Socket.reuse_port."""
    if not isinstance(value, bool):
        raise ArgumentTypeError(22, f"reuse_port is True or False, not {value!r}")
    sock.setsockopt(_socket.SOL_SOCKET, _reuse_port_option(), int(value))


def duplicate(sock: Socket) -> _socket.socket:
    """Do what Socket.duplicate() says."""
    copy = _socket.dup(sock.fileno())
    return _socket.socket(sock.family, sock.type, sock.proto, fileno=copy)
