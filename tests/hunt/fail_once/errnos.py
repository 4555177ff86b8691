"""With which errnos a call may fail: from its man page, as far as they say something about it.

Left out is what would be a fault of ours (EFAULT, EINVAL for a wrong argument, EBADF for a number
that is open) and "again" where it would be a lie: with edge-triggered readiness no event follows
EAGAIN when the socket has data or room. ENOSYS and EPERM are what a sandbox answers.
"""

from __future__ import annotations

import errno as e

_STREAM_IN = (e.EINTR, e.ECONNRESET, e.ETIMEDOUT, e.ENOMEM, e.ENOBUFS, e.EIO)
_STREAM_OUT = (e.EINTR, e.EPIPE, e.ECONNRESET, e.ENOBUFS, e.ENOMEM, e.EACCES, e.ETIMEDOUT)
_DATAGRAM_IN = (e.EINTR, e.ECONNREFUSED, e.ENOMEM)
_DATAGRAM_OUT = (e.EINTR, e.ECONNREFUSED, e.EMSGSIZE, e.ENOBUFS, e.EPERM, e.ENETUNREACH)
_NO_DESCRIPTOR = (e.EMFILE, e.ENFILE, e.ENOMEM)

NATIVE = {
    "recv": _STREAM_IN,
    "send": _STREAM_OUT,
    "sendmsg": _STREAM_OUT,
    "recvmsg": _DATAGRAM_IN,
    "recvmmsg": (*_DATAGRAM_IN, e.ENOSYS),
    "sendmmsg": (*_DATAGRAM_OUT, e.ENOSYS),
    "recvfrom": _STREAM_IN,
    "sendto": _DATAGRAM_OUT,
    "read": (e.EINTR, e.EIO),
    "write": (e.EINTR, e.EIO, e.EPIPE),
    "sendfile64": (e.EIO, e.ENOMEM, e.EPIPE, e.EINVAL),
    "accept": (e.EINTR, e.ECONNABORTED, *_NO_DESCRIPTOR),
    "accept4": (
        *(e.EINTR, e.ECONNABORTED, *_NO_DESCRIPTOR, e.ENOBUFS, e.EPERM, e.EPROTO),
        *(e.ENETDOWN, e.EHOSTUNREACH, e.ENOSYS),
    ),
    # No EINTR: the kernel goes on connecting behind it, which a call that was not made does not.
    "connect": (e.ECONNREFUSED, e.ETIMEDOUT, e.ENETUNREACH, e.EADDRNOTAVAIL, e.EACCES),
    "bind": (e.EADDRINUSE, e.EACCES),
    "listen": (e.EADDRINUSE,),
    "shutdown": (e.ENOTCONN, e.ENOBUFS),
    "getsockopt": (e.ENOBUFS, e.ENOPROTOOPT),
    "setsockopt": (e.ENOBUFS, e.ENOPROTOOPT),
    "getsockname": (e.ENOBUFS,),
    "getpeername": (e.ENOTCONN, e.ENOBUFS),
    "close": (e.EINTR, e.EIO),
    "ioctl": (e.EBADF,),
    "fcntl64": (e.EBADF,),
    "socket": (*_NO_DESCRIPTOR, e.EACCES),
    "socketpair": _NO_DESCRIPTOR,
    "pipe2": _NO_DESCRIPTOR,
    "eventfd": _NO_DESCRIPTOR,
    "epoll_create1": _NO_DESCRIPTOR,
    "epoll_ctl": (e.ENOMEM, e.ENOSPC),
    "epoll_wait": (e.EINTR,),
    "epoll_pwait2": (e.EINTR, e.ENOSYS, e.EPERM),
    "poll": (e.EINTR, e.ENOMEM),
    "madvise": (e.ENOMEM,),
    "mmap64": (e.ENOMEM, e.EAGAIN),
    "io_uring_setup": (*_NO_DESCRIPTOR, e.EPERM, e.ENOSYS, e.EINVAL),
    "io_uring_enter": (e.EINTR, e.EAGAIN, e.EBUSY, e.EPERM, e.EACCES, e.ENOMEM),
    "io_uring_register_buf_ring": (e.ENOMEM, e.EINVAL, e.EPERM),
    "io_uring_unregister_buf_ring": (e.EPERM,),
    "io_uring_get_probe": (e.ENOMEM,),
}

#: Completions of the ring may say "again": whoever asked asks again.
_AGAIN = (e.EAGAIN, e.EINTR, e.ECANCELED)
SUBMISSION = {
    "SEND": (*_AGAIN, e.EPIPE, e.ECONNRESET, e.ENOBUFS, e.ENOMEM),
    "SENDMSG": (*_AGAIN, e.EPIPE, e.ECONNRESET, e.ENOBUFS, e.ENOMEM, e.EPERM),
    "RECV": (*_AGAIN, e.ECONNRESET, e.ENOBUFS, e.ENOMEM, e.ETIMEDOUT),
    "RECVMSG": (*_AGAIN, e.ECONNREFUSED, e.ENOBUFS, e.ENOMEM),
    "READ": (*_AGAIN, e.ENOMEM),
    "POLL_ADD": (*_AGAIN, e.ENOMEM),
}


def errnos_of(kind: str, name: str) -> tuple[int, ...]:
    """What the call is tried with; one 0 for allocations."""
    if kind in ("native", "outer"):
        return NATIVE.get(name, (e.EIO,))
    return SUBMISSION.get(name, (0,))
