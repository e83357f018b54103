"""The kernel's network devices and addresses over rtnetlink, with nothing but a socket.

``list_devices`` asks once, ``DeviceWatch`` tells that something changed (a link, an address) and to ask again. Both see
the network namespace of the process. Source: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
"""

import asyncio
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status

_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LINK: Final = struct.Struct("=BxHiII")  # ifinfomsg: family, device type, index, flags, change
_ADDRESS: Final = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type

_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_INFO_KIND = 1, 3, 10, 18, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_NESTED: Final = 0x3FFF  # the two bits above are flags
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
_RECEIVE: Final = 1 << 17
_PATIENCE: Final = 2.0

IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
IFF_LOWER_UP: Final = 0x10000
IFA_F_TEMPORARY: Final = 0x01  # of IPv4: a secondary address
IFA_F_DADFAILED: Final = 0x08
IFA_F_DEPRECATED: Final = 0x20
IFA_F_TENTATIVE: Final = 0x40
IFA_F_PERMANENT: Final = 0x80
SCOPE_LINK: Final = 253


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """An address of a device; ``text`` with its prefix length, flags as the kernel has them (IFA_F_…)."""

    text: str
    scope: int
    flags: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return ipaddress.ip_interface(self.text).version


@dataclass(frozen=True, slots=True)
class Device:
    """A network device; ``kind`` is the kernel's word for virtual ones ("bridge", "tun", "veth"), empty for cards."""

    index: int
    name: str
    flags: int
    hardware_address: str = ""
    kind: str = ""
    master: int = 0  # index of the bridge or bond that it is a port of
    addresses: tuple[DeviceAddress, ...] = field(default=())

    @property
    def has_link(self) -> bool:
        """Answer whether it is switched on and a cable (or what stands for one) is plugged in."""
        return bool(self.flags & IFF_UP and self.flags & IFF_LOWER_UP)


def list_devices() -> tuple[Device, ...]:
    """Every device with its addresses, by index. Takes a millisecond. Raises FaultError when the kernel refuses."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as link:
            link.settimeout(_PATIENCE)
            link.bind((0, 0))
            devices = {
                device.index: device
                for body in _dump(link, 1, _RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0), _RTM_NEWLINK)
                if (device := _device(body)) is not None
            }
            for body in _dump(link, 2, _RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), _RTM_NEWADDR):
                index, address = _address(body)
                if address is not None and index in devices:
                    device = devices[index]
                    devices[index] = replace(device, addresses=(*device.addresses, address))
    except OSError as error:
        raise FaultError(Status.ERROR_GEN_FAILURE, f"the kernel does not tell its network devices: {error}") from error
    return tuple(devices[index] for index in sorted(devices))


class DeviceWatch:
    """Calls back whenever a link or an address changes. Belongs to one asyncio loop."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """Watch from now on. Raises FaultError when the kernel refuses."""
        self._on_change = on_change
        groups = _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
            self._socket.bind((0, groups))
        except OSError as error:
            sentence = f"the kernel does not tell of changes of network devices: {error}"
            raise FaultError(Status.ERROR_GEN_FAILURE, sentence) from error
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _read(self) -> None:
        try:
            while self._socket.recv(_RECEIVE):
                continue
        except BlockingIOError:
            pass
        except OSError:
            pass  # ENOBUFS: more changed than was told, which is a change
        self._on_change()


def _dump(link: socket.socket, sequence: int, request: int, body: bytes, wanted: int) -> Iterator[bytes]:
    """Ask for everything of a kind and give the bodies of the answers."""
    head = _HEADER.pack(_HEADER.size + len(body), request, _NLM_F_REQUEST | _NLM_F_DUMP, sequence, 0)
    link.send(head + body)
    while True:
        for kind, number, part in _messages(link.recv(_RECEIVE)):
            if number != sequence:
                continue
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                code = -int.from_bytes(part[:4], "little", signed=True)
                raise OSError(code, os.strerror(code))
            if kind == wanted:
                yield part


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The messages of one datagram: type, sequence, body."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, sequence, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _NESTED] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _device(body: bytes) -> Device | None:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    attributes = _attributes(body[_LINK.size :])
    name = _text(attributes.get(_IFLA_IFNAME, b""))
    if not name:
        return None
    info = _attributes(attributes.get(_IFLA_LINKINFO, b""))
    return Device(
        index=index,
        name=name,
        flags=flags,
        hardware_address=":".join(f"{byte:02x}" for byte in attributes.get(_IFLA_ADDRESS, b"")),
        kind=_text(info.get(_IFLA_INFO_KIND, b"")),
        master=int.from_bytes(attributes.get(_IFLA_MASTER, b""), "little"),
    )


def _address(body: bytes) -> tuple[int, DeviceAddress | None]:
    family, prefix, flags, scope, index = _ADDRESS.unpack_from(body)
    attributes = _attributes(body[_ADDRESS.size :])
    raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
    if family not in (socket.AF_INET, socket.AF_INET6) or len(raw) not in (4, 16):
        return index, None
    wide = attributes.get(_IFA_FLAGS)
    flags = int.from_bytes(wide, "little") if wide else flags
    return index, DeviceAddress(f"{ipaddress.ip_address(raw)}/{prefix}", scope, flags)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
