"""Which groups of this node wait for others, from the newest view (`cluster/group_order.py` decides)."""

from quorate.clusapi.identity import GroupId, GroupSetId
from quorate.clusapi.states import GroupState, ResourceState, group_state
from quorate.cluster.group_order import ALL_GROUPS, GroupNeeds, GroupOrder, GroupSet, ReadySetting
from quorate.database.snapshot import DEPENDENCY_EXPRESSION, ClusterSnapshot
from quorate.engine.context import EngineContext

DEFAULT_TIMEOUT = 600.0
"""GroupDependencyTimeout where the cluster does not say otherwise: seconds after which a group starts all the same."""


def order_of(snapshot: ClusterSnapshot) -> GroupOrder:
    """What decides in which order groups start."""
    sets = {
        info.id: GroupSet(
            info.id,
            info.name,
            info.groups,
            info.needs,
            ready_setting=info.properties.number("ReadySetting", ReadySetting.ONLINE),
            ready_delay=float(info.properties.number("ReadyDelay")),
            ready_count=info.properties.number("ReadyCount", ALL_GROUPS),
        )
        for info in snapshot.group_sets.values()
    }
    needs = {info.id: GroupNeeds(info.needs, info.provider_sets) for info in snapshot.groups.values()}
    return GroupOrder(sets, needs, {info.id: info.name for info in snapshot.groups.values()})


def is_online(snapshot: ClusterSnapshot, group: GroupId) -> bool:
    """Tell whether a group is online, by what its owner wrote last."""
    run = snapshot.run.get(group)
    members = snapshot.resources_of(group)
    if run is None or not members:
        return False
    states = (ResourceState(run.value.resource_states.get(one.id, ResourceState.OFFLINE)) for one in members)
    return group_state(states) is GroupState.ONLINE


class ProviderWatch:
    """Tells what a group waits for, and remembers since when each set is ready."""

    def __init__(self, context: EngineContext) -> None:
        """Look at the context's view whenever asked."""
        self._context = context
        self._ready_since: dict[GroupSetId, float] = {}

    @property
    def timeout(self) -> float:
        """Seconds after which a group starts all the same."""
        properties = self._context.view.snapshot.cluster.properties
        return float(properties.number("GroupDependencyTimeout", int(DEFAULT_TIMEOUT)))

    def waits_for(self, group: GroupId) -> str:
        """Say what a group still has to wait for; empty when it may start."""
        snapshot = self._context.view.snapshot
        info = snapshot.groups.get(group)
        own = snapshot.set_of(group) if snapshot.group_sets else None
        if info is None or (own is None and not info.provider_sets and not info.properties.get(DEPENDENCY_EXPRESSION)):
            return ""  # as almost every group: nothing is worked out
        return order_of(snapshot).waits_for(group, lambda id_: is_online(snapshot, id_), self._is_ready)

    def next_look(self, now: float) -> float | None:
        """When a set that is ready has been so for long enough; None when no time decides."""
        order = order_of(self._context.view.snapshot)
        moments = [since + order.sets[id_].delay for id_, since in self._ready_since.items() if id_ in order.sets]
        return min((moment for moment in moments if moment > now), default=None)

    def _is_ready(self, one: GroupSet) -> bool:
        snapshot, now = self._context.view.snapshot, self._context.now()
        if not one.is_ready(lambda id_: is_online(snapshot, id_)):
            self._ready_since.pop(one.id, None)
            return False
        return now - self._ready_since.setdefault(one.id, now) >= one.delay
