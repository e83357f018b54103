"""Asks for everything that the checks look at: every node that is not down, all at once, and the database."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Final

from quorate.clusapi.addresses import UNIX
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import json_text
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import NodeState
from quorate.cluster.picture import NodePicture, Picture
from quorate.cluster.validation import plan_n_plus_one
from quorate.database.maintenance import StoreStatus
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, NodeInfo
from quorate.engine.network_picture import network_findings
from quorate.hypervisor.definition import DEFAULT_STORAGE, KernelGuest, VmDefinition
from quorate.hypervisor.definition_json import parse_definition
from quorate.server import lookup
from quorate.server.call import Call
from quorate.server.inspection import NodeHealth
from quorate.server.validation.facts import FileFact, GroupFact, MachineFact, NetworkFact, NodeFact, Situation

_PATIENCE: Final = 3.0
"""Seconds that a node or the database has for an answer."""
_DELAY, _THRESHOLD = 1000, 5
_HYPERVISOR_FACTS: Final = ("kind", "version", "accelerator", "machine_type", "cpu_model")


async def gather(call: Call) -> Situation:
    """Look at the whole cluster once."""
    snapshot = call.snapshot
    picture = call.services.inspection.picture()
    agents = await call.services.database.fences.all()
    nodes, (store, trouble) = await asyncio.gather(_nodes(call, picture), _store(call))
    nodes = tuple(replace(node, fence_agents=tuple(one.agent for one in agents.get(node.id, ()))) for node in nodes)
    groups = {info.id: _group(snapshot, info) for info in snapshot.groups.values()}
    properties = snapshot.cluster.properties
    lease = properties.number("SameSubnetDelay", _DELAY) * properties.number("SameSubnetThreshold", _THRESHOLD) / 1000
    return Situation(
        now=datetime.now(UTC),
        this_node=call.services.node_name,
        one_machine=all(facts.value.peers_address.startswith(UNIX) for facts in snapshot.facts.values()),
        nodes=nodes,
        networks=_networks(call),
        groups=tuple(groups.values()),
        machines=tuple(_machine(vm, groups[vm.group.id]) for vm in lookup.virtual_machines(snapshot)),
        store=store,
        store_trouble=trouble,
        lease=lease,
        level=snapshot.cluster.level,
        losses=None if picture is None else plan_n_plus_one(picture),
        enforced_anti_affinity=properties.number("ClusterEnforcedAntiAffinity") == 1,
        users=tuple(user.value for user in snapshot.users.values()),
    )


# --- Nodes ---------------------------------------------------------------------------------------------------------


async def _nodes(call: Call, picture: Picture | None) -> tuple[NodeFact, ...]:
    ordered = sorted(call.snapshot.nodes.values(), key=lambda info: int(info.id))
    seen = {} if picture is None else picture.nodes
    return tuple(await asyncio.gather(*(_node(call, info, seen.get(info.id)) for info in ordered)))


async def _node(call: Call, info: NodeInfo, seen: NodePicture | None) -> NodeFact:
    snapshot, services = call.snapshot, call.services
    state = services.node_state(info.id)
    health, offset, doubt = None, 0.0, 0.0
    if info.id == services.node_id:
        health = services.inspection.health()
    elif state is not NodeState.DOWN:
        health, offset, doubt = await _ask(call, info.id)
    lease, facts = snapshot.leases.get(info.id), snapshot.facts.get(info.id)
    described = {} if facts is None else facts.value.hypervisor
    return NodeFact(
        id=info.id,
        name=info.name,
        state=state,
        status=info.status if seen is None else seen.status,
        health=health,
        clock_offset=offset,
        clock_doubt=doubt,
        lease_duration=None if lease is None else lease.value.duration,
        levels=str(info.levels),
        hypervisor={name: json_text(described, name) for name in _HYPERVISOR_FACTS if name in described},
    )


async def _ask(call: Call, node: NodeId) -> tuple[NodeHealth | None, float, float]:
    """A node's health, by how much its clock is ahead of ours, and how far off that may be (seconds)."""
    began, asked = time.time(), time.monotonic()
    try:
        async with asyncio.timeout(_PATIENCE):
            answer = await call.again("GetNodeReport", Values({"node": node}))
    except (ClusterError, TimeoutError):
        return None, 0.0, 0.0
    took = time.monotonic() - asked
    health = NodeHealth.from_json(answer.json("health"))
    return (None, 0.0, 0.0) if health is None else (health, health.time - (began + took / 2), took / 2)


async def _store(call: Call) -> tuple[StoreStatus | None, str]:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await call.services.inspection.store_status(), ""
    except ClusterError as error:
        return None, error.sentence.rstrip(".")
    except TimeoutError:
        return None, f"it said nothing for {_PATIENCE:g} s"


# --- Networks, groups, machines ------------------------------------------------------------------------------------


def _networks(call: Call) -> tuple[NetworkFact, ...]:
    findings = network_findings(call.snapshot, call.services.node_state)
    return tuple(
        NetworkFact(info.name, info.role, findings[info.id].state, findings[info.id].sentence)
        for info in call.snapshot.networks.values()
    )


def _group(snapshot: ClusterSnapshot, info: GroupInfo) -> GroupFact:
    possible = frozenset(snapshot.nodes)
    for resource in snapshot.resources_of(info.id):
        possible &= frozenset(resource.possible_owners)
    run = snapshot.run.get(info.id)
    return GroupFact(
        id=info.id,
        name=info.name,
        owner=snapshot.owner_of(info.id),
        wanted=run is not None and run.value.persistent_state,
        possible=possible,
        preferred=info.preferred_owners,
        classes=frozenset(name.casefold() for name in info.properties.texts("AntiAffinityClassNames")),
    )


def _machine(vm: lookup.VmObjects, group: GroupFact) -> MachineFact:
    text = "" if vm.configuration is None else vm.configuration.parameters.text("Definition")
    if not text:
        return MachineFact(group)
    try:
        return MachineFact(group, _files(parse_definition(text)))
    except ClusterError as error:
        return MachineFact(group, unreadable=error.sentence)


def _files(definition: VmDefinition) -> tuple[FileFact, ...]:
    files = [
        FileFact("" if disk.storage == DEFAULT_STORAGE else disk.storage, PurePath(disk.volume))
        for disk in definition.disks
    ]
    if isinstance(definition.guest, KernelGuest):
        paths = (definition.guest.kernel, definition.guest.initrd)
        files += [FileFact("", path) for path in paths if path is not None]
    return tuple(files)
