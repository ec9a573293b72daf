"""The warnings of this package."""

from __future__ import annotations

__all__ = ["NagleStallWarning"]


class NagleStallWarning(RuntimeWarning):
    """Sends of a socket wait for the peer's delayed acknowledgements, again and again.

    The port saw, three times on one socket, two small sends followed by nothing but waiting for
    data, while Nagle's algorithm held the second one back. It warns once, from the call that runs
    it; Port.stats().nagle_stalls counts the sockets. Gather the parts (sendmsg()), pass MSG_MORE
    to all but the last, or set Socket.nodelay.
    """
