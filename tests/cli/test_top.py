"""``iocp-sock top`` and ``demo --trace``, run as users run them."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import iocp_sock
from support import BACKENDS, WINDOWS, linux_only, wait_for
from support.backends import GRANTED
from support.chrome_trace import check_chrome
from support.commands import ENVIRONMENT, PROGRAM, SECONDS, echo_command, read_terminal, run
from support.places import customized

on_linux = linux_only("AF_UNIX and SO_PEERCRED")


def look(runtime: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Return the figures that ``top --once --json`` prints."""
    result = run("top", "--once", "--json", *arguments, env=runtime)
    assert (result.returncode, result.stderr) == (0, "")
    shown: dict[str, Any] = json.loads(result.stdout)
    return shown


@on_linux
@pytest.mark.parametrize("backend", GRANTED)
def test_top_of_an_echo_server(runtime: dict[str, str], backend: str) -> None:
    """R09: top shows the exact charge of the receives that another process has posted."""
    with echo_command("--backend", backend, "--receive", "direct", env=runtime) as echo:
        before = look(runtime)
        assert (before["name"], before["pid"]) == ("echo", echo.process.pid)
        assert before["backend"] == backend
        with echo.connect() as first, echo.connect() as second:
            for conn in (first, second):
                conn.sendall(b"hello")
                assert conn.recv(100) == b"hello"
            shown = look(runtime, "--sockets", "2")
            stats = shown["stats"]
            assert stats["ledger"]["now"] == 2 * iocp_sock.PAGE_SIZE
            assert [s["charged"] for s in stats["by_socket"]] == [iocp_sock.PAGE_SIZE] * 2
            assert {s["receiving_by"] for s in stats["by_socket"]} == {"direct"}
            assert stats["sends"] >= before["stats"]["sends"] + 2
            none = look(runtime, "--pid", str(echo.process.pid), "--sockets", "0")
            assert none["stats"]["by_socket"] == []
        control = Path(runtime["XDG_RUNTIME_DIR"]) / "iocp-sock" / f"{echo.process.pid}.sock"
        assert look(runtime, "--control", str(control))["pid"] == echo.process.pid
        echo.stop()
        assert not control.exists()


@on_linux
def test_top_as_a_table(runtime: dict[str, str]) -> None:
    """Without --json top prints tables."""
    with echo_command("--receive", "direct", env=runtime) as echo, echo.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        result = run("top", "--once", env=runtime)
        assert result.returncode == 0, result.stderr
        for text in [
            f"echo, process {echo.process.pid}",
            f"1 pages, {iocp_sock.PAGE_SIZE:,} B, no budget",
            "accept_each",
            "heaviest of",
            "direct",
            "what happened",
        ]:
            assert text in result.stdout
        echo.stop()


@on_linux
def test_top_follows_until_the_server_ends(runtime: dict[str, str]) -> None:
    """``top --json`` prints a line for each reading, and ends cleanly when its server ends."""
    with echo_command(env=runtime) as echo:
        with subprocess.Popen(
            [*PROGRAM, "top", "--json", "--interval", "0.1"],
            env={**ENVIRONMENT, **runtime},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            looks = [json.loads(process.stdout.readline()) for _ in range(3)]
            echo.stop()
            _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 0
        assert "the server has ended" in said
        assert looks[0]["time"] < looks[1]["time"] < looks[2]["time"]


@on_linux
def test_top_on_a_terminal(runtime: dict[str, str]) -> None:
    """On a terminal top renews its tables in place, with rates, until Ctrl-C."""
    import pty

    ours, theirs = pty.openpty()
    with (
        echo_command(env=runtime) as echo,
        subprocess.Popen(
            [*PROGRAM, "top", "--interval", "0.1"],
            env={**ENVIRONMENT, **runtime, "LINES": "60"},
            stdout=theirs,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        os.close(theirs)
        shown = "".join(read_terminal(ours, lambda text: "per second" in text, close=False))
        process.send_signal(signal.SIGINT)
        read_terminal(ours, lambda text: False)
        assert process.wait(SECONDS) == 0
        echo.stop()
    assert "Operations" in shown


@on_linux
def test_top_where_nobody_serves(runtime: dict[str, str]) -> None:
    """top exits with code 1 if there is no server, or none with a control socket."""
    with echo_command("--no-control", env=runtime) as echo:
        result = run("top", "--once", env=runtime)
        assert result.returncode == 1
        assert "no server of this user is running" in result.stderr
        assert os.listdir(runtime["XDG_RUNTIME_DIR"]) == []
        named = run("top", "--once", "--pid", str(echo.process.pid), env=runtime)
        assert named.returncode == 1
        assert str(echo.process.pid) in named.stderr
        echo.stop()
    missing = run("top", "--once", "--control", runtime["TMPDIR"] + "/none.sock", env=runtime)
    assert missing.returncode == 1
    assert "Traceback" not in missing.stderr


@on_linux
def test_top_of_one_of_several(runtime: dict[str, str]) -> None:
    """With several servers top lists them and exits with code 1; a killed server is not listed."""
    with echo_command(env=runtime) as first, echo_command(env=runtime) as second:
        result = run("top", "--once", env=runtime)
        assert result.returncode == 1
        for echo in (first, second):
            assert str(echo.process.pid) in result.stderr
            assert look(runtime, "--pid", str(echo.process.pid))["pid"] == echo.process.pid
        second.process.kill()
        second.process.wait(SECONDS)
        assert look(runtime)["pid"] == first.process.pid
        first.stop()


@on_linux
def test_echo_with_no_place_for_a_control_socket(runtime: dict[str, str], tmp_path: Path) -> None:
    """If `echo` cannot make its control socket, it says so and runs; with --control it fails."""
    nowhere = {"XDG_RUNTIME_DIR": "/nonexistent", "TMPDIR": str(tmp_path)}
    (tmp_path / f"iocp-sock-{os.geteuid()}").write_text("in the way")
    with echo_command(env=nowhere) as echo, echo.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        echo.process.send_signal(signal.SIGINT)
        _, said = echo.process.communicate(timeout=SECONDS)
        assert "no control socket" in said
        assert echo.process.returncode == 0
    asked = run("echo", "--listen", "127.0.0.1:0", "--control", env=nowhere)
    assert asked.returncode == 3
    assert "is not a directory" in asked.stderr


def test_where_the_system_has_no_control_sockets(tmp_path: Path) -> None:
    """Without AF_UNIX, as on Windows, top prints the reason and ends with exit code 3."""
    environment = {}
    if not WINDOWS:
        environment = customized(tmp_path, "import socket\ndel socket.AF_UNIX\n")
    for command in (["top"], ["top", "--once", "--json"], ["top", "--control", "x"]):
        result = run(*command, env=environment)
        assert result.returncode == 3
        assert "no control socket on this system yet" in result.stderr
        assert result.stdout == ""
    asked = run("echo", "--listen", "127.0.0.1:0", "--control", env=environment)
    assert asked.returncode == 3
    with echo_command(env=environment) as echo:
        echo.stop()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--interval", "0"], "--interval"),
        (["--sockets", "101"], "--sockets"),
        (["--sockets", "-1"], "--sockets"),
        (["--pid", "0"], "--pid"),
        (["--pid", "many"], "--pid"),
    ],
)
def test_bad_arguments(arguments: list[str], hint: str) -> None:
    """A wrong argument ends with exit code 2 and names the option."""
    result = run("top", "--once", *arguments)
    assert result.returncode == 2
    assert hint in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("backend", GRANTED)
def test_demo_writes_a_trace(tmp_path: Path, backend: str) -> None:
    """``demo --trace`` writes the operations of the hot connections in Chrome's trace format."""
    file = tmp_path / "out.json"
    small = ["--connections", "20", "--hot", "4", "--seconds", "0.2"]
    result = run("demo", "--json", "--backend", backend, "--trace", str(file), *small)
    assert (result.returncode, result.stderr) == (0, "")
    document = json.loads(file.read_text())
    events = check_chrome(document)
    sockets = {e["pid"] for e in events if e["ph"] == "b"}
    assert len(sockets) == 4
    begun = {e["name"] for e in events if e["ph"] == "b"}
    assert {"receive_each", "send", "send: queued", "send: ready"} <= begun
    results = [e["args"]["bytes"] for e in events if e["name"] == "receive_each: result"]
    assert sum(results) > 0
    charged = [e["args"]["charged bytes"] for e in events if e["ph"] == "C"]
    assert 16 * iocp_sock.PAGE_SIZE <= min(charged) <= max(charged) <= 24 * iocp_sock.PAGE_SIZE


def test_demo_trace_to_nowhere() -> None:
    """``demo --trace`` refuses a path that cannot be written, before anything runs."""
    result = run("demo", "--quick", "--trace", "no/such/place/x.json")
    assert result.returncode == 2
    assert str(Path("no/such/place")) in result.stderr


@on_linux
def test_top_of_a_demo(runtime: dict[str, str]) -> None:
    """top also shows the server of a running demo."""
    with subprocess.Popen(
        [*PROGRAM, "demo", "--json", "--connections", "50", "--hot", "4", "--seconds", "1"],
        env={**ENVIRONMENT, **runtime, "IOCP_SOCK_BACKEND": BACKENDS[-1]},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        found: list[dict[str, Any]] = []

        def seen() -> bool:
            result = run("top", "--once", "--json", env=runtime)
            if result.returncode == 0:
                found.append(json.loads(result.stdout))
            return bool(found)

        wait_for(seen)
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    assert found[0]["name"] == "demo"
    assert found[0]["backend"] == BACKENDS[-1]
