"""What systemd is told (sd_notify(3)): ready, still alive, what we are doing. Without systemd all of it is nothing."""

import asyncio
import os
import socket
from contextlib import suppress
from typing import Final

_SOCKET: Final = "NOTIFY_SOCKET"
_PATIENCE: Final = 0.5


def notify(**variables: str) -> bool:
    """Tell systemd, such as ``notify(READY="1", STATUS="up")``; answers whether it is there to listen."""
    address = os.environ.get(_SOCKET, "")
    if not address.startswith(("/", "@")):
        return False
    message = "\n".join(f"{name}={' '.join(value.split())}" for name, value in variables.items())
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(_PATIENCE)  # a datagram waits while the other end's queue is full
        connection.sendto(message.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        return True
    return False


def watchdog_pause() -> float | None:
    """Seconds between two signs of life, half of WatchdogSec=; None when nobody waits for them."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(microseconds) / 2_000_000 if microseconds.isdigit() and pid == str(os.getpid()) else None


async def feed_watchdog() -> None:
    """Tell systemd from the event loop that the loop turns; a daemon whose loop hangs is killed and started anew."""
    pause = watchdog_pause()
    while pause is not None:
        notify(WATCHDOG="1")
        await asyncio.sleep(pause)
