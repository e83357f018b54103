"""Why a group does not run though somebody wants it to: one word for a table, and the deciding sentence.

The numbers of ClusAPI stay what they are: of a group whose owner is down nobody can be asked, so that its state is
Unknown, and so is its VmState. What that means for people is said here: it was lost with its node.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupStatus, NodeState
from quorate.cluster.failover import Stays, plan_take_over
from quorate.cluster.picture import Picture
from quorate.database.snapshot import ClusterSnapshot

_WAITS: Final = (
    (GroupStatus.OFFLINE_DUE_TO_ANTIAFFINITY_CONFLICT, "waits for a node without its like"),
    (GroupStatus.PHYSICAL_RESOURCES_LACKING, "waits for memory"),
    (GroupStatus.WAITING_TO_START, "waits for its start"),
)


@dataclass(frozen=True, slots=True)
class Standstill:
    """A word and a sentence; both are empty for a group that is where it should be."""

    word: str = ""
    sentence: str = ""


def standstill(
    snapshot: ClusterSnapshot, states: Mapping[NodeId, NodeState], group: GroupId, stays: Mapping[GroupId, str]
) -> Standstill:
    """Tell why a group stands still; ``stays`` are the coordinator's reasons about groups of dead nodes."""
    found, owner = snapshot.run.get(group), snapshot.owner_of(group)
    if found is None or owner is None:
        return Standstill()
    run = found.value
    if states.get(owner, NodeState.UP) is NodeState.DOWN:
        return _lost(snapshot, owner, stays.get(group, ""), wanted=run.persistent_state)
    for bit, word in _WAITS:
        if run.status_information & bit:
            return Standstill(word, run.failover.sentence)
    if run.failover.failed_at is not None:
        return Standstill("given up", run.failover.sentence)
    return Standstill()


def _lost(snapshot: ClusterSnapshot, owner: NodeId, reason: str, *, wanted: bool) -> Standstill:
    info, lease = snapshot.nodes.get(owner), snapshot.leases.get(owner)
    name = owner if info is None else info.name
    if not wanted:
        return Standstill("", f"{name}, which has it, is down")
    if reason:
        return Standstill("lost", reason)
    if lease is None or not lease.value.ended:
        return Standstill("lost", f"{name} is down; it is started elsewhere as soon as it surely runs there no more")
    return Standstill("lost", f"{name} is down; it is about to be started elsewhere")


def reasons_to_stay(picture: Picture | None) -> dict[GroupId, str]:
    """Why groups of dead nodes cannot be taken over, as the coordinator would say it now."""
    if picture is None:
        return {}
    return {one.group: one.sentence for one in plan_take_over(picture) if isinstance(one, Stays)}
