"""The warnings of this package."""

from __future__ import annotations

__all__ = ["NagleStallWarning", "UnpostedReceiveWarning"]


class NagleStallWarning(RuntimeWarning):
    """Sends of a socket wait for the peer's delayed acknowledgements, again and again.

    The port saw, three times on one socket, two small sends followed by nothing but waiting for
    data, while Nagle's algorithm held the second one back. It warns once, from the call that runs
    it; Port.stats().nagle_stalls counts the sockets. Gather the parts (sendmsg()), pass MSG_MORE
    to all but the last, or set Socket.nodelay.
    """


class UnpostedReceiveWarning(RuntimeWarning):
    """A socket has a receive buffer of 0, and its strategy leaves no receive posted.

    The system then has nowhere to put what arrives, and the peer's window stays (nearly) shut until
    a receive asks: "zero_byte" and "adaptive" do so only when told that there is something, and
    "pooled" as well where it does not stand in the kernel (everywhere but on io_uring). Receive
    "direct", or give the socket a receive buffer. It comes from the call that brings the two
    together: receive(), receive_strategy, receive_buffer, setsockopt(). Made an error, that call
    does nothing.
    """
