"""R20: scenarios from a file, in the model's virtual time."""

import contextlib
import copy
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer")

from iocp_sock import Sim
from iocp_sock.cli.simulate.course import ScenarioCourse
from iocp_sock.cli.simulate.outcome import Outcome
from iocp_sock.cli.simulate.reading import ScenarioError
from iocp_sock.cli.simulate.scenario import load, read
from support import PAGE, block
from support.commands import run
from support.places import DOCS, needs_docs

SCENARIOS = DOCS / "scenarios"

SMALL: dict[str, Any] = {
    "duration": "1s",
    "sim": {"delay": "10ms"},
    "hosts": {"server": {}, "client": {}},
    "listeners": {"web": {"host": "server", "nodelay": True}},
    "connections": {
        "calls": {
            "from": "client",
            "to": "web",
            "nodelay": True,
            "message": "1KiB",
            "rate": "answered",
            "messages": 5,
            "answer": "echo",
        }
    },
}


def small(**changes: Any) -> dict[str, Any]:
    """Return a copy of SMALL with changed keys of its connections; None removes a key."""
    values = copy.deepcopy(SMALL)
    calls = {**values["connections"]["calls"], **changes}
    values["connections"]["calls"] = {k: v for k, v in calls.items() if v is not None}
    return values


def ran(values: dict[str, Any]) -> Outcome:
    return ScenarioCourse(read(values, "test"), traced=False).run()


def calls(values: dict[str, Any]) -> dict[str, Any]:
    return ran(values).as_dict()["connections"]["calls"]


@pytest.mark.parametrize("receive", ["pooled", "direct", "zero_byte", "adaptive"])
def test_an_echo_takes_a_round_trip(receive):
    """The latency of an echo is a round trip of the network, to the nanosecond."""
    values = small(count=3, receive=receive)
    values["listeners"]["web"]["receive"] = receive
    assert calls(values) == {
        "count": 3,
        "opened": 3,
        "sent": 15,
        "delivered": 15,
        "under_way": 0,
        "bytes": 2 * 15 * 1024,
        "p50_us": 20_000.0,
        "p99_us": 20_000.0,
        "longest_us": 20_000.0,
        "refused": 0,
        "errors": {},
    }


def test_the_rate_is_kept():
    """The first message is sent when the connection opens, at 0.03 s; others follow each 0.1 s."""
    one = calls(small(rate=10, messages=None))
    assert one["sent"] == 10
    assert one["delivered"] == 10
    assert calls(small(rate=10, messages=4))["sent"] == 4


def test_all_at_once_are_a_send_each():
    one = calls(small(rate="at_once", messages=20, answer=None, message="100B"))
    assert (one["sent"], one["delivered"], one["bytes"]) == (20, 20, 2000)
    assert (one["p50_us"], one["longest_us"]) == (10_000.0, 10_000.0)


def test_the_accepted_end_may_send_and_be_answered():
    one = calls(small(direction="down", answer="3B"))
    assert (one["delivered"], one["bytes"]) == (5, 5 * (1024 + 3))


def test_parts_of_a_message_are_sends_of_their_own():
    """Under Nagle's algorithm the second part waits for the acknowledgement of the first."""
    values = small(message=["16B", "48B"], nodelay=False, answer="64B")
    values["preset"] = "windows-2000"
    values["duration"] = 5
    outcome = ran(values)
    one = outcome.as_dict()["connections"]["calls"]
    assert one["bytes"] == 5 * 128
    assert one["p50_us"] == 240_000.0  # two round trips, and 200 ms between them
    assert outcome.counts["delayed_acks"] >= 5
    assert outcome.hosts["client"].nagle_stalls == 1
    assert calls(small(message=["16B", "48B"], answer="64B"))["p50_us"] == 20_000.0


def test_what_each_machine_holds_is_told_apart():
    """Each machine has its own ledger; the server's has its posted receives, locked on Windows."""
    values = small(count=7, message=None, rate=None, messages=None, answer=None)
    values["preset"] = "windows-10"
    values["listeners"]["web"] |= {"receive": "direct", "receive_size": "8KiB"}
    outcome = ran(values)
    server, client = outcome.hosts["server"], outcome.hosts["client"]
    assert server.ledger_now == server.locked_now == 7 * block(8192)
    assert (client.ledger_peak, client.locked_peak) == (0, 0)
    assert outcome.as_dict()["connections"]["calls"]["opened"] == 7


def test_connections_start_when_they_are_told_to():
    values = small(count=4, start="500ms", every="200ms", message=None, rate=None, messages=None)
    del values["connections"]["calls"]["answer"]
    # Three connections open at 0.53, 0.73 and 0.93 s. The fourth would begin at 1.1 s, after the
    # end of the scenario.
    assert calls(values)["opened"] == 3


@pytest.mark.parametrize(
    ("what", "error"),
    [("reset", "ConnectionResetError"), ("half_close", ""), ("stall", ""), ("vanish", "")],
)
def test_a_fault_comes_at_its_time_to_whom_it_names(what, error):
    values = small(count=4, rate=20, messages=None)
    values["faults"] = [{"at": 0.5, "what": what, "connections": "calls", "which": [1, 3]}]
    outcome = ran(values)
    assert outcome.injected == (2,)
    one = outcome.as_dict()["connections"]["calls"]
    whole = calls(small(count=4, rate=20, messages=None))
    assert whole["errors"] == {}
    # Two connections go on to the end. The two with a fault deliver nothing after 0.5 s.
    assert whole["delivered"] * 0.7 < one["delivered"] < whole["delivered"] * 0.8
    assert set(one["errors"]) == ({error} if error else set())


@pytest.mark.parametrize(("end", "delivered"), [("near", 20), ("far", 10)])
def test_a_fault_has_an_end(end, delivered):
    """A fault hits one end: a stalled far end reads nothing; a stalled near end still sends."""
    values = small(rate=20, messages=20, answer=None)
    values["duration"] = 2
    values["faults"] = [{"at": "500ms", "what": "stall", "connections": "calls", "end": end}]
    assert calls(values)["delivered"] == delivered


def test_messages_go_at_their_own_instants():
    """Messages are sent at exact instants, even between the millisecond checks of port timers."""
    course = ScenarioCourse(read(small(rate=3000, messages=4, answer=None), "test"), traced=True)
    sent = [line for line in course.run().lines if line.step == "sent" and line.length]
    assert [line.when for line in sent] == [0.03, 0.030333333, 0.030666667, 0.031]


def test_a_message_that_is_cut_ends_its_connection():
    """A message sent only in part ends its connection, as later bytes would pass for its rest."""
    values = small(message=["1KiB", "4MiB"], rate=10, messages=None, answer=None)
    values["hosts"]["client"]["budget"] = "2MiB"
    one = calls(values)
    assert (one["sent"], one["refused"], one["delivered"]) == (1, 1, 0)
    assert one["errors"] == {"ConnectionResetError": 1}  # the error of the other end


def test_the_budget_refuses_and_it_is_counted():
    values = small(rate=100, messages=None, answer=None, message="1MiB")
    values["hosts"]["client"]["budget"] = "2MiB"
    outcome = ran(values)
    one = outcome.as_dict()["connections"]["calls"]
    assert one["refused"] > 0
    assert one["sent"] + one["refused"] == 98  # from 0.03 s on
    assert outcome.hosts["client"].ledger_peak <= 2 << 20
    assert outcome.hosts["client"].refusals == one["refused"]


def test_parameters_reach_the_model():
    values = small()
    values["sim"] = {"delay": 0.02, "mss": 536, "loss": 0.0, "nagle": False, "page_size": "8KiB"}
    outcome = ran(values)
    assert outcome.as_dict()["connections"]["calls"]["p50_us"] == 40_000.0
    assert outcome.counts["data_segments"] == 2 * 2 * 5
    assert read(values, "test").make_sim().values["page_size"] == 8192


def test_the_model_may_refuse_anything_anywhere():
    """A run survives a refusal, reset or half-close, at whatever event it is injected."""
    for number in range(1, 40):
        for parameter in ("refuse_charge", "reset_event", "half_close_event"):
            values = small(count=2, direction="down")
            values["preset"] = "windows-2000"
            values["listeners"]["web"]["receive"] = "direct"
            values["sim"][parameter] = number
            with contextlib.suppress(ScenarioError):  # a refused listener raises it
                assert calls(values)["opened"] <= 2


def test_time_that_cannot_pass_says_so(monkeypatch):
    monkeypatch.setattr(sys.modules[ScenarioCourse.__module__], "_MAX_TURNS", 200)
    values = small(messages=None)
    values["sim"] = {"delay": 0}
    with pytest.raises(ScenarioError, match=r"set \[sim\] delay to more than 0"):
        ran(values)


WRONG = [
    ("duration = 1\nhosts.a = {}\nwhat = 1", "there is no key 'what'; the keys are title, seed"),
    ("hosts.a = {}", "duration is missing"),
    ("duration = 1", "hosts is missing"),
    ("duration = 'soon'\nhosts.a = {}", "duration must be a time from 0 to 1000000 seconds"),
    ("duration = inf\nhosts.a = {}", "duration must be a time"),
    ("duration = 1\nhosts.a = {}\npreset = 'beos'", "preset must be one of windows-2000"),
    ("duration = 1\nhosts.a = {}\nseed = true", "seed must be a whole number"),
    ("duration = 1\nhosts.a = {}\nseed = -1", "seed must be a whole number from 0"),
    ("duration = 1\nhosts = 3", "hosts must be made of tables, such as [hosts.one]"),
    ("duration = 1\nhosts.a = 3", "[hosts.a] must be a table, not 3"),
    (
        "duration = 1\nhosts.a.threads = 1",
        "[hosts.a]: there is no key 'threads'; the keys are budget",
    ),
    ("duration = 1\nhosts.a.backend = 'epoll'", "[hosts.a]: there is no key 'backend'"),
    ("duration = 1\nhosts.a.budget = -1", "[hosts.a]: budget must be an int from 0"),
    ("duration = 1\nhosts.a = {}\nsim.los = 1", "[sim]: there is no key 'los'; the keys are locks"),
    ("duration = 1\nhosts.a = {}\nsim.threads = true", "[sim]: there is no key 'threads'"),
    ("duration = 1\nhosts.a = {}\nsim.loss = 2", "[sim]: loss must be a number from 0 to 1"),
    ("duration = 1\nhosts.a = {}\nsim.delay = 'long'", "[sim]: delay must be a number"),
    ("duration = 1\nhosts.a = {}\nsim.mss = 1.5", "[sim]: mss must be an int"),
    (
        "duration = 1\nhosts.a = {}\nlisteners.l.host = 'b'",
        "[listeners.l]: host must be one of a, not",
    ),
    ("duration = 1\nhosts.a = {}\nlisteners.l.port = 7", "[listeners.l]: host is missing"),
    (
        "duration = 1\nhosts.a = {}\nlisteners.l = {host = 'a', send = 'direct'}",
        "[listeners.l]: ",
    ),
    (
        "duration = 1\nhosts.a = {}\nlisteners = {l = {host = 'a'}, m = {host = 'a'}}",
        "the same host and port",
    ),
    (
        "duration = 1\nhosts.a = {}\nfaults = {}",
        "faults must be a list of tables, written [[faults]]",
    ),
    ("duration = 1\nhosts.a = [", "the file is not TOML"),
]
WRONG_CONNECTIONS = [
    ("count = 0", "count must be a whole number from 1"),
    ("count = 1.5", "count must be a whole number"),
    ("receive = 'posted'", "receive must be one of pooled, direct, zero_byte, adaptive"),
    ("nodelay = 1", "nodelay must be true or false"),
    ("send_buffer = 'much'", "send_buffer must be a size"),
    ("start = -1", "start must be a time"),
    ("message = 0", "message must be a size from 1"),
    ("message = []", "message must be a size"),
    ("message = [1, 'x']", "message must be a size"),
    ("message = 1", "rate is missing"),
    ("message = 1\nrate = 0", "rate must be a number of messages a second"),
    ("message = 1\nrate = 'often'", "rate must be a number of messages a second"),
    ("message = 1\nrate = 'answered'", "rate can be 'answered' only if answer is"),
    ("message = 1\nrate = 'at_once'", "rate can be 'at_once' only with a number"),
    ("message = 1\nrate = 1\nanswer = 'no'", "answer must be 'none', 'echo'"),
    ("message = 1\nrate = 1\ndirection = 'left'", "direction must be one of up, down"),
    ("rate = 1", "rate must be given only with a message"),
    ("mesage = 1", "there is no key 'mesage'; the keys are from, to, count"),
]
WRONG_FAULTS = [
    ("at = 1", "[[faults]] number 1: what is missing"),
    ("at = 1\nwhat = 'fire'", "what must be one of reset, half_close, stall, vanish"),
    ("at = 1\nwhat = 'reset'\nconnections = 'x'", "connections must be one of c"),
    ("at = 9\nwhat = 'reset'\nconnections = 'c'", "at must not be after the duration"),
    ("at = 1\nwhat = 'reset'\nconnections = 'c'\nwhich = 3", "which must be a number from 0 to 2"),
    ("at = 1\nwhat = 'reset'\nconnections = 'c'\nwhich = ['x']", "which must be a number"),
    ("at = 1\nwhat = 'reset'\nconnections = 'c'\nwhich = []", "which must be a number"),
]
_START = "duration = 2\nhosts.a = {}\nlisteners.l.host = 'a'\n"
_GROUP = "[connections.c]\nfrom = 'a'\nto = 'l'\n"
ALL_WRONG = (
    WRONG
    + [(f"{_START}{_GROUP}{text}", f"[connections.c]: {says}") for text, says in WRONG_CONNECTIONS]
    + [(f"{_START}{_GROUP}count = 3\n[[faults]]\n{text}", says) for text, says in WRONG_FAULTS]
)


@pytest.mark.parametrize(("text", "says"), ALL_WRONG, ids=[says for _, says in ALL_WRONG])
def test_what_cannot_be_is_named(tmp_path, text, says):
    """The error of an invalid scenario names the table, the key, and the valid values."""
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as raised:
        load(file)
    assert says in str(raised.value)


def command(*arguments: object, **options: Any) -> Any:
    return run("simulate", *(str(one) for one in arguments), **options)


@pytest.fixture
def scenario(tmp_path) -> Path:
    """A scenario file with losses, so that the seed matters."""
    file = tmp_path / "small.toml"
    file.write_text(
        'duration = "2s"\n[sim]\ndelay = "10ms"\nloss = 0.1\n[hosts]\na = {}\nb = {}\n'
        '[listeners.l]\nhost = "a"\n[connections.c]\nfrom = "b"\nto = "l"\ncount = 3\nstart = 0.5\n'
        'message = "5000B"\nrate = 10\nanswer = "echo"\n'
    )
    return file


def test_the_command_writes_the_same_trace_each_time(scenario, tmp_path):
    """The same seed gives the same trace; the report and the trace file contain its hash."""
    out = [tmp_path / f"{number}.json" for number in range(3)]
    seeds = [[], ["--seed", "0"], ["--seed", "1"]]
    results = [
        command(scenario, "--json", "--out", file, *seed, env={"PYTHONHASHSEED": str(number)})
        for number, (file, seed) in enumerate(zip(out, seeds, strict=True))
    ]
    assert [one.returncode for one in results] == [0, 0, 0], results[0].stderr
    assert results[0].stdout == results[1].stdout != results[2].stdout
    written = [file.read_bytes() for file in out]
    assert written[0] == written[1] != written[2]
    report, trace = json.loads(results[0].stdout), json.loads(written[0])
    assert trace["otherData"]["trace_hash"] == report["trace_hash"]
    assert sorted(tmp_path.iterdir()) == sorted([scenario, *out])
    events = trace["traceEvents"]
    named = {one["args"]["name"] for one in events if one["name"] == "process_name"}
    assert {"model", "port of a", "port of b"} <= named
    steps = [one for one in events if one.get("cat") == "model"]
    assert len([one for one in steps if one["name"] == "lost"]) == report["counts"]["lost"] > 0
    ledgers = [one["args"]["charged bytes"] for one in events if one["ph"] == "C"]
    assert max(ledgers) == max(host["ledger_peak"] for host in report["hosts"].values()) >= PAGE
    spans = [one["id"] for one in events if one["ph"] in "be"]
    assert len(spans) == 2 * len([one for one in events if one["ph"] == "b"])
    times = {one["pid"]: [] for one in events if "ts" in one}
    for one in events:
        times.get(one["pid"], []).append(one.get("ts", 0))
    assert max(max(one) for one in times.values()) <= 2_000_000
    named_processes = [one for one in events if one["name"] == "process_name"]
    processes = [one["pid"] for one in named_processes]
    assert len(set(processes)) == len(processes) > 3
    first = {one["args"]["name"]: one["pid"] for one in named_processes}["port of b"]
    begun = [one["ts"] for one in events if one["ph"] == "b" and one["pid"] > first]
    assert min(begun) == 500_000


def test_the_command_says_it_in_tables(scenario):
    result = command(scenario)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for text in ("small: 2 s on linux, seed 0", "ledger peak", "sent again", "trace "):
        assert text in result.stdout


@pytest.mark.parametrize("problem", ["wrong key", "no file", "no directory", "not text"])
def test_nothing_is_written_of_what_cannot_be(scenario, tmp_path, problem):
    """An invalid scenario ends with exit code 2, prints no report, and writes no file."""
    out = tmp_path / "trace.json"
    out.write_text("before")
    arguments: list[Any] = [scenario, "--out", out]
    if problem == "wrong key":
        scenario.write_text(scenario.read_text() + "wrong = 1\n")
    elif problem == "no file":
        arguments[0] = tmp_path / "missing.toml"
    elif problem == "no directory":
        arguments[2] = tmp_path / "missing" / "trace.json"
    else:
        scenario.write_bytes(b"\xff\xfe")
    result = command(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert out.read_text() == "before"
    assert not [name for name in os.listdir(tmp_path) if "part" in name]


def test_a_trace_that_cannot_be_written_leaves_no_part(scenario, tmp_path):
    out = tmp_path / "directory"
    out.mkdir()
    (out / "file").touch()
    result = command(scenario, "--out", out)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.iterdir()) == sorted([scenario, out])


def example(name: str) -> Outcome:
    return ScenarioCourse(load(SCENARIOS / f"{name}.toml"), traced=False).run()


@needs_docs
def test_the_example_of_the_stall():
    """A request takes 200 ms with Nagle's algorithm or no send buffer, else only a round trip."""
    report = example("nagle").as_dict()
    times = {name: one["p50_us"] for name, one in report["connections"].items()}
    assert times == {"no_buffer": 200_400.0, "nagle": 200_400.0, "nodelay": 200.0}


@needs_docs
def test_the_example_of_readers_that_stop():
    """R17: beside stopped readers, the other readers lose data only if there is no send cap."""
    capped = example("stalled_readers")
    scenario = load(SCENARIOS / "stalled_readers.toml")
    assert capped.tallies["good"].refused == 0
    assert capped.hosts["server"].ledger_peak < scenario.hosts["server"].options["budget"]
    server = scenario.hosts["server"]
    options = {name: value for name, value in server.options.items() if name != "send_cap"}
    assert options != server.options
    hosts = {**scenario.hosts, "server": dataclasses.replace(server, options=options)}
    without = dataclasses.replace(scenario, hosts=hosts)
    assert ScenarioCourse(without, traced=False).run().tallies["good"].refused > 1000


@needs_docs
def test_the_example_of_losses():
    report = example("lossy").as_dict()
    assert report["counts"]["lost"] > 100
    assert report["counts"]["retransmissions"] >= report["counts"]["lost"] * 0.9
    assert report["connections"]["calls"]["errors"] == {"ConnectionResetError": 4}


def test_every_parameter_of_the_model_may_be_given():
    kinds = {one.name: one.metadata.get("kind") for one in dataclasses.fields(Sim)}
    sim = {
        name: bool(value) if kinds[name] == "switch" else value
        for name, value in Sim(preset="windows-10").values.items()
        if name != "threads"
    }
    made = read({**small(), "sim": sim}, "test").make_sim()
    assert made.values == Sim(preset="windows-10").values
