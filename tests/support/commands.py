"""Runs the package's commands, each in a process of its own, as users do."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from support import SLOWNESS, WINDOWS

PROGRAM = [sys.executable, "-m", "iocp_sock.cli"]
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
SECONDS = 60.0 * SLOWNESS


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    environment = {**ENVIRONMENT, **options.pop("env", {})}
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        **options,
    )


class EchoCommand:
    """A running ``iocp-sock echo`` and the address it listens on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.headline = process.stdout.readline()
        host, _, port = self.headline.split()[2].rstrip(":").rpartition(":")
        self.address = host.strip("[]"), int(port)

    def connect(self) -> socket.socket:
        """Return a raw connection to the server, with a timeout."""
        return socket.create_connection(self.address, timeout=SECONDS)

    def stop(self, wanted: str = "stopped", number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server by a signal; check that it exits with 0 and prints `wanted`.

        Windows sends no signal to a single process, and console events need a console. There the
        server is killed.
        """
        if WINDOWS:
            self.process.kill()
            self.process.communicate(timeout=SECONDS)
            return
        self.process.send_signal(number)
        said, errors = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0, errors
        assert errors == ""
        assert wanted in said


@contextmanager
def echo_command(
    *arguments: str, host: str = "127.0.0.1", env: dict[str, str] | None = None
) -> Iterator[EchoCommand]:
    """Run an echo server until the block ends."""
    process = subprocess.Popen(
        [*PROGRAM, "echo", "--listen", f"{host}:0", *arguments],
        env={**ENVIRONMENT, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield EchoCommand(process)
    finally:
        process.kill()
        process.communicate()


def read_terminal(
    terminal: int, enough: Callable[[str], bool], close: bool = True
) -> Sequence[str]:
    """Return the output to a terminal, read until `enough` accepts it or the writer ends."""
    pieces: list[str] = []
    deadline = time.monotonic() + SECONDS
    while not enough("".join(pieces)):
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, "".join(pieces)
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece.decode(errors="replace"))
    if close:
        os.close(terminal)
    return pieces
