"""Addresses in the form HOST:PORT, to and from socket addresses."""

import socket
from typing import Any


def parse(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` or ``[IPV6]:PORT``; an empty host means every IPv4 interface."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} has no port: write HOST:PORT, for example 127.0.0.1:7000")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(
            f"{text!r} is ambiguous: write an IPv6 host in brackets, for example [::1]:7000"
        )
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{port!r} is not a port: write a number from 0 to 65535")
    return host or "0.0.0.0", int(port)


def resolve(host: str, port: int) -> tuple[Any, ...]:
    """Return the first stream address of the host, in the socket module's form."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise ValueError(f"the host {host!r} was not found: {error}") from None
    return found[0][4]


def written(address: tuple[Any, ...]) -> str:
    """Return the address as ``HOST:PORT``, an IPv6 host in brackets."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
