"""What happens to a simulated world from outside: the commands of people, and faults. Durations are seconds.

Objects go by their names. A fault ends by itself after its time; None means that it stays until the world is healed.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

# --- when ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class At:
    """At a moment of true time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class On:
    """When a migration of a virtual machine enters a phase (`Phase.value` of the brain of that side)."""

    vm: str
    phase: str
    side: Literal["source", "destination"] = "source"
    after: float = 0.0
    """So many seconds later."""
    nth: int = 1
    """The phase is entered for the so-manieth time."""


When: TypeAlias = At | On

# --- commands ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Bring a virtual machine online."""

    vm: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Take a virtual machine offline."""

    vm: str
    how: Literal["save", "shut down", "turn off"] = "shut down"


@dataclass(frozen=True, slots=True)
class Migrate:
    """Move a running virtual machine live."""

    vm: str
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel a live migration."""

    vm: str


@dataclass(frozen=True, slots=True)
class Move:
    """Move a group, taking it offline if it must be."""

    vm: str
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Let a node take nothing new."""

    node: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Pause a node and empty it."""

    node: str
    to: str | None = None
    remain: bool = True
    """What cannot move gracefully stays."""
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """End a pause."""

    node: str
    failback: Literal["none", "immediate", "policy"] = "none"


@dataclass(frozen=True, slots=True)
class ConfirmOff:
    """A person says of a machine that is off that it is off."""

    node: str


@dataclass(frozen=True, slots=True)
class Evict:
    """Take a node out of the cluster."""

    node: str


@dataclass(frozen=True, slots=True)
class Admit:
    """Have a new machine join under the name of one that was evicted; that one is switched off."""

    node: str


@dataclass(frozen=True, slots=True)
class SetCluster:
    """Set a property of the cluster."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class SetGroup:
    """Set a property of a virtual machine's group."""

    vm: str
    name: str
    value: int


Command: TypeAlias = (
    Start | Stop | Migrate | Cancel | Move | Pause | Drain | Resume | ConfirmOff | Evict | Admit | SetCluster | SetGroup
)

# --- faults --------------------------------------------------------------------------------------------------------

Network: TypeAlias = Literal["cluster", "storage", "migration", "all"]
DatabaseMode: TypeAlias = Literal["lost", "silent", "mute", "slow", "deaf"]


@dataclass(frozen=True, slots=True)
class KillDaemon:
    """SIGKILL to a node's daemon; it is started again."""

    node: str
    seconds: float | None = 1.0


@dataclass(frozen=True, slots=True)
class PauseDaemon:
    """SIGSTOP to a node's daemon, SIGCONT later."""

    node: str
    seconds: float | None = 5.0


@dataclass(frozen=True, slots=True)
class KillGuard:
    """SIGKILL to a node's guard; its daemon, or systemd, starts it again."""

    node: str


@dataclass(frozen=True, slots=True)
class PowerOff:
    """A machine loses its power."""

    node: str
    seconds: float | None = 30.0
    """None: it stays off, also when the world is healed."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """A whole host sleeps: nothing on it goes on, its CLOCK_BOOTTIME does."""

    node: str
    seconds: float | None = 10.0


@dataclass(frozen=True, slots=True)
class Database:
    """Something is between nodes and the database.

    lost: nothing arrives. silent: it is lost, or lands late. mute: it lands, and nobody hears of it. slow: it takes its
    time. deaf: everything works but the watch.
    """

    mode: DatabaseMode
    nodes: tuple[str, ...] = ()
    """None named: all of them, as when the database has lost its quorum."""
    seconds: float | None = 10.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A network is cut between one node and another, or all others (in the storage network: the database)."""

    network: Network
    node: str
    other: str | None = None
    one_way: bool = False
    """Only what `node` sends is lost."""
    seconds: float | None = 10.0


@dataclass(frozen=True, slots=True)
class Foul:
    """Messages between nodes are lost, doubled, late and out of order."""

    loss: float = 0.1
    duplication: float = 0.0
    delay: float = 0.0
    """Seconds at most."""
    seconds: float | None = 10.0


@dataclass(frozen=True, slots=True)
class KillQemu:
    """The QEMUs of a virtual machine end, on one node or wherever there is one."""

    vm: str
    node: str | None = None


@dataclass(frozen=True, slots=True)
class FreezeQemu:
    """The QEMUs of a virtual machine answer nothing and copy nothing; what its guest does is not touched."""

    vm: str
    node: str | None = None
    seconds: float | None = 5.0


@dataclass(frozen=True, slots=True)
class FailLaunch:
    """The next QEMUs that a node starts do not start."""

    node: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class FailLoad:
    """The next image of a virtual machine that arrives cannot be loaded."""

    vm: str


@dataclass(frozen=True, slots=True)
class FullDisk:
    """A node's journals and saved images cannot be written."""

    node: str
    seconds: float | None = 5.0


@dataclass(frozen=True, slots=True)
class Dirty:
    """A guest writes faster or slower from now on."""

    vm: str
    rate: float


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A node's link in the migration network carries less, or more."""

    node: str
    rate: float
    seconds: float | None = 10.0


@dataclass(frozen=True, slots=True)
class Drift:
    """A node's clock goes faster or slower from now on, in parts per million; its wall clock jumps too."""

    node: str
    ppm: float


Fault: TypeAlias = (
    KillDaemon
    | PauseDaemon
    | KillGuard
    | PowerOff
    | Suspend
    | Database
    | Cut
    | Foul
    | KillQemu
    | FreezeQemu
    | FailLaunch
    | FailLoad
    | FullDisk
    | Dirty
    | Bandwidth
    | Drift
)

Action: TypeAlias = Command | Fault
COMMANDS: tuple[type, ...] = Command.__args__
FAULTS: tuple[type, ...] = Fault.__args__


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens, and when."""

    when: When
    action: Action
