"""Proof that the properties can fail: each rule is taken out of the brains once, and the world must notice.

Every mutant patches one cell or helper of the brains. `harm` asks for more than a broken rule: the invariants of the
world alone (who runs, what is left over) must be hurt, with the laws' checker switched off.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from quorate.migration import incoming, outgoing, recovery
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.incoming import Incoming
from quorate.migration.machine import Rule, Step
from quorate.migration.outgoing import Outgoing
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasRefused, CasUnanswered, OwnershipRecord, SendCas
from tests.unit.migration.chaos import Chaos
from tests.unit.migration.world import Violation, World

SEEDS = 4000
Patch = pytest.MonkeyPatch
O = outgoing.Phase  # noqa: E741
I = incoming.Phase  # noqa: E741


def set_source(patch: Patch, phase: outgoing.Phase, event: type, handler: Callable[..., Step[Outgoing]]) -> None:
    patch.setitem(outgoing.TABLE[phase], event, Rule(handler, tuple(outgoing.Phase)))


def set_destination(patch: Patch, phase: incoming.Phase, event: type, handler: Callable[..., Step[Incoming]]) -> None:
    patch.setitem(incoming.TABLE[phase], event, Rule(handler, tuple(incoming.Phase)))


def resume_without_settling(patch: Patch) -> None:
    def handler(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
        state = replace(s, phase=O.RESUMING, since=now, reason="no answer")
        return Step(state, (e.CancelTransfer(), e.ResumeGuest(), e.WakeAfter(2.0)))

    set_source(patch, O.GIVING, CasUnanswered, handler)


def settle_by_reading(patch: Patch) -> None:
    def handler(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
        assert isinstance(event, e.RecordSeen | CasUnanswered)
        return Step(replace(s, phase=O.RESUMING, since=now), (e.CancelTransfer(), e.ResumeGuest(), e.WakeAfter(2.0)))

    set_source(patch, O.SETTLING, CasUnanswered, handler)  # the record was read, and it still names us


def yours_before_completed(patch: Patch) -> None:
    def handler(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
        assert isinstance(event, CasAnswered)
        state = replace(s, phase=O.NOTING_YOURS, since=now, record=event.record, pending=None)
        return Step(state, (e.NoteYours(event.record),))

    set_source(patch, O.GIVING, CasAnswered, handler)


def take_back_after_yours(patch: Patch) -> None:
    def handler(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
        state = replace(s, phase=O.NOTING_TAKE_BACK, since=now, reason="changed my mind")
        return Step(state, (e.NoteTakeBack(s.record),))

    set_source(patch, O.TELLING, e.DestinationFailed, handler)


def take_back_and_still_tell(patch: Patch) -> None:
    def handler(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
        cas = Cas(CasKind.TAKE_BACK, s.attempt + 1, s.record, s.me, s.image)
        state = replace(s, phase=O.TAKING_BACK, since=now, attempt=s.attempt + 1, pending=cas)
        return Step(state, (SendCas(cas), e.SendYours(s.record.epoch, s.record.revision), e.WakeAfter(2.0)))

    set_source(patch, O.NOTING_TAKE_BACK, e.TakeBackNoted, handler)


def no_claim_after_lapse(patch: Patch) -> None:
    for phase in (I.RECEIVING, I.LOADED, I.TOLD, I.NOTING_CONT, I.STARTING):
        set_destination(patch, phase, i.LeaseLapsed, lambda s, event, now: Step(s))


def end_image_before_mark(patch: Patch) -> None:
    def handler(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
        return Step(replace(s, phase=O.ENDING_IMAGE, since=now), (e.EndImage(), e.WakeAfter(1.0)))

    set_source(patch, O.TELLING, e.Tick, handler)


def give_back_after_cont(patch: Patch) -> None:
    def handler(s: Incoming, event: object, now: float) -> Step[Incoming]:
        assert s.record is not None
        cas = Cas(CasKind.GIVE_BACK, s.attempt + 1, s.record, s.source, s.source_image)
        state = replace(s, phase=I.GIVING_BACK, since=now, attempt=s.attempt + 1, pending=cas)
        return Step(state, (SendCas(cas), i.WakeAfter(1.0)))

    set_destination(patch, I.STARTING, i.ImageExited, handler)


def resume_after_refusal(patch: Patch) -> None:
    def handler(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
        assert isinstance(event, CasRefused)
        return Step(replace(s, phase=O.RESUMING, since=now), (e.ResumeGuest(), e.WakeAfter(2.0)))

    set_source(patch, O.TAKING_BACK, CasRefused, handler)


def give_before_stopped(patch: Patch) -> None:
    stop = outgoing.TABLE[O.TRANSFER][e.Sampled].handler
    assert stop is not None

    def handler(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
        step = stop(s, event, now)
        if step.state.phase is not O.STOPPING:
            return step
        given = outgoing.TABLE[O.STOPPING][e.Stopped].handler
        assert given is not None
        after = given(step.state, e.Stopped(), now)
        return Step(after.state, (*step.effects, *after.effects))

    set_source(patch, O.TRANSFER, e.Sampled, handler)


def run_when_loaded(patch: Patch) -> None:
    def handler(s: Incoming, event: object, now: float) -> Step[Incoming]:
        record = OwnershipRecord(s.me, 2, s.image, s.source, s.source_image, 2)
        return Step(replace(s, phase=I.NOTING_CONT, since=now, record=record), (i.NoteCont(),))

    set_destination(patch, I.RECEIVING, i.LoadCompleted, handler)


def claim_by_reading(patch: Patch) -> None:
    honest = incoming.TABLE[I.LOADED][i.RecordSeen].handler
    assert honest is not None

    def handler(s: Incoming, event: object, now: float) -> Step[Incoming]:
        step = honest(s, event, now)
        if step.state.phase is not I.CLAIMING:
            return step
        return Step(replace(step.state, phase=I.NOTING_CONT, pending=None), (i.NoteCont(),))

    set_destination(patch, I.LOADED, i.RecordSeen, handler)


def leave_at_once(patch: Patch) -> None:
    def handler(s: Incoming, event: object, now: float) -> Step[Incoming]:
        state = replace(s, phase=I.ENDED, since=now, outcome=s.outcome or incoming.Outcome.DROPPED)
        return Step(state, (i.Finish("dropped", s.reason),))

    set_destination(patch, I.ENDING, i.ImageEnded, handler)


def late_answer_counts(patch: Patch) -> None:
    handler = outgoing.TABLE[O.GIVING][CasUnanswered].handler
    assert handler is not None

    def keep_pending(s: Outgoing, event: object, now: float) -> Step[Outgoing]:
        step = handler(s, event, now)
        return Step(replace(step.state, pending=s.pending), step.effects)

    set_source(patch, O.GIVING, CasUnanswered, keep_pending)


def cancelling_ends_unconfirmed(patch: Patch) -> None:
    over = outgoing.TABLE[O.CANCELLING][e.TransferCancelled].handler
    assert over is not None
    set_source(patch, O.CANCELLING, e.Tick, over)


def restart_resumes_at_once(patch: Patch) -> None:
    def recover(
        journal: recovery.OutgoingJournal, record: OwnershipRecord, found: recovery.Found, now: float
    ) -> Step[Outgoing]:
        step = recovery.recover_outgoing(journal, record, found, now)
        if step.state.phase is O.SETTLING and found is recovery.Found.PAUSED:
            return Step(replace(step.state, phase=O.RESUMING), (e.ResumeGuest(), e.WakeAfter(2.0)))
        return step

    patch.setattr("tests.unit.migration.world.recover_outgoing", recover)


def hasty_driver(patch: Patch) -> None:
    patch.setattr(World, "driver_waits_for_stop", False, raising=False)


RULES: dict[str, Callable[[Patch], None]] = {
    "R1 resume without settling": resume_without_settling,
    "R1 settle by reading": settle_by_reading,
    "R1 resume after a refused write": resume_after_refusal,
    "R1 a restarted daemon resumes at once": restart_resumes_at_once,
    "R1 a late answer counts for another write": late_answer_counts,
    "R4 yours before the transfer is complete": yours_before_completed,
    "R4 the old QEMU is ended before the mark": end_image_before_mark,
    "R5 take-back after yours": take_back_after_yours,
    "R5 yours after take-back": take_back_and_still_tell,
    "R6 cont without a claim after a lapse": no_claim_after_lapse,
    "R6 run as soon as loaded": run_when_loaded,
    "R6 claim by reading": claim_by_reading,
    "R7 give back after cont": give_back_after_cont,
    "R11 the destination leaves at once": leave_at_once,
    "I3 give before the guest has stopped": give_before_stopped,
    "a cancelled session ends unconfirmed": cancelling_ends_unconfirmed,
    "the driver says stopped while QEMU is finishing by itself": hasty_driver,
}


def first_violation(*, laws: bool, seeds: int = SEEDS) -> tuple[int, str] | None:
    for seed in range(seeds):
        chaos = Chaos(seed)
        if not laws:
            chaos.world.watchers.clear()
        try:
            chaos.run()
        except Violation as violation:
            return seed, str(violation)
    return None


@pytest.mark.parametrize("rule", RULES)
def test_without_the_rule_a_violation_is_found(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    RULES[rule](monkeypatch)
    assert first_violation(laws=True) is not None
