"""Clients for the programs beside this one: each sends its name repeatedly and reads the echo."""

import socket
import threading
from collections.abc import Callable
from typing import Any

CONNECTIONS = 200
ROUNDS = 3


def _talk(address: Any, failures: list[str]) -> None:
    socks = []
    try:
        for _ in range(CONNECTIONS):
            sock = socket.create_connection(address, timeout=60)
            socks.append(sock)
        for number in range(ROUNDS):
            for index, sock in enumerate(socks):
                sock.sendall(f"client {index}, round {number}\n".encode())
            for index, sock in enumerate(socks):
                expected = f"client {index}, round {number}\n".encode()
                answer = b""
                while len(answer) < len(expected):
                    some = sock.recv(len(expected) - len(answer))
                    if not some:
                        break
                    answer += some
                if answer != expected:
                    failures.append(f"{expected!r} came back as {answer!r}")
        for sock in socks:
            sock.shutdown(socket.SHUT_WR)
        for index, sock in enumerate(socks):
            if sock.recv(1):
                failures.append(f"client {index} received more than it sent")
    except OSError as error:
        failures.append(repr(error))
    finally:
        for sock in socks:
            sock.close()


def visit(address: Any, serve: Callable[[], int]) -> int:
    """Run serve() while CONNECTIONS clients, all there at once, talk to the address.

    serve() returns how many connections it served to their end.
    """
    failures: list[str] = []
    talker = threading.Thread(target=_talk, args=(address, failures))
    talker.start()
    served = serve()
    talker.join()
    if failures:
        raise SystemExit("\n".join(failures[:5]))
    return served
