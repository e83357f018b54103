"""What the source's side of a migration hears, and what it asks its hands to do."""

from dataclasses import dataclass
from typing import TypeAlias

from quorate.migration.convergence import Sample
from quorate.migration.ownership import CasAnswered, CasRefused, CasUnanswered, OwnershipRecord

# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trouble:
    """The root of the events that say why something cannot go on."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A pause asked for with `WakeAfter` is over."""


@dataclass(frozen=True, slots=True)
class PlaceFree:
    """The queue lets this migration begin."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The destination's QEMU listens."""

    uri: str


@dataclass(frozen=True, slots=True)
class PrepareRefused(Trouble):
    """The destination cannot take the guest."""


@dataclass(frozen=True, slots=True)
class DestinationAlive:
    """The destination's daemon answered."""


@dataclass(frozen=True, slots=True)
class DestinationFailed(Trouble):
    """The destination's daemon says that its image of this session is no good, or is itself out of reach."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """QEMU's figures of the running transfer."""

    sample: Sample


@dataclass(frozen=True, slots=True)
class TransferCompleted:
    """The source's QEMU says that everything is across."""


@dataclass(frozen=True, slots=True)
class TransferFailed(Trouble):
    """The source's QEMU says that the transfer failed."""


@dataclass(frozen=True, slots=True)
class TransferCancelled(Trouble):
    """The source's QEMU says that the transfer was cancelled."""


@dataclass(frozen=True, slots=True)
class ReadyToSwitch:
    """The source's QEMU stands before the switch to post-copy: it waits for our word, and can still go back."""


@dataclass(frozen=True, slots=True)
class PagesFlow:
    """The source's QEMU has switched to post-copy, or goes on with it: it can never run the guest again."""


@dataclass(frozen=True, slots=True)
class PagesStopped(Trouble):
    """The connection of a post-copy broke: the source's QEMU keeps what it has."""


@dataclass(frozen=True, slots=True)
class Recover:
    """The destination's QEMU waits at this address for the rest of the pages."""

    uri: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Our `stop` was answered: no vCPU runs here."""


@dataclass(frozen=True, slots=True)
class StopFailed(Trouble):
    """Our `stop` was refused."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Our `cont` was answered."""


@dataclass(frozen=True, slots=True)
class ResumeFailed(Trouble):
    """Our `cont` was refused, or had no answer."""


@dataclass(frozen=True, slots=True)
class ImageEnded:
    """The QEMU that we ended is gone."""


@dataclass(frozen=True, slots=True)
class SourceExited(Trouble):
    """The source's QEMU is gone, not by our hand."""


@dataclass(frozen=True, slots=True)
class SourceMute(Trouble):
    """The source's QEMU has not answered for two seconds."""


@dataclass(frozen=True, slots=True)
class SourceSpeaking:
    """It answers again."""


@dataclass(frozen=True, slots=True)
class GuestNotRunning(Trouble):
    """The guest shut down, panicked or was paused, not by our hand."""


@dataclass(frozen=True, slots=True)
class LeaseLapsed(Trouble):
    """The node's lease ran out; whatever comes now comes under another incarnation (R2)."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A person or program cancels; only sent while the contract allows it."""


@dataclass(frozen=True, slots=True)
class RecordSeen:
    """The ownership record as the database shows it now."""

    record: OwnershipRecord


@dataclass(frozen=True, slots=True)
class YoursNoted:
    """The journal has it that `yours` may be out."""


@dataclass(frozen=True, slots=True)
class TakeBackNoted:
    """The journal has it that the gift is taken back."""


@dataclass(frozen=True, slots=True)
class NoteFailed(Trouble):
    """The journal could not be written."""


Event: TypeAlias = (
    Tick
    | PlaceFree
    | Prepared
    | PrepareRefused
    | DestinationAlive
    | DestinationFailed
    | Sampled
    | TransferCompleted
    | TransferFailed
    | TransferCancelled
    | ReadyToSwitch
    | PagesFlow
    | PagesStopped
    | Recover
    | Stopped
    | StopFailed
    | Resumed
    | ResumeFailed
    | ImageEnded
    | SourceExited
    | SourceMute
    | SourceSpeaking
    | GuestNotRunning
    | LeaseLapsed
    | CancelRequested
    | RecordSeen
    | YoursNoted
    | TakeBackNoted
    | NoteFailed
    | CasAnswered
    | CasRefused
    | CasUnanswered
)
EVENTS: tuple[type, ...] = Event.__args__


# --- effects -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoteBegun:
    """Write into the journal that this session exists."""


@dataclass(frozen=True, slots=True)
class AskPrepare:
    """Ask the destination to start a QEMU that waits for the guest; `DestinationAlive` while it works on it."""


@dataclass(frozen=True, slots=True)
class StartTransfer:
    """Tell the source's QEMU to send to this address."""

    uri: str


@dataclass(frozen=True, slots=True)
class SampleAfter:
    """Look at the transfer after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Throttle:
    """Tell the source's QEMU to hold the processors back by so many percent, until the transfer ends."""

    percent: int


@dataclass(frozen=True, slots=True)
class CancelTransfer:
    """Tell the source's QEMU to give the transfer up."""


@dataclass(frozen=True, slots=True)
class StopGuest:
    """Tell the source's QEMU to stop the vCPUs, and if so to stand before the switch to post-copy then."""

    post_copy: bool = False


@dataclass(frozen=True, slots=True)
class EnterPostCopy:
    """Give the source's QEMU the word to switch to post-copy. It can never run the guest again."""


@dataclass(frozen=True, slots=True)
class PausePages:
    """Tell the source's QEMU to give up the connection that pages should go over."""


@dataclass(frozen=True, slots=True)
class TellPagesPaused:
    """Tell the destination that the connection is given up, so that it waits at a new address."""


@dataclass(frozen=True, slots=True)
class ResumePages:
    """Tell the source's QEMU to go on with its post-copy at this address, whatever it does at the moment."""

    uri: str


@dataclass(frozen=True, slots=True)
class AskDestination:
    """Ask the destination for this session; `DestinationFailed` if it surely has nothing left of it."""


@dataclass(frozen=True, slots=True)
class ResumeGuest:
    """Tell the source's QEMU to run the vCPUs. Only emitted with the right to run (R1)."""


@dataclass(frozen=True, slots=True)
class NoteYours:
    """Write into the journal that `yours` may be out, for this record."""

    record: OwnershipRecord


@dataclass(frozen=True, slots=True)
class NoteTakeBack:
    """Write into the journal that the gift is taken back."""

    record: OwnershipRecord


@dataclass(frozen=True, slots=True)
class SendYours:
    """Tell the destination that the guest is its own, by the record of this epoch and revision."""

    epoch: int
    revision: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Tell the destination that the session is over, until it has heard it."""


@dataclass(frozen=True, slots=True)
class EndImage:
    """End the QEMU here: the VM lives elsewhere."""


@dataclass(frozen=True, slots=True)
class WakeAfter:
    """Send a `Tick` after so many seconds, in place of any that was asked for before."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell people what is going on."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The session is over."""

    outcome: str
    sentence: str
