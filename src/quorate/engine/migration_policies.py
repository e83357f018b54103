"""Which policy a migration follows: as the call, the virtual machine's resource or the cluster says, in this order.

What the virtual machine says of its own limits counts under each of them, also under one that it only might follow.
"""

from quorate.clusapi.identity import GroupId
from quorate.database.snapshot import ClusterSnapshot
from quorate.migration.policy import (
    ANY_THROTTLE,
    GAP_PROPERTY,
    POLICIES,
    POLICY_PROPERTY,
    THROTTLE_PROPERTY,
    Policy,
    policy_in_effect,
)


def policy_of(snapshot: ClusterSnapshot, group: GroupId, asked: str = "") -> Policy:
    """Give the policy of a group's migration; a name that only a newer version knows counts as none."""
    resource = snapshot.vm_resource(group)
    own = "" if resource is None else resource.parameters.text(POLICY_PROPERTY)
    named = (asked, own, snapshot.cluster.properties.text(POLICY_PROPERTY))
    return policy_in_effect((name for name in named if name in POLICIES), *_own_limits(snapshot, group))


def policies_of(snapshot: ClusterSnapshot, group: GroupId) -> tuple[Policy, ...]:
    """Give every policy as a group's migration would follow it."""
    limits = _own_limits(snapshot, group)
    return tuple(policy_in_effect((name,), *limits) for name in POLICIES)


def _own_limits(snapshot: ClusterSnapshot, group: GroupId) -> tuple[int, int]:
    """Give what a virtual machine says itself: its gap limit (ms) and its throttle limit (percent)."""
    resource = snapshot.vm_resource(group)
    if resource is None:
        return 0, ANY_THROTTLE
    return resource.parameters.number(GAP_PROPERTY), resource.parameters.number(THROTTLE_PROPERTY, ANY_THROTTLE)
