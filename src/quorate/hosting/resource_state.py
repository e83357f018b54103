"""The states of a hosted resource, and what its machine (:mod:`quorate.hosting.resource_machine`) asks to be done."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from quorate.clusapi.states import ResourceState, ResourceStatus
from quorate.clusapi.status import Status


class State(Enum):
    """Where a hosted resource stands."""

    OFFLINE = ResourceState.OFFLINE, 1  # nothing runs
    ONLINE_PENDING = ResourceState.ONLINE_PENDING, 2  # online was called and has not come to an end
    ONLINE = ResourceState.ONLINE, 3  # it runs
    RECOVERING = ResourceState.ONLINE, 4  # it ran; its monitor process is gone, and another is asked about it
    OFFLINE_PENDING = ResourceState.OFFLINE_PENDING, 5  # offline was called and has not come to an end
    TERMINATING = ResourceState.OFFLINE_PENDING, 6  # going offline by force: terminate was called
    ENDING = ResourceState.FAILED, 7  # it broke, and terminate was called
    FAILED = ResourceState.FAILED, 8  # it broke, and nothing of it runs
    STUCK = ResourceState.FAILED, 9  # it broke, and something of it may run

    @property
    def shown(self) -> ResourceState:
        """The state that the cluster shows."""
        return self.value[0]

    @property
    def may_run(self) -> bool:
        """Answer whether something of the resource may run."""
        return self not in (State.OFFLINE, State.FAILED)


_TO_BE_ONLINE: Final = frozenset({State.ONLINE_PENDING, State.ONLINE, State.RECOVERING})


@dataclass(frozen=True, slots=True)
class Machine:
    """One resource's state with all that depends on it."""

    state: State = State.OFFLINE
    operation: int = 0  # number of the latest call
    deadline: float | None = None  # when PendingTimeout will be over
    pending_timeout: float = 180.0
    checkpoint: int | None = None  # of the latest report that counted
    status: Status = Status.ERROR_SUCCESS  # how the latest operation ended
    lacking: ResourceStatus = ResourceStatus.NORMAL  # what the node had too little of, when it could not start
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
class CallRecover:
    """Open it in another monitor, call entry point is_alive there, and send :class:`Recovered`."""

    operation: int


@dataclass(frozen=True, slots=True)
class StateChanged:
    """Tell everybody; ``sentence`` says why."""

    old: State
    new: State
    sentence: str

    @property
    def is_failure(self) -> bool:
        """Answer whether a resource that was to be online has failed: what the restart policy is asked about."""
        return self.old in _TO_BE_ONLINE and self.new.shown == ResourceState.FAILED


Effect: TypeAlias = CallOnline | CallOffline | CallTerminate | CallRecover | StateChanged


@dataclass(frozen=True, slots=True)
class Step:
    """The machine after an event, what is to be done, and the answer to a request."""

    machine: Machine
    effects: tuple[Effect, ...] = ()
    status: Status = Status.ERROR_SUCCESS


_FROM_SHOWN: Final[Mapping[ResourceState, State]] = {
    ResourceState.ONLINE: State.ONLINE,
    ResourceState.OFFLINE: State.OFFLINE,
    ResourceState.FAILED: State.STUCK,  # nobody knows any more whether it was ended
}


def initial_machine(state: ResourceState) -> Machine:
    """The machine of a resource that is taken on in the state in which it was left; on its way, it has failed."""
    known = _FROM_SHOWN.get(state)
    if known is not None:
        return Machine(known, sentence=f"it was {state.name.lower()} when this node took it over")
    sentence = (
        f"it was {state.name.lower().replace('_', ' ')} when the node's service ended; nobody knows how that ended"
    )
    return Machine(State.STUCK, status=Status.ERROR_RESOURCE_FAILED, sentence=sentence)
