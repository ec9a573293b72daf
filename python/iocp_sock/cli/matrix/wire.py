"""The system's counts of TCP's traffic on the wire."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from iocp_sock import Socket

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)

# Offsets in struct tcp_info of Linux (include/uapi/linux/tcp.h), which only grows at its end: __u8
# tcpi_options at 5, __u32 tcpi_total_retrans at 100, __u32 tcpi_segs_out at 136, __u32
# tcpi_data_segs_out at 156 (since 4.6), __u64 tcpi_bytes_sent at 200 (since 4.19).
_OPTIONS = struct.Struct("=5xB")
_RESENT = struct.Struct("=100xI")
_SEGMENTS = struct.Struct("=136xI")
_DATA_SEGMENTS = struct.Struct("=156xI")
_BYTES_SENT = struct.Struct("=200xQ")
_LENGTH = _BYTES_SENT.size

_TIMESTAMPS = 1  # TCPI_OPT_TIMESTAMPS
_HEADERS = 20 + 20  # IPv4, TCP
_TIMESTAMP_BYTES = 12


@dataclass(frozen=True)
class Wire:
    """The traffic of one end: segments, acknowledgements included; those with data; bytes of data.

    Repeated data counts again; `resent_segments` is the number of repeated segments. `wire_bytes`
    adds the headers of IPv4 and TCP.
    """

    segments: int
    data_segments: int
    resent_segments: int
    data_bytes: int
    header: int

    @property
    def wire_bytes(self) -> int:
        """The bytes of the IP packets."""
        return self.data_bytes + self.segments * self.header

    def since(self, before: Wire) -> Wire:
        """Return the traffic since an earlier reading."""
        return Wire(
            self.segments - before.segments,
            self.data_segments - before.data_segments,
            self.resent_segments - before.resent_segments,
            self.data_bytes - before.data_bytes,
            self.header,
        )


def read(sock: Socket) -> Wire | None:
    """Return the socket's traffic so far; None if the system lacks it (Linux 4.19 has it)."""
    if _TCP_INFO is None:
        return None
    info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LENGTH)
    if len(info) < _LENGTH:
        return None
    (options,) = _OPTIONS.unpack_from(info)
    (segments,) = _SEGMENTS.unpack_from(info)
    (data_segments,) = _DATA_SEGMENTS.unpack_from(info)
    (resent,) = _RESENT.unpack_from(info)
    (data_bytes,) = _BYTES_SENT.unpack_from(info)
    header = _HEADERS + (_TIMESTAMP_BYTES if options & _TIMESTAMPS else 0)
    return Wire(segments, data_segments, resent, data_bytes, header)
