"""Faults of the source of a migration: R1, R4, R5 and I3."""

from dataclasses import replace
from typing import Final

from quorate.clusapi.machine import Step
from quorate.migration import outgoing_events as e
from quorate.migration import recovery
from quorate.migration.outgoing import TABLE, Outgoing, Phase
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasUnanswered, OwnershipRecord, SendCas
from quorate.migration.recovery import Found, OutgoingJournal
from quorate.simulator.brains import Hand
from quorate.simulator.planted.arriving import NO_GIVE_BACK
from quorate.simulator.planted.fault import NOTHING, Mask, Planted, cell, source, without

IMPATIENCE: Final = 0.3
"""Seconds after which a source that should wait for the mark does something else."""


def _resume(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    resuming = replace(s, phase=Phase.RESUMING, since=now, pending=None, reason=s.reason or "it runs on")
    return Step(resuming, (e.CancelTransfer(), e.ResumeGuest(), e.WakeAfter(2.0)))


def _recover_resuming(journal: OutgoingJournal, record: OwnershipRecord, found: Found, now: float) -> Step[Outgoing]:
    step = recovery.recover_outgoing(journal, record, found, now)
    if step.state.phase is Phase.SETTLING and found is Found.PAUSED:
        return _resume(step.state, None, now)
    return step


def _yours_when_given(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    assert isinstance(event, CasAnswered)
    given = replace(s, phase=Phase.NOTING_YOURS, since=now, record=event.record, pending=None)
    return Step(given, (e.NoteYours(given.record),))


def _yours_when_completed(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    done = cell(TABLE, Phase.GIVING, e.TransferCompleted)(s, event, now).state
    return Step(replace(done, phase=Phase.NOTING_YOURS, since=now), (e.NoteYours(s.record),))


def _end_image_unmarked(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    return Step(replace(s, phase=Phase.ENDING_IMAGE, since=now), (e.EndImage(), e.WakeAfter(1.0)))


def _take_back_told(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    if now - s.since < IMPATIENCE:
        return cell(TABLE, Phase.TELLING, e.Tick)(s, event, now)
    doubting = replace(s, phase=Phase.NOTING_TAKE_BACK, since=now, reason="the record is not marked")
    return Step(doubting, (e.NoteTakeBack(s.record),))


def _take_back_and_tell(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    cas = Cas(CasKind.TAKE_BACK, s.attempt + 1, s.record, s.me, s.image)
    state = replace(s, phase=Phase.TAKING_BACK, since=now, attempt=cas.attempt, pending=cas)
    return Step(state, (SendCas(cas), e.SendYours(s.record.epoch, s.record.revision), e.WakeAfter(2.0)))


def _never_take_back(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    return Step(s, (e.WakeAfter(2.0),))


def _give_unstopped(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    step = cell(TABLE, Phase.TRANSFER, e.Sampled)(s, event, now)
    if step.state.phase is not Phase.STOPPING:
        return step
    return cell(TABLE, Phase.STOPPING, e.Stopped)(step.state, e.Stopped(), now)


def _stop_when_given(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
    step = cell(TABLE, Phase.GIVING, CasAnswered)(s, event, now)
    return Step(step.state, (e.StopGuest(), *step.effects))


FAULTS: Final = (
    Planted(
        "resume without settling",
        "R1",
        "The source runs on when the write that gives the virtual machine away had no answer: it may land yet.",
        source({(Phase.GIVING, CasUnanswered): _resume}),
    ),
    Planted(
        "settle without an answer",
        "R1",
        "A second write without an answer settles the first one, as what is read still names the source.",
        source({(Phase.SETTLING, CasUnanswered): _resume}),
    ),
    Planted(
        "a restarted source resumes at once",
        "R1",
        "A restarted daemon lets a standing guest of a broken migration run before it has written ownership.",
        source(NOTHING, _recover_resuming),
    ),
    Planted(
        "start without a write",
        "R1",
        "A virtual machine is started, or runs on after a pause, without a write of ownership.",
        without(Hand.OWN_WRITE),
    ),
    Planted(
        "give before the stop",
        "I3",
        "The source's guest is stopped when the write that gives it away is answered, and not before that is sent.",
        source({(Phase.TRANSFER, e.Sampled): _give_unstopped, (Phase.GIVING, CasAnswered): _stop_when_given}),
    ),
    Planted(
        "yours before the answer",
        "R4",
        "The destination is told as soon as all is across, though the write of ownership has no answer yet.",
        source({(Phase.GIVING, e.TransferCompleted): _yours_when_completed}),
    ),
    Planted(
        "yours before all is across",
        "R4",
        "The destination is told as soon as the write is answered, though QEMU has not said that all is across.",
        source({(Phase.GIVING, CasAnswered): _yours_when_given}),
        Mask(
            "R7",
            "a destination that was told too early and never gets the rest gives back; its giver has kept its image",
            NO_GIVE_BACK,
        ),
    ),
    Planted(
        "the image is ended before the mark",
        "R4",
        "The source ends its image soon after `yours`, whether the record is marked or not.",
        source({(Phase.TELLING, e.Tick): _end_image_unmarked}),
    ),
    Planted(
        "nothing is noted",
        "R4",
        "The journal says neither that `yours` was sent nor that `cont` was: a restarted daemon takes back, or gives "
        "back, what has run elsewhere.",
        without(Hand.JOURNAL),
    ),
    Planted(
        "take-back after yours",
        "R5",
        "The source takes its gift back though it has sent `yours`, when the record is not marked soon.",
        source({(Phase.TELLING, e.Tick): _take_back_told}),
    ),
    Planted(
        "yours after take-back",
        "R5",
        "The source sends `yours` while it takes its gift back.",
        source({(Phase.NOTING_TAKE_BACK, e.TakeBackNoted): _take_back_and_tell}),
    ),
    Planted(
        "no take-back",
        "R5",
        "The source never takes a gift back, whatever has become of the destination.",
        source({(Phase.NOTING_TAKE_BACK, e.TakeBackNoted): _never_take_back}),
    ),
)
