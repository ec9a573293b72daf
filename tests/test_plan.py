"""The planner: what each strategy would cost a load, from the model (R21)."""

import json

import pytest

pytest.importorskip("typer")

import iocp_sock
from commands import run
from iocp_sock.cli.plan import make
from iocp_sock.cli.plan.load import Load
from iocp_sock.cli.quantity import seconds, size
from support import PAGE, block, run_until

LOAD = Load(
    connections=1000, active=0.02, message=1024, rate=10.0, rtt=0.04, budget=0, preset="linux"
)


def of(report: dict, side: str, strategy: str) -> dict:
    return next(one for one in report[side] if one["strategy"] == strategy)


@pytest.fixture(scope="module")
def report() -> dict:
    return make(LOAD)


def test_quantities():
    assert [size(text) for text in ("64MiB", "1 KiB", "1500", "2MB", "0.5kib")] == [
        64 << 20, 1024, 1500, 2_000_000, 512,
    ]  # fmt: skip
    assert [seconds(text) for text in ("40ms", "2", "2s", "500us")] == [0.04, 2.0, 2.0, 0.0005]
    for wrong in ("", "MiB", "1 mile", "-1", "1e3"):
        with pytest.raises(ValueError, match="is not a"):
            size(wrong)


def test_a_posted_receive_locks_its_page_and_a_zero_byte_one_nothing(report):
    direct = of(report, "receive", "direct")
    assert direct["locked_typical"] == direct["locked_worst"] == 1000 * PAGE
    assert of(report, "receive", "zero_byte")["locked_worst"] == 0
    assert of(report, "receive", "pooled")["locked_worst"] == 0
    adaptive = of(report, "receive", "adaptive")
    assert adaptive["locked_typical"] <= direct["locked_typical"]
    assert direct["calls_per_message"] <= of(report, "receive", "zero_byte")["calls_per_message"]


@pytest.mark.parametrize("strategy", ["direct", "zero_byte"])
def test_what_it_says_is_locked_is_what_a_real_port_locks(report, port, peers, strategy):
    """R21: within 5 percent of the ledger of the same load."""
    pairs = [peers.tcp(port) for _ in range(20)]
    for sock, _peer in pairs:
        sock.receive(lambda *_: None, receive=strategy, size=LOAD.message)
    port.run_once(0)
    run_until(port, lambda: port.stats().operations_by_state["pending"] == len(pairs))
    planned = of(report, "receive", strategy)["locked_typical"] * len(pairs) / LOAD.connections
    assert abs(planned - port.ledger.now) <= 0.05 * port.ledger.now


def test_windows_locks_sends_without_a_buffer():
    load = Load(1000, 0.5, 8192, 5.0, 0.04, 0, "windows-10")
    report = make(load)
    direct, buffered = (of(report, "send", name) for name in ("direct", "buffered"))
    assert direct["locked_worst"] >= 1000 * block(8192)
    assert 0 < direct["locked_typical"] < direct["locked_worst"]
    assert direct["copies_per_byte"] == 0
    assert (buffered["locked_worst"], buffered["copies_per_byte"]) == (0, 1)


def test_over_the_budget_is_not_recommended():
    load = Load(1000, 0.02, 1024, 10.0, 0.04, 500 * PAGE, "linux")
    report = make(load)
    direct = of(report, "receive", "direct")
    assert direct["breaks_first"] == "the budget, at 500 connections"
    assert report["recommended"]["receive"] != "direct"
    assert "direct" in report["recommended"]["receive_reason"]
    assert of(report, "receive", "zero_byte")["breaks_first"] == "nothing within this load"


def test_a_delay_of_nagles_algorithm_is_told():
    quick = make(Load(10, 1.0, 100, 500.0, 0.04, 0, "windows-10"))
    assert quick["recommended"]["nodelay"] is True
    assert quick["nagle_delay_us"] > 5000
    slow = make(Load(10, 1.0, 100, 2.0, 0.04, 0, "windows-10"))
    assert slow["recommended"]["nodelay"] is False


def test_the_command():
    """Nothing but JSON is printed, and the same from run to run."""
    arguments = ["--connections", "100000", "--message", "1KiB", "--rtt", "40ms"]
    results = [run("plan", *arguments, "--budget", "64MiB", "--json") for _ in range(2)]
    assert [one.returncode for one in results] == [0, 0], results[0].stderr
    assert results[0].stdout == results[1].stdout
    report = json.loads(results[0].stdout)
    assert list(report) == ["load", "receive", "send", "nagle_delay_us", "recommended"]
    assert of(report, "receive", "direct")["locked_worst"] == 100_000 * PAGE
    plain = run("plan", *arguments)
    assert plain.returncode == 0, plain.stderr
    assert "breaks first" in plain.stdout
    assert (
        f"receive: {report['recommended']['receive']}"
        in run("plan", *arguments, "--budget", "64MiB").stdout
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--connections", "0"],
        ["--connections", "10", "--message", "much"],
        ["--connections", "10", "--message", "0"],
        ["--connections", "10", "--rtt", "40 miles"],
        ["--connections", "10", "--preset", "beos"],
    ],
)
def test_what_cannot_be_is_refused(arguments):
    result = run("plan", *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_load_that_cannot_be_served_says_so():
    with pytest.raises(iocp_sock.ArgumentError, match="cannot keep up"):
        make(Load(10, 1.0, 1 << 20, 100.0, 1.0, 0, "windows-2000"))
