"""Pictures of groups that follow a cluster through a rehearsal are those that would be made of it from nothing."""

from collections.abc import Callable

import pytest

from quorate.cli.quiet import no_logs
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.cluster.groups import Groups
from quorate.cluster.picture import GroupPicture
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.group_pictures import GroupPictures
from quorate.simulator.inventory import GroupFact, Inventory, NodeFact, seed_setup
from quorate.simulator.rehearsal import RehearsedWorld
from quorate.simulator.rehearsed import Drain, Lose
from quorate.simulator.setup import GIB

NAMES = ("node1", "node2", "node3")


def _facts(groups: Groups) -> list[object]:
    """Everything that is asked of groups."""
    nodes = [NodeId(str(number)) for number in range(1, 5)]
    drains = sorted({group.drained for group in groups.values() if group.drained})
    owned = [(groups.owned_by(node), groups.committed(node)) for node in nodes]
    return [list(groups.items()), owned, [groups.drained_by(drain) for drain in drains], groups.of_classes()]


@pytest.mark.parametrize("what", [Drain(("node1",)), Lose(("node1",))])
def test_what_follows_is_what_would_be_made_anew(what: Drain | Lose) -> None:
    nodes = tuple(NodeFact(name, NodeState.UP, NodeStatus.NORMAL, 16 * GIB) for name in NAMES)
    groups = tuple(
        GroupFact(f"{number}", f"vm{number}", NAMES[number % 2], memory=GIB, possible=NAMES, runs=number != 4)
        for number in range(6)
    )
    groups += (GroupFact("7", "web", "node1", memory=GIB, possible=NAMES, classes=("web",)),)
    world = RehearsedWorld(seed_setup(Inventory(nodes, groups)), 1)
    compared = 0
    following = GroupPictures()
    made: Callable[[ClusterSnapshot], Groups] = world.group_pictures.of

    def compare(snapshot: ClusterSnapshot) -> Groups:
        nonlocal compared
        compared += 1
        fresh = _facts(GroupPictures().of(snapshot))
        assert _facts(following.of(snapshot)) == fresh
        found = made(snapshot)
        assert _facts(found) == fresh
        return found

    world.group_pictures.of = compare  # type: ignore[method-assign]
    with no_logs():
        try:
            world.rehearse(what)
        finally:
            world.end()
    assert compared > 10


def test_a_version_counts_what_its_groups_say() -> None:
    one = GroupPicture(GroupId("g1"), "g1", NodeId("1"), 1, 1, memory=5, wanted=True, classes=frozenset({"c"}))
    two = GroupPicture(GroupId("g2"), "g2", NodeId("1"), 1, 1, memory=7, wanted=True)
    first = Groups({one.id: one, two.id: two})
    moved = GroupPicture(GroupId("g1"), "g1", NodeId("2"), 2, 2, memory=5, wanted=True, drained="d")
    second = first.changed({moved.id: moved})
    assert (first.committed(NodeId("1")), first.committed(NodeId("2"))) == (12, 0)
    assert (second.committed(NodeId("1")), second.committed(NodeId("2"))) == (7, 5)
    assert first.owned_by(NodeId("1")) == (one, two) and second.owned_by(NodeId("1")) == (two,)
    assert second.drained_by("d") == (moved,) and first.drained_by("d") == ()
    assert first.of_classes() == (one,) and second.of_classes() == ()
    assert _facts(second) == _facts(Groups({one.id: moved, two.id: two}))
