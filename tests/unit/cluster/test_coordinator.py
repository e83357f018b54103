"""The coordinator's state machine: the role, the ends of leases, take-over, gifts, notes."""

from dataclasses import replace

import pytest
from tests.unit.cluster.pictures import dead, node, picture, role, vm

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.cluster import coordinator_work as w
from quorate.cluster.coordinator import ASK_AGAIN, BACK_OFF, CLOCK_PERIOD, HELP_AFTER, TABLE, Coordinator, Phase
from quorate.cluster.failover import GiverWord, TakeOver
from quorate.cluster.picture import Lapse, Picture, Settings

NOW = 1000.0
ME, OTHER = NodeId("1"), NodeId("2")
FOLLOWER = Coordinator(ME)
LEADING = Coordinator(ME, Phase.COORDINATOR, role_revision=5)


def look(state: Coordinator, at: Picture, now: float = NOW) -> tuple[Coordinator, tuple[object, ...]]:
    step = state.step(w.Looked(at), now)
    return step.state, tuple(effect for effect in step.effects if not isinstance(effect, w.WakeAt))


def wakes(state: Coordinator, event: w.Event, now: float = NOW) -> list[float]:
    return [effect.at for effect in state.step(event, now).effects if isinstance(effect, w.WakeAt)]


# --- the role ------------------------------------------------------------------------------------------------------


def test_a_free_role_is_taken_and_the_cluster_is_formed_by_who_is_alone() -> None:
    state, (taking,) = look(FOLLOWER, picture([node(1), node(2, state=NodeState.DOWN)]))
    assert state.phase is Phase.TAKING
    assert isinstance(taking, w.TakeRole)
    assert (taking.expected, taking.ends, taking.role.incarnation) == (0, None, "i1")
    assert taking.role.formed == taking.role.clock == 50_000.0
    assert "node1 coordinates the cluster" in taking.sentence


def test_the_role_of_a_node_that_goes_on_under_another_incarnation_is_free() -> None:
    at = picture([node(1), node(2)], role=role(2, incarnation="of before", formed=7.0))
    _, (taking,) = look(FOLLOWER, at)
    assert isinstance(taking, w.TakeRole)
    assert (taking.expected, taking.ends) == (5, None)
    assert taking.role.formed == 7.0  # node2 is there: the cluster was formed before


def test_the_role_of_a_node_whose_lease_has_ended_is_free() -> None:
    _, (taking,) = look(FOLLOWER, picture([node(1), dead(2)], role=role(2)))
    assert isinstance(taking, w.TakeRole)
    assert taking.ends is None


def test_who_may_end_the_coordinators_lease_does_so_and_takes_the_role_in_one_write() -> None:
    known = role(2, lapses=(Lapse(OTHER, "x", 1.0),), quarantined={NodeId("3"): 9.0})
    at = picture([node(1), node(2, state=NodeState.DOWN, may_end=True, lease=33)], role=known)
    _, (taking,) = look(FOLLOWER, at)
    assert isinstance(taking, w.TakeRole)
    assert taking.ends is not None
    assert (taking.expected, taking.ends.node, taking.ends.revision) == (5, "2", 33)
    assert (taking.role.lapses, taking.role.quarantined) == (known.lapses, known.quarantined)


def test_the_role_of_a_living_node_is_left_to_it() -> None:
    state, effects = look(FOLLOWER, picture([node(1), node(2)], role=role(2)))
    assert (state.phase, effects) == (Phase.FOLLOWER, ())


@pytest.mark.parametrize("own", [NodeState.JOINING, NodeState.DOWN, NodeState.UNKNOWN])
def test_a_node_that_is_no_member_takes_no_role(own: NodeState) -> None:
    state, effects = look(FOLLOWER, picture([node(1, state=own), dead(2)], role=role(2)))
    assert (state.phase, effects) == (Phase.FOLLOWER, ())


def test_what_an_evicted_node_holds_is_taken_as_long_as_there_is_no_lease_of_it() -> None:
    state, _ = look(FOLLOWER, picture([node(1), node(2)], role=role(1)))
    _, effects = look(state, picture([node(1), node(2)], [vm("a", 3)], role=role(1)))
    (take,) = [effect for effect in effects if isinstance(effect, w.Take)]
    assert (take.group, take.holder, take.lease_revision) == ("a", "3", 0)


def test_a_paused_node_may_coordinate() -> None:
    state, _ = look(FOLLOWER, picture([node(1, state=NodeState.PAUSED)]))
    assert state.phase is Phase.TAKING


@pytest.mark.parametrize(
    ("outcome", "phase"),
    [
        (w.Outcome.LANDED, Phase.COORDINATOR),
        (w.Outcome.REFUSED, Phase.FOLLOWER),
        (w.Outcome.UNANSWERED, Phase.FOLLOWER),
    ],
)
def test_the_answer_decides_about_the_role(outcome: w.Outcome, phase: Phase) -> None:
    taking = Coordinator(ME, Phase.TAKING)
    assert taking.step(w.RoleAnswered(outcome, 40), NOW).state.phase is phase


def test_a_role_without_an_answer_is_found_in_the_next_picture() -> None:
    silent = Coordinator(ME, Phase.TAKING).step(w.RoleAnswered(w.Outcome.UNANSWERED), NOW).state
    assert look(silent, picture([node(1)]))[1] == ()  # nothing is begun while the database is silent
    state, _ = look(silent, picture([node(1)], role=role(1)))
    assert state.phase is Phase.COORDINATOR


def test_a_picture_from_before_the_role_was_taken_says_nothing() -> None:
    leading = Coordinator(ME, Phase.TAKING).step(w.RoleAnswered(w.Outcome.LANDED, 40), NOW).state
    state, effects = look(leading, picture([node(1), node(2)], revision=39))
    assert (state, effects) == (leading, ())


def test_a_coordinator_whose_role_another_has_taken_follows() -> None:
    state, effects = look(LEADING, picture([node(1), node(2)], [vm("a", 3)], role=role(2, revision=60)))
    assert (state.phase, state.role_revision, effects) == (Phase.FOLLOWER, 60, ())


# --- ends of leases ------------------------------------------------------------------------------------------------


def test_the_coordinator_ends_every_lease_that_it_may_end_once() -> None:
    nodes = [node(1), node(2, may_end=True, lease=21), node(3, may_end=True, lease=31), node(4), dead(5)]
    known = role(1, lapses=(Lapse(NodeId("5"), "i5", 1.0),))
    state, effects = look(LEADING, picture(nodes, role=known))
    assert [(e.node, e.revision) for e in effects if isinstance(e, w.EndLease)] == [("2", 21), ("3", 31)]
    assert look(state, picture(nodes, role=known))[1] == ()
    again = state.step(w.LeaseAnswered(OTHER, w.Outcome.REFUSED), NOW).state
    assert [e.node for e in look(again, picture(nodes, role=known))[1] if isinstance(e, w.EndLease)] == ["2"]


def test_it_looks_again_when_the_next_lease_may_be_ended() -> None:
    nodes = [node(1), node(2, again_at=NOW + 4), node(3, again_at=NOW + 2.5), node(4, again_at=NOW - 1)]
    assert wakes(LEADING, w.Looked(picture(nodes, role=role(1)))) == [NOW + 2.5]
    assert wakes(FOLLOWER, w.Looked(picture(nodes, role=role(4)))) == [NOW + 2.5]


def test_it_looks_again_when_nodes_have_been_waited_for_long_enough_after_a_restore() -> None:
    at = picture([node(1), dead(2, restored=True)], [vm("a", 2)], role=role(1, formed=49_890.0))
    state, effects = look(Coordinator(at.me), at)
    assert [effect for effect in effects if isinstance(effect, w.Say)]
    assert min(wakes(state, w.Looked(at))) == NOW + 10
    later = replace(at, clock=50_000.0 + 10)
    assert [effect for effect in look(state, later, NOW + 10)[1] if isinstance(effect, w.Take)]


def test_nothing_is_begun_for_a_while_after_the_database_was_silent() -> None:
    at = picture([node(1), node(2, may_end=True)], role=role(1))
    state, _ = look(LEADING, at)
    silent = state.step(w.LeaseAnswered(OTHER, w.Outcome.UNANSWERED), NOW).state
    assert look(silent, at, NOW + BACK_OFF / 2)[1] == ()
    assert look(silent, at, NOW + BACK_OFF)[1] != ()


def test_a_follower_ends_a_lease_that_its_coordinator_leaves_alone() -> None:
    at = picture([node(1), node(2), node(3, may_end=True, lease=31)], role=role(2))
    state, effects = look(FOLLOWER, at)
    assert effects == ()
    assert wakes(FOLLOWER, w.Looked(at)) == [NOW + HELP_AFTER]
    state, effects = look(state, at, NOW + HELP_AFTER)
    assert [(e.node, e.revision) for e in effects if isinstance(e, w.EndLease)] == [("3", 31)]
    assert look(state, at, NOW + 9)[1] == ()


def test_a_follower_takes_nothing_over() -> None:
    assert look(FOLLOWER, picture([node(1), node(2), dead(3)], [vm("a", 3)], role=role(2)))[1] == ()


# --- take-over -----------------------------------------------------------------------------------------------------

COUNTED = role(1, lapses=(Lapse(OTHER, "i2", 49_999.0),))


def orphaned(**more: object) -> Picture:
    return picture([node(1), dead(2, lease=21), node(3)], [vm("a", 2, revision=17, epoch=4)], role=COUNTED, **more)  # type: ignore[arg-type]


def test_a_dead_nodes_group_is_taken_over_on_what_was_read_of_it_and_of_the_lease() -> None:
    state, (take,) = look(LEADING, orphaned())
    assert isinstance(take, w.Take)
    assert (take.holder, take.epoch, take.revision, take.lease_revision) == ("2", 4, 17, 21)
    assert isinstance(take.decision, TakeOver)
    assert look(state, orphaned())[1] == ()


def test_a_take_over_that_was_refused_is_planned_again_on_the_next_picture() -> None:
    state, _ = look(LEADING, orphaned())
    refused = state.step(w.TakeAnswered(GroupId("a"), w.Outcome.REFUSED), NOW).state
    _, (take,) = look(refused, orphaned(revision=101))
    assert isinstance(take, w.Take)


def test_a_take_over_that_has_landed_is_not_repeated_on_a_picture_from_before() -> None:
    state, _ = look(LEADING, orphaned())
    landed = state.step(w.TakeAnswered(GroupId("a"), w.Outcome.LANDED, 150), NOW).state
    assert look(landed, orphaned(revision=149))[1] == ()
    done, effects = look(landed, replace(orphaned(revision=150), groups={GroupId("a"): vm("a", 3, epoch=5)}))
    assert (effects, done.moving) == ((), {})


def test_the_place_of_a_group_on_its_way_is_kept() -> None:
    nodes = [node(1, memory=8), dead(2, lease=21), node(3)]
    state, (first,) = look(LEADING, picture(nodes, [vm("a", 2, memory=10)], role=COUNTED))
    assert isinstance(first, w.Take)
    assert first.decision.destination == "3"
    both = picture(nodes, [vm("a", 2, memory=10), vm("b", 2, memory=10)], role=COUNTED, revision=101)
    _, (second,) = look(state, both)
    assert isinstance(second, w.Take)
    assert not second.decision.starts


def test_why_a_group_stays_with_a_dead_node_is_said_once() -> None:
    at = picture([node(1), dead(2)], [vm("a", 2, possible=[2])], role=COUNTED)
    state, (said,) = look(LEADING, at)
    assert isinstance(said, w.Say)
    assert "node1 is not a possible owner" in said.sentence
    assert look(state, at)[1] == ()


def test_a_giver_is_asked_once_at_a_time_and_again_while_it_must_settle() -> None:
    at = picture([node(1), dead(2), node(3)], [vm("a", 2, giver=3, epoch=4)], role=COUNTED)
    state, (ask,) = look(LEADING, at)
    assert isinstance(ask, w.Ask)
    assert (ask.question.giver, ask.question.epoch) == ("3", 4)
    assert look(state, at)[1] == ()
    state = state.step(w.GiverAnswered(GroupId("a"), 4, GiverWord.NOT_SENT), NOW).state
    state, (said,) = look(state, at)
    assert isinstance(said, w.Say)
    _, (again,) = look(state, at, NOW + ASK_AGAIN)
    assert isinstance(again, w.Ask)


def test_a_giver_that_has_let_go_is_believed_for_good() -> None:
    at = picture([node(1), dead(2), node(3)], [vm("a", 2, giver=3, epoch=4)], role=COUNTED)
    state, _ = look(LEADING, at)
    state = state.step(w.GiverAnswered(GroupId("a"), 4, GiverWord.SENT), NOW).state
    _, (take,) = look(state, at, NOW + 60)
    assert isinstance(take, w.Take)


# --- notes ---------------------------------------------------------------------------------------------------------


def test_a_lapse_is_written_down_once() -> None:
    at = picture([node(1), dead(2)], role=role(1))
    state, (note,) = look(LEADING, at)
    assert isinstance(note, w.NoteRole)
    assert note.role.lapses == (Lapse(OTHER, "i2", 50_000.0),)
    assert (note.expected, note.statuses) == (5, {})
    assert look(state, at)[1] == ()  # while it is being written
    written = state.step(w.RoleAnswered(w.Outcome.LANDED, 110), NOW).state
    assert look(written, picture([node(1), dead(2)], role=replace(note.role, revision=110), revision=110))[1] == ()


def test_the_clusters_time_is_written_down_every_minute() -> None:
    assert look(LEADING, picture([node(1)], role=role(1), clock=50_059.0))[1] == ()
    _, (note,) = look(LEADING, picture([node(1)], role=role(1), clock=50_000.0 + CLOCK_PERIOD))
    assert isinstance(note, w.NoteRole)
    assert note.role.clock == 50_060.0


def test_a_node_that_is_lost_too_often_is_quarantined_and_trusted_again_later() -> None:
    settings = Settings(quarantine_duration=100)
    known = role(1, lapses=tuple(Lapse(OTHER, f"l{n}", 49_000.0) for n in range(3)))
    _, (note,) = look(LEADING, picture([node(1), node(2)], role=known, settings=settings))
    assert isinstance(note, w.NoteRole)
    assert note.statuses == {OTHER: NodeStatus.QUARANTINED}
    assert note.role.quarantined == {OTHER: 50_100.0}
    later = picture(
        [node(1), node(2, status=NodeStatus.QUARANTINED)], role=note.role, settings=settings, clock=50_100.0
    )
    _, (end,) = look(LEADING, replace(later, role=replace(note.role, revision=9)))
    assert isinstance(end, w.NoteRole)
    assert end.statuses == {OTHER: NodeStatus.NORMAL}
    assert (end.role.quarantined, end.role.lapses) == ({}, ())


# --- the table -----------------------------------------------------------------------------------------------------


def test_every_phase_knows_every_event() -> None:
    assert {phase: set(row) for phase, row in TABLE.items()} == {phase: set(w.EVENTS) for phase in Phase}


@pytest.mark.parametrize("phase", Phase)
def test_answers_that_come_late_change_no_phase(phase: Phase) -> None:
    state = Coordinator(ME, phase)
    for event in (
        w.LeaseAnswered(OTHER, w.Outcome.LANDED),
        w.TakeAnswered(GroupId("a"), w.Outcome.REFUSED),
        w.GiverAnswered(GroupId("a"), 1, GiverWord.WAIT),
    ):
        assert state.step(event, NOW).state.phase is phase
