"""How a virtual machine moves when nobody says: DefaultMoveType, MoveTypeThreshold and the group's Priority."""

from typing import Final

from quorate.clusapi.identity import GroupId
from quorate.clusapi.states import GroupPriority, VmResdllContext
from quorate.database.snapshot import TYPE_VIRTUAL_MACHINE, ClusterSnapshot

FOLLOW_CLUSTER_RULE: Final = 0xFFFFFFFF
"""DefaultMoveType: as the group's priority and the type's MoveTypeThreshold say."""


def move_type_threshold(snapshot: ClusterSnapshot) -> int:
    """From which Priority on virtual machines move live."""
    type_ = snapshot.find_resource_type(TYPE_VIRTUAL_MACHINE)
    usual = int(GroupPriority.MEDIUM)
    return usual if type_ is None else type_.parameters.number("MoveTypeThreshold", usual)


def default_move_type(snapshot: ClusterSnapshot, group: GroupId, threshold: int | None = None) -> VmResdllContext:
    """Tell how a running VM moves: as its DefaultMoveType, or live unless its priority is low."""
    resource = snapshot.vm_resource(group)
    own = (
        FOLLOW_CLUSTER_RULE if resource is None else resource.parameters.number("DefaultMoveType", FOLLOW_CLUSTER_RULE)
    )
    if own <= VmResdllContext.LIVE_MIGRATION:
        return VmResdllContext(own)
    priority = snapshot.groups[group].properties.number("Priority", int(GroupPriority.MEDIUM))
    least = move_type_threshold(snapshot) if threshold is None else threshold
    return VmResdllContext.LIVE_MIGRATION if priority >= least else VmResdllContext.SAVE
