"""A path with a delay: two TUN devices in two network namespaces, and a program between them.

with Relay(delay=0.01) as path:
    with path.far.entered():
        listener = socket.create_server((FAR_ADDRESS, 0))
    with path.near.entered():
        client = socket.create_connection(listener.getsockname())

The relay changes nothing outside the two namespaces, which end with the block or the process.
"""

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench import tun
from bench.namespace import Namespace
from bench.program import program

NEAR_ADDRESS = "192.0.2.1"
FAR_ADDRESS = "192.0.2.2"
_NETMASK = "255.255.255.0"
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
"""The congestion control of one namespace: that of the thread that opens this file."""
_MAX_DELAY = 10.0
_ENDING_SECONDS = 10.0


class RelayUnavailable(OSError):
    """This machine cannot have a relay; the message names the missing right or device."""


@dataclass(frozen=True)
class Traffic:
    """The traffic through a relay.

    The packets that arrived, the lost ones, and the maximum lateness of the others, in
    microseconds.
    """

    packets: int
    lost: int
    late_us: int


class Relay:
    """Two namespaces, `near` and `far`, joined by a path with a delay of `delay` seconds each way.

    The path drops the part `loss` of the packets, from 0 to 1, chosen by `seed`. TCP in both
    namespaces has the congestion control `congestion`, or the machine's default. Raises ValueError
    for an invalid delay, loss or congestion control, RelayUnavailable if namespaces or TUN devices
    cannot be made, and CompileError without a C compiler.
    """

    def __init__(
        self, delay: float = 0.01, loss: float = 0.0, seed: int = 0, congestion: str | None = None
    ) -> None:
        if not 0 <= delay <= _MAX_DELAY:
            raise ValueError(f"delay must be from 0 to {_MAX_DELAY:.0f} seconds, not {delay!r}")
        if not 0 <= loss <= 1:
            raise ValueError(f"loss must be from 0 to 1, not {loss!r}")
        self.delay = delay
        self._words: list[str] = []
        executable = program("relay")
        with contextlib.ExitStack() as made:
            self.near, self.far = (_namespace(made) for _ in range(2))
            one = _device(made, self.near, NEAR_ADDRESS)
            other = _device(made, self.far, FAR_ADDRESS)
            if congestion is not None:
                for namespace in (self.near, self.far):
                    _set_congestion(namespace, congestion)
            options = {
                "--one": one,
                "--other": other,
                "--delay-us": delay * 1e6,
                "--loss-ppm": round(loss * 1e6),
                "--seed": seed,
            }
            self._process = subprocess.Popen(
                [str(executable), *(str(part) for pair in options.items() for part in pair)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=(one, other),
            )
            made.callback(self._end_process)
            assert self._process.stdout is not None
            if self._process.stdout.readline() != "ready\n":
                raise RelayUnavailable(0, "the relay's program did not start")
            self._made = made.pop_all()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    def close(self) -> Traffic:
        """End the path and return its traffic. Connections across it get no packets any more.

        Raises RuntimeError if the relay's program failed.
        """
        self._made.close()
        if self._process.returncode != 0:
            raise RuntimeError(f"the relay's program ended with status {self._process.returncode}")
        return Traffic(*(int(word) for word in self._words[1::2]))

    def _end_process(self) -> None:
        """Close the relay program's input, which ends it, and kill it if it does not end."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._words = process.stdout.read().split()
        process.stdout.close()


def obstacle() -> str | None:
    """The reason why this machine cannot have a relay, or None."""
    try:
        with Relay(delay=0):
            return None
    except OSError as error:
        return str(error)


def _namespace(made: contextlib.ExitStack) -> Namespace:
    try:
        namespace = Namespace()
    except OSError as error:
        text = f"a network namespace needs root or CAP_SYS_ADMIN: {error.strerror}"
        raise RelayUnavailable(error.errno, text) from error
    made.callback(namespace.close)
    return namespace


def _set_congestion(namespace: Namespace, name: str) -> None:
    with namespace.entered():
        try:
            _CONGESTION.write_text(name, encoding="ascii")
        except OSError as error:
            raise ValueError(f"congestion control {name!r}: {error.strerror}") from error


def _device(made: contextlib.ExitStack, namespace: Namespace, address: str) -> int:
    try:
        with namespace.entered():
            descriptor = tun.open_device("relay0", address, _NETMASK)
    except OSError as error:
        text = f"{tun.PATH} with CAP_NET_ADMIN is needed: {error.strerror}"
        raise RelayUnavailable(error.errno, text) from error
    made.callback(os.close, descriptor)
    return descriptor
