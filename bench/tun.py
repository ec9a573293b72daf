"""A TUN device: its descriptor yields the IPv4 packets that the kernel sends through the device."""

import fcntl
import os
import socket
import struct

PATH = "/dev/net/tun"

# Constants of linux/if_tun.h and linux/sockios.h.
_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_UP = 0x0001
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_SIOCSIFTXQLEN = 0x8943

_QUEUE = 10_000
"""The maximum number of waiting packets: more than any TCP window of the benchmark, so that none is
dropped."""


def open_device(name: str, address: str, netmask: str) -> int:
    """Make a device in the thread's network namespace, put it up, and return its descriptor.

    The device ends when the descriptor is closed. Raises FileNotFoundError without /dev/net/tun and
    PermissionError without CAP_NET_ADMIN.
    """
    descriptor = os.open(PATH, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(
            descriptor, _TUNSETIFF, _request(name, struct.pack("=H", _IFF_TUN | _IFF_NO_PI))
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for command, value in (
                (_SIOCSIFADDR, _inet(address)),
                (_SIOCSIFNETMASK, _inet(netmask)),
                (_SIOCSIFTXQLEN, struct.pack("=i", _QUEUE)),
                (_SIOCSIFFLAGS, struct.pack("=H", _IFF_UP)),
            ):
                fcntl.ioctl(control, command, _request(name, value))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _request(name: str, value: bytes) -> bytes:
    """Pack a struct ifreq."""
    return struct.pack("=16s24s", name.encode("ascii"), value)


def _inet(address: str) -> bytes:
    """Pack a struct sockaddr_in without a port."""
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
