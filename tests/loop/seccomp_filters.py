"""Programs that take system calls away from themselves, as the profile of a container does."""

import ctypes
import platform

import pytest

# The number of io_uring_setup is the same on every architecture but alpha.
FILTER = """
import asyncio, ctypes, errno, platform, struct, sys
import support

NUMBERS = {  # of x86_64 and of the generic table
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "epoll_pwait2": (441, 441), "recvmmsg": (299, 243), "sendmmsg": (307, 269),
    "accept4": (288, 242), "eventfd2": (290, 19), "pidfd_open": (434, 434),
}

def refuse(names, error):
    LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
    ALLOW, ERRNO = 0x7FFF0000, 0x00050000
    numbers = [NUMBERS[name][platform.machine() != "x86_64"] for name in names]
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (LOAD, 0, 0, 0),
            *((JUMP_IF_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, ERRNO | error),
        )
    )
    memory = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    filter_ = Program(len(program) // 8, ctypes.cast(memory, ctypes.c_void_p))
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_)) == 0

def refuse_io_uring(error):
    refuse(["io_uring_setup"], error)

async def echo():
    async with support.connected(support.Recorder, support.Echo) as (client, _):
        client.transport.write(b"hello" * 10000)
        await client.wait_for_bytes(50000)
"""

PR_GET_SECCOMP = 21

needs_filters = [
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "aarch64"),
        reason="the filter knows the system call number of these two architectures",
    ),
    pytest.mark.skipif(
        ctypes.CDLL(None).prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0,
        reason="there are no seccomp filters here, as under qemu-user",
    ),
]
