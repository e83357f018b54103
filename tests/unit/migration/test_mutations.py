"""Proof that the properties can fail: each rule is taken out of the brains once, and the world must notice.

Every mutant patches one cell or helper of the brains. `harm` asks for more than a broken rule: the invariants of the
world alone (who runs, what is left over) must be hurt, with the laws' checker switched off.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from tests.unit.migration.chaos import Chaos
from tests.unit.migration.world import ONE, TWO, Violation, World

from quorate.clusapi.machine import Rule, Step
from quorate.migration import incoming, outgoing, recovery
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.incoming import Incoming
from quorate.migration.outgoing import Outgoing
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasRefused, CasUnanswered, OwnershipRecord, SendCas

SEEDS = 1500
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


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule taken out, the faults that show it soonest, and whether it does harm that the world sees by itself."""

    apply: Callable[[Patch], None]
    faults: tuple[str, ...] = ()
    rate: float = 0.15
    harm: bool = True


RESTARTS = ("kill daemon", "restart daemon")
LOST = ("lose write", "land late", "silence", "speech")
MUTANTS = {
    "R1 resume without settling": Mutant(resume_without_settling),
    "R1 settle by reading": Mutant(settle_by_reading),
    "R1 resume after a refused write": Mutant(resume_after_refusal, harm=False),
    "R1 a restarted daemon resumes at once": Mutant(restart_resumes_at_once, (*RESTARTS, *LOST)),
    "R1 a late answer counts for another write": Mutant(late_answer_counts, LOST),
    "R4 yours before the transfer is complete": Mutant(yours_before_completed, harm=False),
    "R4 the old QEMU is ended before the mark": Mutant(end_image_before_mark, ("cut", "heal"), 0.05),
    "R5 take-back after yours": Mutant(take_back_after_yours, ("unreachable", "lose")),
    "R5 yours after take-back": Mutant(take_back_and_still_tell),
    "R6 cont without a claim after a lapse": Mutant(
        no_claim_after_lapse, ("freeze daemon", "thaw daemon", "lapse", "take over")
    ),
    "R6 run as soon as loaded": Mutant(run_when_loaded),
    "R6 claim by reading": Mutant(claim_by_reading, ("lose",), 0.3),
    "R7 give back after cont": Mutant(give_back_after_cont, ("kill qemu",), 0.1, harm=False),
    "R11 the destination leaves at once": Mutant(leave_at_once),
    "I3 give before the guest has stopped": Mutant(give_before_stopped),
    "the driver says stopped while QEMU is finishing by itself": Mutant(hasty_driver, ("fail transfer",)),
}


def first_violation(mutant: Mutant, *, laws: bool, seeds: int = SEEDS) -> str | None:
    for seed in range(seeds):
        chaos = Chaos(seed, faults=frozenset(mutant.faults) or None, rate=mutant.rate if mutant.faults else None)
        if not laws:
            chaos.world.watchers.clear()
        try:
            chaos.run()
        except Violation as violation:
            return str(violation)
    return None


@pytest.mark.parametrize("rule", MUTANTS)
def test_without_the_rule_a_law_is_broken(rule: str, monkeypatch: Patch) -> None:
    MUTANTS[rule].apply(monkeypatch)
    assert first_violation(MUTANTS[rule], laws=True) is not None


@pytest.mark.parametrize("rule", [rule for rule, mutant in MUTANTS.items() if mutant.harm])
def test_without_the_rule_the_world_is_hurt(rule: str, monkeypatch: Patch) -> None:
    MUTANTS[rule].apply(monkeypatch)
    assert first_violation(MUTANTS[rule], laws=False) is not None


@pytest.mark.parametrize("mutated", [False, True])
def test_nothing_is_given_back_once_the_guest_may_have_run(mutated: bool, monkeypatch: Patch) -> None:
    if mutated:
        give_back_after_cont(monkeypatch)
    world = World()
    assert world.start_migration(ONE, TWO)
    while not any(q.node == TWO for q in world.running()):
        world.fair_step()
    qemu = world.running()[0]
    qemu.outbox.clear()  # it dies before its answer to `cont` is read
    world.kill_qemu(qemu)
    if mutated:
        with pytest.raises(Violation, match="I5"):
            world.run_until_quiet()
    else:
        world.run_until_quiet()
        world.check_end()
        assert world.cold_starts == [(TWO, "image lost")]


@pytest.mark.parametrize("mutated", [False, True])
def test_a_cancelled_session_waits_for_a_mute_qemu(mutated: bool, monkeypatch: Patch) -> None:
    """Ended unconfirmed, it would leave a guest that stands still with nobody to see it."""
    if mutated:
        over = outgoing.TABLE[O.CANCELLING][e.TransferCancelled].handler
        assert over is not None
        set_source(monkeypatch, O.CANCELLING, e.Tick, over)
    world = World()
    node = world.nodes[ONE]
    assert world.start_migration(ONE, TWO)
    while node.out is not None and node.out.phase is not O.TRANSFER:
        world.fair_step()
    qemu = next(q for q in world.running())
    for _ in range(20):
        world.fair_step()
        if qemu.passes:
            break
    world.freeze_qemu(qemu)
    world.cut = True
    world.cancel(node)
    while world.now < 4.0:
        world.fair_step()
    # It thaws, and has stopped the guest and sent the rest before it reads that it was to cancel.
    world.stops_by_itself = lambda: True
    commands, qemu.commands = qemu.commands, type(qemu.commands)()
    world.thaw_qemu(qemu)
    while world.now < 8.0:
        world.fair_step()
    qemu.commands.extend(commands)
    world.heal()
    world.run_until_quiet()
    if mutated:
        with pytest.raises(Violation, match="nothing runs"):
            world.check_end()
    else:
        world.check_end()
