"""Where an operation runs: a pure answer from the table, the inputs and one snapshot of the cluster."""

from quorate.clusapi.control_codes import CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION, CLUSCTL_RESOURCE_VM_START_MIGRATION
from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.operation_types import Operation, Place
from quorate.clusapi.operation_values import Values
from quorate.clusapi.status import Status
from quorate.database.snapshot import ClusterSnapshot, GroupInfo
from quorate.server import lookup

MIGRATION_CODES = frozenset({CLUSCTL_RESOURCE_VM_START_MIGRATION, CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION})
"""START_MIGRATION (and CONFIG_UPDATE, the same number) and CANCEL_MIGRATION."""


def route(operation: Operation, inputs: Values, snapshot: ClusterSnapshot) -> NodeId | None:
    """Say which node carries the operation out; None means whichever was asked.

    Raises CallerError for an object that does not exist, RefusalError 5015 or 5016 (5023 for the migration codes) for a
    host node that does not own the object.
    """
    host_node = inputs.optional_text("host_node") if operation.input("host_node") else None
    if operation.place is Place.GIVEN_NODE:
        return lookup.node(snapshot, inputs.text("node")).id
    if operation.place is Place.ANYWHERE:
        return None if host_node is None else lookup.node(snapshot, host_node).id
    owner = _owner(operation, inputs, snapshot)
    if host_node is not None and (host := lookup.node(snapshot, host_node)).id != owner:
        raise not_the_owner(operation, inputs, snapshot, host.id)
    return owner


def not_the_owner(operation: Operation, inputs: Values, snapshot: ClusterSnapshot, node_id: NodeId) -> ClusterError:
    """The refusal of a node that does not own what it was asked about."""
    group = group_of(operation, inputs, snapshot)
    here, owner = (
        lookup.node_name(snapshot, node_id),
        lookup.node_name(snapshot, snapshot.owner_of(group.id)),
    )
    if operation.name == "ResourceControl" and inputs.number("control_code") in MIGRATION_CODES:
        return RefusalError(
            Status.ERROR_INVALID_STATE,
            f'a migration is started and cancelled on the node that runs the VM: "{group.name}" is on {owner}, not on '
            f"{here}; address {owner}, or no node at all",
        )
    status = (
        Status.ERROR_HOST_NODE_NOT_RESOURCE_OWNER
        if operation.place is Place.RESOURCE_OWNER
        else Status.ERROR_HOST_NODE_NOT_GROUP_OWNER
    )
    return RefusalError(
        status, f'"{group.name}" is owned by {owner}, not by {here}; address {owner}, or no node at all'
    )


def group_of(operation: Operation, inputs: Values, snapshot: ClusterSnapshot) -> GroupInfo:
    """The group that an owner operation is about."""
    if operation.place is Place.RESOURCE_OWNER:
        return lookup.group(snapshot, lookup.resource(snapshot, inputs.text("resource")).group_id)
    if operation.input("vm"):
        return lookup.virtual_machine(snapshot, inputs.text("vm")).group
    return lookup.group(snapshot, inputs.text("group"))


def _owner(operation: Operation, inputs: Values, snapshot: ClusterSnapshot) -> NodeId:
    group = group_of(operation, inputs, snapshot)
    owner = snapshot.owner_of(group.id)
    if owner is None:
        raise RefusalError(Status.ERROR_GROUP_NOT_AVAILABLE, f'no node owns "{group.name}" yet')
    return owner
