"""What people see of the queue of moves and of drains: computed from their records, which nobody writes for showing."""

from collections.abc import Sequence

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import GroupStatus, MigrationState
from quorate.cluster.moves import DRAIN_STATUS, DrainStage, Stage
from quorate.database.snapshot import ClusterSnapshot

_WAITING = int(GroupStatus.WAITING_IN_QUEUE_FOR_MOVE)


def status_information(snapshot: ClusterSnapshot, group: GroupId) -> int:
    """StatusInformation of a group: what its owner has written, and whether it waits in the queue."""
    run = snapshot.run.get(group)
    written = 0 if run is None else run.value.status_information & ~_WAITING
    return written | (_WAITING if is_waiting(snapshot, group) else 0)


def is_waiting(snapshot: ClusterSnapshot, group: GroupId) -> bool:
    """Tell whether a group waits in the queue of moves."""
    found = snapshot.moves.get(group)
    if found is None or found.value.source != snapshot.owner_of(group):
        return False
    return found.value.stage == Stage.WAITING.value


def drain_facts(snapshot: ClusterSnapshot, node: NodeId) -> dict[str, JsonValue]:
    """How the drain of a node stands, or the return after it; empty where there is none."""
    found = snapshot.drains.get(node)
    if found is None:
        return {}
    record = found.value
    stage = DrainStage(record.stage)
    carried = [id_ for id_, run in snapshot.run.items() if run.value.failover.drained == record.id]
    away = [id_ for id_ in carried if snapshot.owner_of(id_) != node]
    held = snapshot.groups_of(node)
    names = {group.id: group.name for group in snapshot.groups.values()}
    troubles: list[JsonValue] = [
        {"group": names.get(id_, id_), "sentence": note.sentence, "attempts": note.attempts}
        for id_, note in record.troubles.items()
        if stage is DrainStage.RETURNING or snapshot.owner_of(id_) == node
    ]
    name = snapshot.nodes[node].name if node in snapshot.nodes else node
    return {
        "status": int(DRAIN_STATUS[stage]),
        "stage": stage.value,
        "target": "" if record.target is None else _name(snapshot, record.target),
        "total": record.total,
        "moved": len(away),
        "left": len(held),
        "troubles": troubles,
        "sentence": _sentence(
            stage, name, record.sentence, len(away), len(held), len(troubles), _still_sent(snapshot, node)
        ),
    }


def _still_sent(snapshot: ClusterSnapshot, node: NodeId) -> list[str]:
    """The names of the groups that run elsewhere while pages of them are here (post-copy)."""
    names = []
    for id_, found in snapshot.moves.items():
        move, run, group = found.value, snapshot.run.get(id_), snapshot.groups.get(id_)
        vm = None if run is None else run.value.vm
        has_gone = move.source == node and snapshot.owner_of(id_) == move.destination
        if group is not None and has_gone and vm is not None and vm.migration_state == MigrationState.MOVE:
            names.append(group.name)
    return sorted(names, key=str.casefold)


def _sentence(
    stage: DrainStage, name: str, said: str, moved: int, left: int, troubled: int, sent: Sequence[str]
) -> str:
    match stage:
        case DrainStage.DRAINING:
            trouble = f", {troubled} did not go at once" if troubled else ""
            pages = f"; it still sends memory of {', '.join(sent)}" if sent else ""
            return f"{name} is being drained: {moved} moved, {left} left{trouble}{pages}"
        case DrainStage.RETURNING:
            return f"what was drained from {name} comes back: {moved} on the way or waiting"
        case _:
            return said


def _name(snapshot: ClusterSnapshot, node: NodeId) -> str:
    found = snapshot.nodes.get(node)
    return node if found is None else found.name
