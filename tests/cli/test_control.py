"""The control socket gives figures to its own user only, and bounds the memory for its clients."""

import json
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import iocp_sock
from iocp_sock import control
from support import PATIENCE, WINDOWS, linux_only, run_until, windows_only

on_linux = linux_only("AF_UNIX and SO_PEERCRED")
as_root = pytest.mark.skipif(
    WINDOWS or os.geteuid() != 0, reason="only root can become another user"
)
NOBODY = 65534


@pytest.fixture
def home(runtime: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set a temporary directory for the control sockets of this process; return its path."""
    for name, value in runtime.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", None)
    return Path(runtime["TMPDIR"])


@pytest.fixture
def served(port: iocp_sock.Port, home: Path) -> Iterator[control.ControlServer]:
    """Serve the figures of a port on a control socket."""
    with control.ControlServer(port, "test") as server:
        yield server


def meanwhile(port: iocp_sock.Port, work: Callable[[], Any]) -> Any:
    """Run the port while a thread calls `work`, a client's part; return the result of `work`."""
    results: list[Any] = []

    def body() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    run_until(port, lambda: results)
    thread.join()
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def raw(server: control.ControlServer) -> socket.socket:
    """Connect a raw socket to the control server."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.connect(str(server.path))
    return sock


def ended(sock: socket.socket) -> bool:
    """Wait for the server, and return whether it closes the connection without a further byte."""
    try:
        return sock.recv(1 << 20) == b""
    except ConnectionResetError:
        return True


@on_linux
def test_answers_with_the_figures(port, served, peers):
    """Each request gets one line of JSON: the server's name, process and figures."""
    sock, _peer = peers.pair(port)
    sock.recv(5000)

    def ask() -> list[dict[str, Any]]:
        with control.ControlClient(served.path) as client:
            return [client.ask(), client.ask(sockets=1), client.ask()]

    answers = meanwhile(port, ask)
    for answer in answers:
        assert (answer["name"], answer["pid"]) == ("test", os.getpid())
        assert (answer["backend"], answer["backend_reason"]) == (port.backend, port.backend_reason)
        assert answer["stats"]["ledger"]["now"] == port.ledger.now
    assert answers[0]["time"] < answers[1]["time"] < answers[2]["time"]
    assert [len(answer["stats"]["by_socket"]) for answer in answers] == [0, 1, 0]
    assert answers[1]["stats"]["by_socket"][0]["charged"] == sock.charged
    run_until(port, lambda: len(served._clients) == 0)


@on_linux
def test_found_by_its_process_and_gone_with_it(port, home):
    """running() lists the servers until their end; a socket has mode 0600, its directory 0700."""
    assert control.running() == {}
    with control.ControlServer(port, "test") as server:
        assert control.running() == {os.getpid(): server.path}
        assert stat.S_IMODE(server.path.lstat().st_mode) == 0o600
        assert stat.S_IMODE(server.path.parent.lstat().st_mode) == 0o700
        run_until(port, lambda: port.stats().sockets == 1)
    assert not server.path.exists()
    assert control.running() == {}
    run_until(port, lambda: port.stats().sockets == 0)


@on_linux
def test_requests_that_come_together_are_answered_one_by_one(port, served):
    """A client may send several requests at once; the server answers them in order, one by one."""
    most = 0

    def watched() -> None:
        nonlocal most
        most = max(most, port.stats().operations_by_kind["send"])

    with raw(served) as sock:
        sock.sendall(b'{"sockets": 1}\n{}\n' * 20)
        lines = b""
        sock.setblocking(False)

        def all_here() -> bool:
            nonlocal lines
            watched()
            try:
                lines += sock.recv(1 << 20)
            except BlockingIOError:
                return False
            return lines.count(b"\n") == 40

        run_until(port, all_here)
    listed = [len(json.loads(line)["stats"]["by_socket"]) for line in lines.splitlines()]
    assert listed == [1, 0] * 20
    assert most <= 1
    run_until(port, lambda: not served._clients)


@on_linux
def test_a_client_that_never_reads_costs_one_answer(port, served, peers):
    """Too many unanswered requests end a connection; the server holds one answer at most."""
    pairs = [peers.pair(port) for _ in range(120)]
    line = b'{"sockets": 100}\n'
    largest = len(json.dumps(served.answer(line))) + 100
    held = []

    with raw(served) as sock:
        sock.setblocking(False)

        def refused() -> bool:
            stats = port.stats()
            held.append(stats.send_queue_bytes)
            assert stats.operations_by_kind["send"] <= 1
            try:
                sock.send(line)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        run_until(port, refused)
    assert 0 < max(held) <= largest
    assert len(pairs) == port.stats().sockets - 1
    assert meanwhile(port, lambda: one_answer(served))["name"] == "test"


def one_answer(server: control.ControlServer) -> dict[str, Any]:
    with control.ControlClient(server.path) as client:
        return client.ask()


@on_linux
@pytest.mark.parametrize(
    "said",
    [
        b"what?\n",
        b"[]\n",
        b'{"sockets": -1}\n',
        b'{"sockets": 101}\n',
        b'{"sockets": true}\n',
        b'{"sockets": 1e1}\n',
        b'{"other": 1}\n',
        b"[" * 900 + b"\n",
        b"\xff\xfe\n",
        b"\n",
    ],
)
def test_a_wrong_request_is_refused_in_words(port, served, said):
    """A control server answers an invalid request with an error, then closes the connection."""
    with raw(served) as sock:
        sock.sendall(said)
        got = meanwhile(port, lambda: sock.recv(10_000))
        assert list(json.loads(got)) == ["error"]
        assert meanwhile(port, lambda: ended(sock))
    assert meanwhile(port, lambda: one_answer(served))["name"] == "test"


@on_linux
def test_an_endless_request_is_cut(port, served):
    """A line longer than MAX_REQUEST ends the connection without an answer."""
    with raw(served) as sock:
        sock.sendall(b" " * (control.MAX_REQUEST + 1))
        assert meanwhile(port, lambda: ended(sock))
    run_until(port, lambda: not served._clients)


@on_linux
def test_one_client_too_many_replaces_the_oldest(port, served):
    """A control server has at most MAX_CLIENTS connections; a further one replaces the oldest."""
    clients = [raw(served)]
    run_until(port, lambda: len(served._clients) == 1)
    clients += [raw(served) for _ in range(control.MAX_CLIENTS)]
    run_until(port, lambda: port.stats().sockets == 1 + control.MAX_CLIENTS)
    assert meanwhile(port, lambda: ended(clients[0]))
    assert len(served._clients) == control.MAX_CLIENTS
    clients[-1].sendall(b"{}\n")
    assert meanwhile(port, lambda: clients[-1].recv(100_000)).endswith(b"\n")
    for sock in clients:
        sock.close()
    run_until(port, lambda: not served._clients)


@on_linux
def test_what_a_dead_process_left_is_replaced(port, home):
    """A control server replaces the socket of a dead process, but not that of a living one."""
    directory = home / "iocp-sock"
    directory.mkdir(mode=0o700)
    path = directory / f"{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert control.running() == {}
    with control.ControlServer(port, "test") as server:
        assert server.path == path
        with pytest.raises(iocp_sock.ControlUnavailable, match="served"):
            control.ControlServer(port, "second")
        assert control.running() == {os.getpid(): path}
        run_until(port, lambda: port.stats().sockets == 1)


def only_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unset XDG_RUNTIME_DIR; return the directory in TMPDIR that control sockets then use."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    return home / f"iocp-sock-{os.geteuid()}"


@on_linux
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_enter(port, home, monkeypatch, mode):
    """A control server refuses a directory that other users may enter; the error shows its mode."""
    directory = only_directory(home, monkeypatch)
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(iocp_sock.ControlUnavailable, match=f"mode {mode:04o}"):
        control.ControlServer(port, "test")
    with pytest.raises(iocp_sock.ControlUnavailable):
        control.ControlClient(directory / "1.sock")
    assert list(directory.iterdir()) == []
    assert control.running() == {}


@on_linux
@as_root
def test_a_directory_of_another_user(port, home, monkeypatch):
    """A control server refuses a directory that belongs to another user."""
    directory = only_directory(home, monkeypatch)
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, NOBODY)
    with pytest.raises(iocp_sock.ControlUnavailable, match=f"belongs to {NOBODY}"):
        control.ControlServer(port, "test")


@on_linux
def test_a_link_in_place_of_the_directory(port, home, monkeypatch):
    """A control server refuses a symbolic link in place of its directory."""
    directory = only_directory(home, monkeypatch)
    (home / "elsewhere").mkdir(mode=0o700)
    directory.symlink_to(home / "elsewhere")
    with pytest.raises(iocp_sock.ControlUnavailable, match="not a directory"):
        control.ControlServer(port, "test")


@on_linux
def test_the_next_place_is_taken(port, home, monkeypatch):
    """If XDG_RUNTIME_DIR is unusable, control sockets lie in the temporary directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
    with control.ControlServer(port, "test") as server:
        assert server.path.parent == home / f"iocp-sock-{os.geteuid()}"
        assert control.running() == {os.getpid(): server.path}
        run_until(port, lambda: port.stats().sockets == 1)


@on_linux
@as_root
def test_another_user_is_not_answered(port, served):
    """The server checks SO_PEERCRED: it answers no other user, even if the file modes admit one."""
    for path, mode in [(served.path.parent.parent, 0o711), (served.path.parent, 0o711)]:
        path.chmod(mode)
    served.path.chmod(0o666)
    program = f"""
import os, socket
os.setuid({NOBODY})
sock = socket.socket(socket.AF_UNIX)
sock.connect({str(served.path)!r})
try:
    sock.sendall(b"{{}}\\n")
    print(sock.recv(100))
except OSError as error:
    print(type(error).__name__)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as other:
        said = meanwhile(port, lambda: other.communicate(timeout=PATIENCE)[0])
    assert said.strip() in ("b''", "ConnectionResetError", "BrokenPipeError")
    assert not served._clients


@on_linux
@as_root
def test_another_users_server_is_not_believed(home):
    """A client refuses a server of another user before it sends a request."""
    directory = home / "iocp-sock"
    directory.mkdir(mode=0o700)
    path = directory / "1.sock"
    program = f"""
import os, socket
sock = socket.socket(socket.AF_UNIX)
sock.bind({str(path)!r})
os.setuid({NOBODY})
sock.listen()
print(flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(iocp_sock.ControlUnavailable, match="another user"):
            control.ControlClient(path)
        other.communicate("\n", timeout=PATIENCE)


@on_linux
def test_a_server_that_ends_meanwhile(port, home):
    """A request to a server that has closed raises ConnectionError."""
    server = control.ControlServer(port, "test")
    client = control.ControlClient(server.path)
    run_until(port, lambda: server._clients)
    server.close()
    run_until(port, lambda: port.stats().sockets == 0)
    with client, pytest.raises(ConnectionError):
        client.ask()


@on_linux
def test_closing_after_the_port(port, home):
    """A control server may close after its port, and twice."""
    server = control.ControlServer(port, "test")
    port.close()
    server.close()
    server.close()
    assert not server.path.exists()


@on_linux
def test_who_the_peer_is(served):
    """SO_PEERCRED gives the peer's process, user and group as three 32-bit numbers."""
    with raw(served) as sock:
        pid, uid, gid = struct.unpack(
            "=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
    assert (pid, uid, gid) == (os.getpid(), os.geteuid(), os.getegid())


@windows_only("the error for the lack of control sockets")
def test_there_is_none_on_windows(port):
    """On Windows the error says that the system has no control sockets yet."""
    for call in (lambda: control.ControlServer(port, "test"), control.running):
        with pytest.raises(iocp_sock.ControlUnavailable, match="on this system yet"):
            call()
