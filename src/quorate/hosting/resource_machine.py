"""The state machine of one hosted resource: pure, ``step(machine, event) -> Step``.

::

               OnlineRequested                 answer 0, or report Online
    Offline ───────────────────▶ OnlinePending ─────────────────────────▶ Online
       ▲                          │   ▲                                   │ │ │
       │    error, time-out,      │   │ OnlineRequested                   │ │ │ OfflineRequested
       │    report Failed, health ▼   │                                   │ │ ▼
       │                         Failed ◀────────── health, Fail ─────────┘ │ OfflinePending ──▶ Online
       │                          │                                         │   │   │   (report Online: it stayed)
       │◀──── OfflineRequested ───┘                            forced       │   │   │ time-out, error, forced
       │                                                       ┌────────────┘   │   ▼
       │◀────────────────────────────────── Terminating ◀──────┴────────────────┼─ terminate is called
       │                                    (shown as OfflinePending)           │
       └◀──────────────────────────────────────────────── answer 0, report Offline

    MonitorLost leads from everywhere but Offline to Failed; every other way into Failed calls terminate.

Each call of an entry point is an *operation* with a number; what comes back carries the number, and the answer to an
operation that is not the current one any more is stale: nothing happens. PendingTimeout is measured from the answer
ERROR_IO_PENDING to the first report, then from report to report; time comes in with the events. DeadlockTimeout, of an
entry point that does not return at all, is measured by the host.

What follows a failure (RestartAction, RestartThreshold, failover) hooks in at :class:`StateChanged` to ``FAILED``: a
policy of its own sends OnlineRequested again; until it exists a failed resource stays failed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias, cast

from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.resource_events import (
    Answered,
    Event,
    FailRequested,
    HealthLost,
    MonitorLost,
    OfflineRequested,
    OnlineRequested,
    Reported,
    Stopped,
    Terminated,
    Ticked,
)


class State(Enum):
    """Where a hosted resource stands."""

    OFFLINE = ResourceState.OFFLINE, 1  # nothing runs
    ONLINE_PENDING = ResourceState.ONLINE_PENDING, 2  # online was called and has not come to an end
    ONLINE = ResourceState.ONLINE, 3  # it runs
    OFFLINE_PENDING = ResourceState.OFFLINE_PENDING, 4  # offline was called and has not come to an end
    TERMINATING = ResourceState.OFFLINE_PENDING, 5  # going offline by force: terminate was called
    FAILED = ResourceState.FAILED, 6  # it broke; terminate was called where there was somebody to call

    @property
    def shown(self) -> ResourceState:
        """The state that the cluster shows."""
        return self.value[0]


@dataclass(frozen=True, slots=True)
class Machine:
    """One resource's state with all that depends on it."""

    state: State = State.OFFLINE
    operation: int = 0  # number of the latest call
    deadline: float | None = None  # when PendingTimeout will be over
    pending_timeout: float = 180.0
    checkpoint: int | None = None  # of the latest report that counted
    status: Status = Status.ERROR_SUCCESS  # how the latest operation ended
    sentence: str = "it has not been brought online on this node"


# --- Effects -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallOnline:
    """Call entry point online and send :class:`Answered`."""

    operation: int


@dataclass(frozen=True, slots=True)
class CallOffline:
    """Call entry point offline and send :class:`Answered`."""

    operation: int


@dataclass(frozen=True, slots=True)
class CallTerminate:
    """Call entry point terminate, whatever else runs, and send :class:`Terminated`."""

    operation: int


@dataclass(frozen=True, slots=True)
class StateChanged:
    """Tell everybody; ``sentence`` says why."""

    old: State
    new: State
    sentence: str


Effect: TypeAlias = CallOnline | CallOffline | CallTerminate | StateChanged


@dataclass(frozen=True, slots=True)
class Step:
    """The machine after an event, what is to be done, and the answer to a request."""

    machine: Machine
    effects: tuple[Effect, ...] = ()
    status: Status = Status.ERROR_SUCCESS


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
        sentence=sentence,
    )
    return Step(after, (StateChanged(machine.state, state, sentence),))


def _with_call(step: Step, call: Callable[[int], Effect], status: Status = Status.ERROR_SUCCESS) -> Step:
    return Step(step.machine, (*step.effects, call(step.machine.operation)), status)


def _become_failed(machine: Machine, sentence: str, status: Status) -> Step:
    return _with_call(_become(machine, State.FAILED, sentence, status), CallTerminate)


def _become_terminating(machine: Machine, sentence: str, status: Status = Status.ERROR_IO_PENDING) -> Step:
    return _with_call(_become(machine, State.TERMINATING, sentence), CallTerminate, status)


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
    return _become_failed(machine, event.sentence, Status.ERROR_RESOURCE_FAILED)


def _online_answered(machine: Machine, event: Answered) -> Step:
    if event.status == Status.ERROR_SUCCESS:
        return _become(machine, State.ONLINE, event.sentence or "it is online")
    if event.status == Status.ERROR_IO_PENDING:
        return Step(replace(machine, deadline=event.at + machine.pending_timeout))
    return _become_failed(machine, event.sentence or "it could not go online", event.status)


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
    return _become_failed(machine, event.sentence or "it could not go online", Status.ERROR_RESOURCE_FAILED)


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
    return _become(machine, State.FAILED, event.sentence or "it could not be ended", event.status)


def _terminated_after_failure(machine: Machine, event: Terminated) -> Step:
    if event.status == Status.ERROR_SUCCESS:
        return Step(machine)
    return Step(replace(machine, sentence=f"{machine.sentence}; and it could not be ended: {event.sentence}"))


def _stopped(machine: Machine, event: Stopped) -> Step:
    if event.failed:
        return _become(machine, State.FAILED, event.sentence, Status.ERROR_RESOURCE_FAILED)
    return _become(machine, State.OFFLINE, event.sentence)


def _stopped_while_coming(machine: Machine, event: Stopped) -> Step:
    return _become_failed(machine, event.sentence, Status.ERROR_RESOURCE_FAILED)


def _lose(machine: Machine, event: MonitorLost) -> Step:
    return _become(machine, State.FAILED, event.sentence, Status.ERROR_RESOURCE_FAILED)


def _is_overdue(machine: Machine, event: Ticked) -> bool:
    return machine.deadline is not None and event.at >= machine.deadline


def _tick_while_coming(machine: Machine, event: Ticked) -> Step:
    if not _is_overdue(machine, event):
        return Step(machine)
    sentence = f"it did not report for {machine.pending_timeout:g} s while it came online (PendingTimeout)"
    return _become_failed(machine, sentence, Status.ERROR_RESOURCE_CALL_TIMED_OUT)


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


_S: Final = State

_ROWS: Final[Mapping[type[Event], Mapping[State, object]]] = {
    OnlineRequested: {
        _S.OFFLINE: _start,
        _S.FAILED: _start,
        _S.ONLINE_PENDING: _under_way,
        _S.ONLINE: _already,
        _S.OFFLINE_PENDING: _refuse,
        _S.TERMINATING: _refuse,
    },
    OfflineRequested: {
        _S.OFFLINE: _already,
        _S.FAILED: _clear_failure,
        _S.ONLINE_PENDING: _leave_while_coming,
        _S.ONLINE: _leave,
        _S.OFFLINE_PENDING: _leave_while_leaving,
        _S.TERMINATING: _under_way,
    },
    FailRequested: dict.fromkeys(State, _refuse_not_online) | {_S.ONLINE: _fail},
    Answered: {_S.ONLINE_PENDING: _online_answered, _S.OFFLINE_PENDING: _offline_answered},
    Reported: {_S.ONLINE_PENDING: _online_reported, _S.OFFLINE_PENDING: _offline_reported},
    Terminated: {_S.TERMINATING: _terminated, _S.FAILED: _terminated_after_failure},
    HealthLost: dict.fromkeys(State, _nothing) | {_S.ONLINE: _fail, _S.ONLINE_PENDING: _fail},
    Stopped: dict.fromkeys(State, _nothing) | {_S.ONLINE: _stopped, _S.ONLINE_PENDING: _stopped_while_coming},
    MonitorLost: dict.fromkeys(State, _lose) | {_S.OFFLINE: _nothing, _S.FAILED: _nothing},
    Ticked: dict.fromkeys(State, _nothing)
    | {_S.ONLINE_PENDING: _tick_while_coming, _S.OFFLINE_PENDING: _tick_while_leaving},
}

TRANSITIONS: Final[Mapping[tuple[State, type[Event]], Handler]] = {
    (state, event): _of(handler) for event, row in _ROWS.items() for state, handler in row.items()
}
"""What each state does with each event; a pair that is missing here is a bug when it happens."""


def step(machine: Machine, event: Event) -> Step:
    """Let an event happen. Raises :class:`UnexpectedEvent` for one that can only come of a bug."""
    if isinstance(event, Answered | Reported | Terminated):
        if event.operation < machine.operation:
            return Step(machine)  # stale
        if event.operation > machine.operation:
            raise UnexpectedEvent(f"{event} answers an operation that never began; the latest is {machine.operation}")
    handler = TRANSITIONS.get((machine.state, type(event)))
    if handler is None:
        raise UnexpectedEvent(f"{event} in state {machine.state.name}")
    return handler(machine, event)
