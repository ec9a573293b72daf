"""A filter that refuses io_uring to this process and its children, as container runtimes do."""

import ctypes
import errno
import platform
import struct

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
RET_ALLOW = 0x7FFF0000
RET_ERRNO = 0x00050000
SETUP = 425
REGISTER = 427


class Program(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def supported() -> bool:
    """Return whether this machine uses the io_uring call numbers that the filter checks."""
    return platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64")


def deny_io_uring(code: int) -> None:
    """Make io_uring_setup(2), io_uring_enter(2) and io_uring_register(2) fail with an errno."""
    assert code in (errno.EPERM, errno.ENOSYS, errno.ENOMEM)

    def step(operation: int, true: int, false: int, value: int) -> bytes:
        return struct.pack("HBBI", operation, true, false, value)

    load_number = step(0x20, 0, 0, 0)
    from_setup = step(0x35, 0, 2, SETUP)
    past_register = step(0x25, 1, 0, REGISTER)
    code_filter = [
        load_number,
        from_setup,
        past_register,
        step(0x06, 0, 0, RET_ERRNO | code),
        step(0x06, 0, 0, RET_ALLOW),
    ]
    memory = ctypes.create_string_buffer(b"".join(code_filter))
    program = Program(len(code_filter), ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
