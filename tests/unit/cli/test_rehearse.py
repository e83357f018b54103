"""A rehearsal: what is taken over of a real cluster, and what is told."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from quorate.cli.main import run
from quorate.cli.quiet import no_logs
from quorate.cli.session import Session
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.states import GroupStatus, NodeState, NodeStatus
from quorate.simulator.inventory import ASSUMED_DIRTY, Assumptions, GroupFact, Inventory, NodeFact, seed_setup
from quorate.simulator.rehearsal import rehearse
from quorate.simulator.rehearsed import Drain, How, Lose, Rehearsed, What
from quorate.simulator.setup import GIB, GIGABIT

NODES = ("node1", "node2", "node3")


def node(name: str, memory: int | None = 16 * GIB, **facts: object) -> NodeFact:
    return replace(NodeFact(name, NodeState.UP, NodeStatus.NORMAL, memory), **facts)  # type: ignore[arg-type]


def vm(name: str, on: str = "node1", memory: int = GIB, **facts: object) -> GroupFact:
    made = GroupFact(f"id of {name}", name, on, memory=memory, possible=NODES, rate=1e9, dirty_rate=20e6)
    return replace(made, **facts)  # type: ignore[arg-type]


def inventory(*groups: GroupFact, nodes: tuple[NodeFact, ...] = (), properties: Mapping[str, int] = {}) -> Inventory:
    return Inventory(nodes or tuple(map(node, NODES)), groups, properties)


def play(found: Inventory, what: Drain | Lose) -> Rehearsed:
    with no_logs():
        return rehearse(seed_setup(found), what)


# --- what is taken over ----------------------------------------------------------------------------------------------


def test_what_was_measured_is_taken_over_and_the_rest_is_assumed_and_said() -> None:
    seeded = seed_setup(inventory(vm("web1", rate=118e6, dirty_rate=7e6), vm("web2", rate=None, dirty_rate=None)))
    assert {one.bandwidth for one in seeded.setup.nodes} == {118e6}
    assert [one.dirty for one in seeded.setup.vms] == [7e6, ASSUMED_DIRTY]
    link, measured, assumed, memory = seeded.assumed
    assert link == "links carry 118 MB/s, the most that a past migration got across"
    assert measured == "guests dirty their memory as in their last migrations: web1 7.0 MB/s"
    assert assumed.startswith("web2 dirty 25 MB/s each: no migration of theirs was measured")
    assert memory == "all memory of a guest is in use and has to be copied"


def test_without_any_migration_links_are_assumed() -> None:
    seeded = seed_setup(inventory(vm("web1", rate=None, dirty_rate=None)))
    assert {one.bandwidth for one in seeded.setup.nodes} == {GIGABIT}
    assert "no migration was measured yet" in seeded.assumed[0]


def test_what_a_person_says_of_rates_wins() -> None:
    said = Assumptions(link=5e8, dirty=1e6, dirty_of={"db1": 3e8})
    seeded = seed_setup(inventory(vm("web1"), vm("DB1")), said)
    assert {one.bandwidth for one in seeded.setup.nodes} == {5e8}
    assert {one.name: one.dirty for one in seeded.setup.vms} == {"web1": 1e6, "DB1": 3e8}


def test_rules_states_and_properties_are_taken_over() -> None:
    bound = vm("bound", possible=("node1", "node2"), preferred=("node2",), classes=("sql",), priority=3000, locked=True)
    still = vm("still", runs=False, wanted=False)
    seeded = seed_setup(inventory(bound, still, properties={"MaximumParallelMigrations": 2}))
    one, other = seeded.setup.vms
    assert (one.possible, one.preferred, one.classes) == (("node1", "node2"), ("node2",), ("sql",))
    assert (one.priority, one.locked, one.online, other.online) == (3000, True, True, False)
    assert seeded.setup.properties == {"MaximumParallelMigrations": 2}
    assert seeded.setup.is_up


def test_who_takes_no_part_is_said() -> None:
    nodes = (node("node1"), node("node2", state=NodeState.DOWN), node("node3", state=NodeState.PAUSED))
    others = (vm("gone", on="node2"), vm("disk", memory=0, is_vm=False))
    waiting = vm("late", runs=False, status=GroupStatus.PHYSICAL_RESOURCES_LACKING)
    seeded = seed_setup(inventory(vm("web1"), *others, waiting, nodes=nodes))
    assert [one.name for one in seeded.setup.nodes] == ["node1", "node3"]
    assert seeded.paused == ("node3",)
    assert [one.name for one in seeded.setup.vms] == ["late", "web1"]
    assert seeded.left_out == (
        "node2 is down and takes no part, nor does what it owns",
        "disk: groups without a virtual machine are not rehearsed",
        "late: wanted online and not running now, rehearsed as stopped",
    )


# --- what is told ----------------------------------------------------------------------------------------------------


def test_a_drain_tells_order_destinations_and_gaps() -> None:
    told = play(inventory(vm("web1"), vm("web2", memory=2 * GIB), vm("first", priority=3000)), Drain(("node1",)))
    assert [one.vm for one in told.journeys] == ["first", "web2", "web1"]
    assert all(one.how is How.LIVE and one.has_arrived and 0 < one.gap < 0.3 for one in told.journeys)
    assert {one.destination for one in told.journeys} == {"node2", "node3"}
    ends = [one.ends or 0.0 for one in told.journeys]
    assert all(later.begins >= end for end, later in zip(ends, told.journeys[1:], strict=False)), "one at a time"
    assert not told.troubles
    assert next((room.name, room.before, room.after) for room in told.rooms) == ("node1", 4 * GIB, 0)
    assert sum(room.after for room in told.rooms) == 4 * GIB


def test_the_same_seed_tells_the_same() -> None:
    found = inventory(vm("web1"), vm("web2"), vm("web3", on="node2"))
    assert play(found, Drain(("node1",))) == play(found, Drain(("node1",)))


def test_what_does_not_converge_stays_and_is_told() -> None:
    told = play(inventory(vm("db1", dirty_rate=90e9)), Drain(("node1",)))
    (trouble,) = told.troubles
    assert (trouble.what, trouble.vm) == (What.DOES_NOT_CONVERGE, "db1")
    assert trouble.sentence.startswith("db1 stays on node1 after 3 attempts: will not converge")
    assert [one.has_arrived for one in told.journeys] == [False] * 3


def test_what_fits_nowhere_or_may_not_go_stays_and_is_told() -> None:
    small = (node("node1"), node("node2", 2 * GIB), node("node3", 2 * GIB))
    found = inventory(vm("big", memory=8 * GIB), vm("held", locked=True), vm("web1"), nodes=small)
    told = play(found, Drain(("node1",)))
    said = {trouble.vm: trouble.sentence for trouble in told.troubles if trouble.what is What.STAYS}
    assert said.keys() == {"big", "held"}
    assert "node2 has" in said["big"] and "not 8192 MiB" in said["big"]
    assert "LockedFromMoving" in said["held"]
    assert [one.vm for one in told.journeys] == ["web1"]


def test_nodes_that_are_drained_together_give_nothing_to_each_other() -> None:
    told = play(inventory(vm("web1"), vm("web2", on="node2")), Drain(("node1", "node2")))
    assert {one.destination for one in told.journeys} == {"node3"}


def test_nodes_that_are_drained_in_turn_stay_empty() -> None:
    told = play(inventory(vm("web1"), vm("web2", on="node2")), Drain(("node1", "node2"), in_turn=True))
    assert {room.name for room in told.rooms if room.after} == {"node3"}
    assert told.journeys[0].source == "node1" and told.journeys[-1].source == "node2"


def test_a_loss_tells_who_is_started_where_and_who_is_not() -> None:
    found = inventory(vm("web1"), vm("bound", possible=("node1",)), vm("web2", on="node2"))
    told = play(found, Lose(("node1",)))
    one = {journey.vm: journey for journey in told.journeys}
    assert one["web1"].how is How.RESTARTED and one["web1"].has_arrived
    assert 4.5 < one["web1"].gap < 10, "what is left of a lease, its margin, and a start"
    assert not one["bound"].has_arrived and one["bound"].destination == ""
    assert [(trouble.what, trouble.vm) for trouble in told.troubles] == [(What.DOES_NOT_RUN, "bound")]
    assert "web2" not in one


def test_anti_affinity_that_is_broken_is_told() -> None:
    told = play(
        inventory(
            vm("sql1", classes=("sql",)), vm("sql2", on="node2", classes=("sql",)), nodes=(node("node1"), node("node2"))
        ),
        Drain(("node1",)),
    )
    assert [trouble.what for trouble in told.troubles] == [What.ANTI_AFFINITY]


def test_a_preferred_owner_that_is_left_is_remarked() -> None:
    told = play(inventory(vm("web1", preferred=("node1",))), Drain(("node1",)))
    assert not told.troubles
    assert any("none of its preferred owners" in remark for remark in told.remarks)


def test_the_spare_room_that_is_used_up_is_told() -> None:
    nodes = tuple(node(f"node{number}", 4 * GIB) for number in (1, 2, 3))
    three = tuple(vm(f"web{number}", on=f"node{number}", memory=2 * GIB) for number in (1, 2, 3))
    told = play(inventory(*three, vm("web4", memory=GIB), nodes=nodes), Drain(("node1",)))
    (trouble,) = told.troubles
    assert trouble.what is What.NO_SPARE
    assert trouble.sentence.startswith("no room is kept for the loss of one more node: without node")


# --- on the command line ---------------------------------------------------------------------------------------------


class _Client:
    def __init__(self, answer: JsonObject) -> None:
        self._answer = answer

    def call(self, operation: str, *, full_access: bool) -> "_Client":
        assert (operation, full_access) == ("GetInventory", False), "it changes nothing"
        return self

    def as_json(self) -> JsonObject:
        return self._answer


def _answer(found: Inventory) -> JsonObject:
    nodes: list[JsonValue] = [
        {"name": one.name, "state_name": one.state.name, "status": int(one.status), "memory": str(one.memory)}
        for one in found.nodes
    ]
    groups: list[JsonValue] = [
        {
            "id": one.id,
            "name": one.name,
            "is_vm": one.is_vm,
            "node": one.node,
            "priority": one.priority,
            "wanted": one.wanted,
            "runs": one.runs,
            "memory": str(one.memory),
            "possible": [*one.possible],
            "preferred": [*one.preferred],
            "classes": [*one.classes],
            "failback": one.failback,
            "locked": one.locked,
            "move_type": one.move_type,
            "status": int(one.status),
            "sentence": one.sentence,
            "rate": one.rate,
            "dirty_rate": one.dirty_rate,
        }
        for one in found.groups
    ]
    return {"revision": 7, "properties": dict(found.properties), "nodes": nodes, "groups": groups}


def _ask(monkeypatch: pytest.MonkeyPatch, found: Inventory, *arguments: str) -> int:
    monkeypatch.setattr(Session, "client", lambda self: _Client(_answer(found)))
    return run(["rehearse", *arguments])


def test_the_exit_code_says_whether_all_goes_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fresh_session: Session
) -> None:
    assert _ask(monkeypatch, inventory(vm("web1")), "drain", "node1") == 0
    out = capsys.readouterr().out
    assert "If node1 was drained" in out and "1 virtual machine moved" in out
    assert _ask(monkeypatch, inventory(vm("web1", possible=("node1",))), "lose", "node1") == 1
    assert "! web1 does not run any more" in capsys.readouterr().out


def test_programs_get_the_same_facts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fresh_session: Session
) -> None:
    assert _ask(monkeypatch, inventory(vm("web1")), "drain", "node1", "--link", "10Gb/s", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["all_well"] is True and told["troubles"] == []
    (move,) = told["moves"]
    assert (move["vm"], move["how"], move["source"], move["arrived"]) == ("web1", "live", "node1", True)
    assert told["assumed"][0] == "links carry 1.25 GB/s, as --link says"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("drain", "node9"), 2, 'there is no node "node9"; there are node1, node2, node3'),
        (("drain", ","), 2, "name a node"),
        (("drain", "node1", "--target", "node1"), 2, "node1 cannot be drained to itself"),
        (("lose", "node1,node2,node3"), 2, "no node would be left"),
        (("drain", "node1", "--dirty", "db9=1MB/s"), 2, 'there is no virtual machine "db9"'),
        (("drain", "node1", "--link", "fast"), 2, "--link fast"),
    ],
)
def test_mistakes_are_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fresh_session: Session,
    arguments: tuple[str, ...],
    code: int,
    sentence: str,
) -> None:
    assert _ask(monkeypatch, inventory(vm("web1")), *arguments) == code
    assert sentence in " ".join(capsys.readouterr().err.split())
