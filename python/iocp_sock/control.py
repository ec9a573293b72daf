"""The control socket: shows a running server's figures to its own user on the same machine.

A request is a line of JSON, an object whose only key is "sockets": the number of sockets to list.
The answer is a line of JSON: "name", "pid", "backend", "backend_reason", "time" (seconds of the
port's clock) and "stats" (Stats.as_dict()). Or it has "error", and the connection is then closed.

Three checks admit a client. The socket's directory belongs to this user alone (owner and mode). The
socket's own mode is 0600. The system names the user of each peer (SO_PEERCRED). The client checks
its server's user in the same way.
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

MAX_CLIENTS = 8
"""The maximum of connections of a server; one more replaces the oldest."""

MAX_REQUEST = 1024
"""The maximum of a client's waiting requests, in bytes."""

MAX_SOCKETS = 100
"""The maximum of sockets in one answer."""

_MAX_ANSWER = 1 << 20
_CREDENTIALS = struct.Struct("=iII")
_REQUEST_KEYS = {"sockets"}


class ControlServer:
    """Shows a port's figures on a control socket that the port itself serves.

    A client costs at most MAX_REQUEST bytes and one answer of memory, because the server answers a
    request only when the last answer was sent. As a context manager the object closes itself.
    Raises ControlUnavailable if the socket cannot be made.
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
        """Return the answer to one request. Raises ArgumentError for an invalid request."""
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
        if len(self._clients) >= MAX_CLIENTS:
            oldest = next(iter(self._clients))
            del self._clients[oldest]
            oldest.abort()
        self._clients[conn] = _Client(self, conn)

    def _forget(self, conn: Socket) -> None:
        self._clients.pop(conn, None)


class _Client:
    """One connection: the bytes of its requests, and whether an answer is still being sent."""

    def __init__(self, server: ControlServer, conn: Socket) -> None:
        self._server = server
        self._conn = conn
        self._asked = b""
        self._answering = False
        conn.receive(self._received, on_close=self._closed)

    def _received(self, conn: Socket, data: Buffer) -> None:
        if not data or len(self._asked) + len(data) > MAX_REQUEST:
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
        with contextlib.suppress(OSError):  # if the peer has gone, on_close follows
            self._conn.send(json.dumps(answer).encode() + b"\n", callback=self._sent)

    def _sent(self, completion: Completion) -> None:
        self._answering = False
        if completion.error is None and not self._conn.closed:
            self._answer_next()

    def _closed(self, conn: Socket, _error: OSError | None) -> None:
        self._server._forget(conn)


class ControlClient:
    """A connection to the control socket at `path`; `timeout` is in seconds.

    Raises ControlUnavailable if the socket is another user's, and OSError if no process serves it.
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
        """Return the server's figures, with a list of at most `sockets` sockets.

        Raises ConnectionError if the server has ended, and ArgumentError if it refuses.
        """
        try:
            self._sock.sendall(json.dumps({"sockets": sockets}).encode() + b"\n")
            line = self._lines.readline(_MAX_ANSWER)
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
    """Return this user's control sockets that a process serves, by the server's process id."""
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
            "there is no control socket on this system yet: it needs AF_UNIX and SO_PEERCRED, "
            "which Python has only on Linux",
        )


def _directories() -> Iterator[Path]:
    """Yield the directories for control sockets, the preferred one first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime):
        yield Path(runtime) / "iocp-sock"
    yield Path(tempfile.gettempdir()) / f"iocp-sock-{os.geteuid()}"


def _own_directory() -> Path:
    """Return the first of _directories() that this user alone can use, made if missing."""
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
        errno.EACCES, f"no directory is safe for a control socket ({'; '.join(failures)})"
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
    """Remove the socket that an ended process of this id left; a live server's socket stays."""
    if _served(path):
        raise ControlUnavailable(
            errno.EADDRINUSE,
            f"{path} is served already: a process has one ControlServer; close the other first",
        )
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # a server listens, and its queue is full
        except OSError:
            return False
    return True


def _user_of(getsockopt: Any) -> int:
    """Return the user id of the other end, as the system reports it."""
    found = getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])


def _sockets_of(line: bytes) -> int:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ArgumentError(errno.EINVAL, "a request must be a line of JSON") from None
    if not isinstance(request, dict) or set(request) - _REQUEST_KEYS:
        raise ArgumentError(errno.EINVAL, 'a request must be an object whose only key is "sockets"')
    sockets = request.get("sockets", 0)
    if type(sockets) is not int or not 0 <= sockets <= MAX_SOCKETS:
        raise ArgumentError(
            errno.EINVAL, f'"sockets" must be an int from 0 to {MAX_SOCKETS}, not {sockets!r}'
        )
    return sockets
