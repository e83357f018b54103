"""Break the connections of a QEMU from outside, when QEMU itself hears nothing any more.

A source connects in a thread, but shakes hands for TLS in its main loop, on a socket that blocks, and `yank` knows the
connection only afterwards (QEMU 10.0.2, seen by its stack). A link that goes silent just then holds the main loop, its
big lock and with them the guest, for as long as TCP waits: for ever, as nothing is under way that could time out.

`pidfd_getfd` gives us a descriptor of the same socket, and shutting it down wakes whoever waits for it, in whatever
state it is (pidfd_getfd(2), shutdown(2)). It asks for the right to trace the process: the same account, or root.
"""

import ctypes
import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

_PIDFD_GETFD: Final = 438  # the same number on every architecture, as for all calls since Linux 5.1
_CLOSED_MEANWHILE: Final = (errno.EBADF, errno.ESRCH)
_TABLES: Final = ("tcp", "tcp6")
_WORD: Final = 8  # hexadecimal digits of what the tables show as one number of the machine's own byte order


def break_connections(pid: int, host: str, port: int) -> int:
    """Shut down each TCP connection of a process to an address, also one that is still being made; how many.

    ``host`` is an IPv4 or IPv6 address. A process that is gone has none. Raises OSError if we may not.
    """
    inodes = set(_connected(pid, host, port))
    if not inodes:
        return 0
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        return sum(_shut_down(pidfd, number, inode) for number, inode in _sockets(pid) if inode in inodes)
    finally:
        os.close(pidfd)


def _connected(pid: int, host: str, port: int) -> Iterator[int]:
    """Give the inodes of the sockets in a process's network namespace that have this address at their other end."""
    wanted = {f"{_as_in_table(address)}:{port:04X}" for address in _spellings(host)}
    for table in _TABLES:
        with suppress(FileNotFoundError, ProcessLookupError):  # no IPv6 here, or no process
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[2] in wanted and fields[9] != "0":
                    yield int(fields[9])


def _spellings(host: str) -> Iterator[bytes]:
    """Give the address as both tables may have it: an IPv6 socket can be connected to an IPv4 address."""
    address = ip_address(host)
    yield address.packed
    if not isinstance(address, IPv6Address):
        yield IPv6Address(f"::ffff:{address}").packed


def _as_in_table(packed: bytes) -> str:
    words = (packed[at : at + _WORD // 2] for at in range(0, len(packed), _WORD // 2))
    return "".join(f"{int.from_bytes(word, sys.byteorder):0{_WORD}X}" for word in words)


def _sockets(pid: int) -> Iterator[tuple[int, int]]:
    """Give each socket that a process has open: its descriptor there, and its inode."""
    with suppress(FileNotFoundError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    yield int(entry.name), int(target[len("socket:[") : -1])


def _shut_down(pidfd: int, number: int, inode: int) -> bool:
    """Shut a socket of another process down, if the descriptor still is what it was a moment ago."""
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, number, 0)
    if descriptor < 0:
        error = ctypes.get_errno()
        if error in _CLOSED_MEANWHILE:
            return False
        raise OSError(error, os.strerror(error))
    if os.fstat(descriptor).st_ino != inode:
        os.close(descriptor)
        return False
    with socket.socket(fileno=descriptor) as connection, suppress(OSError):  # it may have broken by itself
        connection.shutdown(socket.SHUT_RDWR)
    return True
