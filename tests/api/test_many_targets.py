"""R28: one thread posts to many targets before any completes."""

from support import Recorder, finish, run_until


def test_posts_to_many_sockets(port, peers):
    """R28: each post has an operation of its own, and ends with the outcome of its target."""
    pairs = [peers.pair(port) for _ in range(60)]
    got = Recorder()
    ops = [sock.recv(100, callback=got) for sock, _peer in pairs]
    assert len(set(map(id, ops))) == len(ops)
    assert all(op.outcome == "pending" for op in ops)
    order = list(range(60))[::-1]
    for i in order:
        pairs[i][1].sendall(b"%d" % i)
    finish(port, *ops)
    assert [bytes(op.data) for op in ops] == [b"%d" % i for i in range(60)]
    assert all(op.socket is sock for op, (sock, _peer) in zip(ops, pairs, strict=True))
    run_until(port, lambda: len(got) == 60)


def test_connects_to_many_targets(port, peers):
    """R28: many connects are outstanding at once."""
    listeners = [peers.raw() for _ in range(10)]
    for listener in listeners:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
    ops = [port.connect(listener.getsockname()) for listener in listeners for _ in range(5)]
    finish(port, *ops)
    assert all(op.error is None for op in ops)
    assert [op.socket.getpeername() for op in ops] == [
        listener.getsockname() for listener in listeners for _ in range(5)
    ]
    for op in ops:
        op.socket.close()


def test_more_operations_than_the_ring_has_entries(make_port, peers):
    """R28: posts beyond the size of the submission queue are all started."""
    port = make_port(ring_entries=32)
    pairs = [peers.pair(port) for _ in range(200)]
    ops = [sock.recv(10) for sock, _peer in pairs]
    for _sock, peer in pairs:
        peer.sendall(b"x")
    finish(port, *ops)
    ops = [sock.recv(10) for sock, _peer in pairs]
    for op in ops:
        op.cancel()
    finish(port, *ops)


def test_more_completions_than_the_queue_has_room_for(make_port, peers):
    """R28: no completion beyond the size of the completion queue is lost."""
    port = make_port(ring_entries=32)
    got = Recorder()
    pairs = [peers.pair(port) for _ in range(400)]
    for sock, _peer in pairs:
        sock.receive(got)
    port.run_once(0)
    for _ in range(3):
        for _sock, peer in pairs:
            peer.sendall(b"x")
        expected = len(got) + 400
        run_until(port, lambda expected=expected: len(got) >= expected)
