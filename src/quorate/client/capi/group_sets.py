"""Functions on group sets, and on what groups wait for when the cluster starts them."""
# ruff: noqa: N802 - ClusAPI's own names

from quorate.client.capi.control import ControlAnswer, control
from quorate.client.capi.handles import (
    ClusterHandle,
    GroupHandle,
    GroupSetHandle,
    Handle,
    close,
    flags_of,
    status_of,
    text_of,
    valid,
)
from quorate.clusapi.operation_values import FieldValue

__all__ = [
    "AddClusterGroupDependency",
    "AddClusterGroupSetDependency",
    "AddClusterGroupToGroupSetDependency",
    "CloseClusterGroupSet",
    "ClusterAddGroupToGroupSet",
    "ClusterAddGroupToGroupSetWithDomains",
    "ClusterGroupSetControl",
    "ClusterRemoveGroupFromGroupSet",
    "CreateClusterGroupSet",
    "DeleteClusterGroupSet",
    "OpenClusterGroupSet",
    "RemoveClusterGroupDependency",
    "RemoveClusterGroupSetDependency",
    "RemoveClusterGroupToGroupSetDependency",
    "SetClusterGroupSetDependencyExpression",
    "SetGroupDependencyExpression",
]


def CreateClusterGroupSet(cluster: object, group_set_name: str) -> GroupSetHandle:
    """Make an empty group set and open it. Raises ClusterError 5010 when the name is taken."""
    return _opened(cluster, "CreateGroupSet", name=group_set_name)


def OpenClusterGroupSet(cluster: object, group_set_name: str) -> GroupSetHandle:
    """Open a group set by name (or id). Raises ClusterError 5992 when there is none."""
    return _opened(cluster, "GetGroupSetId", group_set=group_set_name)


def CloseClusterGroupSet(group_set: object) -> bool:
    """Close the handle; False when it is none."""
    return close(group_set, GroupSetHandle)


def DeleteClusterGroupSet(group_set: object) -> int:
    """Delete a group set on which nothing depends; its handle is still to be closed."""
    return _change("DeleteGroupSet", group_set=(group_set, GroupSetHandle))


def ClusterAddGroupToGroupSet(group_set: object, group: object) -> int:
    """Put a group that is in no set into one: 5011 when it is in one."""
    return _change("AddGroupToGroupSet", group_set=(group_set, GroupSetHandle), group=(group, GroupHandle))


def ClusterAddGroupToGroupSetWithDomains(
    group_set: object, group: object, fault_domain: int, update_domain: int
) -> int:
    """The same, with the group's FaultDomain and UpdateDomain."""

    def add() -> int:
        handle = valid(group_set, GroupSetHandle)
        inputs: dict[str, FieldValue] = {
            "group_set": handle.object_id(),
            "group": valid(group, GroupHandle).object_id(),
            "fault_domain": flags_of(fault_domain),
            "update_domain": flags_of(update_domain),
        }
        return handle.call("AddGroupToGroupSet", **inputs).number("status")

    return status_of(add)


def ClusterRemoveGroupFromGroupSet(group: object) -> int:
    """Take a group out of its set: 5992 when it is in none."""
    return _change("RemoveGroupFromGroupSet", group=(group, GroupHandle))


def AddClusterGroupSetDependency(dependent_group_set: object, provider_group_set: object) -> int:
    """Let the groups of a set wait for another set: 5003 when they do, 1059 for a circle."""
    return _of_sets("AddGroupSetDependency", dependent_group_set, provider_group_set)


def RemoveClusterGroupSetDependency(group_set: object, depends_on: object) -> int:
    """Let the groups of a set not wait for another set: 5002 when they do not."""
    return _of_sets("RemoveGroupSetDependency", group_set, depends_on)


def SetClusterGroupSetDependencyExpression(group_set: object, dependency_expression: str | None) -> int:
    """Set which sets the groups of a set wait for; None is none."""
    return _express("SetGroupSetDependencyExpression", "group_set", group_set, GroupSetHandle, dependency_expression)


def AddClusterGroupDependency(dependent_group: object, provider_group: object) -> int:
    """Let a group wait for another one: 5003 when it does, 1059 for a circle."""
    return _of_groups("AddGroupDependency", dependent_group, provider_group)


def RemoveClusterGroupDependency(group: object, depends_on: object) -> int:
    """Let a group not wait for another one: 5002 when it does not."""
    return _of_groups("RemoveGroupDependency", group, depends_on)


def SetGroupDependencyExpression(group: object, dependency_expression: str | None) -> int:
    """Set which groups a group waits for; None is none."""
    return _express("SetGroupDependencyExpression", "group", group, GroupHandle, dependency_expression)


def AddClusterGroupToGroupSetDependency(dependent_group: object, provider_group_set: object) -> int:
    """Let a group wait for a set: 5003 when it does, 1059 for a circle."""
    return _of_both("AddGroupToGroupSetDependency", dependent_group, provider_group_set)


def RemoveClusterGroupToGroupSetDependency(group: object, depends_on: object) -> int:
    """Let a group not wait for a set: 5002 when it does not."""
    return _of_both("RemoveGroupToGroupSetDependency", group, depends_on)


def ClusterGroupSetControl(
    group_set: object, host_node: object, control_code: int, in_buffer: object = None, out_size: int = 65536
) -> ControlAnswer:
    """(status, output, required) of a control code for a group set."""
    return control(
        lambda: valid(group_set, GroupSetHandle),
        "GroupSetControl",
        lambda handle: {"group_set": handle.object_id()},
        host_node,
        control_code,
        in_buffer,
        out_size,
    )


def _opened(cluster: object, operation: str, **inputs: str) -> GroupSetHandle:
    parent = valid(cluster, ClusterHandle)
    found = parent.call(operation, **inputs)
    return GroupSetHandle(parent.client(), found.text("id"), found.text("name"), full_access=parent.has_full_access())


def _of_sets(operation: str, group_set: object, provider: object) -> int:
    return _change(operation, group_set=(group_set, GroupSetHandle), provider_set=(provider, GroupSetHandle))


def _of_groups(operation: str, group: object, provider: object) -> int:
    return _change(operation, group=(group, GroupHandle), depends_on=(provider, GroupHandle))


def _of_both(operation: str, group: object, provider: object) -> int:
    return _change(operation, group=(group, GroupHandle), provider_set=(provider, GroupSetHandle))


def _change(operation: str, **handles: tuple[object, type[Handle]]) -> int:
    """Carry out a change on what handles name, with the access of the first, and give its status."""

    def send() -> int:
        found = {name: valid(handle, kind) for name, (handle, kind) in handles.items()}
        first = next(iter(found.values()))
        return first.call(operation, **{name: one.object_id() for name, one in found.items()}).number("status")

    return status_of(send)


def _express(operation: str, own: str, handle: object, kind: type[Handle], expression: str | None) -> int:
    def send() -> int:
        opened = valid(handle, kind)
        text = "" if expression is None else text_of(expression)
        return opened.call(operation, **{own: opened.object_id(), "expression": text}).number("status")

    return status_of(send)
