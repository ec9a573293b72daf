"""How one end of a connection receives and sends, and what its socket is set to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, get_args

from iocp_sock import Socket
from iocp_sock.cli.choices import Receive, Send
from iocp_sock.cli.simulate.reading import Table

_MOST = 1 << 30
_KEPT = -1


@dataclass(frozen=True)
class Manner:
    """Sizes in bytes; None leaves what the preset gives."""

    receive: Receive
    receive_size: int
    """Of the block of a posted receive."""
    send: Send
    nodelay: bool
    send_buffer: int | None
    receive_buffer: int | None

    @classmethod
    def read(cls, table: Table) -> Manner:
        """Take its keys from the table. Raises ScenarioError."""
        send_buffer = table.bytes("send_buffer", 0, _MOST, _KEPT)
        receive_buffer = table.bytes("receive_buffer", 0, _MOST, _KEPT)
        return cls(
            receive=cast(Receive, table.word("receive", get_args(Receive), "pooled")),
            receive_size=table.bytes("receive_size", 1, 1 << 20, 4096),
            send=cast(Send, table.word("send", get_args(Send), "buffered")),
            nodelay=table.flag("nodelay", False),
            send_buffer=None if send_buffer == _KEPT else send_buffer,
            receive_buffer=None if receive_buffer == _KEPT else receive_buffer,
        )

    def apply(self, sock: Socket) -> None:
        """Set the socket. Raises ArgumentError for what the modelled system does not have."""
        if self.nodelay:
            sock.nodelay = True
        if self.send_buffer is not None:
            sock.send_buffer = self.send_buffer
        if self.receive_buffer is not None:
            sock.receive_buffer = self.receive_buffer
        if self.send != "buffered":
            sock.send_strategy = self.send
