"""The cluster at one look: the database's snapshot, and what each node that is up says about what it hosts."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_int, json_object, json_objects, json_text
from quorate.clusapi.operation_values import Values
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import (
    GroupState,
    MigrationState,
    NodeState,
    NodeStatus,
    ResourceState,
    VmState,
    group_state,
)
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, NodeInfo, ResourceInfo
from quorate.hosting.monitor_pool import MonitorFacts
from quorate.server import lookup
from quorate.server.call import Call
from quorate.server.movement import drain_facts, is_waiting, status_information
from quorate.server.services import NodeServices
from quorate.server.standstill import reasons_to_stay, standstill

_REPORT_DEADLINE: Final = 2.0  # seconds; a node that does not answer by then is shown from the database alone


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Everything that lists and status pages show. A node that did not report has no entry in ``reports``."""

    snapshot: ClusterSnapshot
    states: Mapping[NodeId, NodeState]
    reports: Mapping[NodeId, JsonObject]
    stays: Mapping[GroupId, str] = field(default_factory=dict)
    """Why groups of dead nodes are not taken over."""
    statuses: Mapping[NodeId, NodeStatus] = field(default_factory=dict)
    """What is to be said of nodes besides their state."""

    def nodes(self) -> list[dict[str, JsonValue]]:
        """Every node, by number."""
        ordered = sorted(self.snapshot.nodes.values(), key=lambda info: int(info.id))
        return [self._node(info) for info in ordered]

    def groups(self) -> list[dict[str, JsonValue]]:
        """Every group, by name."""
        ordered = sorted(self.snapshot.groups.values(), key=lambda info: info.name.casefold())
        return [self._group(info) for info in ordered]

    def resources(self) -> list[dict[str, JsonValue]]:
        """Every resource, by name."""
        ordered = sorted(self.snapshot.resources.values(), key=lambda info: info.name.casefold())
        return [self._resource(info) for info in ordered]

    def virtual_machines(self) -> list[dict[str, JsonValue]]:
        """Every VM, by name."""
        return [self.virtual_machine(vm) for vm in lookup.virtual_machines(self.snapshot)]

    def virtual_machine(self, vm: lookup.VmObjects) -> dict[str, JsonValue]:
        """All that is known of a VM without its definition."""
        snapshot, group_id = self.snapshot, vm.group.id
        owner = snapshot.owner_of(group_id)
        live = self._vm_report(group_id, owner)
        ownership = snapshot.ownership.get(group_id)
        details = self._live_vm(live) if live is not None else self._stored_vm(group_id)
        resource_state = self.resource_state(vm.resource)
        return {
            "name": vm.group.name,
            "vm": vm.vm_id,
            "group": group_id,
            "vm_resource": vm.resource.id,
            "configuration_resource": "" if vm.configuration is None else vm.configuration.id,
            "node": lookup.node_name(snapshot, owner),
            "node_id": owner or "",
            "epoch": 0 if ownership is None else ownership.value.epoch,
            "queued": is_waiting(snapshot, group_id),
            "resource_state": resource_state.dword,
            "resource_state_name": resource_state.name,
            "sentence": self._sentence(vm.resource),
            **self._standstill(vm.group),
            **details,
        }

    def resource_state(self, info: ResourceInfo) -> ResourceState:
        """The live state; from the database when the owner does not tell, and then never "online"."""
        live = self._live_resource(info)
        if live is not None:
            return ResourceState(json_int(live, "state"))
        run = self.snapshot.run.get(info.group_id)
        if run is None or info.id not in run.value.resource_states:
            return ResourceState.OFFLINE
        stored = ResourceState(run.value.resource_states[info.id])
        return stored if stored in (ResourceState.OFFLINE, ResourceState.FAILED) else ResourceState.UNKNOWN

    def group_state(self, info: GroupInfo) -> GroupState:
        """The state computed from the resources, as ClusAPI has it."""
        states = [self.resource_state(member) for member in self.snapshot.resources_of(info.id)]
        return GroupState.UNKNOWN if ResourceState.UNKNOWN in states else group_state(states)

    def _standstill(self, info: GroupInfo) -> dict[str, JsonValue]:
        """Why it does not run though it is wanted: a word for tables, and the sentence."""
        found = standstill(self.snapshot, self.states, info.id, self.stays)
        return {"condition": found.word, "reason": found.sentence}

    def _live_resource(self, info: ResourceInfo) -> JsonObject | None:
        owner = self.snapshot.owner_of(info.group_id)
        report = None if owner is None else self.reports.get(owner)
        for group in () if report is None else json_objects(report, "groups"):
            states = json_object(group, "resources")
            if json_text(group, "id") == info.group_id and info.id in states:
                return json_object(states, info.id)
        return None

    def _sentence(self, info: ResourceInfo) -> str:
        live = self._live_resource(info)
        return "" if live is None else json_text(live, "sentence")

    def _vm_report(self, group_id: GroupId, owner: NodeId | None) -> JsonObject | None:
        report = None if owner is None else self.reports.get(owner)
        machines = () if report is None else json_objects(report, "virtual_machines")
        return next((machine for machine in machines if json_text(machine, "group") == group_id), None)

    def _live_vm(self, live: JsonObject) -> dict[str, JsonValue]:
        vm_state = VmState(json_int(live, "vm_state"))
        return {
            "vm_state": int(vm_state),
            "vm_state_name": vm_state.name,
            "migration": json_object(live, "progress"),
            "serial_log": json_text(live, "serial_log"),
            "pid": live.get("pid"),
            "command": live.get("command"),
        }

    def _stored_vm(self, group_id: GroupId) -> dict[str, JsonValue]:
        run = self.snapshot.run.get(group_id)
        stored = None if run is None else run.value.vm
        state = VmState.UNKNOWN if stored is None else VmState(stored.vm_state)
        if state not in (VmState.OFF, VmState.SAVED):
            state = VmState.UNKNOWN
        progress = MigrationProgress(
            state=MigrationState.NO_MIGRATION if stored is None else MigrationState(stored.migration_state),
            percent=0 if stored is None else stored.migration_progress,
            failure_reason=0 if stored is None else stored.migration_failure_reason,
            sentence="" if stored is None else stored.sentence,
        )
        return {
            "vm_state": int(state),
            "vm_state_name": state.name,
            "migration": progress.to_json(),
            "serial_log": "",
            "pid": None,
            "command": [],
        }

    def _node(self, info: NodeInfo) -> dict[str, JsonValue]:
        state = self.states.get(info.id, NodeState.UNKNOWN)
        status = self.statuses.get(info.id, info.status)
        processes = json_object(self.reports.get(info.id, {}), "processes")
        return {
            "id": info.id,
            "name": info.name,
            "state": state.dword,
            "state_name": state.name,
            "status": int(status),
            "status_names": [bit.name for bit in status],
            "daemon_pid": processes.get("daemon_pid"),
            "qemu": json_objects(processes, "qemu"),
            "monitors": json_objects(processes, "monitors"),
            "groups": len(self.snapshot.groups_of(info.id)),
            "drain": drain_facts(self.snapshot, info.id),
        }

    def _group(self, info: GroupInfo) -> dict[str, JsonValue]:
        state = self.group_state(info)
        run = self.snapshot.run.get(info.id)
        owner = self.snapshot.owner_of(info.id)
        return {
            "id": info.id,
            "name": info.name,
            "type": int(info.group_type),
            "state": state.dword,
            "state_name": state.name,
            "node": lookup.node_name(self.snapshot, owner),
            "node_id": owner or "",
            "status_information": str(status_information(self.snapshot, info.id)),
            "persistent_state": False if run is None else run.value.persistent_state,
            **self._standstill(info),
            "resources": [self._resource(member) for member in self.snapshot.resources_of(info.id)],
        }

    def _resource(self, info: ResourceInfo) -> dict[str, JsonValue]:
        state = self.resource_state(info)
        group = self.snapshot.groups.get(info.group_id)
        owner = self.snapshot.owner_of(info.group_id)
        return {
            "id": info.id,
            "name": info.name,
            "type": info.type,
            "state": state.dword,
            "state_name": state.name,
            "sentence": self._sentence(info),
            "group": "" if group is None else group.name,
            "group_id": info.group_id,
            "node": lookup.node_name(self.snapshot, owner),
        }


async def collect(call: Call, nodes: frozenset[NodeId] | None = None) -> ClusterView:
    """Ask the nodes that are up (or only ``nodes``) for their reports, all at once, and put the view together."""
    snapshot, services = call.snapshot, call.services
    statuses = {node_id: services.node_status(node_id) for node_id in snapshot.nodes}
    states = {node_id: _state_to_show(call, node_id, statuses[node_id]) for node_id in snapshot.nodes}
    asked = [
        node_id
        for node_id, state in states.items()
        if state is not NodeState.DOWN and (nodes is None or node_id in nodes)
    ]
    answers = await asyncio.gather(*(report_of(call, node_id) for node_id in asked))
    reports = {node_id: answer for node_id, answer in zip(asked, answers, strict=True) if answer is not None}
    lost = any(states.get(snapshot.owner_of(group) or NodeId("")) is NodeState.DOWN for group in snapshot.groups)
    stays = reasons_to_stay(services.inspection.picture()) if lost else {}
    return ClusterView(snapshot, states, reports, stays, statuses)


def own_view(call: Call, group_id: GroupId) -> ClusterView:
    """The view for the states of one group and its resources, when this node is the one to be asked.

    Polled again and again: it costs what the group costs, however much else the node hosts.
    """
    snapshot, node_id = call.snapshot, call.services.node_id
    if snapshot.owner_of(group_id) != node_id:
        return ClusterView(snapshot, {}, {})
    report: JsonObject = {"groups": [{"id": group_id, "resources": _live_states(call.services, snapshot, group_id)}]}
    return ClusterView(snapshot, {}, {node_id: report})


def _state_to_show(call: Call, node_id: NodeId, status: NodeStatus) -> NodeState:
    """A node that is isolated, and goes on, has nothing lost: that it is no member now is said by its status."""
    if status & NodeStatus.ISOLATED:
        return NodeState.PAUSED if call.snapshot.nodes[node_id].paused else NodeState.UP
    return call.services.node_state(node_id)


async def report_of(call: Call, node_id: NodeId) -> JsonObject | None:
    """What a node says of itself and of what it hosts; None: it does not answer in time."""
    if node_id == call.services.node_id:
        return local_report(call.services, call.snapshot)
    try:
        async with asyncio.timeout(_REPORT_DEADLINE):
            return (await call.again("GetNodeReport", Values({"node": node_id}))).as_json()
    except (ClusterError, TimeoutError):
        return None  # shown from the database alone


def local_report(services: NodeServices, snapshot: ClusterSnapshot) -> JsonObject:
    """What this node knows of itself and of what it hosts."""
    hosted = snapshot.groups_of(services.node_id)
    groups: list[JsonValue] = []
    machines: list[JsonValue] = []
    for info in hosted:
        groups.append({"id": info.id, "resources": _live_states(services, snapshot, info.id)})
        details = services.vm_details(info.id) if snapshot.vm_resource(info.id) else None
        if details is not None:
            machines.append(
                {
                    "group": info.id,
                    "vm_state": int(details.vm_state),
                    "progress": details.progress.to_json(),
                    "serial_log": details.serial_log,
                    "pid": details.pid,
                    "command": list(details.command),
                }
            )
    processes = services.process_facts()
    return {
        "processes": {
            "daemon_pid": processes.daemon_pid,
            "qemu": [{"vm": process.vm_id, "pid": process.pid, "role": process.role} for process in processes.qemu],
            "monitors": [_monitor(facts) for facts in processes.monitors],
        },
        "groups": groups,
        "virtual_machines": machines,
        "health": services.inspection.health().to_json(),
    }


def _monitor(facts: MonitorFacts) -> JsonObject:
    return {
        "pid": facts.pid,
        "state": int(facts.state),
        "state_name": facts.state.name,
        "resource": facts.resource,
        "seconds": round(facts.seconds, 3),
        "resources": list(facts.resources),
    }


def _live_states(services: NodeServices, snapshot: ClusterSnapshot, group_id: GroupId) -> JsonObject:
    states: dict[str, JsonValue] = {}
    for info in snapshot.resources_of(group_id):
        state = services.host.state(info.id)
        if state is not ResourceState.UNKNOWN:  # not attached (any more): the database tells
            states[info.id] = {"state": state.dword, "sentence": services.host.sentence(info.id)}
    return states
