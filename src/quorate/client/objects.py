"""The objects of a cluster for asyncio programs. Each holds an id; what it tells is asked for when it is asked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from quorate.client.account import account_of
from quorate.client.address import node_addresses, wire_address
from quorate.client.asynchronous import AsyncClient
from quorate.client.migration import Migration
from quorate.client.network_objects import Network, NetworkInterface
from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION, CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.errors import error_from_status
from quorate.clusapi.events import EventRecord
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.migration_input import pack_destination
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import GroupState, NodePauseFlags, NodeResumeFailbackType, NodeState, ResourceState


@asynccontextmanager
async def connect(
    address: str | None = None,
    user: str | None = None,
    password: str | None = None,
    *,
    read_only: bool = False,
    credentials: str | None = None,
    password_file: str | None = None,
) -> "AsyncIterator[Cluster]":
    """Reach a cluster: its directory, a node's socket, "https://HOST:PORT", or None for the usual place.

    ``credentials`` is the directory of what is shown to a cluster on other machines; see :mod:`quorate.client.address`.
    "ncacn_ip_tcp:HOST[PORT]" is any server of MS-CMRP, where ``user`` logs on with a password, or with the first line
    of a file. Raises ClusterError when there is no cluster. A read-only connection is refused every change (status 5).
    """
    servers = wire_address(address)
    if servers is None:
        yield Cluster(AsyncClient(node_addresses(address, credentials), full_access=not read_only))
        return
    from quorate.client.mscmrp.clients import WireClient
    from quorate.client.mscmrp.places import parse_places

    account = account_of(user, password, password_file)
    client = WireClient(parse_places(servers), account, full_access=not read_only)
    try:
        yield Cluster(client)
    finally:
        await client.close()


class Cluster:
    """A cluster."""

    def __init__(self, client: AsyncClient) -> None:
        """Use :func:`connect`."""
        self._client = client

    async def call(self, operation: str, /, **inputs: FieldValue) -> Values:
        """Carry out any operation of the table by its name."""
        return await self._client.call(operation, **inputs)

    async def status(self) -> JsonObject:
        """Nodes, groups and virtual machines at one look."""
        return (await self.call("GetStatus")).as_json()

    async def node(self, name: str) -> "Node":
        """Find a node. Raises CallerError 5042."""
        found = await self.call("GetNodeId", node=name)
        return Node(self._client, found.text("id"), found.text("name"))

    async def group(self, name: str) -> "Group":
        """Find a group. Raises CallerError 5013."""
        found = await self.call("GetGroupId", group=name)
        return Group(self._client, found.text("id"), found.text("name"))

    async def resource(self, name: str) -> "Resource":
        """Find a resource. Raises CallerError 5007."""
        found = await self.call("GetResourceId", resource=name)
        return Resource(self._client, found.text("id"), found.text("name"), found.text("type"))

    async def virtual_machine(self, name: str) -> "VirtualMachine":
        """Find a virtual machine by its name, its VmId or its group. Raises CallerError 5013."""
        return _machine(self._client, (await self.call("GetVirtualMachine", vm=name)).json("virtual_machine"))

    async def nodes(self) -> tuple["Node", ...]:
        """Every node."""
        found = (await self.call("ListNodes")).objects("nodes")
        return tuple(Node(self._client, str(item["id"]), str(item["name"])) for item in found)

    async def groups(self) -> tuple["Group", ...]:
        """Every group."""
        found = (await self.call("ListGroups")).objects("groups")
        return tuple(Group(self._client, str(item["id"]), str(item["name"])) for item in found)

    async def resources(self) -> tuple["Resource", ...]:
        """Every resource."""
        found = (await self.call("ListResources")).objects("resources")
        return tuple(Resource(self._client, str(item["id"]), str(item["name"]), str(item["type"])) for item in found)

    async def virtual_machines(self) -> tuple["VirtualMachine", ...]:
        """Every virtual machine."""
        found = (await self.call("ListVirtualMachines")).objects("virtual_machines")
        return tuple(_machine(self._client, item) for item in found)

    async def network(self, name: str) -> Network:
        """Find a network. Raises CallerError 5045."""
        found = await self.call("GetNetworkId", network=name)
        return Network(self._client, found.text("id"), found.text("name"))

    async def networks(self) -> tuple[Network, ...]:
        """Every network."""
        found = (await self.call("ListNetworks")).objects("networks")
        return tuple(Network(self._client, str(item["id"]), str(item["name"])) for item in found)

    async def network_interfaces(self) -> tuple[NetworkInterface, ...]:
        """Every network interface."""
        found = (await self.call("ListNetInterfaces")).objects("interfaces")
        return tuple(NetworkInterface(self._client, str(item["id"]), str(item["name"])) for item in found)

    async def validate(self) -> JsonObject:
        """Check the whole cluster: the verdict, and every finding."""
        return (await self.call("Validate")).as_json()

    async def migrations(self, vm: str | None = None, after: int | None = None) -> tuple[JsonObject, ...]:
        """Live migrations that are over, oldest first: the newest hundred, or the oldest after a sequence."""
        return (await self.call("ListMigrations", vm=vm, after=after)).objects("migrations")

    async def create_virtual_machine(
        self, name: str, definition: JsonObject, node: str | None = None
    ) -> "VirtualMachine":
        """Make one. Raises CallerError 87 with the key and the reason when the definition is not sound."""
        await self.call("CreateVirtualMachine", name=name, definition=dict(definition), node=node)
        return await self.virtual_machine(name)

    async def events(self, after: int | None = None) -> AsyncIterator[EventRecord]:
        """Events after a sequence, or from now on, for ever."""
        target = "/v1/events" if after is None else f"/v1/events?after={after}"
        async for kind, part in self._client.stream(target):
            if kind == "event":
                yield EventRecord.from_json(part)


@dataclass(frozen=True, slots=True)
class _Object:
    """Something with an id that never changes and a name that people gave it."""

    client: AsyncClient
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Node(_Object):
    """A node."""

    async def state(self) -> NodeState:
        """Whether it is up."""
        return NodeState((await self.client.call("GetNodeState", node=self.id)).number("state"))

    async def pause(self) -> int:
        """Let it take no new groups."""
        return (await self.client.call("PauseNode", node=self.id)).number("status")

    async def drain(
        self,
        target: str | None = None,
        flags: NodePauseFlags = NodePauseFlags.REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR,
    ) -> int:
        """Pause it and begin to move everything off it. Raises RefusalError 5962 while that goes on already."""
        answer = await self.client.call("PauseNode", node=self.id, drain=True, target=target, flags=int(flags))
        return answer.number("status")

    async def resume(self, failback: NodeResumeFailbackType = NodeResumeFailbackType.DO_NOT_FAIL_BACK) -> int:
        """End a pause, a drain and a quarantine. Raises RefusalError 5058 when it is in none of them."""
        return (await self.client.call("ResumeNode", node=self.id, failback=int(failback) or None)).number("status")


@dataclass(frozen=True, slots=True)
class Group(_Object):
    """A group."""

    async def state(self) -> tuple[GroupState, str]:
        """Its state and the name of its owner."""
        found = await self.client.call("GetGroupState", group=self.id)
        return GroupState(found.number("state")), found.text("node")

    async def online(self, destination: str | None = None) -> int:
        """Bring it online: 0, or 997 while it is pending."""
        return (await self.client.call("OnlineGroup", group=self.id, destination=destination)).number("status")

    async def offline(self) -> int:
        """Take it offline: 0, or 997 while it is pending."""
        return (await self.client.call("OfflineGroup", group=self.id)).number("status")

    async def rename(self, name: str) -> None:
        """Give it another name. Raises CallerError 5010 when that is taken."""
        await self.client.call("SetGroupName", group=self.id, name=name)

    async def move(self, destination: str | None = None) -> int:
        """Move it; a virtual machine live, unless its DefaultMoveType says otherwise: 0 or 997."""
        return (await self.client.call("MoveGroup", group=self.id, destination=destination)).number("status")


@dataclass(frozen=True, slots=True)
class ControlResult:
    """The answer to a control code. ``required`` is the size of the whole output."""

    status: int
    output: bytes
    required: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Resource(_Object):
    """A resource."""

    type: str

    async def state(self) -> ResourceState:
        """Its state."""
        return ResourceState((await self.client.call("GetResourceState", resource=self.id)).number("state"))

    async def online(self) -> int:
        """Bring it online: 0, or 997 while it is pending."""
        return (await self.client.call("OnlineResource", resource=self.id)).number("status")

    async def offline(self) -> int:
        """Take it offline: 0, or 997 while it is pending."""
        return (await self.client.call("OfflineResource", resource=self.id)).number("status")

    async def depend_on(self, provider: "Resource") -> None:
        """Let it depend on another one of its group. Raises CallerError 87, 1059 or 5003."""
        await self.client.call("AddResourceDependency", resource=self.id, depends_on=provider.id)

    async def depend_no_more_on(self, provider: "Resource") -> None:
        """Let it depend on another one no more. Raises CallerError 5002."""
        await self.client.call("RemoveResourceDependency", resource=self.id, depends_on=provider.id)

    async def dependencies(self) -> str:
        """What it depends on, as an expression on ids: "[id] and ([id] or [id])"; empty for nothing."""
        return (await self.client.call("GetResourceDependencyExpression", resource=self.id)).text("expression")

    async def set_dependencies(self, expression: str) -> None:
        """Set what it depends on, by ids or names. Raises CallerError 87, 1059 or 5929."""
        await self.client.call("SetResourceDependencyExpression", resource=self.id, expression=expression)

    async def change_group(self, group: Group) -> None:
        """Put it with its dependency tree into another group of the same owner; what runs goes on."""
        await self.client.call("ChangeResourceGroup", resource=self.id, group=group.id)

    async def rename(self, name: str) -> None:
        """Give it another name. Raises CallerError 5010 when that is taken."""
        await self.client.call("SetResourceName", resource=self.id, name=name)

    async def control(
        self, code: int, in_buffer: bytes | None = None, host_node: str | None = None, out_size: int = 65536
    ) -> ControlResult:
        """Send a control code. What the resource answers is a status, not an error."""
        found = await self.client.call(
            "ResourceControl",
            resource=self.id,
            control_code=code,
            in_buffer=in_buffer,
            host_node=host_node,
            out_size=out_size,
        )
        return ControlResult(
            found.number("status"),
            found.data("output"),
            found.number("required"),
            found.optional_text("sentence") or "",
        )


@dataclass(frozen=True, slots=True)
class VirtualMachine(Group):
    """A virtual machine: a group, whose id this is, and its resource."""

    vm_id: str
    resource: Resource

    async def show(self) -> JsonObject:
        """Everything about it."""
        return (await self.client.call("GetVirtualMachine", vm=self.id)).json("virtual_machine")

    async def start_migration(self, node: str | None = None, policy: str = "", bandwidth_limit: int = 0) -> Migration:
        """Start a live migration and return once it is accepted. Raises ClusterError when it is not.

        Without a node the cluster takes the best one. ``policy`` names a migration policy for this once, such as
        ``must-move``; without one it is the virtual machine's, or the cluster's. The smallest of ``bandwidth_limit``
        (MiB/s, 0 for none) and theirs holds.
        """
        target = pack_destination(node, policy, bandwidth_limit)
        await self._control(CLUSCTL_RESOURCE_VM_START_MIGRATION, target)
        return Migration(self.client, self.id)

    async def cancel_migration(self) -> None:
        """Cancel it. Raises RefusalError 5023 when there is none or it is too late."""
        await self._control(CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION, None)

    async def migration_progress(self) -> MigrationProgress:
        """How far its migration is."""
        return MigrationProgress.from_json(
            (await self.client.call("GetMigrationProgress", vm=self.id)).json("progress")
        )

    async def why_not(self, node: str | None = None) -> tuple[JsonObject, ...]:
        """Tell how every rule stands for a migration to a node, or to each of the others; nothing is begun."""
        answer = await self.client.call("AssessMove", vm=self.id, destination=node)
        return answer.objects("nodes")

    async def forecast_migration(
        self, node: str | None = None, policy: str = "", bandwidth_limit: int = 0
    ) -> JsonObject:
        """Tell how a live migration would go; nothing is begun. Raises ClusterError as `start_migration` would.

        Of ForecastMove: {verdict, policy, mode, seconds, gap_ms, passes, bytes, …}, or {absent}: why it is not known.
        """
        answer = await self.client.call(
            "ForecastMove",
            vm=self.id,
            destination=node,
            policy=policy or None,
            bandwidth_limit=bandwidth_limit or None,
        )
        if status := answer.number("status"):
            raise error_from_status(status, answer.text("sentence"))
        return answer.json("forecast")

    async def pause(self) -> None:
        """Stop its virtual CPUs."""
        await self.client.call("PauseVirtualMachine", vm=self.id)

    async def resume(self) -> None:
        """Let its virtual CPUs run again."""
        await self.client.call("ResumeVirtualMachine", vm=self.id)

    async def _control(self, code: int, in_buffer: bytes | None) -> None:
        result = await self.resource.control(code, in_buffer)
        if result.status:
            raise error_from_status(result.status, result.sentence or f"control code 0x{code:08X} was refused")


def _machine(client: AsyncClient, facts: JsonObject) -> VirtualMachine:
    name = str(facts["name"])
    resource = Resource(client, str(facts["vm_resource"]), f"Virtual Machine {name}", "Virtual Machine")
    return VirtualMachine(client, str(facts["group"]), name, str(facts["vm"]), resource)
