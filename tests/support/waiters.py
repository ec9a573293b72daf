"""Threads that run a port, or wait, while a test goes on."""

import threading

from support import PATIENCE


class Runner:
    """A thread that runs a port until the block ends, and keeps its exception."""

    def __init__(self, port):
        self.port = port
        self.error = None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            self.port.run()
        except BaseException as error:
            self.error = error

    def __enter__(self):
        started = threading.Event()
        self.port.post(callback=lambda _c: started.set())
        self.thread.start()
        assert started.wait(PATIENCE), repr(self.error)
        return self

    def __exit__(self, *_details):
        self.port.close(0)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        assert self.error is None


def in_thread(work):
    """Run work in a thread; return a function that joins it and returns or raises its outcome."""
    came = []

    def run():
        try:
            came.append((work(), None))
        except BaseException as error:
            came.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()

    def join():
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the thread still waits"
        value, error = came[0]
        if error is not None:
            raise error
        return value

    return join
