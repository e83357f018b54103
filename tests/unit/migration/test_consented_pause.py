"""A guest stands still longer than its gap, as was agreed to: for as long as its memory gets across, no longer."""

from dataclasses import replace

from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import Sample
from quorate.migration.outgoing import REST_PAUSE, SILENCE_LIMIT, Outgoing, Phase
from quorate.migration.ownership import CasAnswered, OwnershipRecord

A, B = NodeId("1"), NodeId("2")
SOURCE, DESTINATION = ImageId("a1"), ImageId("b2")
OWN = OwnershipRecord(A, 1, SOURCE, None, None, 1)
GIFT = OwnershipRecord(B, 2, DESTINATION, A, SOURCE, 2)
STOPPING = Outgoing(
    SessionId("s"), A, B, SOURCE, DESTINATION, OWN, phase=Phase.STOPPING, rest_limit=90.0, transferred=1000
)


def look(transferred: int, remaining: int = 500) -> e.Sampled:
    return e.Sampled(Sample(5000, transferred, remaining, 1e6, 0.0, 3))


def given() -> Outgoing:
    """The guest stands since 10.0, and is given away since 10.1."""
    state = STOPPING.step(e.Stopped(), 10.0).state
    step = state.step(CasAnswered(state.attempt, GIFT), 10.1)
    assert step.state.phase is Phase.GIVEN
    assert [type(effect) for effect in step.effects] == [e.SampleAfter, e.WakeAfter], "it is looked at from now on"
    return step.state


def test_as_long_as_memory_gets_across_it_is_waited_for() -> None:
    state, now = given(), 10.1
    for number in range(1, 100):
        now += REST_PAUSE
        step = state.step(e.Tick(), now)
        assert e.WakeAfter(REST_PAUSE) in step.effects
        assert any(isinstance(effect, e.SampleAfter) for effect in step.effects)
        state = step.state.step(look(1000 + number), now).state
    assert (state.phase, state.reason) == (Phase.GIVEN, "")
    assert state.step(e.TransferCompleted(), now).state.phase is Phase.NOTING_YOURS


def test_a_link_that_drops_everything_brings_the_guest_back_at_once() -> None:
    state = given().step(look(1200), 11.0).state
    assert state.step(look(1200), 11.0 + SILENCE_LIMIT - 0.1).state.phase is Phase.GIVEN
    step = state.step(look(1200), 11.0 + SILENCE_LIMIT)
    assert step.state.phase is Phase.NOTING_TAKE_BACK
    assert step.effects == (e.CancelTransfer(), e.NoteTakeBack(GIFT))
    assert "no byte of the rest" in step.state.reason


def test_while_ownership_is_being_given_it_is_noticed_and_taken_back_then() -> None:
    state = STOPPING.step(e.Stopped(), 10.0).state
    state = state.step(look(1000), 10.0 + SILENCE_LIMIT).state
    assert state.phase is Phase.GIVING
    assert state.step(CasAnswered(state.attempt, GIFT), 12.5).state.phase is Phase.NOTING_TAKE_BACK


def test_what_is_in_the_buffers_of_the_system_is_waited_for() -> None:
    """QEMU has handed everything over and has no more to tell: the limit for all of it decides."""
    state = given()
    for now in (11.0, 14.0, 20.0):
        state = state.step(look(1500, remaining=0), now).state
    assert (state.phase, state.reason) == (Phase.GIVEN, "")


def test_a_pause_that_is_short_anyway_is_not_looked_at() -> None:
    state = replace(STOPPING, rest_limit=SILENCE_LIMIT).step(e.Stopped(), 10.0).state
    step = state.step(CasAnswered(state.attempt, GIFT), 10.1)
    assert not any(isinstance(effect, e.SampleAfter) for effect in step.effects)
    assert step.state.step(look(1000), 100.0).state == step.state
