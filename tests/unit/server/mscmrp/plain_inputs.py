"""The plainest inputs for any method, and handles of every kind: for tests of what holds for all methods."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tests.unit.server.mscmrp.face_world import FaceWorld, WireUser
from tests.unit.server.networks import make_networks

from quorate.dcerpc.ndr import (
    HANDLE,
    NULL_HANDLE,
    Array,
    ConformantBytes,
    ConformantVaryingBytes,
    ContextHandle,
    Count,
    FixedBytes,
    NdrType,
    Struct,
    Unique,
    WideString,
)
from quorate.mscmrp import cluster_methods as cluster
from quorate.mscmrp import group_methods as groups
from quorate.mscmrp import group_set_methods as group_sets
from quorate.mscmrp import net_interface_methods as interfaces
from quorate.mscmrp import network_methods as networks
from quorate.mscmrp import node_methods as nodes
from quorate.mscmrp import notify_methods as notify
from quorate.mscmrp import registry_methods as registry
from quorate.mscmrp import resource_methods as resources
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.interface import AnyMethod
from quorate.mscmrp.shapes import NameAccessIn, NameIn, NoIn
from quorate.mscmrp.types import Truth
from quorate.server.mscmrp.access import MAXIMUM_ALLOWED, GrantedAccess

VM: Final = "Virtual Machine web1"
NETWORK: Final = "Cluster Network 1"
NET_INTERFACE: Final = "node1 - eth0"
GROUP_SET: Final = "set1"
_BYTES: Final = ConformantBytes | ConformantVaryingBytes
_KEY_READ: Final = 0x20019


def inputs_of(method: AnyMethod, handles: Iterable[ContextHandle] = (), text: str = "x", **chosen: object) -> Any:
    """The plainest inputs, with these handles in their order; ``chosen`` values by their names."""
    parameters, given = method.declaration.inputs, iter(handles)
    values = {
        name: chosen.get(name, _plain(kind, given, text))
        for name, kind in parameters._members.items()
        if not isinstance(kind, Count)
    }
    return parameters._make(values)


def _plain(kind: NdrType[Any], handles: Iterator[ContextHandle], text: str) -> object:
    if kind is HANDLE:
        return next(handles, NULL_HANDLE)
    if isinstance(kind, Unique):
        return None
    if isinstance(kind, WideString):
        return text
    if isinstance(kind, _BYTES):
        return b""
    if isinstance(kind, FixedBytes):
        return bytes(kind._size)
    if isinstance(kind, Array):
        return (None,) if getattr(kind, "_size_is", None) == 1 else ()
    if isinstance(kind, Struct):
        members = kind._members.items()
        return kind._cls(**{name: _plain(one, handles, text) for name, one in members if not isinstance(one, Count)})
    return False if isinstance(kind, Truth) else 0


async def make_objects(world: FaceWorld) -> None:
    """Give the world one object at least of each kind."""
    await asyncio.to_thread(make_networks, world.nodes)
    async with world.user() as user:
        await user.ask(group_sets.CREATE_GROUP_SET, NameIn(GROUP_SET))


async def open_all(user: WireUser, *, of_all_kinds: bool = True) -> Mapping[HandleKind, ContextHandle]:
    """A handle of every kind, opened for everything."""
    opened = await _opened(
        user,
        {
            HandleKind.CLUSTER: (cluster.OPEN_CLUSTER, NoIn()),
            HandleKind.NODE: (nodes.OPEN_NODE, NameIn("node1")),
            HandleKind.GROUP: (groups.OPEN_GROUP, NameIn("web1")),
            HandleKind.RESOURCE: (resources.OPEN_RESOURCE, NameIn(VM)),
            HandleKind.NETWORK: (networks.OPEN_NETWORK, NameIn(NETWORK)),
            HandleKind.NET_INTERFACE: (interfaces.OPEN_NET_INTERFACE, NameIn(NET_INTERFACE)),
            HandleKind.GROUP_SET: (group_sets.OPEN_GROUP_SET, NameIn(GROUP_SET)),
            HandleKind.KEY: (registry.GET_ROOT_KEY, registry.GetRootKeyIn(MAXIMUM_ALLOWED)),
            HandleKind.NOTIFY: (notify.CREATE_NOTIFY, NoIn()),
        },
        of_all_kinds,
    )
    if HandleKind.KEY not in opened:
        return opened
    port = inputs_of(registry.CREATE_BATCH_PORT, [opened[HandleKind.KEY]])
    calls = {HandleKind.BATCH_PORT: (registry.CREATE_BATCH_PORT, port)}
    return {**opened, **await _opened(user, calls, of_all_kinds)}


async def open_for_reading(user: WireUser, *, of_all_kinds: bool = True) -> Mapping[HandleKind, ContextHandle]:
    """A handle of every kind that somebody who may only read can have."""
    desired = GrantedAccess.READ
    return await _opened(
        user,
        {
            HandleKind.CLUSTER: (cluster.OPEN_CLUSTER_EX, cluster.OpenClusterExIn(desired)),
            HandleKind.NODE: (nodes.OPEN_NODE_EX, NameAccessIn("node1", desired)),
            HandleKind.GROUP: (groups.OPEN_GROUP_EX, NameAccessIn("web1", desired)),
            HandleKind.RESOURCE: (resources.OPEN_RESOURCE_EX, NameAccessIn(VM, desired)),
            HandleKind.NETWORK: (networks.OPEN_NETWORK_EX, NameAccessIn(NETWORK, desired)),
            HandleKind.NET_INTERFACE: (interfaces.OPEN_NET_INTERFACE_EX, NameAccessIn(NET_INTERFACE, desired)),
            HandleKind.KEY: (registry.GET_ROOT_KEY, registry.GetRootKeyIn(_KEY_READ)),
            HandleKind.NOTIFY: (notify.CREATE_NOTIFY, NoIn()),
        },
        of_all_kinds,
    )


async def _opened(
    user: WireUser, calls: Mapping[HandleKind, tuple[AnyMethod, object]], of_all_kinds: bool
) -> dict[HandleKind, ContextHandle]:
    handles: dict[HandleKind, ContextHandle] = {}
    for kind, (method, inputs) in calls.items():
        answer = await user.ask(method, inputs)
        if answer.status == 0:
            handles[kind] = answer.handle
        else:
            assert not of_all_kinds, (kind, answer)
    return handles
