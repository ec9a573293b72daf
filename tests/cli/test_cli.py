"""The commands run as users run them: as separate processes, on loopback."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

import iocp_sock
from iocp_sock.cli import address, limits
from iocp_sock.cli.latency import Latencies
from iocp_sock.cli.load import MESSAGE_BYTES, EchoError, Load
from support import BACKENDS, SLOWNESS, WINDOWS, WINE, linger, linux_only, windows_only
from support.backends import GRANTED, REFUSED, STATES
from support.commands import ENVIRONMENT, PROGRAM, SECONDS, echo_command, read_terminal, run
from support.places import customized

on_a_terminal = linux_only("a pseudo-terminal")
rlimits = linux_only("limits of a process")

SLOWED = "LD_PRELOAD" in os.environ

REPORT_KEYS = ["backend", "backend_reason", "runs"]
RUN_KEYS = [
    "receive",
    "connections",
    "hot",
    "messages_per_second",
    "p50_us",
    "p99_us",
    "charged_bytes",
    "charged_bytes_peak",
    "rss_bytes_per_connection",
]
SMALL = ["--connections", "200", "--hot", "8", "--seconds", "0.3"]


def demo(*arguments: str, **options: Any) -> dict[str, Any]:
    """Run `iocp-sock demo --json`, which must succeed and print only a report; return it."""
    result = run("demo", "--json", *arguments, **options)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def check_report(report: dict[str, Any], connections: int, hot: int) -> None:
    """Check the keys, the order of the runs, and the charges in a report of the demo."""
    assert list(report) == REPORT_KEYS
    assert [list(one) for one in report["runs"]] == [RUN_KEYS, RUN_KEYS]
    direct, zero_byte = report["runs"]
    assert (direct["receive"], zero_byte["receive"]) == ("direct", "zero_byte")
    for one in report["runs"]:
        assert (one["connections"], one["hot"]) == (connections, hot)
        assert one["messages_per_second"] > 0
        assert 0 < one["p50_us"] <= one["p99_us"]
        assert isinstance(one["rss_bytes_per_connection"], type(None) if WINDOWS else float)
    assert direct["charged_bytes"] == connections * iocp_sock.PAGE_SIZE
    assert direct["charged_bytes_peak"] >= (connections - hot) * iocp_sock.PAGE_SIZE
    assert zero_byte["charged_bytes"] == 0
    assert zero_byte["charged_bytes_peak"] < direct["charged_bytes_peak"]


def test_quick_demo() -> None:
    """R06, R11: in the quick demo a posted receive charges a page, a zero-byte receive nothing."""
    started = time.monotonic()
    report = demo("--quick")
    assert SLOWED or WINE or time.monotonic() - started < 10 * SLOWNESS
    check_report(report, 1000, 64)
    direct, zero_byte = report["runs"]
    if not WINDOWS:
        assert zero_byte["rss_bytes_per_connection"] < direct["rss_bytes_per_connection"]
    assert report["backend"] in GRANTED
    assert report["backend_reason"]


@pytest.mark.parametrize("backend", GRANTED)
def test_demo_on_each_backend(backend: str) -> None:
    """R06: the demo runs on every backend this system has, with the same charges."""
    report = demo("--backend", backend, *SMALL)
    assert report["backend"] == backend
    check_report(report, 200, 8)


def test_demo_ends_with_one_table() -> None:
    """Without --json the demo writes only its table to standard output."""
    result = run("demo", *SMALL)
    assert result.returncode == 0, result.stderr
    for text in [
        "posted receives",
        "zero-byte receives",
        "messages/s",
        "p50 / p99",
        "charged peak",
        "memory",
    ]:
        assert text in result.stdout
    assert f"200 pages, {200 * iocp_sock.PAGE_SIZE:,} B" in result.stdout
    assert result.stderr == ""


@rlimits
def test_demo_raises_the_open_file_limit() -> None:
    """The demo raises the soft limit of open files if its connections need more."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))

    check_report(demo(*SMALL, preexec_fn=lower), 200, 8)


@rlimits
def test_demo_fits_its_usual_size_to_the_hard_limit() -> None:
    """Without --connections, the demo opens no more connections than the hard file limit allows."""
    import resource

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    check_report(demo("--hot", "4", "--seconds", "0.2", preexec_fn=lower), 192, 4)


def test_demo_draws(tmp_path: Path) -> None:
    """`demo --plot` also writes a picture."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / "demo.png"
    demo("--plot", str(picture), *SMALL)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_demo_without_matplotlib(tmp_path: Path) -> None:
    """`demo --plot` without matplotlib names the package to install, before anything runs."""
    without = customized(tmp_path, "import sys\nsys.modules['matplotlib'] = None\n")
    result = run("demo", "--plot", str(tmp_path / "demo.png"), env=without)
    assert result.returncode == 2
    assert "iocp-sock[plot]" in result.stderr


@on_a_terminal
def test_demo_shows_progress_on_a_terminal() -> None:
    """The demo shows its progress on standard error, so that standard output has only JSON."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "demo", "--json", *SMALL], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = "".join(read_terminal(ours, lambda text: False))
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
        assert process.wait(SECONDS) == 0
    check_report(report, 200, 8)
    assert "posted receives: opening" in shown
    assert "zero-byte receives: echoing" in shown
    assert "messages/s" in shown


@linux_only("SIGINT sent to a group of processes")
def test_demo_can_be_interrupted() -> None:
    """Ctrl-C ends the demo and its processes without a traceback."""
    process = subprocess.Popen(
        [*PROGRAM, "demo", "--connections", "100", "--hot", "4", "--seconds", "60"],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(2.5)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert "Traceback" not in said


BAD_ARGUMENTS = [
    (["demo", "--connections", "0"], "--connections"),
    (["demo", "--connections", "many"], "--connections"),
    (["demo", "--connections", "10", "--hot", "11"], "11 hot connections do not fit"),
    (["demo", "--connections", "4000000000"], "raise the hard limit"),
    (["demo", "--seconds", "-1"], "--seconds"),
    (["demo", "--seconds", "nan"], "--seconds"),
    (["demo", "--backend", "kqueue"], BACKENDS[-1]),
    (["demo", "--plot", "no/such/place/x.png"], "no/such/place"),
    (["demo", "--plot", "x.doc"], ".png"),
    (["echo"], "--listen"),
    (["echo", "--listen", "7000"], "HOST:PORT"),
    (["echo", "--listen", "127.0.0.1:70000"], "65535"),
    (["echo", "--listen", "127.0.0.1:http"], "http"),
    (["echo", "--listen", "::1:7000"], "[::1]:7000"),
    (["echo", "--listen", "127.0.0.1:0", "--receive", "posted"], "zero_byte"),
    (["doctor", "--wrong"], "--wrong"),
    (["dance"], "dance"),
]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    BAD_ARGUMENTS,
    ids=[" ".join(arguments) for arguments, _ in BAD_ARGUMENTS],
)
def test_bad_arguments(arguments: list[str], hint: str) -> None:
    """A wrong argument ends with exit code 2 and a message with a hint."""
    if hint == "raise the hard limit" and WINDOWS:
        pytest.skip("Windows has no limit of open files")
    if "x.doc" in arguments or "no/such/place/x.png" in arguments:
        pytest.importorskip("matplotlib")
    result = run(*arguments)
    assert result.returncode == 2
    assert hint in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.skipif(not REFUSED, reason="every backend works here")
@pytest.mark.parametrize(
    "command", [["demo", *SMALL], ["echo", "--listen", "127.0.0.1:0"]], ids=lambda c: c[0]
)
def test_refused_backend(command: list[str]) -> None:
    """On a refused backend a command prints an error that names it, and exits with code 1."""
    result = run(*command, "--backend", REFUSED[0])
    assert result.returncode == 1
    assert REFUSED[0] in result.stderr
    assert "Traceback" not in result.stderr


def exchange(conn: socket.socket, data: bytes) -> bytes:
    """Send data to an echo server while receiving, so that neither direction can fill up."""
    sender = threading.Thread(target=conn.sendall, args=(data,), daemon=True)
    sender.start()
    back = bytearray()
    while len(back) < len(data):
        piece = conn.recv(65536)
        assert piece, "the connection ended early"
        back += piece
    sender.join()
    return bytes(back)


@pytest.mark.parametrize("receive", ["pooled", "direct", "zero_byte"])
@pytest.mark.parametrize("backend", GRANTED)
def test_echo_serves_until_interrupted(backend: str, receive: str) -> None:
    """R04, R13: the echo server returns every byte; Ctrl-C closes idle connections cleanly too."""
    data = os.urandom(1 << 20)
    with echo_command("--backend", backend, "--receive", receive) as echo:
        assert f": {backend} (" in echo.headline
        assert f"{receive} receives" in echo.headline
        with echo.connect() as idle, echo.connect() as busy:
            assert exchange(busy, data) == data
            assert exchange(idle, b"hello") == b"hello"
            echo.stop("stopped: closed 2 connections")
            for conn in (idle, busy):
                with contextlib.suppress(*[ConnectionResetError] if WINDOWS else []):
                    assert conn.recv(1) == b""


def test_echo_after_half_close() -> None:
    """The echo server returns the bytes sent before a half-close, and then ends the stream."""
    with echo_command() as echo, echo.connect() as conn:
        conn.sendall(b"last words")
        conn.shutdown(socket.SHUT_WR)
        back = b"".join(iter(lambda: conn.recv(100), b""))
        assert back == b"last words"
        echo.stop()


@linux_only("SIGTERM")
def test_echo_ends_on_terminate() -> None:
    """SIGTERM ends the echo server as cleanly as Ctrl-C."""
    with echo_command() as echo:
        echo.stop(number=signal.SIGTERM)


def flood(conn: socket.socket, stop: threading.Event) -> None:
    """Exchange messages with an echo server until the connection ends or `stop` is set."""
    with contextlib.suppress(OSError):
        while not stop.is_set():
            conn.sendall(b"x" * 64)
            if not conn.recv(4096):
                return


@linux_only("SIGINT sent to another process")
def test_echo_is_interrupted_under_load() -> None:
    """Ctrl-C ends the echo server even if it arrives while callbacks run."""
    stop = threading.Event()
    with echo_command() as echo, contextlib.ExitStack() as connections:
        busy = [connections.enter_context(echo.connect()) for _ in range(8)]
        pumps = [threading.Thread(target=flood, args=(conn, stop)) for conn in busy]
        for pump in pumps:
            pump.start()
        time.sleep(0.3)
        try:
            echo.stop("stopped: closed 8 connections")
        finally:
            stop.set()
            for pump in pumps:
                pump.join(SECONDS)


def test_echo_survives_a_reset() -> None:
    """R05: a reset connection does not affect the echo server's other connections."""
    with echo_command() as echo, echo.connect() as other:
        with echo.connect() as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger(0))
            rude.sendall(b"x" * 100_000)
        assert exchange(other, b"still here") == b"still here"
        echo.stop()


def test_echo_on_ipv6() -> None:
    """R22: an IPv6 host is in brackets, in the option and in the output."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with echo_command(host="[::1]") as echo:
        assert "listening on [::1]:" in echo.headline
        with echo.connect() as conn:
            assert exchange(conn, b"six") == b"six"
        echo.stop()


def test_echo_where_someone_listens_already() -> None:
    """If the address is in use, `echo` prints an error that names it, and exits with code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("echo", "--listen", where)
    assert result.returncode == 1
    assert f"cannot listen on {where}" in result.stderr
    assert "Traceback" not in result.stderr


@on_a_terminal
def test_echo_shows_rates_on_a_terminal() -> None:
    """On a terminal the echo server renews a line of rates each second."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "echo", "--listen", "127.0.0.1:0"],
        env=ENVIRONMENT,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(theirs)
        shown = "".join(read_terminal(ours, lambda text: "messages/s" in text, close=False))
        process.send_signal(signal.SIGINT)
        shown += "".join(read_terminal(ours, lambda text: False))
        assert process.wait(SECONDS) == 0
    assert "0 connections, 0 messages/s" in shown
    assert "stopped: closed 0 connections" in shown


def test_doctor_names_the_backends() -> None:
    """`iocp-sock doctor` shows each backend with its state, the limits and the versions."""
    result = run("doctor")
    assert result.returncode == 0, result.stderr
    for name, state in STATES.items():
        assert name in result.stdout
        assert state.split()[0] in result.stdout
    for text in ["page size", "open files", "locked memory", "python", iocp_sock.version()]:
        assert text in result.stdout
    for features in map(iocp_sock.features, GRANTED):
        for name in features:
            assert name.replace("_", " ") in result.stdout


@windows_only("the extension functions of Winsock")
def test_doctor_names_the_extension_functions() -> None:
    """`iocp-sock doctor --json` lists the loaded extension functions of Winsock."""
    report = json.loads(run("doctor", "--json").stdout)
    names = ["AcceptEx", "ConnectEx", "DisconnectEx", "GetAcceptExSockaddrs", "TransmitFile"]
    assert report["features"] == {"iocp": dict.fromkeys(names, True)}


def test_doctor_as_json() -> None:
    """`iocp-sock doctor --json` has the same figures as the tables."""
    result = run("doctor", "--json")
    report = json.loads(result.stdout)
    assert report["backends"] == STATES
    assert set(BACKENDS) <= set(report["backends"])
    assert report["chosen"]["backend"] in GRANTED
    assert set(report["features"]) == set(GRANTED)
    assert report["page_size"] == iocp_sock.PAGE_SIZE
    if WINDOWS:
        assert report["limits"] == {"open_files": None, "locked_memory": None}
    else:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert report["limits"]["open_files"] == {"soft": soft, "hard": hard}
    assert report["versions"]["iocp_sock"] == iocp_sock.version()


def test_doctor_shows_the_override() -> None:
    """`iocp-sock doctor` shows and obeys the backend that IOCP_SOCK_BACKEND names."""
    report = json.loads(run("doctor", "--json", env={"IOCP_SOCK_BACKEND": BACKENDS[-1]}).stdout)
    assert report["environment"] == {"IOCP_SOCK_BACKEND": BACKENDS[-1]}
    assert report["chosen"]["backend"] == BACKENDS[-1]


def test_version_and_help() -> None:
    """--version prints the program's name and version; --help works for every command."""
    assert run("--version").stdout == f"iocp-sock {iocp_sock.version()}\n"
    usage = run("--help")
    assert usage.returncode == 0
    for command in ["demo", "echo", "top", "doctor"]:
        assert command in usage.stdout
        assert run(command, "--help").returncode == 0


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:7000", ("127.0.0.1", 7000)),
        ("[::1]:7000", ("::1", 7000)),
        (":0", ("0.0.0.0", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_addresses(text: str, parsed: tuple[str, int]) -> None:
    """address.parse() takes HOST:PORT; an empty host means every IPv4 interface."""
    assert address.parse(text) == parsed


def test_written_addresses() -> None:
    """address.written() gives HOST:PORT, with an IPv6 host in brackets."""
    assert address.written(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert address.written(("::1", 80, 0, 0)) == "[::1]:80"


def test_unknown_host() -> None:
    """address.resolve() names an unknown host in its error."""
    with pytest.raises(ValueError, match=r"no-such-host\.invalid"):
        address.resolve("no-such-host.invalid", 1)


def test_latencies() -> None:
    """Percentiles of Latencies are accurate to a bin's width, and exact above the last bin."""
    latencies = Latencies()
    for microseconds in range(1, 101):
        latencies.add(microseconds * 1000)
    assert latencies.total == 100
    assert latencies.percentile(50) == pytest.approx(50, abs=0.3)
    assert latencies.percentile(99) == pytest.approx(99, abs=0.3)
    slow = Latencies()
    slow.add(2_000_000_000)
    slow.add(1_000_000_000)
    latencies.merge(slow)
    assert latencies.total == 102
    assert latencies.percentile(100) == 2_000_000
    assert latencies.percentile(99) == 1_000_000


@contextmanager
def lying_server(honest_messages: int) -> Iterator[tuple[str, int]]:
    """Make an echo server that changes the last byte of all but the first `honest_messages`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        conn, _ = listener.accept()
        with conn:
            messages = iter(lambda: conn.recv(MESSAGE_BYTES, socket.MSG_WAITALL), b"")
            for number, data in enumerate(messages):
                truth = number < honest_messages
                conn.sendall(data if truth else data[:-1] + bytes([data[-1] ^ 1]))

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    yield listener.getsockname()
    server.join(SECONDS)
    listener.close()


@pytest.mark.parametrize("honest_messages", [0, 1, 50])
def test_the_load_verifies_every_echo(honest_messages: int) -> None:
    """The demo's load raises EchoError for one wrong byte, in the first echo or a later one."""
    _, theirs = Pipe()
    load = Load(theirs)

    def open_and_drive(where: tuple[str, int]) -> None:
        load.open(where, 1, 0)
        load.drive(1, 5.0)

    with lying_server(honest_messages) as where:
        try:
            with pytest.raises(EchoError, match="differs"):
                open_and_drive(where)
        finally:
            load.close()


@rlimits
def test_limits() -> None:
    """limits.locked_memory() gives RLIMIT_MEMLOCK, with None for unlimited."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = resource.RLIM_INFINITY
    shown = limits.locked_memory()
    assert shown is not None
    wanted = tuple(None if one == unlimited else one for one in (soft, hard))
    assert (shown.soft, shown.hard) == wanted
