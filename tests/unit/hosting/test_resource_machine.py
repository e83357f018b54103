from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.states import ResourceState, ResourceStatus
from quorate.clusapi.status import Status
from quorate.hosting.resource_events import (
    Answered,
    Event,
    FailRequested,
    HealthLost,
    MonitorLost,
    OfflineRequested,
    OnlineRequested,
    Recovered,
    Reported,
    Stopped,
    Terminated,
    Ticked,
)
from quorate.hosting.resource_machine import TRANSITIONS, UnexpectedEvent, step
from quorate.hosting.resource_state import (
    CallOffline,
    CallOnline,
    CallRecover,
    CallTerminate,
    Machine,
    State,
    StateChanged,
    Step,
)

PENDING = Status.ERROR_IO_PENDING
BROKEN = Status.ERROR_GEN_FAILURE
R = ResourceState


def run(*happenings: Event, machine: Machine | None = None) -> Step:
    """Let events happen one after the other, each answering the operation that is current then (operation -1)."""
    last = Step(Machine() if machine is None else machine)
    for event in happenings:
        if isinstance(event, Answered | Reported | Terminated | Recovered) and event.operation == -1:
            event = replace(event, operation=last.machine.operation)
        last = step(last.machine, event)
    return last


def calls(of: Step) -> list[str]:
    return [type(effect).__name__ for effect in of.effects if not isinstance(effect, StateChanged)]


ONLINE = OnlineRequested(10.0)
OFFLINE = OfflineRequested(10.0)
FORCED = OfflineRequested(10.0, forced=True)


def answered(status: Status, at: float = 0.0) -> Answered:
    return Answered(-1, at, status)


def reported(state: R, checkpoint: int, at: float = 0.0) -> Reported:
    return Reported(-1, at, state, checkpoint)


def test_it_goes_online_and_offline_at_once() -> None:
    begun = run(ONLINE)
    assert (begun.machine.state, begun.status, calls(begun)) == (State.ONLINE_PENDING, PENDING, ["CallOnline"])
    online = run(answered(Status.ERROR_SUCCESS), machine=begun.machine)
    assert online.machine.state is State.ONLINE
    leaving = run(OFFLINE, machine=online.machine)
    assert (leaving.machine.state, leaving.status, calls(leaving)) == (State.OFFLINE_PENDING, PENDING, ["CallOffline"])
    assert run(answered(Status.ERROR_SUCCESS), machine=leaving.machine).machine.state is State.OFFLINE


def test_pending_timeout_counts_between_reports_and_only_reports_with_a_new_checkpoint_count() -> None:
    pending = run(ONLINE, answered(PENDING, at=100)).machine
    assert pending.deadline == 110
    reporting = run(reported(R.ONLINE_PENDING, 1, at=109), machine=pending).machine
    assert reporting.deadline == 119
    repeated = run(reported(R.ONLINE_PENDING, 1, at=118), machine=reporting).machine
    assert repeated.deadline == 119
    assert run(Ticked(118.9), machine=repeated).machine.state is State.ONLINE_PENDING
    over = run(Ticked(119.0), machine=repeated)
    assert (over.machine.state, calls(over)) == (State.ENDING, ["CallTerminate"])
    assert "PendingTimeout" in over.machine.sentence


@pytest.mark.parametrize("end", [answered(BROKEN), reported(R.FAILED, 1), reported(R.OFFLINE, 1), HealthLost("dead")])
def test_what_does_not_come_online_has_failed_and_is_terminated(end: Event) -> None:
    failing = run(ONLINE, end)
    assert (failing.machine.state, calls(failing)) == (State.ENDING, ["CallTerminate"])
    assert failing.machine.state.shown == R.FAILED
    ended = run(Terminated(-1), machine=failing.machine)
    assert (ended.machine.state, ended.machine.sentence) == (State.FAILED, failing.machine.sentence)
    assert ended.machine.status == failing.machine.status
    stuck = run(Terminated(-1, BROKEN, "no answer"), machine=failing.machine)
    assert (stuck.machine.state, stuck.machine.state.shown) == (State.STUCK, R.FAILED)
    assert "no answer" in stuck.machine.sentence


def test_what_has_failed_is_offline_by_a_word_only_when_nothing_of_it_runs() -> None:
    ending = run(ONLINE, answered(BROKEN)).machine
    ended = run(Terminated(-1), machine=ending).machine
    stuck = run(Terminated(-1, BROKEN), machine=ending).machine
    assert run(OFFLINE, machine=ended).machine.state is State.OFFLINE
    for machine in (ending, stuck):
        leaving = run(OFFLINE, machine=machine)
        assert (leaving.machine.state, leaving.status, calls(leaving)) == (
            State.TERMINATING,
            PENDING,
            ["CallTerminate"],
        )
        assert run(ONLINE, machine=machine).machine.state is State.ONLINE_PENDING
    assert [state for state in State if not state.may_run] == [State.OFFLINE, State.FAILED]


@pytest.mark.parametrize(
    ("event", "lacking"),
    [
        (answered(Status.ERROR_NOT_ENOUGH_MEMORY), 0x8),
        (answered(Status.ERROR_NO_SYSTEM_RESOURCES), 0x10),
        (answered(Status.ERROR_CLUSTER_RESOURCE_VETOED_MOVE_NOT_ENOUGH_RESOURCES_ON_DESTINATION), 0x8),
        (answered(BROKEN), 0),
        (Reported(-1, 0.0, R.FAILED, 1, status=Status.ERROR_OUTOFMEMORY), 0x8),
        (Reported(-1, 0.0, R.FAILED, 1, lacking=ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_CPU), 0x4),
        (Reported(-1, 0.0, R.FAILED, 1, lacking=ResourceStatus.LOCKED_MODE), 0),
    ],
)
def test_a_failed_start_tells_what_the_node_lacked_until_the_next_one(event: Event, lacking: int) -> None:
    failed = run(ONLINE, event, Terminated(-1)).machine
    assert (failed.state, failed.lacking) == (State.FAILED, lacking)
    assert run(ONLINE, machine=failed).machine.lacking == 0


@pytest.mark.parametrize("end", [answered(BROKEN), reported(R.FAILED, 1)])
def test_what_does_not_go_offline_is_terminated_and_then_offline(end: Event) -> None:
    forced = run(ONLINE, answered(Status.ERROR_SUCCESS), OFFLINE, end)
    assert (forced.machine.state, calls(forced)) == (State.TERMINATING, ["CallTerminate"])
    assert forced.machine.state.shown == R.OFFLINE_PENDING
    assert run(Terminated(-1), machine=forced.machine).machine.state is State.OFFLINE
    assert run(Terminated(-1, BROKEN, "stuck"), machine=forced.machine).machine.state is State.STUCK


def test_a_resource_may_stay_online_rather_than_go_offline_with_harm() -> None:
    stayed = run(ONLINE, answered(Status.ERROR_SUCCESS), OFFLINE, reported(R.ONLINE, 1))
    assert (stayed.machine.state, stayed.machine.status) == (State.ONLINE, Status.ERROR_CLUSTER_RESOURCE_VETOED_CALL)


def test_answers_to_an_operation_that_is_over_are_stale() -> None:
    begun = run(ONLINE).machine
    failed = run(HealthLost("dead"), machine=begun).machine
    late = step(failed, Answered(begun.operation, 1.0, Status.ERROR_SUCCESS))
    assert late == Step(failed)
    with pytest.raises(UnexpectedEvent):
        step(failed, Answered(failed.operation + 1, 1.0, Status.ERROR_SUCCESS))


def test_requests_are_answered_in_every_state() -> None:
    online = run(ONLINE, answered(Status.ERROR_SUCCESS)).machine
    coming, leaving = run(ONLINE).machine, run(OFFLINE, machine=online).machine
    failed = run(FailRequested("x"), Terminated(-1), machine=online).machine
    assert run(ONLINE, machine=online).status == Status.ERROR_SUCCESS
    assert run(ONLINE, machine=coming).status == PENDING
    assert run(ONLINE, machine=leaving).status == Status.ERROR_INVALID_STATE
    assert run(ONLINE, machine=failed).machine.state is State.ONLINE_PENDING
    assert run(OFFLINE).status == Status.ERROR_SUCCESS
    assert run(OFFLINE, machine=coming).status == Status.ERROR_INVALID_STATE
    assert run(OFFLINE, machine=leaving).status == PENDING
    cleared = run(OFFLINE, machine=failed)
    assert (cleared.machine.state, cleared.status) == (State.OFFLINE, Status.ERROR_SUCCESS)
    assert run(FailRequested("x")).status == Status.ERROR_RESOURCE_NOT_ONLINE
    for machine in (online, coming, leaving):
        assert calls(run(FORCED, machine=machine)) == ["CallTerminate"]


def test_a_lost_monitor_says_nothing_about_a_resource_that_is_online() -> None:
    online = run(ONLINE, answered(Status.ERROR_SUCCESS)).machine
    lost = run(MonitorLost("gone"), machine=online)
    assert (lost.machine.state, calls(lost)) == (State.RECOVERING, ["CallRecover"])
    assert lost.machine.state.shown == R.ONLINE
    works = run(Recovered(-1, True, "it works"), machine=lost.machine)
    assert (works.machine.state, calls(works)) == (State.ONLINE, [])
    dead = run(Recovered(-1, False, "it does not"), machine=lost.machine)
    assert (dead.machine.state, dead.machine.sentence, calls(dead)) == (State.ENDING, "it does not", ["CallTerminate"])


def test_a_lost_monitor_ends_what_was_under_way() -> None:
    assert run(MonitorLost("gone")).machine.state is State.OFFLINE
    coming = run(ONLINE, answered(PENDING), MonitorLost("gone"))
    assert (coming.machine.state, calls(coming)) == (State.ENDING, ["CallTerminate"])
    leaving = run(ONLINE, answered(Status.ERROR_SUCCESS), OFFLINE, answered(PENDING), MonitorLost("gone"))
    assert (leaving.machine.state, calls(leaving)) == (State.TERMINATING, ["CallTerminate"])


def test_only_a_resource_that_was_to_be_online_fails_for_the_policy() -> None:
    def failures(*happenings: Event) -> list[bool]:
        return [effect.is_failure for effect in run(*happenings).effects if isinstance(effect, StateChanged)]

    up = (ONLINE, answered(Status.ERROR_SUCCESS))
    assert failures(ONLINE, answered(BROKEN)) == [True]
    assert failures(*up, HealthLost("dead")) == [True]
    assert failures(*up, MonitorLost("gone"), Recovered(-1, False, "dead")) == [True]
    assert failures(*up, Stopped(True, "stopped")) == [True]
    assert failures(*up, HealthLost("dead"), Terminated(-1)) == [False]
    assert failures(*up, FORCED, Terminated(-1, BROKEN)) == [False]


@pytest.mark.parametrize(("failed", "state"), [(True, State.FAILED), (False, State.OFFLINE)])
def test_a_resource_that_stopped_by_itself_is_what_its_type_says(failed: bool, state: State) -> None:
    online = run(ONLINE, answered(Status.ERROR_SUCCESS)).machine
    stopped = run(Stopped(failed, "the guest shut down"), machine=online)
    assert (stopped.machine.state, calls(stopped)) == (state, [])


EVENTS = st.one_of(
    st.just(ONLINE),
    st.just(OFFLINE),
    st.just(FORCED),
    st.just(FailRequested("made to fail")),
    st.just(HealthLost("dead")),
    st.just(MonitorLost("gone")),
    st.builds(Stopped, st.booleans(), st.just("stopped")),
    st.builds(Ticked, st.floats(0, 100)),
)
PENDING_STATES = (R.ONLINE_PENDING, R.OFFLINE_PENDING)
STATUSES = st.sampled_from([Status.ERROR_SUCCESS, PENDING, BROKEN])


@given(st.data())
def test_no_order_of_events_surprises_it_and_every_call_has_at_most_one_successor(data: st.DataObject) -> None:
    machine = Machine()
    open_calls: dict[int, str] = {}
    for _ in range(data.draw(st.integers(1, 25))):
        choices: list[st.SearchStrategy[Event]] = [EVENTS]
        for operation, call in open_calls.items():
            if call == "CallRecover":
                choices.append(st.builds(Recovered, st.just(operation), st.booleans(), st.just("asked")))
            elif call == "CallTerminate":
                choices.append(st.builds(Terminated, st.just(operation), STATUSES))
            else:
                choices.append(st.builds(Answered, st.just(operation), st.floats(0, 100), STATUSES))
                states = st.sampled_from(
                    [R.UNKNOWN, R.ONLINE, R.OFFLINE, R.FAILED, R.ONLINE_PENDING, R.OFFLINE_PENDING]
                )
                choices.append(st.builds(Reported, st.just(operation), st.floats(0, 100), states, st.integers(0, 3)))
        event = data.draw(st.one_of(choices))
        if isinstance(event, Answered | Terminated | Recovered):
            del open_calls[event.operation]
        before, done = machine, step(machine, event)
        machine = done.machine
        changes = [effect for effect in done.effects if isinstance(effect, StateChanged)]
        assert [(change.old, change.new) for change in changes] == (
            [] if before.operation == machine.operation else [(before.state, machine.state)]
        )
        for effect in done.effects:
            if isinstance(effect, CallOnline | CallOffline | CallTerminate | CallRecover):
                assert effect.operation == machine.operation
                open_calls[effect.operation] = type(effect).__name__
        assert machine.sentence
        pending = machine.state in (State.ONLINE_PENDING, State.OFFLINE_PENDING)
        assert machine.deadline is None or pending


def test_requests_and_news_are_declared_in_every_state() -> None:
    everywhere = (OnlineRequested, OfflineRequested, FailRequested, HealthLost, Stopped, MonitorLost, Ticked)
    assert all((state, event) in TRANSITIONS for state in State for event in everywhere)
