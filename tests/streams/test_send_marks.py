"""R16 and R17: marks that pause a sender, the cap of the queue, and peers that do not read."""

import pytest

import iocp_sock
from support import OVERFLOW, Recorder, finish, pattern, read, run_until


def test_pause_and_resume_come_in_turn(port, peers):
    """R16: on_pause runs once over the high mark, then on_resume once at the low mark."""
    sock, peer = peers.tcp(port)
    told = []
    sock.set_send_marks(
        high=1 << 20,
        low=1 << 16,
        on_pause=lambda s: told.append(("pause", s.queued_bytes > 1 << 20)),
        on_resume=lambda s: told.append(("resume", s.queued_bytes <= 1 << 16)),
    )
    for _ in range(2):
        told.clear()
        op = sock.send(pattern(OVERFLOW))
        run_until(port, lambda: told)
        assert told == [("pause", True)]
        assert sock.send_paused
        assert read(port, peer, OVERFLOW) == pattern(OVERFLOW)
        finish(port, op)
        run_until(port, lambda: len(told) == 2)
        assert told[1] == ("resume", True)
        assert not sock.send_paused
    assert port.stats().pauses == 2


def test_a_sender_that_follows_the_marks_sends_everything(port, peers):
    """R16: a sender that follows the marks sends everything, and queues little."""
    sock, peer = peers.tcp(port)
    data = pattern(OVERFLOW)
    state = {"at": 0, "paused": False, "most": 0}
    step = 64 << 10

    def push(_: object = None) -> None:
        state["paused"] = False
        while state["at"] < len(data) and not state["paused"]:
            sock.send(data[state["at"] : state["at"] + step])
            state["at"] += step
            state["most"] = max(state["most"], sock.queued_bytes)
            state["paused"] = sock.send_paused

    sock.receive(lambda _sock, _data: None)
    sock.set_send_marks(high=4 * step, low=step, on_resume=push)
    push()
    assert read(port, peer, len(data)) == data
    assert state["most"] <= 5 * step


def test_cap_refuses_and_sends_nothing_of_it(port, peers):
    """R16: queued bytes never pass the cap; a post beyond it raises and sends nothing."""
    sock, peer = peers.tcp(port)
    first = sock.send(pattern(OVERFLOW))
    queued = sock.queued_bytes
    assert queued > 1 << 20
    sock.set_send_marks(high=0, low=0, cap=queued + 10)
    before = port.ledger
    with pytest.raises(iocp_sock.BudgetExceeded, match="on_resume"):
        sock.send(b"x" * 11)
    assert port.ledger == before
    last = sock.send(b"y" * 10)
    assert sock.queued_bytes == queued + 10
    assert read(port, peer, OVERFLOW + 10) == pattern(OVERFLOW) + b"y" * 10
    finish(port, first, last)


def test_marks_of_the_port_are_what_sockets_start_with(make_port, peers):
    """R16: PortConfig sets the marks that every socket starts with."""
    port = make_port(send_high=1000, send_low=10, send_cap=5000)
    sock, _ = peers.tcp(port)
    assert sock.send_marks == (1000, 10, 5000)
    sock.set_send_marks(cap=0)
    assert sock.send_marks == (1000, 10, 0)
    sock.set_send_marks(high=4)
    assert sock.send_marks == (4, 1, 0)


def test_bad_marks_change_nothing(port, peers):
    """Wrong marks raise, and leave the marks and callbacks as they were."""
    sock, _ = peers.tcp(port)
    before = sock.send_marks
    for wrong in (
        {"high": 10, "low": 11},
        {"high": 100, "cap": 99},
        {"high": -1},
        {"cap": 1 << 40},
    ):
        with pytest.raises(iocp_sock.ArgumentError):
            sock.set_send_marks(**wrong)
    for wrong in ({"high": "1"}, {"on_pause": 3}, {"on_resume": "x"}, {"width": 1}):
        with pytest.raises(iocp_sock.ArgumentTypeError):
            sock.set_send_marks(**wrong)
    assert sock.send_marks == before
    sock.close(0)
    with pytest.raises(iocp_sock.SocketClosed):
        sock.set_send_marks(high=1)


def test_marks_are_not_told_after_close(port, peers):
    """A closed socket invokes on_close, but not on_pause or on_resume."""
    sock, _ = peers.tcp(port)
    paused, resumed, closed = Recorder(), Recorder(), Recorder()
    sock.receive(lambda _sock, _data: None, on_close=closed)
    sock.set_send_marks(high=1000, low=0, on_pause=paused, on_resume=resumed)
    sock.send(bytes(OVERFLOW))
    run_until(port, lambda: paused)
    sock.close(0)
    run_until(port, lambda: closed)
    assert len(paused) == 1
    assert resumed == []


def test_peers_that_never_read_cost_the_caps_and_no_more(make_port, peers):
    """R17: the queues of peers that never read stay below the cap; other peers are served."""
    cap = 256 << 10
    port = make_port(send_high=cap, send_low=cap // 4, send_cap=cap)
    stuck = [peers.tcp(port, buffers=4096)[0] for _ in range(8)]
    healthy, peer = peers.tcp(port)
    chunk = bytes(cap // 4)
    refused = 0
    for sock in stuck:
        sock.receive(lambda _sock, _data: None)
        for _ in range(64):
            try:
                sock.send(chunk)
            except iocp_sock.BudgetExceeded:
                refused += 1
        port.run_once(0)
        assert sock.queued_bytes <= cap
    assert refused > 8 * 32
    assert port.ledger.now <= len(stuck) * (cap + 4 * iocp_sock.PAGE_SIZE)
    for _ in range(10):
        op = healthy.send(b"served")
        assert read(port, peer, 6) == b"served"
        finish(port, op)
    for sock in stuck:
        sock.abort()


def test_idle_connections_are_closed(make_port, peers):
    """R17: a connection without progress for idle_timeout is closed with TimedOut."""
    port = make_port(idle_timeout=0.2)
    accepted, closed = Recorder(), Recorder()
    listener = port.listen(("127.0.0.1", 0))

    def serve(sock: iocp_sock.Socket) -> None:
        accepted.append(sock)
        sock.receive(lambda s, data: s.send(data) if data else s.close(), on_close=closed)

    listener.accept_each(serve)
    idle = peers.connect(listener.getsockname())
    busy = peers.connect(listener.getsockname())
    run_until(port, lambda: len(accepted) == 2)
    rounds = 0
    while not closed:
        busy.sendall(b"alive")
        assert read(port, busy, 5) == b"alive"
        rounds += 1
    sock, error = closed[0]
    assert sock is accepted[0]
    assert isinstance(error, iocp_sock.TimedOut)
    assert idle.recv(10) == b""
    assert port.stats().evictions == 1
    assert not accepted[1].closed
    assert rounds > 1


def test_connections_beyond_the_cap_wait_for_one_to_close(make_port, peers):
    """R17: accept_each() keeps at most max_connections open at once."""
    port = make_port(max_connections=3, posted_accepts=1)
    accepted = Recorder()
    listener = port.listen(("127.0.0.1", 0))
    listener.accept_each(accepted)
    clients = [peers.connect(listener.getsockname()) for _ in range(6)]
    run_until(port, lambda: len(accepted) == 3)
    for _ in range(5):
        port.run_once(0.01)
    assert len(accepted) == 3
    accepted[0].close()
    run_until(port, lambda: len(accepted) == 4)
    for sock in accepted[1:]:
        sock.close()
    run_until(port, lambda: len(accepted) == 6)
    accepted[4].send(b"hello")
    assert read(port, clients[4], 5) == b"hello"
