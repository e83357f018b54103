"""What the destination's side of a migration hears, and what it asks its hands to do."""

from dataclasses import dataclass
from typing import TypeAlias

from quorate.migration.outgoing_events import RecordSeen, Tell, Tick, Trouble, WakeAfter
from quorate.migration.ownership import CasAnswered, CasRefused, CasUnanswered, OwnershipRecord

# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launched:
    """The QEMU that waits for the guest listens."""

    uri: str


@dataclass(frozen=True, slots=True)
class LaunchFailed(Trouble):
    """It could not be started."""


@dataclass(frozen=True, slots=True)
class LoadCompleted:
    """The destination's QEMU says that the whole guest has arrived."""


@dataclass(frozen=True, slots=True)
class SwitchedOver:
    """The destination's QEMU is in post-copy: it has all that it takes to run the guest, but for pages."""


@dataclass(frozen=True, slots=True)
class PagesFlow:
    """The broken connection of a post-copy was replaced."""


@dataclass(frozen=True, slots=True)
class PagesStopped(Trouble):
    """The connection of a post-copy broke: QEMU keeps what it has, and the guest stands at the first missing page."""


@dataclass(frozen=True, slots=True)
class PagesPaused(Trouble):
    """The source says that it has given the connection up."""


@dataclass(frozen=True, slots=True)
class ListensAgain:
    """The destination's QEMU waits for the rest of the pages at this address."""

    uri: str


@dataclass(frozen=True, slots=True)
class LoadFailed(Trouble):
    """The destination's QEMU says that the guest did not arrive, or did not load."""


@dataclass(frozen=True, slots=True)
class ImageExited(Trouble):
    """The destination's QEMU is gone, not by our hand."""


@dataclass(frozen=True, slots=True)
class ImageEnded:
    """The QEMU that we ended is gone."""


@dataclass(frozen=True, slots=True)
class Yours:
    """The source says that the guest is ours, by the record of this epoch and revision."""

    record: OwnershipRecord


@dataclass(frozen=True, slots=True)
class Abandoned(Trouble):
    """The source says that the session is over."""


@dataclass(frozen=True, slots=True)
class SessionAlive:
    """The source answered: it still works on this session."""


@dataclass(frozen=True, slots=True)
class SessionDead:
    """The source answered: it does not know this session any more, or has nothing left of the guest."""


@dataclass(frozen=True, slots=True)
class SourceSilent:
    """The source did not answer."""


@dataclass(frozen=True, slots=True)
class LeaseLapsed(Trouble):
    """The node's lease ran out since the session began: being told no longer suffices (R2, R6)."""


@dataclass(frozen=True, slots=True)
class ContNoted:
    """The journal has it that `cont` may be out."""


@dataclass(frozen=True, slots=True)
class NoteFailed(Trouble):
    """The journal could not be written."""


@dataclass(frozen=True, slots=True)
class ContDone:
    """Our `cont` was answered: the guest runs here."""


@dataclass(frozen=True, slots=True)
class ContFailed(Trouble):
    """Our `cont` was refused, or had no answer."""


Event: TypeAlias = (
    Tick
    | Launched
    | LaunchFailed
    | LoadCompleted
    | LoadFailed
    | SwitchedOver
    | PagesFlow
    | PagesStopped
    | PagesPaused
    | ListensAgain
    | ImageExited
    | ImageEnded
    | Yours
    | Abandoned
    | SessionAlive
    | SessionDead
    | SourceSilent
    | RecordSeen
    | LeaseLapsed
    | ContNoted
    | NoteFailed
    | ContDone
    | ContFailed
    | CasAnswered
    | CasRefused
    | CasUnanswered
)
EVENTS: tuple[type, ...] = Event.__args__


# --- effects (besides SendCas, WakeAfter, Tell) --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a QEMU that waits for the guest, and answer the source."""


@dataclass(frozen=True, slots=True)
class TellPrepared:
    """Tell the source where to send to."""

    uri: str


@dataclass(frozen=True, slots=True)
class TellFailed:
    """Tell the source that this image is no good."""

    sentence: str


@dataclass(frozen=True, slots=True)
class AskSession:
    """Ask the source whether the session lives (R11)."""


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """Read the ownership record; it comes back as `RecordSeen`."""


@dataclass(frozen=True, slots=True)
class NoteCont:
    """Write into the journal that `cont` may be out."""


@dataclass(frozen=True, slots=True)
class Cont:
    """Tell QEMU to run the vCPUs. Only emitted with the right to run (R1, R6)."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Let the network learn where the guest is now."""


@dataclass(frozen=True, slots=True)
class TakeOn:
    """Have the virtual machine as one of this node's, though pages of it are missing."""


@dataclass(frozen=True, slots=True)
class ListenAgain:
    """Tell QEMU to give the broken connection up and to wait at a new address; `ListensAgain` tells where."""


@dataclass(frozen=True, slots=True)
class TellRecover:
    """Tell the source where the rest of the pages is waited for."""

    uri: str


@dataclass(frozen=True, slots=True)
class EndImage:
    """End the QEMU of this session, and remove what it left."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The session is over."""

    outcome: str
    sentence: str


__all__ = ["EVENTS", "Event", "RecordSeen", "Tell", "Tick", "Trouble", "WakeAfter"]
