"""One connection of a scenario: its two ends, and the messages between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from iocp_sock import Buffer, ResourceExhausted, Socket
from iocp_sock.cli.simulate.manner import Manner
from iocp_sock.cli.simulate.tally import Tally
from iocp_sock.cli.simulate.traffic import Traffic


class Course(Protocol):
    """The run of a scenario, as its connections use it; times in virtual nanoseconds."""

    memory: memoryview
    """Page-aligned memory for all sends."""

    @property
    def now(self) -> int:
        """The current time."""

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Run an action at a time, in a turn of its own."""


class Connection:
    """Both ends of a connection. The sending end has its messages on the agenda."""

    def __init__(self, name: str, traffic: Traffic | None, course: Course, tally: Tally) -> None:
        self.name = name
        self.near: Socket | None = None
        self.far: Socket | None = None
        self._traffic = traffic
        self._course = course
        self._tally = tally
        self._began = 0
        self._begun = 0
        self._posted: list[int] = []
        self._completed = 0
        self._arrived_bytes = 0
        self._answered_bytes = 0
        self._answers = 0

    def open(self, near: Socket, near_manner: Manner, far: Socket, far_manner: Manner) -> None:
        """Let both ends receive, and send the first message."""
        self.near, self.far = near, far
        self._tally.opened += 1
        for sock, manner in ((near, near_manner), (far, far_manner)):
            sock.receive(
                self._received,
                receive=manner.receive,
                size=manner.receive_size,
                on_close=self._closed,
            )
        self._began = self._course.now
        if self._traffic is not None:
            self._course.at(self._began, self._begin_message)

    @property
    def _sender(self) -> Socket | None:
        return self.far if self._traffic is not None and self._traffic.from_far else self.near

    def _begin_message(self) -> None:
        self._begun += 1
        self._send_part(0)

    def _send_part(self, part: int) -> None:
        """Send one part of a message. The next part goes in a later turn, as a send of its own."""
        traffic, sock = self._traffic, self._sender
        assert traffic is not None
        if sock is None or sock.closed:
            return
        went = self._send(sock, traffic.parts[part])
        if went and part == 0:
            self._posted.append(self._course.now)
            self._tally.sent += 1
        if not went and part:
            sock.abort()  # later bytes would be taken for the rest of this message
        elif went and part + 1 < len(traffic.parts):
            self._course.at(self._course.now, lambda: self._send_part(part + 1))
        elif traffic.pace != "answered":
            self._go_on()

    def _go_on(self) -> None:
        """Put the next message on the agenda, if there is one."""
        traffic = self._traffic
        assert traffic is not None
        if traffic.messages is None or self._begun < traffic.messages:
            when = self._course.now
            if not isinstance(traffic.pace, str):
                when = self._began + round(self._begun * 1e9 / traffic.pace)
            self._course.at(when, self._begin_message)

    def _send(self, sock: Socket, count: int) -> bool:
        try:
            sock.send(self._course.memory[:count])
        except ResourceExhausted:
            self._tally.refused += 1
            return False
        except OSError as error:
            self._tally.errors[type(error).__name__] += 1
            return False
        return True

    def _received(self, sock: Socket, data: Buffer) -> None:
        if not data:
            sock.close()
            return
        self._tally.bytes += len(data)
        if sock is self._sender:
            self._answered_bytes += len(data)
            self._complete(self._answered_bytes)
        else:
            self._arrived_bytes += len(data)
            self._answer(sock, data)

    def _answer(self, sock: Socket, data: Buffer) -> None:
        traffic = self._traffic
        assert traffic is not None
        if not traffic.answer:
            self._complete(self._arrived_bytes)
        elif traffic.answer == "echo":
            self._echo(sock, data)
        else:
            while self._arrived_bytes >= traffic.message * (self._answers + 1):
                self._answers += 1
                if not self._send(sock, traffic.answer):
                    sock.abort()
                    return

    def _echo(self, sock: Socket, data: Buffer) -> None:
        try:
            sock.send(data)
        except OSError as error:
            self._tally.errors[type(error).__name__] += 1
            sock.abort()

    def _complete(self, count: int) -> None:
        """Note the messages that are complete with `count` bytes of messages, or of answers."""
        traffic = self._traffic
        assert traffic is not None
        each = traffic.answer_bytes or traffic.message
        while count >= each * (self._completed + 1):
            self._tally.arrived(self._course.now - self._posted[self._completed])
            self._completed += 1
            if traffic.pace == "answered":
                self._go_on()

    def _closed(self, _sock: Socket, error: OSError | None) -> None:
        if error is not None:
            self._tally.errors[type(error).__name__] += 1
