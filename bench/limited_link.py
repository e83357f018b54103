"""A link of 1 Gb/s, or less, between two machines that are network namespaces, and what it carries in fact."""

import shutil
import subprocess
import sys
import time
from typing import Final

from tests.system.machines import fabric
from tests.system.machines.fabric import Machine, shape

RATE: Final = 1_000_000_000
"""Bits per second, headers included, as tc counts them."""
PORT: Final = 5999
"""Where the receiving end of a measurement listens."""
_SENT: Final = 30_000_000
_PIECE: Final = 1 << 18
_TIMES: Final = 3

_RECEIVE: Final = """
import socket, sys, time
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    number = len(connection.recv(1 << 20))
    began = time.monotonic()
    number = 0
    while piece := connection.recv(1 << 20):
        number += len(piece)
    print(number / (time.monotonic() - began))
"""
_SEND: Final = """
import socket, sys
piece = bytes(int(sys.argv[4]))
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
    for _ in range(int(sys.argv[3])):
        connection.sendall(piece)
"""


def why_not() -> str | None:
    """Say why this machine can have no such link; None when it can."""
    reason = fabric.why_not()
    if reason is not None:
        return reason
    if shutil.which("tc") is None:
        return "not installed: tc (package iproute2)"
    name = f"qlink{time.monotonic_ns() & 0xFFFFF:x}"
    subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
    try:
        shape(name, "lo", RATE)
    except subprocess.CalledProcessError as error:
        return f"this kernel has no token bucket filter: {error.stderr.decode(errors='replace').strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def limit(machine: Machine, rate: int = RATE) -> None:
    """Let a machine send no faster than the link (bits per second), over the network that its node is on."""
    machine.limit(rate)


def measure(source: Machine, destination: Machine) -> float:
    """Give the bytes per second that one connection gets across: the best of a few times, for others only slow it."""
    return max(_measure_once(source, destination) for _ in range(_TIMES))


def _measure_once(source: Machine, destination: Machine) -> float:
    address = [destination.address(), str(PORT)]
    receiver = subprocess.Popen(
        [*destination.prefix, sys.executable, "-c", _RECEIVE, *address], stdout=subprocess.PIPE, text=True
    )
    try:
        assert receiver.stdout is not None, "it was asked for"
        receiver.stdout.readline()
        pieces = str(_SENT // _PIECE)
        sent = source.run([sys.executable, "-c", _SEND, *address, pieces, str(_PIECE)])
        if sent.returncode:
            raise OSError(f"the link cannot be measured: {sent.stderr}")
        return float(receiver.communicate(timeout=60)[0])
    finally:
        receiver.kill()
        receiver.wait()
