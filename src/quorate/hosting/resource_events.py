"""What can happen to a hosted resource: the events of :mod:`quorate.hosting.resource_machine`.

Times are seconds of the host's clock; they come in as values, since the machine has no clock.
"""

from dataclasses import dataclass
from typing import TypeAlias

from quorate.clusapi.states import ResourceState, ResourceStatus
from quorate.clusapi.status import Status


@dataclass(frozen=True, slots=True)
class OnlineRequested:
    """Somebody wants it online."""

    pending_timeout: float


@dataclass(frozen=True, slots=True)
class OfflineRequested:
    """Somebody wants it offline; ``forced``: by terminate, at once."""

    pending_timeout: float
    forced: bool = False


@dataclass(frozen=True, slots=True)
class FailRequested:
    """Somebody wants it to count as failed (FailClusterResource)."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Entry point online or offline returned or raised."""

    operation: int
    at: float
    status: Status
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    """The work that a pending operation left behind reported."""

    operation: int
    at: float
    state: ResourceState
    checkpoint: int
    sentence: str = ""
    status: Status = Status.ERROR_SUCCESS  # of a FAILED: why, where the type knows
    lacking: ResourceStatus = ResourceStatus.NORMAL  # of a FAILED: what the node has too little of


@dataclass(frozen=True, slots=True)
class Terminated:
    """Entry point terminate returned or raised."""

    operation: int
    status: Status = Status.ERROR_SUCCESS
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class HealthLost:
    """It was found dead: by polling, or by the type's own notice."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """It stopped in order, but not by our doing; ``failed``: which its type counts as a failure."""

    failed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class MonitorLost:
    """The monitor process that held it is gone."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """It was asked in another monitor whether it works."""

    operation: int
    works: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""

    at: float


Event: TypeAlias = (
    OnlineRequested
    | OfflineRequested
    | FailRequested
    | Answered
    | Reported
    | Terminated
    | HealthLost
    | Stopped
    | MonitorLost
    | Recovered
    | Ticked
)
