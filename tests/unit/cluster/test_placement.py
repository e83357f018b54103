"""Every rule of the choice of a destination ([object-model] 7.5)."""

import pytest
from tests.unit.cluster.pictures import GIB, OFFLINE, dead, node, picture, vm

from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import GroupStatus, NodeState, NodeStatus
from quorate.cluster.memory import MIB, memory_for_vms, mib
from quorate.cluster.picture import GroupPicture, NodePicture, Picture, Settings
from quorate.cluster.placement import Choice, Room, Rule, choose

ENFORCED = Settings(enforced_anti_affinity=True)


def chosen(at: Picture, group: GroupPicture, **more: object) -> Choice:
    return choose(at, Room(at), group, without=frozenset({group.owner}), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("candidate", "rule", "says"),
    [
        (node(2, state=NodeState.DOWN), Rule.NOT_UP, "node2 is down"),
        (node(2, state=NodeState.JOINING), Rule.NOT_UP, "node2 is joining"),
        (node(2, state=NodeState.UNKNOWN), Rule.NOT_UP, "node2 is unknown"),
        (node(2, state=NodeState.PAUSED), Rule.PAUSED, "paused"),
        (node(2, status=NodeStatus.ISOLATED), Rule.ISOLATED, "isolated"),
        (node(2, status=NodeStatus.QUARANTINED), Rule.QUARANTINED, "quarantined"),
        (node(2, status=NodeStatus.DRAIN_IN_PROGRESS), Rule.PAUSED, "drained"),
        (node(2, memory=None), Rule.MEMORY, "has not said how much memory"),
        (node(2, memory=3), Rule.MEMORY, "3072 MiB free of 3072 MiB for virtual machines (0 MiB taken), not 4096 MiB"),
    ],
)
def test_a_node_that_cannot_take_it_is_ruled_out_with_its_rule_and_figure(
    candidate: NodePicture, rule: Rule, says: str
) -> None:
    group = vm("web1", 1)
    choice = chosen(picture([dead(1), candidate], [group]), group)
    assert choice.node is None
    assert [refusal.rule for refusal in choice.refusals] == [rule]
    assert says in choice.sentence


def test_only_possible_owners_of_every_resource_are_candidates() -> None:
    group = vm("web1", 1, possible=[1, 3])
    choice = chosen(picture([dead(1), node(2, memory=64), node(3)], [group]), group)
    assert choice.node == "3"
    assert "node2 is not a possible owner of all resources of web1" in choice.sentence


def test_preferred_owners_come_first_in_their_order_however_little_memory_they_have_left() -> None:
    nodes = [dead(1), node(2, memory=64), node(3, memory=8), node(4, memory=32)]
    group = vm("web1", 1, preferred=[4, 3])
    choice = chosen(picture(nodes, [group]), group)
    assert choice.node == "4"
    assert "preferred owner 1 of 2" in choice.sentence
    nodes[3] = dead(4)
    assert chosen(picture(nodes, [group]), group).node == "3"


def test_after_the_preferred_owners_most_memory_left_decides_and_then_the_number() -> None:
    group, others = vm("web1", 1), [vm("a", 2, memory=10), vm("b", 3, memory=6)]
    choice = chosen(picture([dead(1), node(2), node(3), node(4, memory=10)], [group, *others]), group)
    assert choice.node == "3"
    assert "most memory left (10240 MiB before it)" in choice.sentence


def test_a_virtual_machine_commits_its_memory_while_it_runs_or_is_about_to() -> None:
    running = vm("running", 2, wanted=False)
    wanted = vm("wanted", 2, states=OFFLINE)
    off = vm("off", 2, states=OFFLINE, wanted=False)
    parked = vm("parked", 2, states=OFFLINE, status=GroupStatus.PHYSICAL_RESOURCES_LACKING)
    given_up = vm("given up", 2, states=OFFLINE, failed_at=1.0)
    unstarted = vm("priority 0", 2, states=OFFLINE, priority=0)
    room = Room(picture([node(2)], [running, wanted, off, parked, given_up, unstarted]))
    assert room.committed(NodeId("2")) == 8 * GIB


def test_a_group_that_only_needs_an_owner_needs_no_memory() -> None:
    group = vm("web1", 1, states=OFFLINE, wanted=False)
    assert chosen(picture([dead(1), node(2, memory=1)], [group]), group, to_run=False).node == "2"


def test_a_node_with_a_group_of_the_same_class_is_passed_over() -> None:
    group, other = vm("web1", 1, classes=["web"], preferred=[2]), vm("web2", 2, classes=["web", "x"], memory=1)
    choice = chosen(picture([dead(1), node(2), node(3, memory=5)], [group, other]), group)
    assert choice.node == "3"


def test_soft_anti_affinity_is_ignored_when_only_such_nodes_are_left() -> None:
    group, other = vm("web1", 1, classes=["web"]), vm("web2", 2, classes=["web"])
    choice = chosen(picture([dead(1), node(2)], [group, other]), group)
    assert choice.node == "2"
    assert "though it has web2, of the same anti-affinity class 'web'" in choice.sentence


def test_enforced_anti_affinity_rules_such_nodes_out_and_the_group_stays_offline_for_it() -> None:
    group, other = vm("web1", 1, classes=["web"]), vm("web2", 2, classes=["web"])
    choice = chosen(picture([dead(1), node(2)], [group, other], settings=ENFORCED), group)
    assert (choice.node, choice.keeper) == (None, "2")
    assert choice.status == GroupStatus.OFFLINE_DUE_TO_ANTIAFFINITY_CONFLICT
    assert choice.refusals[0].rule is Rule.ANTI_AFFINITY


def test_a_group_that_is_off_is_nobody_to_keep_apart_from() -> None:
    group, other = vm("web1", 1, classes=["web"]), vm("web2", 2, classes=["web"], states=OFFLINE, wanted=False)
    assert chosen(picture([dead(1), node(2)], [group, other], settings=ENFORCED), group).node == "2"


def test_a_group_that_does_not_fit_anywhere_is_kept_by_the_best_node_that_may_own_it() -> None:
    group = vm("web1", 1, memory=20, possible=[1, 2, 3])
    choice = chosen(picture([dead(1), node(2, memory=8), node(3), node(4, memory=64)], [group]), group)
    assert (choice.node, choice.keeper) == (None, "3")
    assert choice.status == GroupStatus.PHYSICAL_RESOURCES_LACKING
    assert len(choice.refusals) == 3


def test_a_group_without_any_possible_owner_up_has_no_keeper() -> None:
    group = vm("web1", 1, possible=[1, 2])
    choice = chosen(picture([dead(1), dead(2), node(3)], [group]), group)
    assert (choice.node, choice.keeper, choice.status) == (None, None, GroupStatus.NORMAL)


def test_nodes_to_be_avoided_come_last() -> None:
    group = vm("web1", 1, preferred=[2])
    avoided = picture([dead(1), node(2, status=NodeStatus.AVOID_PLACEMENT), node(3)], [group])
    assert chosen(avoided, group).node == "3"
    alone = picture([dead(1), node(2, status=NodeStatus.AVOID_PLACEMENT)], [group])
    assert chosen(alone, group).node == "2"


def test_a_node_where_the_group_has_failed_lately_comes_last_but_is_not_ruled_out() -> None:
    group = vm("web1", 1, preferred=[2])
    both = picture([node(1), node(2), node(3)], [group])
    assert chosen(both, group, failed_on=frozenset({NodeId("2")})).node == "3"
    assert chosen(picture([node(1), node(2)], [group]), group, failed_on=frozenset({NodeId("2")})).node == "2"


def test_groups_without_a_virtual_machine_follow_the_nodes_numbers_unless_a_seed_draws_them() -> None:
    group = vm("script", 1, memory=0, group_type=109)
    at = picture([dead(1), *(node(number) for number in range(2, 12))], [group])
    assert chosen(at, group).node == "2"
    drawn = {chosen(at, group, seed=seed).node for seed in range(200)}
    assert drawn == {str(number) for number in range(2, 12)}
    assert chosen(at, group, seed=7).node == chosen(at, group, seed=7).node


def test_what_a_plan_has_placed_already_takes_room() -> None:
    first, second = vm("a", 1, memory=10), vm("b", 1, memory=10)
    at = picture([dead(1), node(2), node(3, memory=12)], [first, second])
    room = Room(at)
    choice = choose(at, room, first, without=frozenset({NodeId("1")}))
    assert choice.node == "2"
    room.take(first, NodeId("2"))
    assert choose(at, room, second, without=frozenset({NodeId("1")})).node == "3"


@pytest.mark.parametrize(
    ("total", "configured", "reserved", "expected"),
    [
        (4 * GIB, None, 0xFFFFFFFF, 4 * GIB - 512 * MIB),
        (100 * GIB, None, 0xFFFFFFFF, 95 * GIB),
        (100 * GIB, None, 2048, 98 * GIB),
        (100 * GIB, 3 * GIB, 2048, 3 * GIB),
        (256 * MIB, None, 0xFFFFFFFF, 0),
    ],
)
def test_memory_for_virtual_machines(total: int, configured: int | None, reserved: int, expected: int) -> None:
    assert memory_for_vms(total, configured, reserved) == expected


def test_small_sizes_are_told_exactly() -> None:
    assert (mib(4 * GIB), mib(MIB * 5 // 2)) == ("4096 MiB", "2.5 MiB")
