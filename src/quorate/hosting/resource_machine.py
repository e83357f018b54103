"""The state machine of one hosted resource: pure, ``step(machine, event) -> Step``.

::

               OnlineRequested                 answer 0, or report Online
    Offline ───────────────────▶ OnlinePending ─────────────────────────▶ Online ◀──── works ──── Recovering
       ▲                              │    ▲                               │ │ │ ────MonitorLost────▶  │
       │         error, time-out,     │    │ OnlineRequested               │ │ │ OfflineRequested      │
       │         report Failed,       │    │ (of all three below)          │ │ ▼                       │
       │         health, MonitorLost  ▼    │                               │ │ OfflinePending ──▶ Online (it stayed)
       │                            Ending ◀──────── health, Fail ─────────┘ │    │   │                │
       │                              │ │ ◀──────────── does not work ───────┼────┼───┼────────────────┘
       │              Terminated with 0 │ with an error                forced│    │   │ time-out, error, forced,
       │                              ▼ ▼                                    ▼    │   ▼ MonitorLost
       │◀── OfflineRequested ── Failed  Stuck ── OfflineRequested ─────▶ Terminating (terminate is called)
       │                                  ▲ ─────── with an error ─────────  │    │
       └◀────────────────────────────────────── Terminated with 0 ───────────┴────┘ answer 0, report Offline

Three states are shown as Failed: *Ending* while terminate runs, *Failed* when nothing is left that runs, *Stuck* when
it could not be ended, or when nobody knows whether it was. Only from Failed is the way to Offline a matter of words;
from the other two terminate is called (again) first, since another node may start the resource once it is Offline here.

*Recovering* is shown as Online: the monitor process that held it is gone, which says nothing about the resource. It is
opened in another monitor and asked whether it works.

Each call of an entry point is an *operation* with a number; what comes back carries the number, and the answer to an
operation that is not the current one any more is stale: nothing happens. PendingTimeout is measured from the answer
ERROR_IO_PENDING to the first report, then from report to report; time comes in with the events. DeadlockTimeout, of an
entry point that does not return at all, is measured by the host.

What follows a failure (RestartAction, RestartThreshold, failover) is decided elsewhere: the host tells of each
:class:`StateChanged` to a state shown as Failed of a resource that was to be online.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias, cast

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
from quorate.hosting.resource_state import (
    CallOffline,
    CallOnline,
    CallRecover,
    CallTerminate,
    Effect,
    Machine,
    State,
    StateChanged,
    Step,
)


class UnexpectedEvent(RuntimeError):
    """A bug: an event that the state does not expect."""


# --- The way into each state ---------------------------------------------------------------------------------------


def _become(machine: Machine, state: State, sentence: str, status: Status = Status.ERROR_SUCCESS) -> Step:
    """The single door to another state: what depends on the state begins anew, and earlier operations become stale."""
    after = replace(
        machine,
        state=state,
        operation=machine.operation + 1,
        deadline=None,
        checkpoint=None,
        status=status,
        lacking=ResourceStatus.NORMAL,
        sentence=sentence,
    )
    return Step(after, (StateChanged(machine.state, state, sentence),))


def _with_call(step: Step, call: Callable[[int], Effect], status: Status = Status.ERROR_SUCCESS) -> Step:
    return Step(step.machine, (*step.effects, call(step.machine.operation)), status)


def _become_ending(machine: Machine, sentence: str, status: Status) -> Step:
    return _with_call(_become(machine, State.ENDING, sentence, status), CallTerminate)


def _become_terminating(machine: Machine, sentence: str, status: Status = Status.ERROR_IO_PENDING) -> Step:
    return _with_call(_become(machine, State.TERMINATING, sentence), CallTerminate, status)


def _not_started(machine: Machine, sentence: str, status: Status, lacking: ResourceStatus) -> Step:
    """An online that failed keeps what the node lacked for it."""
    step = _become_ending(machine, sentence, status)
    found = lacking & _LACKING or _LACKED.get(status, ResourceStatus.NORMAL)
    return replace(step, machine=replace(step.machine, lacking=found))


_S: Final = State
_LACKING: Final = (
    ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_CPU
    | ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_MEMORY
    | ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_GENERIC_RESOURCES
)
_NO_ROOM: Final = Status.ERROR_CLUSTER_RESOURCE_VETOED_MOVE_NOT_ENOUGH_RESOURCES_ON_DESTINATION  # the engine's, of a VM
_LACKED: Final[Mapping[Status, ResourceStatus]] = {
    Status.ERROR_NOT_ENOUGH_MEMORY: ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_MEMORY,
    Status.ERROR_OUTOFMEMORY: ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_MEMORY,
    _NO_ROOM: ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_MEMORY,
    Status.ERROR_NO_SYSTEM_RESOURCES: ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_GENERIC_RESOURCES,
    Status.ERROR_RESMON_SYSTEM_RESOURCES_LACKING: ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_GENERIC_RESOURCES,
}
"""What a type's status says about the node when the type says nothing more exact."""


# --- Handlers ------------------------------------------------------------------------------------------------------


def _start(machine: Machine, event: OnlineRequested) -> Step:
    prepared = replace(machine, pending_timeout=event.pending_timeout)
    step = _become(prepared, State.ONLINE_PENDING, "it was asked to go online")
    return _with_call(step, CallOnline, Status.ERROR_IO_PENDING)


def _leave(machine: Machine, event: OfflineRequested) -> Step:
    if event.forced:
        return _become_terminating(machine, "it was asked to go offline by force")
    prepared = replace(machine, pending_timeout=event.pending_timeout)
    step = _become(prepared, State.OFFLINE_PENDING, "it was asked to go offline")
    return _with_call(step, CallOffline, Status.ERROR_IO_PENDING)


def _leave_while_coming(machine: Machine, event: OfflineRequested) -> Step:
    if event.forced:
        return _become_terminating(machine, "it was asked to go offline by force while it came online")
    return Step(machine, status=Status.ERROR_INVALID_STATE)


def _leave_while_leaving(machine: Machine, event: OfflineRequested) -> Step:
    if event.forced:
        return _become_terminating(machine, "it was asked to go offline by force while it went offline")
    return Step(machine, status=Status.ERROR_IO_PENDING)


def _end_first(machine: Machine, event: OfflineRequested) -> Step:
    return _become_terminating(machine, "it had failed, and is ended before it counts as offline")


def _clear_failure(machine: Machine, event: OfflineRequested) -> Step:
    return _become(machine, State.OFFLINE, "it had failed and was asked to go offline")


def _under_way(machine: Machine, event: OnlineRequested | OfflineRequested) -> Step:
    return Step(machine, status=Status.ERROR_IO_PENDING)


def _already(machine: Machine, event: OnlineRequested | OfflineRequested) -> Step:
    return Step(machine)


def _refuse(machine: Machine, event: OnlineRequested) -> Step:
    return Step(machine, status=Status.ERROR_INVALID_STATE)


def _refuse_not_online(machine: Machine, event: FailRequested) -> Step:
    return Step(machine, status=Status.ERROR_RESOURCE_NOT_ONLINE)


def _fail(machine: Machine, event: FailRequested | HealthLost) -> Step:
    return _become_ending(machine, event.sentence, Status.ERROR_RESOURCE_FAILED)


def _online_answered(machine: Machine, event: Answered) -> Step:
    if event.status == Status.ERROR_SUCCESS:
        return _become(machine, State.ONLINE, event.sentence or "it is online")
    if event.status == Status.ERROR_IO_PENDING:
        return Step(replace(machine, deadline=event.at + machine.pending_timeout))
    return _not_started(machine, event.sentence or "it could not go online", event.status, ResourceStatus.NORMAL)


def _offline_answered(machine: Machine, event: Answered) -> Step:
    if event.status == Status.ERROR_SUCCESS:
        return _become(machine, State.OFFLINE, event.sentence or "it is offline")
    if event.status == Status.ERROR_IO_PENDING:
        return Step(replace(machine, deadline=event.at + machine.pending_timeout))
    sentence = event.sentence or "it could not go offline"
    return _become_terminating(machine, f"{sentence}; it is ended by force", Status.ERROR_SUCCESS)


def _progress(machine: Machine, event: Reported) -> Step:
    if event.checkpoint == machine.checkpoint:
        return Step(machine)  # the same report again does not prove that the work goes on
    deadline = event.at + machine.pending_timeout
    sentence = event.sentence or machine.sentence
    return Step(replace(machine, checkpoint=event.checkpoint, deadline=deadline, sentence=sentence))


def _online_reported(machine: Machine, event: Reported) -> Step:
    if event.state == ResourceState.ONLINE:
        return _become(machine, State.ONLINE, event.sentence or "it is online")
    if event.state == ResourceState.ONLINE_PENDING:
        return _progress(machine, event)
    status = Status.ERROR_RESOURCE_FAILED if event.status == Status.ERROR_SUCCESS else event.status
    return _not_started(machine, event.sentence or "it could not go online", status, event.lacking)


def _offline_reported(machine: Machine, event: Reported) -> Step:
    if event.state == ResourceState.OFFLINE:
        return _become(machine, State.OFFLINE, event.sentence or "it is offline")
    if event.state == ResourceState.OFFLINE_PENDING:
        return _progress(machine, event)
    if event.state == ResourceState.ONLINE:
        sentence = event.sentence or "it could not go offline and stays online"
        return _become(machine, State.ONLINE, sentence, Status.ERROR_CLUSTER_RESOURCE_VETOED_CALL)
    sentence = event.sentence or "it could not go offline"
    return _become_terminating(machine, f"{sentence}; it is ended by force", Status.ERROR_SUCCESS)


def _terminated(machine: Machine, event: Terminated) -> Step:
    if event.status == Status.ERROR_SUCCESS:
        return _become(machine, State.OFFLINE, "it was ended by force")
    return _become(machine, State.STUCK, event.sentence or "it could not be ended", event.status)


def _terminated_after_failure(machine: Machine, event: Terminated) -> Step:
    """Only whether something may still run is news: how the latest operation ended, and why, stays as it was."""
    done = event.status == Status.ERROR_SUCCESS
    sentence = machine.sentence if done else f"{machine.sentence}; and it could not be ended: {event.sentence}"
    step = _become(machine, State.FAILED if done else State.STUCK, sentence, machine.status)
    return replace(step, machine=replace(step.machine, lacking=machine.lacking))


def _stopped(machine: Machine, event: Stopped) -> Step:
    if event.failed:
        return _become(machine, State.FAILED, event.sentence, Status.ERROR_RESOURCE_FAILED)
    return _become(machine, State.OFFLINE, event.sentence)


def _stopped_while_coming(machine: Machine, event: Stopped) -> Step:
    return _become_ending(machine, event.sentence, Status.ERROR_RESOURCE_FAILED)


def _recover(machine: Machine, event: MonitorLost) -> Step:
    sentence = f"{event.sentence}; it is asked again whether it works"
    return _with_call(_become(machine, State.RECOVERING, sentence), CallRecover)


def _lose_while_coming(machine: Machine, event: MonitorLost) -> Step:
    return _become_ending(machine, event.sentence, Status.ERROR_RESOURCE_FAILED)


def _lose_while_leaving(machine: Machine, event: MonitorLost) -> Step:
    return _become_terminating(machine, f"{event.sentence}; it is ended by force", Status.ERROR_SUCCESS)


def _recovered(machine: Machine, event: Recovered) -> Step:
    if event.works:
        return _become(machine, State.ONLINE, event.sentence)
    return _become_ending(machine, event.sentence, Status.ERROR_RESOURCE_FAILED)


def _is_overdue(machine: Machine, event: Ticked) -> bool:
    return machine.deadline is not None and event.at >= machine.deadline


def _tick_while_coming(machine: Machine, event: Ticked) -> Step:
    if not _is_overdue(machine, event):
        return Step(machine)
    sentence = f"it did not report for {machine.pending_timeout:g} s while it came online (PendingTimeout)"
    return _become_ending(machine, sentence, Status.ERROR_RESOURCE_CALL_TIMED_OUT)


def _tick_while_leaving(machine: Machine, event: Ticked) -> Step:
    if not _is_overdue(machine, event):
        return Step(machine)
    sentence = f"it did not report for {machine.pending_timeout:g} s while it went offline (PendingTimeout)"
    return _become_terminating(machine, f"{sentence}; it is ended by force", Status.ERROR_SUCCESS)


def _nothing(machine: Machine, event: Event) -> Step:
    """Late news that changes nothing in this state."""
    return Step(machine)


Handler: TypeAlias = Callable[[Machine, Event], Step]


def _of(handler: object) -> Handler:
    """Enter a handler into the table; the table's key guarantees the type of event that it gets."""
    return cast(Handler, handler)


_ROWS: Final[Mapping[type[Event], Mapping[State, object]]] = {
    OnlineRequested: {
        _S.OFFLINE: _start,
        _S.ENDING: _start,
        _S.FAILED: _start,
        _S.STUCK: _start,
        _S.ONLINE_PENDING: _under_way,
        _S.ONLINE: _already,
        _S.RECOVERING: _already,
        _S.OFFLINE_PENDING: _refuse,
        _S.TERMINATING: _refuse,
    },
    OfflineRequested: {
        _S.OFFLINE: _already,
        _S.ENDING: _end_first,
        _S.FAILED: _clear_failure,
        _S.STUCK: _end_first,
        _S.ONLINE_PENDING: _leave_while_coming,
        _S.ONLINE: _leave,
        _S.RECOVERING: _leave,
        _S.OFFLINE_PENDING: _leave_while_leaving,
        _S.TERMINATING: _under_way,
    },
    FailRequested: dict.fromkeys(State, _refuse_not_online) | {_S.ONLINE: _fail, _S.RECOVERING: _fail},
    Answered: {_S.ONLINE_PENDING: _online_answered, _S.OFFLINE_PENDING: _offline_answered},
    Reported: {_S.ONLINE_PENDING: _online_reported, _S.OFFLINE_PENDING: _offline_reported},
    Terminated: {_S.TERMINATING: _terminated, _S.ENDING: _terminated_after_failure},
    Recovered: {_S.RECOVERING: _recovered},
    HealthLost: dict.fromkeys(State, _nothing) | {_S.ONLINE: _fail, _S.RECOVERING: _fail, _S.ONLINE_PENDING: _fail},
    Stopped: dict.fromkeys(State, _nothing)
    | {_S.ONLINE: _stopped, _S.RECOVERING: _stopped, _S.ONLINE_PENDING: _stopped_while_coming},
    # A call that is under way in TERMINATING, ENDING and RECOVERING ends with an error of its own.
    MonitorLost: dict.fromkeys(State, _nothing)
    | {_S.ONLINE: _recover, _S.ONLINE_PENDING: _lose_while_coming, _S.OFFLINE_PENDING: _lose_while_leaving},
    Ticked: dict.fromkeys(State, _nothing)
    | {_S.ONLINE_PENDING: _tick_while_coming, _S.OFFLINE_PENDING: _tick_while_leaving},
}

TRANSITIONS: Final[Mapping[tuple[State, type[Event]], Handler]] = {
    (state, event): _of(handler) for event, row in _ROWS.items() for state, handler in row.items()
}
"""What each state does with each event; a pair that is missing here is a bug when it happens."""


def step(machine: Machine, event: Event) -> Step:
    """Let an event happen. Raises :class:`UnexpectedEvent` for one that can only come of a bug."""
    if isinstance(event, Answered | Reported | Terminated | Recovered):
        if event.operation < machine.operation:
            return Step(machine)  # stale
        if event.operation > machine.operation:
            raise UnexpectedEvent(f"{event} answers an operation that never began; the latest is {machine.operation}")
    handler = TRANSITIONS.get((machine.state, type(event)))
    if handler is None:
        raise UnexpectedEvent(f"{event} in state {machine.state.name}")
    return handler(machine, event)
