"""The planner: the cost of each strategy for a load, from the model (R21)."""

import functools
import json
import mmap

import pytest

pytest.importorskip("typer")

import iocp_sock
from iocp_sock.cli.plan import make
from iocp_sock.cli.plan.advice import best
from iocp_sock.cli.plan.load import Load
from iocp_sock.cli.plan.measured import LARGEST, Measured
from iocp_sock.cli.plan.modelled import Figures
from iocp_sock.cli.plan.row import Row
from iocp_sock.cli.quantity import seconds, size
from support import PAGE, WINDOWS, block, read, run_until
from support.commands import run
from support.places import customized

LOAD = Load(
    connections=1000, active=0.02, message=1024, rate=10.0, rtt=0.04, budget=0, preset="linux"
)


def of(report: dict, side: str, strategy: str) -> dict:
    return next(one for one in report[side] if one["strategy"] == strategy)


@functools.cache
def planned(load: Load) -> dict:
    return make(load)


@pytest.fixture(scope="module")
def report() -> dict:
    return planned(LOAD)


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


@pytest.mark.parametrize("message", [1024, 10_000])
@pytest.mark.parametrize("strategy", ["direct", "adaptive", "pooled", "zero_byte"])
def test_what_it_says_is_locked_is_what_a_real_port_locks(port, peers, strategy, message):
    """R21: the planned charge is within 5 percent of a real port's charge under the same load."""
    load = Load(100, 0.1, message, 10.0, 0.001, 0, "linux")
    pairs = [peers.tcp(port) for _ in range(load.connections)]
    got = []
    for sock, _peer in pairs:
        sock.receive(lambda _, data: got.append(len(data)), receive=strategy, size=load.block)
    for _sock, peer in pairs[: load.busy]:
        peer.sendall(bytes(message))
    run_until(port, lambda: sum(got) == load.busy * message)
    run_until(port, lambda: port.stats().operations_by_state["pending"] == len(pairs))
    port.run_once(0)  # on Windows a subscription posts again a turn after its message
    said = of(planned(load), "receive", strategy)["locked_typical"]
    assert abs(said - port.ledger.now) <= 0.05 * port.ledger.now
    if strategy == "direct":
        assert port.ledger.now == len(pairs) * block(message)


@pytest.mark.parametrize("message", [1024, 10_000, 1 << 18])
@pytest.mark.parametrize("strategy", ["buffered", "when_writable"])
def test_what_it_says_sends_lock_at_worst_is_what_they_do(port, peers, strategy, message):
    """R21: if all connections send in one turn, the planned peak is within 5 % of the real one."""
    load = Load(30, 0.1, message, 1.0, 0.001, 0, "linux")
    pairs = [peers.tcp(port) for _ in range(load.connections)]
    arrived = []
    for sock, _peer in pairs:
        sock.send_strategy = strategy
        sock.receive(lambda *_: None)
    data = memoryview(mmap.mmap(-1, message))
    for sock, _peer in pairs:
        sock.send(data)
    for _sock, peer in pairs:
        arrived.append(len(read(port, peer, message)))
    assert arrived == [message] * len(pairs)
    said = of(planned(load), "send", strategy)["locked_worst"]
    assert abs(said - port.ledger.peak) <= 0.05 * port.ledger.peak
    assert port.ledger.peak == (len(pairs) * block(message) if strategy == "buffered" else 0)
    assert port.ledger.now == 0


def test_windows_locks_sends_without_a_buffer():
    load = Load(1000, 0.1, 8192, 5.0, 0.04, 0, "windows-10")
    report = make(load)
    direct, buffered = (of(report, "send", name) for name in ("direct", "buffered"))
    assert direct["locked_worst"] >= 1000 * block(8192)
    assert 0 < direct["locked_typical"] < 0.1 * direct["locked_worst"]
    assert direct["copies_per_byte"] == 0
    assert (buffered["locked_typical"], buffered["copies_per_byte"]) == (0, 1)
    assert buffered["locked_worst"] == 1000 * block(8192)  # until their turn ends
    assert of(report, "send", "when_writable")["locked_worst"] == 0


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
    """`iocp-sock plan --json` prints only JSON, and the same in every run."""
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
        ["--connections", "10", "--plot", "no/such/place/x.png"],
        ["--connections", "10", "--calibrate", "--preset", "windows-2000"],
        ["--connections", "10", "--calibrate", "--message", str(LARGEST + 1)],
    ],
)
def test_what_cannot_be_is_refused(arguments):
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    result = run("plan", *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_load_that_cannot_be_served_says_so():
    with pytest.raises(iocp_sock.ArgumentError, match="cannot keep up"):
        make(Load(10, 1.0, 1 << 20, 100.0, 1.0, 0, "windows-2000"))


def test_delays_are_the_networks_and_nothing_is_added_by_looking():
    """No strategy delays a message of one segment beyond half a round trip, to within 0.1 µs."""
    report = make(Load(10, 1.0, 1000, 3.0, 0.0377, 0, "linux"))
    assert {one["added_delay_us"] for one in report["receive"] + report["send"]} == {0.0}


def test_a_plot(tmp_path):
    """`plan --plot` also writes a picture."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / "plan.png"
    result = run("plan", "--connections", "100", "--budget", "1MiB", "--plot", str(picture))
    assert result.returncode == 0, result.stderr
    assert "breaks first" in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib(tmp_path):
    """`plan --plot` without matplotlib names the package to install, before anything runs."""
    without = customized(tmp_path, "import sys\nsys.modules['matplotlib'] = None\n")
    picture = str(tmp_path / "plan.png")
    result = run("plan", "--connections", "10", "--plot", picture, env=without)
    assert result.returncode == 2
    assert "iocp-sock[plot]" in result.stderr


def figures(**changes: float) -> Figures:
    charges = {"idle_charge": PAGE, "active_charge": PAGE, "worst_charge": PAGE}
    others = {"copies": 1.0, "calls": 1.0, "delay": 0.0, "pool": 100.0}
    return Figures(**{**charges, **others, **changes})


def test_what_was_measured_replaces_the_model():
    """A measured charge and memory replace the modelled ones, which appear under `modelled`."""
    measured = Measured(idle_charge=2 * PAGE, memory=300.0, cpu=2e-5, messages_per_second=4e4)
    load = Load(1000, 0.01, 1024, 10.0, 0.01, 0, "linux")
    row = Row("direct", load, figures(), measured).as_dict()
    assert row["locked_typical"] == 990 * 2 * PAGE + 10 * PAGE
    assert row["locked_worst"] == 1000 * 2 * PAGE
    assert row["memory"] == row["locked_worst"] + 300_000
    assert row["modelled"] == {
        "locked_typical": 1000 * PAGE,
        "locked_worst": 1000 * PAGE,
        "memory": 1000 * PAGE + 100_000,
    }
    assert row["measured"]["cpu_us_per_message"] == 20.0
    sending = Measured(idle_charge=None, memory=None, cpu=2e-5, messages_per_second=4e4)
    row = Row("buffered", load, figures(), sending).as_dict()
    assert row["modelled"] == {}
    assert "measured" not in Row("direct", load, figures(), None).as_dict()


def test_the_processor_may_break_first():
    """10,000 connections with ten messages a second, of 20 us each, need two processors."""
    measured = Measured(idle_charge=0.0, memory=300.0, cpu=2e-5, messages_per_second=4e4)
    load = Load(10_000, 1.0, 1024, 10.0, 0.01, 0, "linux")
    row = Row("pooled", load, figures(idle_charge=0.0), measured).as_dict()
    assert row["breaks_first"] == "one processor, at 5,000 active connections"


def test_what_is_locked_while_idle_may_break_the_budget():
    """The charge of idle connections must fit the budget, even if active connections hold less."""
    load = Load(1000, 0.5, 1024, 10.0, 0.01, 900 * PAGE, "linux")
    row = Row("direct", load, figures(active_charge=PAGE / 2), None).as_dict()
    assert row["locked_typical"] < load.budget < row["locked_worst"]
    assert row["breaks_first"] == "the budget, at 900 connections"


def test_less_processor_time_is_recommended_where_it_was_measured():
    """A clearly shorter measured processor time decides; else the modelled copies and calls do."""
    load = Load(1000, 0.01, 1024, 10.0, 0.01, 0, "linux")
    for slower, wanted in ((1.1, "copies little"), (2.0, "quick")):
        rows = [
            Row(name, load, figures(copies=copies), Measured(0.0, 300.0, cpu, 4e4))
            for name, copies, cpu in (("copies little", 1, slower * 1e-5), ("quick", 2, 1e-5))
        ]
        chosen, why = best([one.estimate for one in rows], load)
        assert chosen.strategy == wanted
        assert "µs of the processor" in why


def test_calibrate_measures_this_machine():
    """R21: with --calibrate the charge of a real run is within 5 percent of the modelled one."""
    preset = "windows-10" if WINDOWS else "linux"
    arguments = ["--connections", "60", "--active", "0.1", "--message", "6KiB", "--json"]
    result = run("plan", "--calibrate", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["load"]["preset"] == preset
    assert report["calibration"]["connections"] == 60
    assert report["calibration"]["active"] == 6
    assert report["calibration"]["message"] == 6 << 10
    assert iocp_sock.probe()[report["calibration"]["backend"]] == "ok"
    for one in report["receive"]:
        if WINDOWS and one["strategy"] == "adaptive":
            continue  # on Windows the active ones have posted blocks
        locked = 2 * PAGE if one["strategy"] == "direct" else 0
        assert one["measured"]["locked_idle_connection"] == locked
        assert abs(one["modelled"]["locked_typical"] - one["locked_typical"]) <= 0.05 * 60 * locked
        assert one["locked_worst"] == 60 * locked
    bare = of(report, "receive", "zero_byte")["measured"]["memory_idle_connection"]
    assert of(report, "receive", "direct")["measured"]["memory_idle_connection"] == bare
    for one in report["receive"] + report["send"]:
        assert one["measured"]["cpu_us_per_message"] > 0
        assert one["measured"]["messages_per_second"] > 0
        memory = one["measured"]["memory_idle_connection"]
        assert (memory is None) == WINDOWS
        if memory is not None:
            assert abs(one["memory"] - one["locked_worst"] - 60 * memory) <= 60
