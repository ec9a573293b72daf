"""R19: `iocp-sock matrix`, which measures buffer sizes, Nagle's algorithm and send patterns."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import iocp_sock
from iocp_sock.cli.matrix import table, wire
from iocp_sock.cli.matrix.cell import CELLS, PATTERNS, Cell, Measured, stalls
from iocp_sock.cli.matrix.sender import BULK, Effort, measure
from support import PAGE, finish, linux_only, read

PROGRAM = [sys.executable, "-m", "iocp_sock.cli", "matrix"]
SECONDS = 100.0
KEYS = ["system", "backend", "backend_reason", "quick", "patterns", "cells", "stalls"]
CELL_KEYS = [
    "pattern",
    "send_buffer",
    "send_buffer_bytes",
    "receive_buffer",
    "receive_buffer_bytes",
    "nagle",
    "messages",
    "median_us",
    "p99_us",
    "segments",
    "data_segments",
    "resent_segments",
    "data_bytes",
    "wire_bytes",
    "copies",
    "charged_bytes_peak",
    "noticed",
    "stall",
]


def run(*arguments, **environment):
    return subprocess.run(
        [*PROGRAM, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def report():
    """Run `iocp-sock matrix --quick --json` once; it must print only JSON, which is returned."""
    result = run("--quick", "--json")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def of(report, pattern, nagle=None):
    return [
        cell
        for cell in report["cells"]
        if cell["pattern"] == pattern and nagle in (None, cell["nagle"])
    ]


def test_shape(report):
    """R19: the report has a cell for each combination, and the documented keys in order."""
    assert list(report) == KEYS
    assert all(list(cell) == CELL_KEYS for cell in report["cells"])
    names = [
        (cell["pattern"], cell["send_buffer"], cell["receive_buffer"], cell["nagle"])
        for cell in report["cells"]
    ]
    assert len(set(names)) == len(names) == 4 * 3 * 2 * 2
    assert list(report["patterns"]) == list(PATTERNS)
    assert iocp_sock.probe()[report["backend"]] == "ok"
    for cell in report["cells"]:
        assert cell["messages"] > 0
        assert 0 < cell["median_us"] <= cell["p99_us"]
        assert cell["charged_bytes_peak"] % PAGE == 0


def test_sizes_took_effect(report):
    """R18: a `least` send buffer is really smaller than `default` and `large`, in all patterns."""
    by_name = {
        (cell["pattern"], cell["send_buffer"], cell["nagle"]): cell["send_buffer_bytes"]
        for cell in report["cells"]
    }
    for pattern in PATTERNS:
        for nagle in (True, False):
            least, large = (by_name[pattern, size, nagle] for size in ("least", "large"))
            assert least < by_name[pattern, "default", nagle]
            assert least < large
    assert {
        c["receive_buffer_bytes"] for c in report["cells"] if c["receive_buffer"] == "least"
    } == {2304 if sys.platform == "linux" else 0}


@linux_only("delayed acknowledgements of Linux")
def test_where_it_stalls(report):
    """R19: write-write-read stalls under Nagle with every buffer size; other patterns do not.

    The port gives a NagleStallWarning for exactly the cells that stall.
    """
    stalling = [cell for cell in report["cells"] if cell["stall"] == "delayed_ack"]
    assert stalling == of(report, "write_write_read", True)
    assert len(report["stalls"]) == len(stalling) == 6
    assert all(name.startswith("write_write_read") for name in report["stalls"])
    assert [cell for cell in report["cells"] if cell["noticed"]] == stalling


@linux_only("TCP_INFO")
def test_segments_and_bytes(report):
    """R19: TCP_INFO counts a segment for each small send, and one for a gathered send."""
    small = [
        *((cell, 2, 64) for cell in of(report, "write_write_read")),
        *((cell, 1, 64) for cell in of(report, "gathered")),
        *((cell, 1, 16) for cell in of(report, "one_way", False)),
    ]
    for cell, segments, nbytes in small:
        assert cell["data_segments"] - cell["resent_segments"] == segments * cell["messages"]
        assert cell["data_bytes"] >= nbytes * cell["messages"]
        if not cell["resent_segments"]:
            assert cell["data_bytes"] == nbytes * cell["messages"]
    for cell in of(report, "bulk"):
        assert cell["data_bytes"] >= len(BULK) * cell["messages"]
    for cell in report["cells"]:
        assert cell["segments"] >= cell["data_segments"]
        assert cell["wire_bytes"] >= cell["data_bytes"] + 40 * cell["segments"]


@linux_only("how much a send buffer of Linux takes")
def test_charges(report):
    """R19: a waiting receive is charged a page, a waiting send the part that did not fit."""
    for cell in report["cells"]:
        if cell["pattern"] == "one_way":
            assert cell["charged_bytes_peak"] == 0
        elif cell["pattern"] == "bulk" and cell["send_buffer"] == "least":
            assert cell["charged_bytes_peak"] > len(BULK) // 2
        elif cell["pattern"] != "bulk":
            assert cell["charged_bytes_peak"] == PAGE
        assert cell["copies"] == "copied"


def one(cell, *latencies_us):
    return Measured(cell, 1, 1, latencies_us, None, 0, False)


def test_the_rule_of_a_stall():
    """R19: a stall is a delayed ACK if the cell takes over 20 ms with Nagle, under 5 ms without."""
    slow = Cell("bulk", "least", "least", True)
    fast = slow.without_nagle
    assert stalls([one(slow, 20_001.0), one(fast, 4_999.0)]) == {slow: "delayed_ack"}
    assert stalls([one(slow, 20_000.0), one(fast, 4_999.0)]) == {}
    assert stalls([one(slow, 20_001.0), one(fast, 5_000.0)]) == {slow: "other"}
    assert stalls([one(slow, 30.0), one(fast, 30_000.0)]) == {fast: "other"}
    assert stalls([one(slow, *[9.0] * 5, *[90_000.0] * 4), one(fast, 9.0)]) == {}


def test_quantiles():
    """The median and the 99th percentile are latencies that were measured, not interpolated."""
    seen = one(CELLS[0], *(float(n) for n in range(200, 0, -1)))
    assert (seen.median_us, seen.p99_us) == (101.0, 199.0)
    assert (one(CELLS[0], 7.0).median_us, one(CELLS[0], 7.0).p99_us) == (7.0, 7.0)


def test_the_table_says_it_in_words(backend):
    """The printed matrix has a row for each cell, the patterns, and the remedy for a stall."""
    effort = Effort(dict.fromkeys(PATTERNS, 1), 0.1, warm_up=1)
    small = [cell for cell in CELLS if cell.send_buffer == cell.receive_buffer == "default"]
    measured = [measure(cell, backend, effort) for cell in small]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table.cells(measured, backend))
    console.print(*table.findings(measured), sep="\n")
    text = console.export_text()
    for pattern in PATTERNS:
        assert text.count(f"│ {pattern} ") == 2
        assert f"{pattern}: " in text
    assert "…" not in text
    stalling = [one(cell, 90_000.0 if cell.nagle else 9.0) for cell in small]
    said = "\n".join(table.findings(stalling))
    assert all(cell.name in said for cell in small if cell.nagle)
    assert "sendmsg" in said


@linux_only("TCP_INFO")
def test_wire_counts_what_was_sent(port, peers):
    """With TCP_NODELAY each small send counts in TCP_INFO as one segment with its bytes."""
    sock, peer = peers.tcp(port)
    sock.nodelay = True
    before = wire.read(sock)
    for length in (1, 20, 300):
        finish(port, sock.send(b"x" * length))
        assert len(read(port, peer, length)) == length
    sent = wire.read(sock).since(before)
    assert sent.data_segments - sent.resent_segments == 3
    if not sent.resent_segments:
        assert (sent.segments, sent.data_bytes) == (3, 321)
        assert sent.wire_bytes == 321 + 3 * (20 + 20 + 12)


def test_wire_is_not_told_of_where_there_is_no_tcp_info(port, peers, monkeypatch):
    """wire.read() returns None if the system has no TCP_INFO, or one with fewer fields."""
    sock, _peer = peers.tcp(port)
    if sys.platform == "linux":
        assert wire.read(sock) is not None
        monkeypatch.setattr(wire, "_LENGTH", 1024)  # longer than any kernel's answer
        assert wire.read(sock) is None
    monkeypatch.setattr(wire, "_TCP_INFO", None)
    assert wire.read(sock) is None


def test_plot(tmp_path):
    """picture.draw(), which `matrix --plot` uses, writes the medians of all cells as a PNG."""
    pytest.importorskip("matplotlib")
    from iocp_sock.cli.matrix import picture

    path = tmp_path / "matrix.png"
    picture.draw([one(cell, 10.0) for cell in CELLS], path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["matrix.nonsense", "nowhere/matrix.png"])
def test_a_plot_that_cannot_be_is_refused_first(tmp_path: Path, name):
    """An unusable path of `matrix --plot` is a usage error before anything is measured."""
    pytest.importorskip("matplotlib")
    result = run("--plot", str(tmp_path / name))
    assert result.returncode == 2
    assert "--plot" in result.stderr
