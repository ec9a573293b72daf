"""Completion routines, which run while their thread waits; an accept completes to an event."""

from clients import CONNECTIONS, visit

import iocp_sock
from iocp_sock import ROUTINES_RAN, Event, Operation


class Server:
    def __init__(self, listener: iocp_sock.Socket) -> None:
        self.listener = listener
        self.served = 0
        self.error: OSError | None = None

    def received(
        self, error: OSError | None, transferred: int, operation: Operation, flags: int
    ) -> None:
        self.error = self.error or error
        if transferred:
            operation.socket.send(operation.data, routine=self.sent)
        else:
            operation.socket.close()
            self.served += 1

    def sent(
        self, error: OSError | None, transferred: int, operation: Operation, flags: int
    ) -> None:
        self.error = self.error or error
        operation.socket.recv(4096, routine=self.received)

    def serve(self) -> int:
        connected = Event()
        accept = self.listener.accept(event=connected)
        while self.served < CONNECTIONS and self.error is None:
            answer = connected.wait(timeout=60, alertable=True)
            if answer is ROUTINES_RAN:
                continue
            if not answer:
                raise SystemExit("nothing happened for a minute")
            accept.result()
            accept.accepted.recv(4096, routine=self.received)
            accept = self.listener.accept(event=connected)
        if self.error is not None:
            raise self.error
        return self.served


def main() -> int:
    with iocp_sock.thread_port() as port, port.listen(("127.0.0.1", 0)) as listener:
        server = Server(listener)
        served = visit(listener.getsockname(), server.serve)
        print(f"{port.backend}: {served} connections served by routines")
    return served


if __name__ == "__main__":
    main()
