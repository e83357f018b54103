"""Nodes that are lost again and again ([live-migration-policy] 8): QuarantineThreshold, QuarantineDuration.

A lapse is a lease that ended. As many as QuarantineThreshold within an hour and the node is quarantined: it may be a
member, but nothing is placed on it, for QuarantineDuration. At most a quarter of the nodes, and one in a small cluster,
is quarantined at a time: a cluster that distrusts all its nodes runs nothing.
With QuarantineDuration or QuarantineThreshold 0 nobody is quarantined. All times are the cluster's.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeStatus
from quorate.cluster.picture import Lapse, Picture, Role

PERIOD: Final = 3600.0
UNTIL_CLEARED: Final = 0xFFFFFFFF
SHARE: Final = 4
"""One node of so many may be quarantined."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Place nothing on a node; ``until`` None: until a person ends it."""

    node: NodeId
    until: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Release:
    """Place on a node again."""

    node: NodeId
    sentence: str


Verdict: TypeAlias = Quarantine | Release


def new_lapses(picture: Picture, role: Role) -> tuple[Lapse, ...]:
    """Find the leases that have ended and that nobody has counted yet."""
    counted = {(lapse.node, lapse.incarnation) for lapse in role.lapses}
    return tuple(
        Lapse(node.id, node.lease.incarnation, picture.clock)
        for node in picture.nodes.values()
        if node.lease is not None
        and node.is_dead
        and not node.lease.is_restored
        and (node.id, node.lease.incarnation) not in counted
    )


def forget_old(picture: Picture, lapses: tuple[Lapse, ...]) -> tuple[Lapse, ...]:
    """Drop the lapses that count no more; one whose lease is still the node's last is kept, not to be counted again."""
    return tuple(lapse for lapse in lapses if picture.clock - lapse.at < PERIOD or _is_last(picture, lapse))


def _is_last(picture: Picture, lapse: Lapse) -> bool:
    node = picture.nodes.get(lapse.node)
    return node is not None and node.lease is not None and node.lease.incarnation == lapse.incarnation


def forgive(picture: Picture, lapses: tuple[Lapse, ...], node: NodeId) -> tuple[Lapse, ...]:
    """Let no lapse of a node count any more; the one of its last lease is kept, not to be counted again."""
    long_ago = picture.clock - PERIOD
    of_others = [lapse for lapse in lapses if lapse.node != node]
    last = [
        Lapse(lapse.node, lapse.incarnation, long_ago)
        for lapse in lapses
        if lapse.node == node and _is_last(picture, lapse)
    ]
    return (*of_others, *last)


def most_quarantined(nodes: int) -> int:
    """Tell how many nodes of a cluster may be quarantined at a time."""
    return max(1, nodes // SHARE) if nodes > 1 else 0


def plan_quarantine(picture: Picture, role: Role) -> tuple[Verdict, ...]:
    """Decide who is quarantined now, and who no more; ``role`` holds the lapses counted so far."""
    verdicts: list[Verdict] = []
    held = 0
    for node in picture.nodes.values():
        if not node.status & NodeStatus.QUARANTINED:
            if node.id in role.quarantined:
                verdicts.append(Release(node.id, f"{node.name} is trusted again: a person has cleared its quarantine"))
            continue
        until = role.quarantined.get(node.id)
        if node.id in role.quarantined and until is not None and until <= picture.clock:
            verdicts.append(Release(node.id, f"{node.name} is trusted again: its quarantine is over"))
        else:
            held += 1
    return (*verdicts, *_newly(picture, role, held))


def _newly(picture: Picture, role: Role, held: int) -> list[Quarantine]:
    settings = picture.settings
    found: list[Quarantine] = []
    if settings.quarantine_duration == 0 or settings.quarantine_threshold == 0 or not role.lapses:
        return []
    for node in picture.nodes.values():
        recent = [one for one in role.lapses if one.node == node.id and picture.clock - one.at < PERIOD]
        is_new = not node.status & NodeStatus.QUARANTINED and node.id not in role.quarantined
        if not is_new or len(recent) < settings.quarantine_threshold:
            continue
        if held + len(found) >= most_quarantined(len(picture.nodes)):
            break
        endless = settings.quarantine_duration == UNTIL_CLEARED
        until = None if endless else picture.clock + settings.quarantine_duration
        how_long = "until a person clears it" if endless else f"for {settings.quarantine_duration} s"
        sentence = (
            f"{node.name} is quarantined {how_long}: lost {len(recent)} times within an hour "
            f"(QuarantineThreshold {settings.quarantine_threshold})"
        )
        found.append(Quarantine(node.id, until, sentence))
    return found
