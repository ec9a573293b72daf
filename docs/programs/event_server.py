"""Completions by events: one thread waits for any of them."""

from clients import CONNECTIONS, visit

import iocp_sock
from iocp_sock import Event, Operation, wait_any


def serve(listener: iocp_sock.Socket) -> int:
    served = 0
    events = [Event()]
    operations: list[Operation] = [listener.accept(event=events[0])]
    while served < CONNECTIONS:
        index = wait_any(events, timeout=60)
        if index is None:
            raise SystemExit("nothing happened for a minute")
        event, operation = events[index], operations[index]
        transferred, _flags = operation.result()
        if operation.kind == "accept":
            events.append(Event())
            operations.append(operation.accepted.recv(4096, event=events[-1]))
            operations[0] = listener.accept(event=event)
        elif operation.kind == "send":
            operations[index] = operation.socket.recv(4096, event=event)
        elif transferred:
            operations[index] = operation.socket.send(operation.data, event=event)
        else:
            operation.socket.close()
            del events[index], operations[index]
            served += 1
    return served


def main() -> int:
    with iocp_sock.Port() as port, port.listen(("127.0.0.1", 0)) as listener:
        served = visit(listener.getsockname(), lambda: serve(listener))
        print(f"{port.backend}: {served} connections served by events")
    return served


if __name__ == "__main__":
    main()
