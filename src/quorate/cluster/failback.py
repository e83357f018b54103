"""When a group goes home after a failover ([object-model] 7.6): AutoFailbackType, preferred owners, the window.

Only a group that a failover brought where it is goes home: one that a person has moved stays where it was wanted. The
hour is the local one of the node that decides, the only wall clock that this package sees: windows are meant in it.
"""

from dataclasses import dataclass

from quorate.clusapi.identity import NodeId
from quorate.cluster.picture import NO_HOUR, GroupPicture, Picture
from quorate.cluster.placement import Room, check_node


@dataclass(frozen=True, slots=True)
class FailbackDecision:
    """Where a group goes home to; None: it stays for now, and why."""

    destination: NodeId | None
    sentence: str


def is_open(window: tuple[int, int], hour: int) -> bool:
    """Tell whether a window is open at an hour; both of its ends must be set, else it always is.

    From the start until the end, past midnight where the end comes first; the same hour twice is that hour.
    """
    start, end = window
    if NO_HOUR in window:
        return True
    if start < end:
        return start <= hour < end
    if start > end:
        return hour >= start or hour < end
    return hour == start


def plan_failback(picture: Picture, group: GroupPicture, hour: int, room: Room | None = None) -> FailbackDecision:
    """Decide whether a group goes home at this hour of the day (0 to 23)."""
    if not group.away:
        return FailbackDecision(None, f"{group.name} was not brought here by a failover")
    if not group.failback:
        return FailbackDecision(None, f"{group.name} stays: AutoFailbackType is 0")
    if group.locked:
        return FailbackDecision(None, f"{group.name} stays: it is locked from moving (LockedFromMoving 1)")
    if not group.preferred:
        return FailbackDecision(None, f"{group.name} stays: it has no preferred owners")
    if not is_open(group.failback_window, hour):
        start, end = group.failback_window
        return FailbackDecision(None, f"{group.name} stays until its failback window opens ({start}:00 to {end}:00)")
    return _home(picture, group, room if room is not None else Room(picture))


def _home(picture: Picture, group: GroupPicture, room: Room) -> FailbackDecision:
    refusals = []
    for rank, node_id in enumerate(group.preferred, start=1):
        if node_id == group.owner:
            break
        node = picture.nodes.get(node_id)
        if node is None:
            continue
        refusal = check_node(picture, room, group, node, to_run=group.runs)
        if refusal is None:
            sentence = f"{group.name} goes home to {node.name}, its preferred owner {rank} of {len(group.preferred)}"
            return FailbackDecision(node_id, sentence)
        refusals.append(refusal.sentence)
    sentence = "; ".join(refusals) or "no node that it prefers to this one is there"
    return FailbackDecision(None, f"{group.name} stays: {sentence}")
