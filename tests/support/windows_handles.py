"""The handles of this process on Windows; GetProcessHandleCount() returns 0 under Wine 8.0."""

import ctypes
import functools
import os
import socket

EXTENDED_HANDLES = 64  # SystemExtendedHandleInformation
PIPE = 3  # FILE_TYPE_PIPE, also of sockets
TOO_SMALL = 0xC0000004  # STATUS_INFO_LENGTH_MISMATCH


class Entry(ctypes.Structure):
    """SYSTEM_HANDLE_TABLE_ENTRY_INFO_EX."""

    _fields_ = (
        ("object", ctypes.c_void_p),
        ("process", ctypes.c_size_t),
        ("handle", ctypes.c_size_t),
        ("access", ctypes.c_uint32),
        ("trace", ctypes.c_uint16),
        ("type", ctypes.c_uint16),
        ("attributes", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


def table() -> list[tuple[int, int]]:
    """Return every open handle of this process, with the number of its type."""
    query = ctypes.WinDLL("ntdll").NtQuerySystemInformation
    query.restype = ctypes.c_uint32
    size = 1 << 17
    while True:
        memory = ctypes.create_string_buffer(size)
        status = query(EXTENDED_HANDLES, memory, ctypes.c_uint32(size), None)
        if status == 0:
            break
        if status != TOO_SMALL:
            raise OSError(f"NtQuerySystemInformation: {status:#x}")
        size *= 2
    count = ctypes.c_size_t.from_buffer(memory).value
    entries = (Entry * count).from_buffer(memory, 2 * ctypes.sizeof(ctypes.c_size_t))
    own = os.getpid()
    return [(entry.handle, entry.type) for entry in entries if entry.process == own]


@functools.cache
def types() -> tuple[int, int]:
    """Return the kernel's type numbers of sockets (the same as of files) and completion ports."""
    kernel = ctypes.WinDLL("kernel32")
    kernel.CreateIoCompletionPort.restype = ctypes.c_size_t
    port = kernel.CreateIoCompletionPort(ctypes.c_void_p(-1), None, None, 0)
    with socket.socket() as sock:
        found = dict(table())
        numbers = found[sock.fileno()], found[port]
    kernel.CloseHandle(ctypes.c_void_p(port))
    return numbers


def handles() -> set[str]:
    """Return the open sockets, pipes and completion ports of this process.

    Files on disk are left out, since pytest opens them to capture output. Events and threads are
    left out too, since the run-time libraries make them as needed.
    """
    kernel = ctypes.WinDLL("kernel32")
    file, port = types()
    found = set()
    for handle, kind in table():
        if kind == port:
            found.add(f"{handle} port")
        elif kind == file and kernel.GetFileType(ctypes.c_void_p(handle)) == PIPE:
            found.add(f"{handle} socket or pipe")
    return found
