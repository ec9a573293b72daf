"""Programs from documents on Winsock, run on a model; each returns one figure."""

from collections.abc import Callable

from iocp_sock import Operation, Port, Sim, Socket

_ADDRESS = ("10.0.0.1", 7000)
_QUOTES = ("10.0.0.1", 7001)
_SMALL = b"s" * 16
_RECORD = b"r" * 60
_BLOCK = bytes(64 << 10)
_ROUNDS = 50
_BLOCKS = 20


class _World:
    """A port on the model, and connections whose two ends read all data."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.port = Port(backend=sim, close_timeout=0, nodelay=False)
        self.got = 0
        self._kept: list[Socket] = []

    def __enter__(self) -> "_World":
        return self

    def __exit__(self, *_: object) -> None:
        self.port.close(0)
        self._kept.clear()

    def connect(
        self,
        address: tuple[str, int] = _ADDRESS,
        *,
        far: Callable[[Socket, int], object] = lambda *_: None,
        near: Callable[[Socket, int], object] = lambda *_: None,
    ) -> tuple[Socket, Socket]:
        """Make a connection; return its near end, which connects, and its far end, which accepts.

        The callbacks `far` and `near` get an end and the number of bytes that arrived there. `got`
        counts the bytes that far ends received.
        """
        accepted: list[Socket] = []
        listener = self.port.listen(address)
        listener.accept_each(accepted.append)
        connect = self.port.connect(address)
        self.until(lambda: connect.done and bool(accepted))

        def came(conn: Socket, length: int) -> None:
            self.got += length
            far(conn, length)

        accepted[0].receive(lambda conn, data: came(conn, len(data)), receive="zero_byte")
        connect.socket.receive(lambda conn, data: near(conn, len(data)), receive="zero_byte")
        self._kept += [listener, connect.socket, accepted[0]]
        return connect.socket, accepted[0]

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.port.run_once()

    def finish(self, *ops: Operation) -> None:
        self.until(lambda: all(op.done for op in ops))
        for op in ops:
            if op.error is not None:
                raise op.error


def wait_of_small_sends(sim: Sim) -> float:
    """Post ten small sends; return a tenth of the milliseconds until all are done."""
    with _World(sim) as world:
        sender, _ = world.connect()
        since = world.port.time()
        world.finish(*(sender.send(_SMALL) for _ in range(10)))
        return (world.port.time() - since) * 1000 / 10


def acks_that_small_sends_wait_for(sim: Sim) -> float:
    """Post ten small sends; return the delayed acknowledgements until all sends have arrived."""
    return _counted_in_small_sends(sim, "delayed_acks")


def segments_of_small_sends(sim: Sim) -> float:
    """Post ten small sends; return the number of segments with data."""
    return _counted_in_small_sends(sim, "data_segments")


def _counted_in_small_sends(sim: Sim, what: str) -> float:
    with _World(sim) as world:
        sender, _ = world.connect()
        for _ in range(10):
            sender.send(_SMALL)
        world.until(lambda: world.got == 10 * len(_SMALL))
        return sim.counts()[what]


def segments_before_an_ack(sim: Sim) -> float:
    """Send 64 KiB; return the number of segments with data before the first acknowledgement."""
    with _World(sim) as world:
        sender, _ = world.connect()
        world.port.run_once(1.0)
        sender.send(_BLOCK)
        world.port.run_once(sim.values["delay"] / 2)
        return sim.counts()["data_segments"]


def kibibytes_that_nobody_reads(sim: Sim) -> float:
    """Send a mebibyte to an end that does not read; return the KiB on the wire after a second."""
    with _World(sim) as world:
        sender, receiver = world.connect()
        sim.inject_fault(receiver, "stall")
        sender.send(bytes(1 << 20))
        ended = world.port.time() + 1
        while world.port.time() < ended:
            world.port.run_once(ended - world.port.time())
        return sim.counts()["data_bytes"] / 1024


def seconds_for_records(count: int) -> Callable[[Sim], float]:
    """Return a program that sends records one after the other, and returns the seconds."""

    def program(sim: Sim) -> float:
        with _World(sim) as world:
            sender, _ = world.connect()
            since = world.port.time()
            for _ in range(count):
                world.finish(sender.send(_RECORD))
            return world.port.time() - since

    return program


def records_a_second(sim: Sim) -> float:
    """Send records, each when the one before is done; return the records a second."""
    return _ROUNDS / seconds_for_records(_ROUNDS)(sim)


def quotes_a_second(sim: Sim) -> float:
    """Request quotes in turn, with answers on a second connection; return quotes a second."""
    return _quotes(sim, connections=2)[0]


def acks_that_quotes_wait_for(sim: Sim) -> float:
    """Request quotes in turn, answered on one connection; return the delayed acknowledgements."""
    return _quotes(sim, connections=1)[1]


def _quotes(sim: Sim, connections: int) -> tuple[float, float]:
    answers = 0
    channel: list[Socket] = []

    def answered(_: Socket, length: int) -> None:
        nonlocal answers
        answers += length // len(_SMALL)

    with _World(sim) as world:
        command, _ = world.connect(
            far=lambda conn, _: (channel[0] if channel else conn).send(_SMALL), near=answered
        )
        if connections == 2:
            channel.append(world.connect(_QUOTES, near=answered)[1])
        since = world.port.time()
        for asked in range(1, _ROUNDS + 1):
            command.send(_SMALL)
            while answers < asked:
                world.port.run_once()
        return _ROUNDS / (world.port.time() - since), sim.counts()["delayed_acks"]


def wait_of_blocks(sim: Sim) -> float:
    """Send blocks of 64 KiB, each when the socket is writable; return the milliseconds for each.

    A first block fills the socket before the measurement.
    """
    with _World(sim) as world:
        sender, _ = world.connect()
        world.finish(sender.send(_BLOCK))
        since = world.port.time()
        for _ in range(_BLOCKS):
            world.finish(sender.wait_writable())
            sender.send(_BLOCK)
        return (world.port.time() - since) * 1000 / _BLOCKS


def acks_that_blocks_wait_for(sim: Sim) -> float:
    """Send blocks of 64 KiB, each when the socket is writable; return the delayed ACKs."""
    with _World(sim) as world:
        sender, _ = world.connect()
        world.finish(sender.send(_BLOCK))
        for _ in range(_BLOCKS):
            world.finish(sender.wait_writable())
            sender.send(_BLOCK)
        return sim.counts()["delayed_acks"]


def last_segment_of_a_block(sim: Sim) -> float:
    """Send 64 KiB; return the number of bytes in the last segment."""
    sim.keep_trace()
    with _World(sim) as world:
        sender, _ = world.connect()
        sender.send(_BLOCK)
        world.until(lambda: world.got == len(_BLOCK))
        return [line.length for line in sim.trace() if line.step == "sent" and line.length][-1]
