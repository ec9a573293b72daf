"""The control socket: a running server's figures, for its own user on the same machine.

A request is a line of JSON, an object whose only key is "sockets": how many sockets to list. The
answer is a line of JSON: "name", "pid", "backend", "backend_reason", "time" (seconds of the port's
clock) and "stats", as Stats.as_dict() has them; or "error", after which the connection is closed.

Who may connect is decided three times: the socket lies in a directory that is this user's alone
(owner and mode are checked), its own mode is 0600, and the system says of each peer which user it
is (SO_PEERCRED). The client asks the same of its server.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iocp_sock.errors import ArgumentError, ControlUnavailable

if TYPE_CHECKING:
    from typing_extensions import Self

    from iocp_sock._core import Buffer, Completion, Socket
    from iocp_sock.port import Port

__all__ = ["ControlClient", "ControlServer", "running"]

MOST_CLIENTS = 8
"""Connections a server keeps; one more takes the place of the oldest."""

MOST_REQUEST = 1024
"""Bytes of requests that a client may have waiting."""

MOST_SOCKETS = 100
"""Sockets that one answer lists at most."""

_MOST_ANSWER = 1 << 20
_CREDENTIALS = struct.Struct("=iII")
_REQUEST_KEYS = {"sockets"}


class ControlServer:
    """Shows a port's figures on a control socket, which the port itself serves.

    What a client can make it hold is MOST_REQUEST bytes and one answer: the next request is looked
    at when the answer before it has gone. As a context manager it closes itself.
    Raises ControlUnavailable where there can be no control socket.
    """

    def __init__(self, port: Port, name: str) -> None:
        self.name = name
        self.path = _own_directory() / f"{os.getpid()}.sock"
        self._port = port
        self._clients: dict[Socket, _Client] = {}
        _remove_dead(self.path)
        self._listener = port.listen(str(self.path))
        try:
            os.chmod(self.path, 0o600)
            self._listener.accept_each(self._accepted)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the socket and close every connection to it."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._listener.close()
        for conn in list(self._clients):
            conn.close(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one request. Raises ArgumentError for one that cannot be."""
        sockets = _sockets_of(line)
        port = self._port
        return {
            "name": self.name,
            "pid": os.getpid(),
            "backend": port.backend,
            "backend_reason": port.backend_reason,
            "time": port.time(),
            "stats": port.stats(sockets=sockets).as_dict(),
        }

    def _accepted(self, conn: Socket) -> None:
        try:
            ours = _user_of(conn.getsockopt) == os.geteuid()
        except OSError:
            ours = False
        if not ours:
            conn.abort()
            return
        if len(self._clients) >= MOST_CLIENTS:
            oldest = next(iter(self._clients))
            del self._clients[oldest]
            oldest.abort()
        self._clients[conn] = _Client(self, conn)

    def _forget(self, conn: Socket) -> None:
        self._clients.pop(conn, None)


class _Client:
    """One connection: what it has asked for, and whether an answer is still under way."""

    def __init__(self, server: ControlServer, conn: Socket) -> None:
        self._server = server
        self._conn = conn
        self._asked = b""
        self._answering = False
        conn.receive(self._received, on_close=self._closed)

    def _received(self, conn: Socket, data: Buffer) -> None:
        if not data or len(self._asked) + len(data) > MOST_REQUEST:
            conn.close(0)
            return
        self._asked += bytes(data)
        self._answer_next()

    def _answer_next(self) -> None:
        line, newline, rest = self._asked.partition(b"\n")
        if self._answering or not newline:
            return
        self._asked = rest
        try:
            answer = self._server.answer(line)
        except OSError as error:
            self._refuse(str(error.strerror or error))
            return
        self._send(answer)

    def _refuse(self, why: str) -> None:
        self._asked = b""
        self._send({"error": why})
        self._conn.close(1)

    def _send(self, answer: dict[str, Any]) -> None:
        self._answering = True
        with contextlib.suppress(OSError):  # the peer has gone: on_close says so
            self._conn.send(json.dumps(answer).encode() + b"\n", callback=self._sent)

    def _sent(self, completion: Completion) -> None:
        self._answering = False
        if completion.error is None and not self._conn.closed:
            self._answer_next()

    def _closed(self, conn: Socket, _error: OSError | None) -> None:
        self._server._forget(conn)


class ControlClient:
    """A connection to the control socket at `path`; times are in seconds.

    Raises ControlUnavailable when the socket is another user's, and OSError when nobody serves it.
    """

    def __init__(self, path: Path, timeout: float = 5.0) -> None:
        _require_control_sockets()
        _check_owned(path.parent)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.settimeout(timeout)
            self._sock.connect(str(path))
            if _user_of(self._sock.getsockopt) != os.geteuid():
                raise ControlUnavailable(errno.EPERM, f"{path} is served by another user")
        except BaseException:
            self._sock.close()
            raise
        self._lines = self._sock.makefile("rb")

    def ask(self, sockets: int = 0) -> dict[str, Any]:
        """The server's figures, with a list of at most so many sockets.

        Raises ConnectionError when the server has gone, ArgumentError when it refuses.
        """
        try:
            self._sock.sendall(json.dumps({"sockets": sockets}).encode() + b"\n")
            line = self._lines.readline(_MOST_ANSWER)
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            raise ConnectionResetError(errno.ECONNRESET, "the server has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ArgumentError(errno.EINVAL, f"the server refused: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def running() -> dict[int, Path]:
    """The control sockets of this user that somebody serves, by the server's process id."""
    _require_control_sockets()
    found = {}
    for directory in _directories():
        with contextlib.suppress(OSError):
            _check_owned(directory)
            for path in sorted(directory.glob("*.sock")):
                if path.stem.isdigit() and _served(path):
                    found[int(path.stem)] = path
    return found


def _require_control_sockets() -> None:
    if not hasattr(socket, "AF_UNIX") or not hasattr(socket, "SO_PEERCRED"):
        raise ControlUnavailable(
            errno.ENOSYS,
            "there is no control socket on this system yet: it needs AF_UNIX and SO_PEERCRED,"
            " which Python has on Linux",
        )


def _directories() -> Iterator[Path]:
    """Where control sockets may lie, the better place first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime):
        yield Path(runtime) / "iocp-sock"
    yield Path(tempfile.gettempdir()) / f"iocp-sock-{os.geteuid()}"


def _own_directory() -> Path:
    """The first place that is, or can be made, this user's alone."""
    _require_control_sockets()
    failures = []
    for directory in _directories():
        try:
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=0o700)
            _check_owned(directory)
        except OSError as error:
            failures.append(f"{directory}: {error.strerror or error}")
        else:
            return directory
    raise ControlUnavailable(
        errno.EACCES, f"no directory for a control socket ({'; '.join(failures)})"
    )


def _check_owned(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ControlUnavailable(errno.ENOTDIR, f"{directory} is not a directory")
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ControlUnavailable(
            errno.EPERM,
            f"{directory} must belong to user {os.geteuid()} with mode 0700; it belongs to"
            f" {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}",
        )


def _remove_dead(path: Path) -> None:
    """Remove what a process of this number left; a live server's socket stays."""
    if _served(path):
        raise ControlUnavailable(errno.EADDRINUSE, f"{path} is served by another process")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # its queue is full
        except OSError:
            return False
    return True


def _user_of(getsockopt: Any) -> int:
    """The user id of the other end, as the system knows it."""
    found = getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])


def _sockets_of(line: bytes) -> int:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ArgumentError(errno.EINVAL, "a request is a line of JSON") from None
    if not isinstance(request, dict) or set(request) - _REQUEST_KEYS:
        raise ArgumentError(errno.EINVAL, 'a request is an object whose only key is "sockets"')
    sockets = request.get("sockets", 0)
    if type(sockets) is not int or not 0 <= sockets <= MOST_SOCKETS:
        raise ArgumentError(errno.EINVAL, f'"sockets" is a number from 0 to {MOST_SOCKETS}')
    return sockets
