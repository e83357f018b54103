"""Faults of the coordinator, of the queue of moves and of drains: R8 and what is written by comparing."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from quorate.clusapi.machine import Step
from quorate.clusapi.states import NodeState
from quorate.cluster import coordinator_work as w
from quorate.cluster import movements as m
from quorate.cluster.coordinator import Coordinator
from quorate.cluster.failover import GiverWord
from quorate.cluster.movements import Movements
from quorate.cluster.moves import DrainStage
from quorate.cluster.picture import NodePicture, Picture
from quorate.simulator.aimed_plots import Mood
from quorate.simulator.brains import PRODUCTION, Hand
from quorate.simulator.planted.arriving import ASKS_NOBODY
from quorate.simulator.planted.fault import Mask, Planted, turned_into, without


def _seen_dead(node: NodePicture) -> NodePicture:
    if node.lease is None or node.state is not NodeState.DOWN:
        return node
    return replace(node, lease=replace(node.lease, is_ended=True))


@dataclass(frozen=True, slots=True)
class TakesFromTheSilent(Coordinator):
    """Takes a node for dead that it sees Down, whether its lease has been ended or not."""

    def step(self, event: w.Event, now: float) -> Step[Coordinator]:
        """Take in what happened."""
        if isinstance(event, w.Looked):
            picture = event.picture
            nodes = {id_: node if id_ == picture.me else _seen_dead(node) for id_, node in picture.nodes.items()}
            event = w.Looked(replace(picture, nodes=nodes))
        return _as(TakesFromTheSilent, Coordinator.step(self, event, now))


@dataclass(frozen=True, slots=True)
class LeavesItToTheGiver(Coordinator):
    """Waits for a giver to take back what it has let go."""

    def step(self, event: w.Event, now: float) -> Step[Coordinator]:
        """Take in what happened."""
        if isinstance(event, w.GiverAnswered) and event.word in (GiverWord.SENT, GiverWord.GONE):
            event = replace(event, word=GiverWord.NOT_SENT)
        return _as(LeavesItToTheGiver, Coordinator.step(self, event, now))


def _as(kind: type[Coordinator], step: Step[Coordinator]) -> Step[Coordinator]:
    """Stay what it is: a coordinator that loses its role begins anew."""
    return step if isinstance(step.state, kind) else Step(turned_into(kind, step.state), step.effects)


@dataclass(frozen=True, slots=True)
class ForgetsOne(Movements):
    """Overlooks one of the groups on a node that is being drained, as a list made before it came would."""

    def step(self, event: m.Event, now: float) -> Step[Movements]:
        """Take in what happened."""
        if isinstance(event, w.Looked):
            event = w.Looked(_without(event.picture, _forgotten(event.picture)))
        return Movements.step(self, event, now)


def _forgotten(picture: Picture) -> Iterable[str]:
    for drain in picture.drains.values():
        if drain.stage is not DrainStage.RETURNING:
            here = [group.id for group in picture.owned_by(drain.node) if group.id not in picture.moves]
            if here:
                yield max(here)


def _without(picture: Picture, groups: Iterable[str]) -> Picture:
    gone = set(groups)
    left = {id_: group for id_, group in picture.groups.items() if id_ not in gone}
    return replace(picture, groups=left)


FAULTS: Final = (
    Planted(
        "the silent are taken for dead",
        "I4",
        "The coordinator takes groups from a node that it sees Down, though nobody has ended its lease.",
        replace(PRODUCTION, coordinator=TakesFromTheSilent),
    ),
    Planted(
        "the coordinator does not compare",
        "R8",
        "A take-over is written over whatever record stands there by then.",
        without(Hand.COMPARE),
    ),
    Planted(
        "all is left to the giver",
        "R8",
        "A giver that has let go is waited for as if it took the group back.",
        replace(PRODUCTION, coordinator=LeavesItToTheGiver),
        mood=Mood.HAND_OVER,
    ),
    Planted(
        "two queue entries for one virtual machine",
        "queue",
        "A migration begins though the queue has an entry of the same virtual machine, or one is under way.",
        without(Hand.QUEUE),
        Mask(
            "R11",
            "a migration that another one has pushed aside is known to nobody at its source, and its destination asks "
            "and gives it up",
            ASKS_NOBODY,
        ),
        mood=Mood.HAND_OVER,
    ),
    Planted(
        "a drain forgets a virtual machine",
        "drain",
        "A drain is completed though one of the groups is still on the node.",
        replace(PRODUCTION, movements=ForgetsOne),
        mood=Mood.ANY,
    ),
)
