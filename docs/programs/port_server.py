"""Completions from the port's queue: one loop, one completion at a time."""

from clients import CONNECTIONS, visit

import iocp_sock


def serve(port: iocp_sock.Port, listener: iocp_sock.Socket) -> int:
    served = 0
    listener.accept()
    while served < CONNECTIONS:
        completion = port.get(timeout=60)
        if completion is None:
            raise SystemExit("nothing happened for a minute")
        if completion.error is not None:
            raise completion.error
        if completion.kind == "accept":
            completion.accepted.recv(4096)
            listener.accept()
        elif completion.kind == "send":
            completion.socket.recv(4096)
        elif completion.transferred:
            completion.socket.send(completion.data)
        else:
            completion.socket.close()
            served += 1
    return served


def main() -> int:
    with iocp_sock.Port() as port, port.listen(("127.0.0.1", 0)) as listener:
        served = visit(listener.getsockname(), lambda: serve(port, listener))
        print(f"{port.backend}: {served} connections served from the port's queue")
    return served


if __name__ == "__main__":
    main()
