"""The options of a socket whose value is more than a number."""

from __future__ import annotations

import errno
import socket as _socket
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

from iocp_sock.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from iocp_sock._core import Socket

__all__ = ["KeepAlive"]

_LINGER = "HH" if sys.platform == "win32" else "ii"
_MAX_SECONDS = 32767
_MAX_PROBES = 127
_REUSE_PORT: int | None = getattr(_socket, "SO_REUSEPORT", None)


class KeepAlive(NamedTuple):
    """The times and the number of the system's probes on a silent TCP connection (tcp(7))."""

    idle: int = 7200
    """The seconds without data before the first probe, from 1 to 32767 (TCP_KEEPIDLE)."""

    interval: int = 75
    """The seconds between probes, from 1 to 32767 (TCP_KEEPINTVL)."""

    probes: int = 9
    """The number of unanswered probes that ends the connection, from 1 to 127 (TCP_KEEPCNT)."""


def _named(name: str) -> int:
    option: int | None = getattr(_socket, name, None)
    if option is None:
        raise ArgumentError(errno.EINVAL, f"this system has no {name}")
    return option


def _check_tcp(sock: Socket) -> None:
    if sock.type != _socket.SOCK_STREAM or sock.family not in (_socket.AF_INET, _socket.AF_INET6):
        raise ArgumentError(
            errno.EINVAL, "keep_alive needs a TCP socket; other sockets send no probes"
        )


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
    """Set Socket.keep_alive: first the numbers, then the switch."""
    if value is not None and not isinstance(value, KeepAlive):
        raise ArgumentTypeError(
            errno.EINVAL, f"keep_alive must be a KeepAlive or None, not {value!r}"
        )
    _check_tcp(sock)
    if value is not None:
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        most = (_MAX_SECONDS, _MAX_SECONDS, _MAX_PROBES)
        for field, number, limit in zip(value._fields, value, most, strict=True):
            if not isinstance(number, int) or isinstance(number, bool):
                raise ArgumentTypeError(
                    errno.EINVAL, f"KeepAlive.{field} must be an int, not {number!r}"
                )
            if not 1 <= number <= limit:
                raise ArgumentError(
                    errno.EINVAL, f"KeepAlive.{field} must be from 1 to {limit}, not {number}"
                )
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
    """Set Socket.linger."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ArgumentTypeError(errno.EINVAL, f"linger must be 0 or None, not {value!r}")
    if value not in (None, 0):
        raise ArgumentError(
            errno.EINVAL,
            f"linger must be 0 or None, not {value}: closing a lingering descriptor would stop "
            "the port's thread; use close(timeout) to give queued sends time",
        )
    packed = struct.pack(_LINGER, value is not None, 0)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, packed)


def _reuse_port_option() -> int:
    if _REUSE_PORT is None:
        raise ArgumentError(errno.EINVAL, "this system has no SO_REUSEPORT; leave reuse_port unset")
    return _REUSE_PORT


def get_reuse_port(sock: Socket) -> bool:
    """Read Socket.reuse_port."""
    return bool(sock.getsockopt(_socket.SOL_SOCKET, _reuse_port_option()))


def set_reuse_port(sock: Socket, value: bool) -> None:
    """Set Socket.reuse_port."""
    if not isinstance(value, bool):
        raise ArgumentTypeError(errno.EINVAL, f"reuse_port must be True or False, not {value!r}")
    sock.setsockopt(_socket.SOL_SOCKET, _reuse_port_option(), int(value))


def duplicate(sock: Socket) -> _socket.socket:
    """Implement Socket.duplicate()."""
    copy = _socket.dup(sock.fileno())
    try:
        return _socket.socket(sock.family, sock.type, sock.proto, fileno=copy)
    except BaseException:
        _socket.close(copy)  # a watched descriptor that is no socket
        raise
