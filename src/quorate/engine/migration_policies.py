"""Which policy a migration follows: as the call, the virtual machine's resource or the cluster says, in this order."""

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
    named = [asked, "", snapshot.cluster.properties.text(POLICY_PROPERTY)]
    gap_limit_ms, throttle_limit = 0, ANY_THROTTLE
    if resource is not None:
        own = resource.parameters
        named[1] = own.text(POLICY_PROPERTY)
        gap_limit_ms = own.number(GAP_PROPERTY)
        throttle_limit = own.number(THROTTLE_PROPERTY, ANY_THROTTLE)
    return policy_in_effect((name for name in named if name in POLICIES), gap_limit_ms, throttle_limit)
