"""How writers wake watchers in other processes of the machine: an empty datagram to every socket in a directory.

A datagram says only "look again"; nothing is lost when one is. Sockets are reached through a descriptor of their
directory (/proc/self/fd/N/name), so that their addresses are short whatever the directory's path. The socket of a
process that died refuses the datagram and is removed by whoever notices.
"""

import os
import secrets
import select
import socket
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status

_SUFFIX: Final = ".signal"


class SignalDirectory:
    """The directory in which the watchers of one database have their sockets. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Use this directory; it is made at first use, for its owner only."""
        self._path = path
        self._fd: int | None = None
        self._sender: socket.socket | None = None
        self._lock = threading.Lock()

    def notify(self) -> None:
        """Wake every watcher. Never blocks and never fails: a watcher that misses it looks again by itself."""
        try:
            with self._lock:
                fd, sender = self._opened()
                for name in os.listdir(fd):  # noqa: PTH208 - of a descriptor
                    if name.endswith(_SUFFIX):
                        self._send(fd, sender, name)
        except (OSError, FaultError):
            return

    @staticmethod
    def _send(fd: int, sender: socket.socket, name: str) -> None:
        try:
            sender.sendto(b"\0", _address(fd, name))
        except ConnectionRefusedError:  # its process is gone
            os.unlink(name, dir_fd=fd)
        except BlockingIOError:
            pass  # so many are waiting there that it will look again anyway
        except FileNotFoundError:
            pass  # it has just left

    def listen(self) -> "SignalSocket":
        """Make a socket that others will notify. Raises OSError, or FaultError when the directory is not safe."""
        with self._lock:
            fd, _ = self._opened()
            name = f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
            receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                receiver.bind(_address(fd, name))
                return SignalSocket(receiver, self._path / name)
            except BaseException:
                receiver.close()
                raise

    def close(self) -> None:
        """Let go of the directory; it would open again at the next use."""
        with self._lock:
            if self._sender is not None:
                self._sender.close()
                self._sender = None
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _opened(self) -> tuple[int, socket.socket]:
        if self._fd is None:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            facts = os.fstat(fd)
            if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
                os.close(fd)
                sentence = f"{self._path} must belong to user {os.geteuid()} and be open to nobody else (mode 0700)"
                raise FaultError(Status.ERROR_BAD_PATHNAME, sentence)
            self._fd = fd
        if self._sender is None:
            self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        return self._fd, self._sender


class SignalSocket:
    """A watcher's socket; for one thread, which another one may interrupt."""

    def __init__(self, receiver: socket.socket, path: Path) -> None:
        """Own a bound socket and its file."""
        self._receiver = receiver
        self._path = path

    def wait(self, timeout: float | None) -> None:
        """Wait until somebody notified, interrupted or time is up, and forget all notifications so far."""
        readable = select.poll()  # not select(): that knows no descriptor above 1023
        readable.register(self._receiver, select.POLLIN)
        if not readable.poll(None if timeout is None else timeout * 1000):
            return
        with suppress(BlockingIOError):
            while self._receiver.recv(1):
                pass

    def interrupt(self) -> None:
        """End the wait, now and for ever."""
        with suppress(OSError):
            self._receiver.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Leave. Idempotent."""
        self._receiver.close()
        self._path.unlink(missing_ok=True)


def _address(fd: int, name: str) -> str:
    return f"/proc/self/fd/{fd}/{name}"
