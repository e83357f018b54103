"""Objects by what people call them: an id, or a name without regard to case. Every miss is the status ClusAPI gives."""

from dataclasses import dataclass

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.database.network_objects import NetworkInfo, NetworkInterfaceInfo
from quorate.database.snapshot import ClusterSnapshot, GroupInfo, GroupSetInfo, NodeInfo, ResourceInfo


@dataclass(frozen=True, slots=True)
class VmObjects:
    """A VM as the cluster sees it: a group and two resources."""

    group: GroupInfo
    resource: ResourceInfo
    configuration: ResourceInfo | None

    @property
    def vm_id(self) -> str:
        """The VmId, or the empty text when the property was never set."""
        return self.resource.vm_id or ""


def node(snapshot: ClusterSnapshot, text: str) -> NodeInfo:
    """Find a node; CallerError 5042."""
    found = snapshot.find_node(text)
    if found is None:
        names = ", ".join(sorted(info.name for info in snapshot.nodes.values()))
        raise CallerError(
            Status.ERROR_CLUSTER_NODE_NOT_FOUND, f'there is no node "{text}"; the cluster has: {names or "none"}'
        )
    return found


def group(snapshot: ClusterSnapshot, text: str) -> GroupInfo:
    """Find a group; CallerError 5013."""
    found = snapshot.find_group(text)
    if found is None:
        raise CallerError(Status.ERROR_GROUP_NOT_FOUND, f'there is no group "{text}"')
    return found


def group_set(snapshot: ClusterSnapshot, text: str) -> GroupSetInfo:
    """Find a group set; CallerError 5992."""
    found = snapshot.find_group_set(text)
    if found is None:
        raise CallerError(Status.ERROR_GROUPSET_NOT_FOUND, f'there is no group set "{text}"')
    return found


def resource(snapshot: ClusterSnapshot, text: str) -> ResourceInfo:
    """Find a resource; CallerError 5007."""
    found = snapshot.find_resource(text)
    if found is None:
        raise CallerError(Status.ERROR_RESOURCE_NOT_FOUND, f'there is no resource "{text}"')
    return found


def network(snapshot: ClusterSnapshot, text: str) -> NetworkInfo:
    """Find a network; CallerError 5045."""
    found = snapshot.find_network(text)
    if found is None:
        names = ", ".join(sorted(info.name for info in snapshot.networks.values()))
        raise CallerError(
            Status.ERROR_CLUSTER_NETWORK_NOT_FOUND, f'there is no network "{text}"; the cluster has: {names or "none"}'
        )
    return found


def network_interface(snapshot: ClusterSnapshot, text: str) -> NetworkInterfaceInfo:
    """Find a network interface; CallerError 5047."""
    found = snapshot.find_network_interface(text)
    if found is None:
        raise CallerError(Status.ERROR_CLUSTER_NETINTERFACE_NOT_FOUND, f'there is no network interface "{text}"')
    return found


def vm_of_group(snapshot: ClusterSnapshot, info: GroupInfo) -> VmObjects | None:
    """The VM that a group is, or None when it holds none."""
    machine = snapshot.vm_resource(info.id)
    return None if machine is None else VmObjects(info, machine, snapshot.vm_configuration(info.id))


def virtual_machine(snapshot: ClusterSnapshot, text: str) -> VmObjects:
    """Find a VM by its group's id or name, its VmId, or one of its resources; CallerError 5013."""
    info = snapshot.find_group(text)
    if info is None and (member := snapshot.find_resource(text)) is not None:
        info = snapshot.groups.get(member.group_id)
    if info is not None and (found := vm_of_group(snapshot, info)) is not None:
        return found
    for candidate in virtual_machines(snapshot):
        if candidate.vm_id.casefold() == text.casefold():
            return candidate
    raise CallerError(Status.ERROR_GROUP_NOT_FOUND, f'there is no virtual machine "{text}"')


def virtual_machines(snapshot: ClusterSnapshot) -> tuple[VmObjects, ...]:
    """Every VM, by name."""
    groups = sorted(snapshot.groups.values(), key=lambda info: info.name.casefold())
    found = (vm_of_group(snapshot, info) for info in groups)
    return tuple(vm for vm in found if vm is not None)


def node_name(snapshot: ClusterSnapshot, node_id: NodeId | None) -> str:
    """A node's name; the id itself when the node is gone, empty for none."""
    if node_id is None:
        return ""
    found = snapshot.nodes.get(node_id)
    return node_id if found is None else found.name
