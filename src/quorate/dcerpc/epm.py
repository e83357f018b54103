"""The endpoint mapper: tells at which port an interface is served (port 135, nobody has to log on).

A tower is the protocol stack as five floors: interface, transfer syntax, connection-oriented RPC, TCP port, IPv4
address. The client sends one with the last two open and gets it back filled in.

::

    tower   u16 floors, floor *
    floor   u16 cb, left side [cb], u16 cb, right side [cb]

Source: C706 appendices O, L, I; [MS-RPCE] 2.2.1.2.
"""

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated, Final
from uuid import UUID

from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import FaultCode, RpcFault
from quorate.dcerpc.interfaces import Call, Declaration, Described, Interface, Operation, Served
from quorate.dcerpc.ndr import (
    GUID,
    HANDLE,
    NULL_HANDLE,
    U16,
    U32,
    ConformantBytes,
    ConformantVaryingArray,
    ContextHandle,
    Count,
    FixedNarrowString,
    Parameters,
    Struct,
    Unique,
)
from quorate.dcerpc.security import AuthLevel
from quorate.dcerpc.syntaxes import NDR32, SyntaxId

PORT: Final = 135
MAPPER: Final = SyntaxId(UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), 3)
NOT_REGISTERED: Final = 0x16C9A0D6
"""ept_s_not_registered: what a lookup answers when there is nothing, or nothing more."""

_UUID_FLOOR: Final = 0x0D
_RPC_CO_FLOOR: Final = 0x0B
_TCP_FLOOR: Final = 0x07
_IP_FLOOR: Final = 0x09
_FLOORS: Final = 5
_MOST_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an interface is served. Without an address it is the one at which the client has found the mapper."""

    interface: SyntaxId
    port: int
    annotation: str = ""
    address: str = ""


# --- Towers --------------------------------------------------------------------------------------------------------


def _floor(left: bytes, right: bytes) -> bytes:
    return struct.pack("<H", len(left)) + left + struct.pack("<H", len(right)) + right


def _syntax_floor(syntax: SyntaxId) -> bytes:
    left = bytes((_UUID_FLOOR,)) + syntax.uuid.bytes_le + struct.pack("<H", syntax.major)
    return _floor(left, struct.pack("<H", syntax.minor))


def pack_tower(interface: SyntaxId, port: int = 0, address: str = "0.0.0.0") -> bytes:
    """Make a tower of TCP and NDR32; open when port and address are left out."""
    floors = [_syntax_floor(interface), _syntax_floor(NDR32), _floor(bytes((_RPC_CO_FLOOR,)), b"\0\0")]
    floors.append(_floor(bytes((_TCP_FLOOR,)), port.to_bytes(2, "big")))
    floors.append(_floor(bytes((_IP_FLOOR,)), _ipv4(address)))
    return struct.pack("<H", _FLOORS) + b"".join(floors)


def _ipv4(address: str) -> bytes:
    try:
        return IPv4Address(address).packed
    except AddressValueError:
        return bytes(4)  # a tower has no place for any other


@dataclass(frozen=True, slots=True)
class Tower:
    """What a tower of TCP says."""

    interface: SyntaxId
    transfer: SyntaxId
    port: int
    address: str


def parse_tower(data: bytes) -> Tower | None:
    """Read a tower; None when it is malformed or of another protocol than TCP."""
    floors: list[tuple[bytes, bytes]] = []
    at = 2
    for _ in range(min(int.from_bytes(data[:2], "little"), _FLOORS)):
        sides: list[bytes] = []
        for _ in range(2):
            size = int.from_bytes(data[at : at + 2], "little")
            sides.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        floors.append((sides[0], sides[1]))
    if len(floors) != _FLOORS or at > len(data):
        return None
    (interface, minor), (transfer, transfer_minor), (rpc, _), (tcp, port), (ip, address) = floors
    known = (rpc[:1], tcp[:1], ip[:1]) == (bytes((_RPC_CO_FLOOR,)), bytes((_TCP_FLOOR,)), bytes((_IP_FLOOR,)))
    if not known or len(port) != 2 or len(address) != 4:
        return None
    syntaxes = [_parse_syntax(interface, minor), _parse_syntax(transfer, transfer_minor)]
    if syntaxes[0] is None or syntaxes[1] is None:
        return None
    return Tower(syntaxes[0], syntaxes[1], int.from_bytes(port, "big"), socket.inet_ntoa(address))


def _parse_syntax(left: bytes, right: bytes) -> SyntaxId | None:
    if len(left) != 19 or left[0] != _UUID_FLOOR or len(right) != 2:
        return None
    major = int.from_bytes(left[17:], "little")
    return SyntaxId(UUID(bytes_le=left[1:17]), major, int.from_bytes(right, "little"))


# --- Declarations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TowerOctets:
    """A tower as NDR has it."""

    size: Annotated[int, Count(U32, of="octets")]
    octets: Annotated[bytes, ConformantBytes(size_is="size")]

    @classmethod
    def of(cls, octets: bytes) -> "TowerOctets":
        """Wrap the bytes of a tower."""
        return cls(len(octets), octets)


@dataclass(frozen=True, slots=True)
class MapIn:
    """The inputs of ept_map."""

    object_uuid: Annotated[UUID | None, Unique(GUID)]
    tower: Annotated[TowerOctets | None, Unique(Struct(TowerOctets))]
    entry_handle: Annotated[ContextHandle, HANDLE]
    max_towers: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class MapOut:
    """The outputs of ept_map."""

    entry_handle: Annotated[ContextHandle, HANDLE]
    count: Annotated[int, Count(U32, of="towers")]
    towers: Annotated[
        tuple[TowerOctets | None, ...],
        ConformantVaryingArray(Unique(Struct(TowerOctets)), size_is="max_towers", length_is="count"),
    ]
    status: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class InterfaceVersion:
    """An interface as ept_lookup asks for it."""

    uuid: Annotated[UUID, GUID]
    major: Annotated[int, U16]
    minor: Annotated[int, U16]


@dataclass(frozen=True, slots=True)
class LookupIn:
    """The inputs of ept_lookup: ``inquiry`` 0 is for all, 1 for those of an interface."""

    inquiry: Annotated[int, U32]
    object_uuid: Annotated[UUID | None, Unique(GUID)]
    interface: Annotated[InterfaceVersion | None, Unique(Struct(InterfaceVersion))]
    version_option: Annotated[int, U32]
    entry_handle: Annotated[ContextHandle, HANDLE]
    max_entries: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class Entry:
    """One endpoint in the answer to ept_lookup."""

    object_uuid: Annotated[UUID, GUID]
    tower: Annotated[TowerOctets | None, Unique(Struct(TowerOctets))]
    annotation: Annotated[str, FixedNarrowString(64)]


@dataclass(frozen=True, slots=True)
class LookupOut:
    """The outputs of ept_lookup."""

    entry_handle: Annotated[ContextHandle, HANDLE]
    count: Annotated[int, Count(U32, of="entries")]
    entries: Annotated[
        tuple[Entry, ...], ConformantVaryingArray(Struct(Entry), size_is="max_entries", length_is="count")
    ]
    status: Annotated[int, U32]


@dataclass(frozen=True, slots=True)
class FreeIn:
    """The input of ept_lookup_handle_free."""

    entry_handle: Annotated[ContextHandle, HANDLE]


@dataclass(frozen=True, slots=True)
class FreeOut:
    """The outputs of ept_lookup_handle_free."""

    entry_handle: Annotated[ContextHandle, HANDLE]
    status: Annotated[int, U32]


EPT_LOOKUP: Final = Declaration("ept_lookup", Parameters.of(LookupIn), Parameters.of(LookupOut))
EPT_MAP: Final = Declaration("ept_map", Parameters.of(MapIn), Parameters.of(MapOut))
EPT_FREE: Final = Declaration("ept_lookup_handle_free", Parameters.of(FreeIn), Parameters.of(FreeOut))
LOOKUP_OPNUM: Final = 2
MAP_OPNUM: Final = 3
FREE_OPNUM: Final = 4
DECLARATIONS: Final[Mapping[int, Described]] = {LOOKUP_OPNUM: EPT_LOOKUP, MAP_OPNUM: EPT_MAP, FREE_OPNUM: EPT_FREE}


# --- Server --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a lookup has not told yet."""

    endpoints: tuple[Endpoint, ...]


class EndpointMapper:
    """The endpoints that are known; ``interface`` serves them."""

    def __init__(self) -> None:
        self._endpoints: list[Endpoint] = []
        operations: dict[int, Served] = {
            LOOKUP_OPNUM: Operation(EPT_LOOKUP, self._lookup),
            MAP_OPNUM: Operation(EPT_MAP, self._map),
            FREE_OPNUM: Operation(EPT_FREE, self._free),
        }
        self.interface = Interface("epm", MAPPER, operations, AuthLevel.NONE)
        self.register(Endpoint(MAPPER, PORT, "Endpoint mapper"))

    def register(self, endpoint: Endpoint) -> None:
        """Make an endpoint known."""
        self._endpoints.append(endpoint)

    def unregister(self, endpoint: Endpoint) -> None:
        """Forget an endpoint."""
        self._endpoints = [item for item in self._endpoints if item != endpoint]

    async def _map(self, call: Call, inputs: MapIn) -> MapOut:
        wanted = None if inputs.tower is None else parse_tower(inputs.tower.octets)
        found: list[Endpoint] = []
        if wanted is not None and wanted.transfer.uuid == NDR32.uuid:
            found = [item for item in self._endpoints if _fits(item.interface, wanted.interface)]
        towers = tuple(_octets(item, call) for item in found[: inputs.max_towers])
        return MapOut(NULL_HANDLE, 0, towers, 0 if towers else NOT_REGISTERED)

    async def _lookup(self, call: Call, inputs: LookupIn) -> LookupOut:
        if inputs.entry_handle:
            rest = call.close_handle(inputs.entry_handle, _Rest).endpoints
        elif inputs.inquiry == 1 and inputs.interface is not None:
            asked = inputs.interface
            wanted = SyntaxId(asked.uuid, asked.major, asked.minor)
            rest = tuple(item for item in self._endpoints if item.interface.uuid == wanted.uuid)
        else:
            rest = tuple(self._endpoints) if inputs.inquiry == 0 else ()
        told = rest[: min(inputs.max_entries, _MOST_AT_ONCE)]
        left = rest[len(told) :]
        # A full answer has a handle even when nothing is left: some clients ask until they are told so, and begin anew
        # without a handle. Others take that for an error; those ask for many at once, and what they get is not full.
        is_full = bool(told) and len(told) == inputs.max_entries
        handle = call.open_handle(_Rest(left)) if left or is_full else NULL_HANDLE
        entries = tuple(Entry(UUID(int=0), _octets(item, call), item.annotation[:63]) for item in told)
        return LookupOut(handle, 0, entries, 0 if entries else NOT_REGISTERED)

    async def _free(self, call: Call, inputs: FreeIn) -> FreeOut:
        if inputs.entry_handle:
            call.close_handle(inputs.entry_handle, _Rest)
        return FreeOut(NULL_HANDLE, 0)


def _fits(served: SyntaxId, wanted: SyntaxId) -> bool:
    same = (served.uuid, served.major) == (wanted.uuid, wanted.major)
    return same and wanted.minor <= served.minor


def _octets(endpoint: Endpoint, call: Call) -> TowerOctets:
    return TowerOctets.of(pack_tower(endpoint.interface, endpoint.port, endpoint.address or call.local_address))


# --- Client --------------------------------------------------------------------------------------------------------


async def find_port(host: str, interface: SyntaxId, *, port: int = PORT, within: float = 10.0) -> int:
    """Ask a machine's endpoint mapper where an interface is served.

    Raises:
        RpcFault: UNKNOWN_INTERFACE, it is not.
        ConnectionLost, ProtocolError: there is no endpoint mapper.
    """
    client = await RpcClient.connect(host, port, within=within)
    try:
        await client.bind(MAPPER, within=within)
        asked = MapIn(UUID(int=0), TowerOctets.of(pack_tower(interface)), NULL_HANDLE, 4)
        answer = await client.invoke(MAP_OPNUM, EPT_MAP, asked, within=within)
    finally:
        await client.close()
    for octets in answer.towers:
        tower = None if octets is None else parse_tower(octets.octets)
        if tower is not None and tower.port:
            return tower.port
    raise RpcFault(FaultCode.UNKNOWN_INTERFACE, f"the endpoint mapper of {host} does not know {interface}")
