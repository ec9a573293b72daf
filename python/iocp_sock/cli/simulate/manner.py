"""The strategies of one end of a connection, and its socket's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, get_args

from iocp_sock import Socket
from iocp_sock.cli.choices import Receive, Send
from iocp_sock.cli.simulate.reading import Table

_MAXIMUM = 1 << 30
_KEPT = -1


@dataclass(frozen=True)
class Manner:
    """The strategies and settings of one end. Sizes are in bytes; None keeps the preset's value."""

    receive: Receive
    receive_size: int
    """The size of a posted receive's block."""
    send: Send
    nodelay: bool
    send_buffer: int | None
    receive_buffer: int | None

    @classmethod
    def read(cls, table: Table) -> Manner:
        """Read the strategies and settings from the table. Raises ScenarioError."""
        send_buffer = table.bytes("send_buffer", 0, _MAXIMUM, _KEPT)
        receive_buffer = table.bytes("receive_buffer", 0, _MAXIMUM, _KEPT)
        return cls(
            receive=cast(Receive, table.word("receive", get_args(Receive), "pooled")),
            receive_size=table.bytes("receive_size", 1, 1 << 20, 4096),
            send=cast(Send, table.word("send", get_args(Send), "buffered")),
            nodelay=table.flag("nodelay", False),
            send_buffer=None if send_buffer == _KEPT else send_buffer,
            receive_buffer=None if receive_buffer == _KEPT else receive_buffer,
        )

    def apply(self, sock: Socket) -> None:
        """Set the socket's options. Raises ArgumentError if the modelled system lacks one."""
        if self.nodelay:
            sock.nodelay = True
        if self.send_buffer is not None:
            sock.send_buffer = self.send_buffer
        if self.receive_buffer is not None:
            sock.receive_buffer = self.receive_buffer
        if self.send != "buffered":
            sock.send_strategy = self.send
