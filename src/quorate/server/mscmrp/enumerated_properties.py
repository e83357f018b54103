"""The common properties that CreateGroupEnum and CreateResourceEnum give with each object: those whose names are asked.

Names come as a MULTI_SZ; no buffer is no names. What an object cannot tell at the moment, since its owner does not
answer, it tells nothing of.

Source: [MS-CMRP] 3.1.4.2.143, 3.1.4.2.144.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.operation_values import FieldValue
from quorate.clusapi.property_lists import PropertyList, pack_property_list, parse_multi_sz, parse_property_list
from quorate.clusapi.status import Status
from quorate.server.mscmrp.calls import WireCall
from quorate.server.mscmrp.handles import OpenObject

_AT_ONCE: Final = 16
_NOTHING: Final = b""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which properties, and the two control codes that tell them; names are folded."""

    operation: str
    code: int
    names: frozenset[str]
    read_only_code: int
    read_only_names: frozenset[str]


def parse_names(buffer: bytes | None) -> frozenset[str]:
    """Read the names. Raises CallerError 87."""
    return frozenset(name.casefold() for name in parse_multi_sz(buffer)) if buffer else frozenset()


async def properties_of(
    wire: WireCall, through: OpenObject, wanted: Wanted, objects: Iterable[Mapping[str, FieldValue]]
) -> list[tuple[bytes, bytes]]:
    """The property lists of each object, those that may be set and those that may not."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(inputs: Mapping[str, FieldValue]) -> tuple[bytes, bytes]:
        async with places:
            return (
                await _selected(wire, through, wanted.operation, inputs, wanted.code, wanted.names),
                await _selected(wire, through, wanted.operation, inputs, wanted.read_only_code, wanted.read_only_names),
            )

    return await asyncio.gather(*map(one, objects))


async def _selected(
    wire: WireCall,
    through: OpenObject,
    operation: str,
    inputs: Mapping[str, FieldValue],
    code: int,
    names: frozenset[str],
) -> bytes:
    if not names:
        return _NOTHING
    try:
        answer = await wire.ask(operation, {**inputs, "control_code": code, "out_size": 1 << 20}, through)
    except ClusterError:
        return _NOTHING
    if answer.number("status") != Status.ERROR_SUCCESS:
        return _NOTHING
    found = parse_property_list(answer.data("output"))
    return pack_property_list(PropertyList(tuple(item for item in found if item.name.casefold() in names)))
