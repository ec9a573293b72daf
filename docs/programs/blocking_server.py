"""Calls that wait: a thread for each connection, and no operation in sight."""

import threading

from clients import CONNECTIONS, visit

import iocp_sock


def echo(conn: iocp_sock.Socket, done: threading.Semaphore) -> None:
    with conn:
        while data := conn.blocking.recv(4096, timeout=60):
            conn.blocking.sendall(data, timeout=60)
    done.release()


def serve(port: iocp_sock.Port, listener: iocp_sock.Socket) -> int:
    port.run_once(0)  # on io_uring a port belongs to the thread that runs it first: to this one
    done = threading.Semaphore(0)
    threads = []
    for _ in range(CONNECTIONS):
        conn, _address = listener.blocking.accept(timeout=60)
        threads.append(threading.Thread(target=echo, args=(conn, done)))
        threads[-1].start()
    served = 0
    while served < CONNECTIONS:
        port.run_once(0.05)
        while done.acquire(blocking=False):
            served += 1
    for thread in threads:
        thread.join()
    return served


def main() -> int:
    with iocp_sock.Port() as port, port.listen(("127.0.0.1", 0)) as listener:
        served = visit(listener.getsockname(), lambda: serve(port, listener))
        print(f"{port.backend}: {served} connections served by calls that wait")
    return served


if __name__ == "__main__":
    main()
