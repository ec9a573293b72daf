"""The warnings of this package."""

from __future__ import annotations

__all__ = ["NagleStallWarning", "UnpostedReceiveWarning"]


class NagleStallWarning(RuntimeWarning):
    """Sends of a socket wait for the peer's delayed acknowledgements, again and again.

    Three times on one socket, two small sends were followed only by a wait for data, while Nagle's
    algorithm held the second one back. The port warns once, from the call that runs it;
    Port.stats().nagle_stalls counts the sockets. Gather the parts (sendmsg()), pass MSG_MORE to all
    but the last, or set Socket.nodelay.
    """


class UnpostedReceiveWarning(RuntimeWarning):
    """A socket has a receive buffer of 0, and its strategy leaves no receive posted.

    The system then has no memory for arriving data, and the peer's window stays (nearly) shut until
    a receive is posted. "zero_byte" and "adaptive" post one only when data is reported; so does
    "pooled" on every backend but io_uring. Use receive="direct", or set a receive buffer. The
    warning comes from the call that brings the two together: receive(), receive_strategy,
    receive_buffer or setsockopt(). If a filter makes it an error, that call changes nothing.
    """
