"""Hears what is sent to a guest: frames that go out of this machine's side of its taps, by a packet socket each.

The kernel hands over the first bytes of frames that go to the guest and of no others, so that a busy guest costs
nothing.
"""

import asyncio
import ctypes
import socket
import struct
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

_ALL_FRAMES: Final = 0x0003  # ETH_P_ALL
_ATTACH_FILTER: Final = 26  # SO_ATTACH_FILTER
_HEADER: Final = 14
_ADDRESS: Final = 6
# Classic BPF: load the kind of the packet (SKF_AD_OFF + SKF_AD_PKTTYPE); is it PACKET_OUTGOING? The header, or nothing.
_TO_THE_GUEST: Final = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 0xFFFFF004), (0x15, 0, 1, 4), (0x06, 0, 0, _HEADER), (0x06, 0, 0, 0))
)


def taps_of(pid: int, root: Path = Path("/proc")) -> frozenset[str]:
    """Find the taps that a process has open."""
    found = set()
    with suppress(OSError):
        for info in (root / str(pid) / "fdinfo").iterdir():
            with suppress(OSError):
                lines = info.read_text(encoding="ascii", errors="replace").splitlines()
                found |= {line.partition(":")[2].strip() for line in lines if line.startswith("iff:")}
    return frozenset(found - {""})


async def heard_by(taps: frozenset[str], addresses: frozenset[str], seconds: float) -> frozenset[str] | None:
    """Listen for so long, or until a frame was sent to each address; to which one was. None: nobody may listen here."""
    heard: set[str] = set()
    with ExitStack() as stack:
        ears = []
        for tap in taps:
            try:
                ears.append(stack.enter_context(_ear(tap)))
            except OSError:
                return None
        if not ears:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for ear in ears:
                    group.create_task(_listen(ear, addresses, heard))
    return frozenset(heard)


async def _listen(ear: socket.socket, addresses: frozenset[str], heard: set[str]) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # the tap is gone, and its guest with it
        while addresses - heard:
            frame = await loop.sock_recv(ear, _HEADER)
            heard |= {frame[:_ADDRESS].hex(":")} & addresses


def _ear(tap: str) -> socket.socket:
    """Raises OSError."""
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        program = ctypes.create_string_buffer(_TO_THE_GUEST, len(_TO_THE_GUEST))
        length = len(_TO_THE_GUEST) // 8
        ear.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", length, ctypes.addressof(program)))
        ear.bind((tap, _ALL_FRAMES))
        ear.setblocking(False)
    except OSError:
        ear.close()
        raise
    return ear
