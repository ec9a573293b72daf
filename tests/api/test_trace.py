"""The recorded life of operations: every change once, bounded, and a file that Perfetto opens."""

import io
import json
import struct
from typing import Any

import pytest

import iocp_sock
from support import PAGE, Recorder, finish, read, run_until
from support.chrome_trace import check_chrome

DONE = ["posted", "completed", "dispatched"]
PENDING = ["posted", "pending", "refunded", "completed", "dispatched"]
CANCELLED = ["posted", "pending", "cancelled", "refunded", "completed", "dispatched"]
BEHIND = ["posted", "queued", "cancelled", "refunded", "completed", "dispatched"]


def lives(trace: iocp_sock.Trace) -> dict[int, list[iocp_sock.TraceEvent]]:
    """Return the events of each operation, in order."""
    found: dict[int, list[iocp_sock.TraceEvent]] = {}
    for event in trace:
        found.setdefault(event.operation, []).append(event)
    return found


def phases(events: list[iocp_sock.TraceEvent]) -> list[str]:
    return [event.phase for event in events]


def chrome(trace: iocp_sock.Trace) -> dict[str, Any]:
    """Return the document that Trace.write() writes."""
    text = io.StringIO()
    trace.write(text)
    return json.loads(text.getvalue())


def test_the_phases_of_each_outcome(make_port, peers):
    """Operations record every change of phase once, with cancel, timeout, close and budget."""
    port = make_port(budget=4 * PAGE, over_budget="queue")
    sock, peer = peers.pair(port)
    other, _other_peer = peers.pair(port)
    third, third_peer = peers.pair(port)
    expected: list[tuple[iocp_sock.Operation, str, list[str], str | None]] = []
    with port.trace() as trace:
        assert trace.running
        done = sock.send(b"fits")
        expected.append((done, "send", DONE, None))
        pending = sock.recv(PAGE)
        behind = sock.recv(PAGE)
        expected.append((pending, "receive", PENDING, None))
        expected.append((behind, "receive", BEHIND, "cancelled"))
        port.run_once(0)
        peer.sendall(b"x")
        assert behind.cancel()
        assert not behind.cancel()
        finish(port, pending)

        asked = other.recv(PAGE)
        port.run_once(0)
        asked.cancel()
        finish(port, asked)
        expected.append((asked, "receive", CANCELLED, "cancelled"))
        late = other.recv(PAGE, timeout=0.01)
        finish(port, late)
        expected.append((late, "receive", CANCELLED, "timed_out"))

        full = third.recv(4 * PAGE)
        held = other.recv(PAGE)
        assert held.outcome == "queued"
        third_peer.sendall(b"x")
        finish(port, full)
        run_until(port, lambda: held.pending and port.stats().budget_queue == 0)
        other.close(0)
        finish(port, held)
        expected.append((full, "receive", PENDING, None))
        expected.append(
            (
                held,
                "receive",
                ["posted", "queued", "charged", *CANCELLED[1:]],
                "cancelled",
            )
        )
        run_until(port, lambda: port.outstanding == 0)
    assert not trace.running
    assert trace.dropped == 0
    recorded = list(lives(trace).values())
    assert len(recorded) == len(expected)
    for (_op, kind, wanted, error), events in zip(expected, recorded, strict=True):
        assert phases(events) == wanted
        assert {event.kind for event in events} == {kind}
        assert {event.sending for event in events} == {kind == "send"}
        assert phases(events).index("completed") == len(events) - 2
        assert events[-1].error == events[-2].error == error
    check_chrome(chrome(trace))


def test_events_say_what_they_are_about(port, pair):
    """An event has the socket, bytes, charge and time of its operation, and the port's ledger."""
    sock, peer = pair
    (listed,) = port.stats(sockets=1).by_socket
    with port.trace() as trace:
        before = port.time()
        op = sock.recv(2 * PAGE)
        behind = sock.recv(PAGE)
        port.run_once(0)
        peer.sendall(b"abc")
        finish(port, op)
        behind.cancel()
        finish(port, behind)
        run_until(port, lambda: port.outstanding == 0)
        after = port.time()
    first, second = lives(trace).values()
    assert {(event.socket, event.fileno) for event in trace} == {(listed.id, sock.fileno())}
    assert first[0].nbytes == 2 * PAGE
    assert (first[0].charged, first[0].ledger) == (2 * PAGE, 2 * PAGE)
    assert (second[0].charged, second[0].ledger) == (PAGE, 3 * PAGE)
    assert first[-1].nbytes == 3
    assert second[-1].ledger == 0
    times = [event.time for event in trace]
    assert times == sorted(times)
    assert before <= times[0] / 1e9 <= times[-1] / 1e9 <= after


def test_a_subscription_yields(port, pair):
    """receive() is one operation, with an event for each message."""
    sock, peer = pair
    got = Recorder()
    with port.trace() as trace:
        sock.receive(got, receive="direct", size=PAGE)
        run_until(port, lambda: port.ledger.now == PAGE)
        for count in (1, 2):
            peer.sendall(b"x" * 10)
            run_until(port, lambda count=count: len(got) == count)
        run_until(port, lambda: port.ledger.now == PAGE)
        sock.close()
        run_until(port, lambda: port.stats().sockets == 0)
    (events,) = lives(trace).values()
    assert [event.nbytes for event in events if event.phase == "yielded"] == [10, 10]
    charges = [event.phase for event in events if event.phase in ("charged", "refunded")]
    assert charges == ["charged", "refunded"] * 3
    assert phases(events)[-4:] == CANCELLED[2:]
    spans = [e for e in check_chrome(chrome(trace)) if e["ph"] == "n"]
    results = [e["args"]["bytes"] for e in spans if e["name"] == "receive_each: result"]
    assert results == [10, 10]


def test_connections_have_tracks_of_their_own(port, peers):
    """In the written file each socket is a process, and each direction a thread of it."""
    first, first_peer = peers.pair(port)
    second, _second_peer = peers.pair(port)
    with port.trace() as trace:
        ops = [first.recv(10), first.send(b"x"), second.recv(10)]
        first_peer.sendall(b"x")
        finish(port, ops[0], ops[1])
        second.cancel()
        finish(port, ops[2])
        run_until(port, lambda: port.outstanding == 0)
    events = check_chrome(chrome(trace))
    tracks = {(e["pid"], e["tid"], e["name"]) for e in events if e["ph"] == "b"}
    assert {(tid, name) for _, tid, name in tracks if ":" not in name} == {
        (1, "receive"),
        (2, "send"),
    }
    assert len({pid for pid, _, _ in tracks}) == 2
    names = [e["args"]["name"] for e in events if e["name"] == "process_name"]
    assert f"(descriptor {first.fileno()})" in names[1]
    (cancel,) = [e for e in events if e["ph"] == "n"]
    assert cancel["name"] == "receive: cancel"
    counters = [e["args"]["charged bytes"] for e in events if e["ph"] == "C"]
    assert counters[0] == PAGE
    assert counters[-1] == 0
    assert max(counters) == 2 * PAGE


def test_what_was_under_way_at_either_end(port, pair):
    """Operations that began before the trace or outlive it are cut at its ends."""
    sock, peer = pair
    older = sock.recv(10)
    port.run_once(0)
    with port.trace() as trace:
        peer.sendall(b"x")
        finish(port, older)
        younger = sock.recv(10)
    events = check_chrome(chrome(trace))
    begins = {e["id"]: e["args"] for e in events if e["ph"] == "b" and e["name"] == "receive"}
    ends = {e["id"]: e["args"] for e in events if e["ph"] == "e" and e["name"] == "receive"}
    first, second = begins
    assert "before" in begins[first]["posted"]
    assert ends[first] == {"transferred": 1, "error": None}
    assert begins[second]["bytes"] == 10
    assert ends[second] == {"unfinished": True}
    younger.cancel()
    finish(port, younger)


def test_memory_is_bounded_and_what_was_dropped_is_said(port, pair):
    """The trace keeps the latest events, and counts the dropped ones."""
    sock, peer = pair
    with port.trace(events=10) as trace:
        for _ in range(20):
            sock.send(b"x")
        read(port, peer, 20)
        run_until(port, lambda: port.outstanding == 0)
    assert len(trace) == len(list(trace)) == 10
    assert trace.dropped == 20 * len(DONE) - 10
    document = chrome(trace)
    assert document["otherData"]["dropped_events"] == trace.dropped
    said = [e["name"] for e in check_chrome(document) if e["ph"] == "i"]
    assert said == [f"{trace.dropped} earlier events were dropped"]


def test_without_a_packet_the_post_is_the_end(port, pair):
    """The post of an operation whose packet is skipped records all its phases."""
    sock, _peer = pair
    sock.skip_done_packets = True
    with port.trace() as trace:
        sock.send(b"x")
    (events,) = lives(trace).values()
    assert phases(events) == DONE


def test_a_trace_outlives_its_port(make_port, peers):
    """A trace records the end of its port, and can be stopped and read after it."""
    port = make_port()
    sock, _peer = peers.pair(port)
    trace = port.trace()
    sock.recv(10)
    port.run_once(0)
    port.close(0)
    assert port.stop_trace() is trace
    (events,) = lives(trace).values()
    assert phases(events) == CANCELLED
    check_chrome(chrome(trace))


def test_one_trace_at_a_time(port, pair):
    """A second trace is refused and the first goes on; stop_trace() needs a running trace."""
    sock, _peer = pair
    with pytest.raises(iocp_sock.ArgumentError, match="no trace"):
        port.stop_trace()
    trace = port.trace()
    with pytest.raises(iocp_sock.ArgumentError, match="runs already"):
        port.trace()
    sock.send(b"x")
    assert len(trace) == 0
    assert list(trace) == []
    assert trace.stop() is trace
    assert len(trace) > 0
    assert trace.stop() is trace
    with port.trace() as again:
        pass
    assert list(again) == []
    run_until(port, lambda: port.outstanding == 0)
    assert chrome(again)["traceEvents"] == []


@pytest.mark.parametrize("wrong", [0, -1, 1 << 40, "many", None, True, 2.5])
def test_wrong_number_of_events(port, wrong):
    """An invalid number of events raises a named error, and starts no trace."""
    with pytest.raises(iocp_sock.Error):
        port.trace(wrong)
    with port.trace(events=1):
        pass


def test_a_closed_port_starts_no_trace(make_port):
    """A closed port refuses a trace with PortClosed."""
    port = make_port()
    port.close()
    with pytest.raises(iocp_sock.PortClosed):
        port.trace()


def test_written_to_a_file(port, pair, tmp_path):
    """write() takes a path as well as an open file, and writes the same bytes."""
    sock, _peer = pair
    with port.trace() as trace:
        sock.send(b"x")
        run_until(port, lambda: port.outstanding == 0)
    trace.write(tmp_path / "trace.json")
    trace.write(str(tmp_path / "again.json"))
    written = (tmp_path / "trace.json").read_text()
    assert written == (tmp_path / "again.json").read_text()
    assert json.loads(written) == chrome(trace)


def test_the_layout_of_an_event(port, pair):
    """An event is 56 bytes, as trace() documents."""
    port.trace(events=1)
    recorded = port._stop_trace()
    assert struct.calcsize(recorded["format"]) == 56
