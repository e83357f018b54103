"""What a restarted daemon makes of the migrations that its journal knows.

The journal says how far a session had come, the record says who owns, and QEMU says what is left of the image. Nothing
is taken from memory, as there is none; every right to run begins with a write of ownership (R1).
"""

from dataclasses import dataclass
from enum import Enum

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.clusapi.machine import Step
from quorate.migration import incoming
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.incoming import Incoming, Right
from quorate.migration.outgoing import PAGES_PAUSE, Image, Outcome, Outgoing, Phase, Transfer
from quorate.migration.ownership import Cas, CasKind, OwnershipRecord, SendCas


class Noted(Enum):
    """How far the journal says that a source had come."""

    BEGUN = "begun"
    YOURS = "yours"
    TAKE_BACK = "take back"


class Found(Enum):
    """What is left of the source's QEMU."""

    RUNNING = "running"
    PAUSED = "paused"
    READY = "ready"
    """It stands before the switch to post-copy, and can still go back."""
    SERVING = "serving"
    """It is in post-copy: it may have the only copy of a page, and can never run the guest again."""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class OutgoingJournal:
    """The source's note of one session. Kept in the node's run directory: it need not outlive the machine."""

    session: SessionId
    me: NodeId
    destination: NodeId
    image: ImageId
    destination_image: ImageId
    noted: Noted


RESTARTED = "the daemon of the source node was restarted during the migration"


def recover_outgoing(journal: OutgoingJournal, record: OwnershipRecord, found: Found, now: float) -> Step[Outgoing]:
    """Give the session as a restarted source goes on with it: its state, and what to do first."""
    state = Outgoing(
        session=journal.session,
        me=journal.me,
        destination=journal.destination,
        image=journal.image,
        destination_image=journal.destination_image,
        record=record,
        since=now,
        transfer=Transfer.SWITCHED if found is Found.SERVING else Transfer.BROKEN,
        image_state=Image.GONE if found is Found.GONE else Image.ALIVE,
        reason=RESTARTED,
    )
    if record.holder == journal.me and record.image == journal.image:
        return _recover_own(state, found)
    if record.is_gift_of(journal.me, journal.image):
        step = _recover_gift(state, journal.noted, found)
        # Whatever let it run, it must not: it may run again when the record names it again.
        return Step(step.state, (e.StopGuest(), *step.effects)) if found is Found.RUNNING else step
    moved = record.holder == journal.destination and record.image == journal.destination_image
    if moved and found is Found.SERVING:
        serving = replace(state, phase=Phase.SERVING, reason="")
        return Step(serving, (e.AskDestination(), e.WakeAfter(PAGES_PAUSE)))
    done = replace(state, phase=Phase.ENDING_IMAGE, reason="" if moved else RESTARTED)
    return Step(done, (e.EndImage(), e.WakeAfter(1.0)))


def _recover_own(state: Outgoing, found: Found) -> Step[Outgoing]:
    """The record never left us: nothing was given, or it came back."""
    match found:
        case Found.RUNNING:
            cancelling = replace(state, phase=Phase.CANCELLING, outcome=Outcome.FAILED)
            return Step(cancelling, (e.CancelTransfer(), e.Abandon(), e.WakeAfter(1.0)))
        case Found.PAUSED | Found.READY | Found.SERVING | Found.GONE:
            # Also with nothing left to resume: a gift of the daemon before us may still be on its way to the record.
            return _write(state, CasKind.KEEP, Phase.SETTLING)


def _recover_gift(state: Outgoing, noted: Noted, found: Found) -> Step[Outgoing]:
    """The record names the destination and nobody has marked it yet."""
    if noted is Noted.YOURS:
        telling = replace(state, phase=Phase.TELLING, reason="")
        if found is Found.READY:  # the daemon before us did not live to give QEMU the word to switch
            telling = replace(telling, transfer=Transfer.READY)
        switch = (e.EnterPostCopy(),) if found is Found.READY else ()
        return Step(telling, (*switch, e.SendYours(state.record.epoch, state.record.revision), e.WakeAfter(0.1)))
    # Also with nothing left to resume: else a destination that has not loaded would leave the VM to nobody.
    if noted is Noted.TAKE_BACK:
        return _write(state, CasKind.TAKE_BACK, Phase.TAKING_BACK)
    return Step(replace(state, phase=Phase.NOTING_TAKE_BACK), (e.NoteTakeBack(state.record), e.WakeAfter(1.0)))


def _write(state: Outgoing, kind: CasKind, phase: Phase) -> Step[Outgoing]:
    cas = Cas(kind, 1, state.record, state.me, state.image)
    return Step(replace(state, phase=phase, attempt=1, pending=cas), (SendCas(cas), e.WakeAfter(1.0)))


# --- the destination's side --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IncomingJournal:
    """The destination's note of one session. `cont` is set before the guest may have been told to run (R7)."""

    session: SessionId
    me: NodeId
    source: NodeId
    image: ImageId
    source_image: ImageId
    told: OwnershipRecord | None
    cont_may_be_out: bool


class FoundIncoming(Enum):
    """What is left of the destination's QEMU."""

    RECEIVING = "receiving"
    LOADED = "loaded"
    RUNNING = "running"
    GONE = "gone"


def recover_incoming(
    journal: IncomingJournal,
    record: OwnershipRecord,
    found: FoundIncoming,
    now: float,
    *,
    pages_missing: bool = False,
    pages_stopped: bool = False,
) -> Step[Incoming]:
    """Give the session as a restarted destination goes on with it. Being told before does not count any more (R2).

    In post-copy ``pages_missing`` may be of what is loaded, or runs, and their connection broken (``pages_stopped``).
    Of what has not arrived that is not known yet: its QEMU is looked at again.
    """
    state = Incoming(
        session=journal.session,
        me=journal.me,
        source=journal.source,
        image=journal.image,
        source_image=journal.source_image,
        since=now,
        heard=now,
        right=Right.MUST_CLAIM,
        record=record,
        pages_missing=pages_missing,
        pages_stopped=pages_stopped,
    )
    mine = state.is_mine(record)
    match found:
        case FoundIncoming.GONE:
            gone = replace(state, reason=RESTARTED_DESTINATION, image_gone=RESTARTED_DESTINATION)
            return _recover_without_image(gone, record, cont_may_be_out=journal.cont_may_be_out)
        case FoundIncoming.RUNNING if mine:
            return _write_incoming(state, CasKind.MARK, incoming.Phase.MARKING)
        case FoundIncoming.LOADED | FoundIncoming.RECEIVING if mine and journal.cont_may_be_out:
            # Only of a loaded guest `cont` is noted: one that seems not to be is mute. It may have run (R7).
            return _write_incoming(state, CasKind.CLAIM, incoming.Phase.CLAIMING)
        case FoundIncoming.LOADED if not journal.cont_may_be_out:
            return Step(replace(state, phase=incoming.Phase.LOADED), (i.AskSession(), e.WakeAfter(incoming.ASK_PAUSE)))
        case FoundIncoming.RECEIVING if not journal.cont_may_be_out:
            receiving = replace(state, phase=incoming.Phase.RECEIVING, pages_missing=False, pages_stopped=False)
            return Step(receiving, (i.AskSession(), e.WakeAfter(incoming.ASK_PAUSE)))
        case _:
            # `cont` may be out, so the record was ours; it has moved on: nothing can be given to this session any more.
            dropped = replace(state, phase=incoming.Phase.ENDING, reason=OVERTAKEN_DESTINATION, over=True)
            return Step(dropped, (i.EndImage(), e.WakeAfter(1.0)))


def _recover_without_image(gone: Incoming, record: OwnershipRecord, *, cont_may_be_out: bool) -> Step[Incoming]:
    if not gone.is_mine(record) and cont_may_be_out:
        dropped = replace(gone, phase=incoming.Phase.ENDING, over=True)
        return Step(dropped, (i.EndImage(), e.WakeAfter(1.0)))
    if gone.is_mine(record) and (cont_may_be_out or not record.is_gift_of(gone.source, gone.source_image)):
        return _write_incoming(gone, CasKind.MARK, incoming.Phase.MARKING)
    return incoming.leave(gone, gone.since)


OVERTAKEN_DESTINATION = "the virtual machine was taken over while the destination's daemon was away"
RESTARTED_DESTINATION = "the destination's QEMU ended while its daemon was away"


# --- which of them it is -----------------------------------------------------------------------------------------


class Concern(Enum):
    """What a restarted daemon has to do with a virtual machine."""

    OUTGOING = "outgoing"
    """It was giving it away, and goes on with that."""
    INCOMING = "incoming"
    """It was receiving it, and goes on with that."""
    OWN = "own"
    """It owns it, and no migration of it is under way."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class TakeOn:
    """What a restarted daemon goes on with."""

    concern: Concern
    image: ImageId | None
    """The image that counts: a QEMU with another one may never run again (I5, R11), and is ended."""


def plan_take_on(
    record: OwnershipRecord,
    me: NodeId,
    found: ImageId | None,
    outgoing: OutgoingJournal | None,
    incoming: IncomingJournal | None,
) -> TakeOn:
    """Tell which of its notes a restarted daemon goes by; ``found`` is the image of the QEMU that is there.

    A note that was not removed in time is of a session that is over: where the record names this node and the very
    image that is here, only a note of that image can concern it. It is no reason to end what the record wants to run.
    """
    is_own = record.holder == me
    if is_own and found is not None and found == record.image:
        outgoing = outgoing if outgoing is not None and outgoing.image == found else None
        incoming = incoming if incoming is not None and incoming.image == found else None
    if outgoing is not None:
        return TakeOn(Concern.OUTGOING, outgoing.image)
    if incoming is not None:
        return TakeOn(Concern.INCOMING, incoming.image)
    return TakeOn(Concern.OWN, record.image) if is_own else TakeOn(Concern.NONE, None)


def _write_incoming(state: Incoming, kind: CasKind, phase: incoming.Phase) -> Step[Incoming]:
    assert state.record is not None
    cas = Cas(kind, 1, state.record, state.me, state.image)
    return Step(replace(state, phase=phase, attempt=1, pending=cas), (SendCas(cas), e.WakeAfter(1.0)))
