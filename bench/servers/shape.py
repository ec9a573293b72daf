"""The common part of the server programs: options, the pieces of a reply, the end."""

import argparse
import os
import sys
import threading
from collections.abc import Callable

HOST = "127.0.0.1"
BACKLOG = 4096
_PATTERN_PERIOD = 251


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser()
    options.add_argument(
        "--pieces", type=int, default=1, help="sends per request; 1 echoes the request"
    )
    options.add_argument("--size", type=int, default=64, help="bytes of a piece")
    return options


def pieces(options: argparse.Namespace) -> list[bytes]:
    """The reply to one request: an object for each send, with the bytes that the client checks."""
    message = bytes(index % _PATTERN_PERIOD for index in range(options.size))
    return [bytes(bytearray(message)) for _ in range(options.pieces)]


def announce(port: int) -> None:
    """Prints the port, and ends the process when its stdin closes."""
    print(port, flush=True)
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def answer_stdin(answer: Callable[[], None]) -> None:
    """Answers each line on stdin in a thread, and ends the process when its stdin closes."""

    def listen() -> None:
        for _ in sys.stdin:
            answer()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
