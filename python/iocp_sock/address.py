"""The family of an address, and the port number of a service, before a socket exists.

The core converts an address to the system's form (cpp/bindings/address_argument.cpp). No other code
has rules for the addresses of bind, listen, connect, sendto, connect_by_name and the blocking
calls.
"""

from __future__ import annotations

import errno
import operator
import os
import re
import socket as _socket
from typing import Any

from iocp_sock.errors import ArgumentError, ArgumentTypeError

__all__ = ["AF_UNIX", "family_of", "port_number"]

AF_UNIX: int | None = getattr(_socket, "AF_UNIX", None)

_HOST_AND_PORT = re.compile(r"([^/\0]*):([0-9]{1,5})", re.DOTALL)
_NUMBER = re.compile(r"\s*([+-]?)0*([0-9]+)")
_HOST = (str, bytes, bytearray)


def family_of(address: Any) -> int:
    """Return the family of an address: a path is AF_UNIX, a host with a colon AF_INET6.

    Raises ArgumentTypeError for an object that is not an address. Raises ArgumentError for
    "host:port", which would be the path of an AF_UNIX socket.
    """
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], _HOST):
        colon: Any = ":" if isinstance(address[0], str) else b":"
        return _socket.AF_INET6 if len(address) > 2 or colon in address[0] else _socket.AF_INET
    if not isinstance(address, (*_HOST, os.PathLike)):
        raise ArgumentTypeError(
            errno.EINVAL,
            f"an address must be a tuple (host, port), or a path for AF_UNIX, not {address!r}",
        )
    if not isinstance(address, os.PathLike):
        _refuse_host_and_port(address)
    if AF_UNIX is None:
        raise ArgumentError(
            errno.EINVAL, "this system has no AF_UNIX: an address must be a tuple (host, port)"
        )
    return AF_UNIX


def port_number(service: Any) -> int | None:
    """Return the port number of a service, or None for a name.

    Raises ArgumentError for a number out of range, which getaddrinfo() would take modulo 65536.
    """
    if service is None or isinstance(service, (str, bytes)):
        text = service.decode("latin-1") if isinstance(service, bytes) else service or ""
        digits = _NUMBER.fullmatch(text)
        if digits is None:
            return None
        sign, number = digits.groups()
        value = 65536 if len(number) > 5 else int(sign + number)
    else:
        try:
            value = operator.index(service)
        except TypeError:
            raise ArgumentTypeError(
                errno.EINVAL, f"a service must be a port number or a name, not {service!r}"
            ) from None
    if not 0 <= value <= 65535:
        raise ArgumentError(
            errno.EINVAL, f"a port must be a number from 0 to 65535, not {service!r}"
        )
    return value


def _refuse_host_and_port(address: str | bytes | bytearray) -> None:
    text = address if isinstance(address, str) else address.decode("latin-1")
    found = _HOST_AND_PORT.fullmatch(text)
    if found is not None:
        host = found[1][1:-1] if found[1].startswith("[") else found[1]
        raise ArgumentError(
            errno.EINVAL,
            f"{address!r} would be the path of an AF_UNIX socket; did you mean"
            f" ({host!r}, {int(found[2])})? A path of this form is written './{text}'",
        )
