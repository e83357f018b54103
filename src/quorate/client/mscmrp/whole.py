"""The cluster at one look, put together from enumerations, states and properties: nodes, groups, resources, networks.

What the protocol has no word for (processes, sentences, epochs) is empty. What goes away while it is being looked at is
left out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from quorate.client.mscmrp.common import identity
from quorate.client.mscmrp.kinds import (
    GET_COMMON,
    GET_RO_COMMON,
    GROUP,
    NET_INTERFACE,
    NETWORK,
    NODE,
    RESOURCE,
)
from quorate.client.mscmrp.properties import number_of, text_of, texts_of, told_properties
from quorate.client.mscmrp.registry import instance_id
from quorate.client.mscmrp.session import Listed, Outputs, Performer, Session, listed
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import pack_multi_sz
from quorate.clusapi.states import (
    ClusterEnum,
    GroupEnum,
    GroupState,
    NetworkInterfaceState,
    NetworkState,
    NodeEnum,
    NodeState,
    NodeStatus,
    ResourceState,
)
from quorate.clusapi.status import Status
from quorate.mscmrp import cluster_methods as c
from quorate.mscmrp import group_methods as g
from quorate.mscmrp import net_interface_methods as i
from quorate.mscmrp import network_methods as w
from quorate.mscmrp import node_methods as n
from quorate.mscmrp import resource_methods as r
from quorate.mscmrp.shapes import HandleIn, HandleMaskIn, NoIn, PropertiesEnumIn
from quorate.mscmrp.types import GroupEnumEntry, ResourceEnumEntry

T = TypeVar("T")
F = TypeVar("F")
_AT_ONCE: Final = 16
_GROUP_RO: Final = pack_multi_sz(("GroupType", "StatusInformation"))
_GROUP_RW: Final = pack_multi_sz(("PersistentState",))
_RESOURCE_RO: Final = pack_multi_sz(("Type",))


@dataclass(frozen=True, slots=True)
class SeenResource:
    """A resource, its state, and where it is."""

    id: str
    name: str
    type: str
    state: ResourceState
    group: str
    group_id: str
    node: str

    def to_json(self) -> JsonObject:
        """Write it as the operations do."""
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "state": self.state.dword,
            "state_name": self.state.name,
            "sentence": "",
            "group": self.group,
            "group_id": self.group_id,
            "node": self.node,
        }


@dataclass(frozen=True, slots=True)
class SeenGroup:
    """A group, its state, and its owner."""

    id: str
    name: str
    type: int
    state: GroupState
    node: Listed
    status_information: int
    persistent_state: bool


async def each(items: Iterable[F], look: Callable[[F], Awaitable[T]]) -> list[T]:
    """Look at many things, some of them at a time; what the server refuses to tell is left out."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(item: F) -> tuple[T, ...]:
        async with places:
            try:
                return (await look(item),)
            except (CallerError, RefusalError):
                return ()

    return [found for answer in await asyncio.gather(*map(one, items)) for found in answer]


# --- Resources and groups ------------------------------------------------------------------------------------------


async def resources(session: Session) -> list[SeenResource]:
    """Every resource, by name."""
    try:
        async with session.cluster() as handle:
            asked = PropertiesEnumIn(handle, None, _RESOURCE_RO)
            told = (await session.call(r.CREATE_RESOURCE_ENUM, asked, "the list of resources")).entries
        entries = () if told is None else told.entries
    except CallerError as error:
        _expect_older(error)
        listed_ = await session.enumerate(ClusterEnum.RESOURCE)
        entries = tuple(ResourceEnumEntry(item.name, item.id, None, None) for item in listed_)
    found = await each(entries, lambda entry: _resource(session, entry))
    return sorted(found, key=lambda item: item.name.casefold())


async def _resource(session: Session, entry: ResourceEnumEntry) -> SeenResource:
    name = entry.id or entry.name or ""
    type_ = text_of(told_properties(entry.ro_properties, entry.properties), "Type")
    async with session.opened(RESOURCE, name) as handle:
        state = await session.call(r.GET_RESOURCE_STATE, HandleIn(handle), f'resource "{name}"')
        if not type_:
            type_ = (await session.call(r.GET_RESOURCE_TYPE, HandleIn(handle), f'resource "{name}"')).text or ""
    group = entry.owner_name or state.group_name or ""
    return SeenResource(
        id=entry.id or "",
        name=entry.name or "",
        type=type_,
        state=ResourceState(state.state),
        group=group,
        group_id=entry.owner_id or (await session.named(ClusterEnum.GROUP, group)).id,
        node=state.node_name or "",
    )


async def groups(session: Session) -> list[SeenGroup]:
    """Every group, by name."""
    try:
        async with session.cluster() as handle:
            asked = PropertiesEnumIn(handle, _GROUP_RW, _GROUP_RO)
            told = (await session.call(g.CREATE_GROUP_ENUM, asked, "the list of groups")).entries
        found = [await _group(session, entry) for entry in (() if told is None else told.entries)]
    except CallerError as error:
        _expect_older(error)
        listed_ = await session.enumerate(ClusterEnum.GROUP)
        found = [group for group, _ in await each(listed_, lambda item: one_group(session, item.id))]
    return sorted(found, key=lambda item: item.name.casefold())


def _expect_older(error: CallerError) -> None:
    """Servers of before 2012 have no enumerations with properties."""
    if error.status != Status.ERROR_CALL_NOT_IMPLEMENTED:
        raise error


async def _group(session: Session, entry: GroupEnumEntry) -> SeenGroup:
    properties = told_properties(entry.properties, entry.ro_properties)
    owner = entry.owner or ""
    return SeenGroup(
        id=entry.id or "",
        name=entry.name or "",
        type=number_of(properties, "GroupType"),
        state=GroupState(entry.state),
        node=await session.named(ClusterEnum.NODE, owner) if owner else Listed(0, "", ""),
        status_information=number_of(properties, "StatusInformation"),
        persistent_state=bool(number_of(properties, "PersistentState")),
    )


async def one_group(session: Session, text: str) -> tuple[SeenGroup, list[SeenResource]]:
    """A group by id or name, with its resources. Raises CallerError 5013."""
    about_it = f'group "{text}"'
    async with session.opened(GROUP, text) as handle:
        id_, name = await identity(session, GROUP, handle, text)
        told = await session.call(g.GET_GROUP_STATE, HandleIn(handle), about_it)
        properties = await session.properties(GROUP, handle, GET_COMMON, GET_RO_COMMON)
        held = await session.call(g.CREATE_GROUP_RESOURCE_ENUM, HandleMaskIn(handle, int(GroupEnum.CONTAINS)), about_it)
    members = await each(listed(held.entries), lambda entry: _member(session, entry.name or "", id_, name))
    owner = told.node_name or ""
    group = SeenGroup(
        id=id_,
        name=name,
        type=number_of(properties, "GroupType"),
        state=GroupState(told.state),
        node=await session.named(ClusterEnum.NODE, owner) if owner else Listed(0, "", ""),
        status_information=number_of(properties, "StatusInformation"),
        persistent_state=bool(number_of(properties, "PersistentState")),
    )
    return group, members


async def _member(session: Session, text: str, group_id: str, group: str) -> SeenResource:
    async with session.opened(RESOURCE, text) as handle:
        id_, name = await identity(session, RESOURCE, handle, text)
        state = await session.call(r.GET_RESOURCE_STATE, HandleIn(handle), f'resource "{text}"')
        type_ = (await session.call(r.GET_RESOURCE_TYPE, HandleIn(handle), f'resource "{text}"')).text or ""
    return SeenResource(id_, name, type_, ResourceState(state.state), group, group_id, state.node_name or "")


def group_json(group: SeenGroup, members: Sequence[SeenResource]) -> JsonObject:
    """Write a group as the operations do."""
    held: list[JsonValue] = [member.to_json() for member in members if member.group_id == group.id]
    return {
        "id": group.id,
        "name": group.name,
        "type": group.type,
        "state": group.state.dword,
        "state_name": group.state.name,
        "node": group.node.name,
        "node_id": group.node.id,
        "status_information": str(group.status_information),
        "persistent_state": group.persistent_state,
        "condition": "",
        "reason": "",
        "resources": held,
    }


async def list_resources(session: Session, inputs: Values) -> Outputs:
    """Every resource."""
    return {"resources": tuple(item.to_json() for item in await resources(session))}


async def list_groups(session: Session, inputs: Values) -> Outputs:
    """Every group with its resources."""
    members = await resources(session)
    return {"groups": tuple(group_json(group, members) for group in await groups(session))}


# --- Nodes ---------------------------------------------------------------------------------------------------------


async def nodes(session: Session) -> list[JsonObject]:
    """Every node, by number."""
    found = await each(await session.enumerate(ClusterEnum.NODE), lambda item: _node(session, item))
    return sorted(found, key=lambda item: (len(str(item["id"])), str(item["id"])))


async def _node(session: Session, item: Listed) -> JsonObject:
    about = f'node "{item.name}"'
    async with session.opened(NODE, item.name) as handle:
        state = NodeState((await session.call(n.GET_NODE_STATE, HandleIn(handle), about)).state)
        properties = await session.properties(NODE, handle, GET_RO_COMMON)
        owned = await session.ask(n.CREATE_NODE_ENUM, HandleMaskIn(handle, int(NodeEnum.GROUPS)))
    status = NodeStatus(number_of(properties, "StatusInformation"))
    names: list[JsonValue] = [bit.name for bit in status]
    return {
        "id": item.id,
        "name": item.name,
        "state": state.dword,
        "state_name": state.name,
        "status": int(status),
        "status_names": names,
        "daemon_pid": None,
        "qemu": [],
        "monitors": [],
        "groups": 0 if owned.entries is None else len(owned.entries.entries),
        "drain": {},
    }


async def list_nodes(session: Session, inputs: Values) -> Outputs:
    """Every node."""
    return {"nodes": tuple(await nodes(session))}


# --- Networks ------------------------------------------------------------------------------------------------------


async def interfaces(session: Session) -> list[JsonObject]:
    """Every network interface, by name."""
    found = await each(await session.enumerate(ClusterEnum.NETINTERFACE), lambda item: _interface(session, item))
    return sorted(found, key=lambda item: str(item["name"]).casefold())


async def _interface(session: Session, item: Listed) -> JsonObject:
    async with session.opened(NET_INTERFACE, item.id) as handle:
        told = await session.call(i.GET_NET_INTERFACE_STATE, HandleIn(handle), f'interface "{item.name}"')
        properties = await session.properties(NET_INTERFACE, handle, GET_RO_COMMON)
    state = NetworkInterfaceState(told.state)
    node = await session.named(ClusterEnum.NODE, text_of(properties, "Node"))
    network = await session.named(ClusterEnum.NETWORK, text_of(properties, "Network"))
    addresses: list[JsonValue] = [*texts_of(properties, "IPv4Addresses"), *texts_of(properties, "IPv6Addresses")]
    return {
        "id": item.id,
        "name": item.name,
        "state": state.dword,
        "state_name": state.name,
        "sentence": "",
        "node": node.name,
        "node_id": node.id,
        "network": network.name,
        "network_id": network.id,
        "adapter": text_of(properties, "Adapter"),
        "addresses": addresses,
    }


async def networks(session: Session, members: Sequence[JsonObject]) -> list[JsonObject]:
    """Every network, by name, with the interfaces on it."""
    found = await each(await session.enumerate(ClusterEnum.NETWORK), lambda item: _network(session, item, members))
    return sorted(found, key=lambda item: str(item["name"]).casefold())


async def _network(session: Session, item: Listed, members: Sequence[JsonObject]) -> JsonObject:
    async with session.opened(NETWORK, item.id) as handle:
        told = await session.call(w.GET_NETWORK_STATE, HandleIn(handle), f'network "{item.name}"')
        properties = await session.properties(NETWORK, handle, GET_COMMON, GET_RO_COMMON)
    state = NetworkState(told.state)
    subnets: list[JsonValue] = [
        f"{address}/{prefix}"
        for version in ("IPv4", "IPv6")
        for address, prefix in zip(
            texts_of(properties, f"{version}Addresses"), texts_of(properties, f"{version}PrefixLengths"), strict=False
        )
    ]
    on_it: list[JsonValue] = [member for member in members if member["network_id"] == item.id]
    return {
        "id": item.id,
        "name": item.name,
        "state": state.dword,
        "state_name": state.name,
        "sentence": "",
        "role": number_of(properties, "Role"),
        "metric": number_of(properties, "Metric"),
        "auto_metric": bool(number_of(properties, "AutoMetric")),
        "subnets": subnets,
        "interfaces": on_it,
    }


async def list_networks(session: Session, inputs: Values) -> Outputs:
    """Every network."""
    return {"networks": tuple(await networks(session, await interfaces(session)))}


async def list_interfaces(session: Session, inputs: Values) -> Outputs:
    """Every network interface."""
    return {"interfaces": tuple(await interfaces(session))}


async def cluster_json(session: Session) -> JsonObject:
    """The cluster's name and id; who coordinates, and how the database is, is nobody's business but the nodes'."""
    told = await session.call(c.GET_CLUSTER_NAME, NoIn(), "the cluster")
    return {"name": told.cluster_name or "", "id": await instance_id(session), "coordinator": "", "database": ""}


PERFORMERS: Final[Mapping[str, Performer]] = {
    "ListResources": list_resources,
    "ListGroups": list_groups,
    "ListNodes": list_nodes,
    "ListNetworks": list_networks,
    "ListNetInterfaces": list_interfaces,
}
