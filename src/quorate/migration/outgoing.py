"""The source's side of one live migration.

    queued -> preparing -> transfer -> stopping -> giving -> given -> noting yours -> telling -> ending image -> ended
       |          |           |           |          |  \\       \\                      |
       |          |           |           |          |   settling \\                     | (the destination gave back)
       |          |           |           |          |     |      noting take-back      |
       |          |           |           |          |     |         |                  |
       |          |           |           |          |     |      taking back           |
       |          |           |           |          v     v         v                  v
       `----------+-> cancelling          `-------> resuming (vCPUs run on the source again) -> ended

                  given -> noting yours -> telling -> serving -> ending image -> ended              (post-copy)
                                                      |    ^
                                                reconnecting'

Before `stopping` the guest runs here and nothing was given: any failure, and cancel, ends the session with the guest
untouched. From `giving` on vCPUs start here only by rule R1: after a stop of our own with no write of ownership sent
since, or after an answered write of our own. A write without an answer is settled by another write (`settling`), never
by reading. `yours` and take-back exclude each other: which one it is goes to the journal before it happens (R4, R5).

Post-copy. The guest is stopped as ever, and QEMU stands before the switch while ownership is written: until then it can
be cancelled and the guest resumed. What `completed` is to R4 is here that it stands there; with `yours` noted it is
given the word to switch, from which on no command makes it run the guest again (measured; ARCHITECTURE.md). The
destination runs when it is told *and* its own QEMU has all but the pages, and gives back when that cannot be: then
nothing is left to resume here, and the virtual machine starts from its disks. From the mark on QEMU lives to send what
is missing (`serving`): it may have the only copy of a page. It is ended when all is across, when the destination says
that it has nothing left of the session, or when the record has moved on to another image. A connection that carries
nothing for two seconds is given up on both sides and replaced (`reconnecting`), as often as it takes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.clusapi.machine import Rule, Step, follow
from quorate.clusapi.states import MigrationState
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import SAMPLE_PAUSE_NEAR, Convergence, Sample, Verdict, pause_until_next
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasRefused, CasUnanswered, OwnershipRecord, SendCas

SILENCE_LIMIT = 2.0
"""Seconds without a byte across, or without a word of the destination, after which the transfer counts as broken."""
PREPARE_LIMIT = 60.0
"""Seconds that preparing may take while the destination says that it works on it: its `prepared` may have been lost."""
SETTLE_PAUSE = 0.2
"""Seconds between two writes of ownership while the database does not answer."""
TELL_PAUSE = 0.1
"""Seconds between two `yours`; each one is cheap and the guest stands still meanwhile."""
PAGES_PAUSE = 0.5
"""Seconds between two looks whether pages still get across; and between two words about a broken connection."""
REST_PAUSE = 0.5
"""Seconds between two looks whether the rest still gets across for which the guest stands still."""
SWITCHED_AFTER_ALL = "QEMU had switched to post-copy, from where it cannot go back"


class Phase(Enum):
    """Where the source's side stands."""

    QUEUED = "queued"
    """Accepted; as many migrations run as may."""
    PREPARING = "preparing"
    """The destination starts a QEMU that waits for the guest."""
    TRANSFER = "transfer"
    """Memory is being copied; the guest runs here."""
    CANCELLING = "cancelling"
    """Given up before the stop; QEMU is ending the transfer; the guest runs here."""
    STOPPING = "stopping"
    """The guest was told to stop."""
    GIVING = "giving"
    """The guest stands still; ownership is being written; the rest of the memory flows."""
    GIVEN = "given"
    """The record names the destination; QEMU has not yet said that all is across."""
    SETTLING = "settling"
    """A write had no answer, or does not count: another one of our own decides."""
    NOTING_YOURS = "noting yours"
    """The journal takes down that the destination is going to be told."""
    TELLING = "telling"
    """`yours` is sent until the record is marked."""
    NOTING_TAKE_BACK = "noting take-back"
    """The journal takes down that the gift is taken back."""
    TAKING_BACK = "taking back"
    """The record is being made to name the source again."""
    RESUMING = "resuming"
    """The source has the right to run and was told `cont`."""
    SERVING = "serving"
    """Post-copy: the guest runs at the destination, and the QEMU here sends the pages that are missing there."""
    RECONNECTING = "reconnecting"
    """Post-copy: the connection broke while pages were missing; each side keeps what it has."""
    ENDING_IMAGE = "ending image"
    """The VM lives elsewhere; the QEMU here is being ended."""
    ENDED = "ended"
    """Nothing more to do; see the outcome."""


class Outcome(Enum):
    """How a session ended."""

    DONE = "done"
    """The record names the destination's image; the image here was ended."""
    CANCELLED = "cancelled"
    FAILED = "failed"
    """The guest runs on the source (or is what it was there)."""
    OVERTAKEN = "overtaken"
    """Somebody else owns the VM now; the image here was ended."""
    IMAGE_LOST = "image lost"
    """The VM is ours and its QEMU is gone: to be started from its disks by policy."""


class Transfer(Enum):
    """What became of the copy once the guest stood still."""

    FLOWING = "flowing"
    COMPLETED = "completed"
    """The source's QEMU says that everything is across."""
    READY = "ready"
    """It stands before the switch to post-copy."""
    SWITCHED = "switched"
    """It is in post-copy: it sends pages, and can never run the guest again."""
    BROKEN = "broken"


class Image(Enum):
    """What became of the source's own QEMU."""

    ALIVE = "alive"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One migration as its source sees it."""

    session: SessionId
    me: NodeId
    destination: NodeId
    image: ImageId
    destination_image: ImageId
    record: OwnershipRecord
    """The ownership record as last known for certain; the next write compares with it."""
    phase: Phase = Phase.QUEUED
    since: float = 0.0
    """When the phase began, or when something last moved in it."""
    begun: float = 0.0
    """When the session left the queue."""
    convergence: Convergence = field(default_factory=Convergence)
    rest_limit: float = SILENCE_LIMIT
    """Seconds that the rest may take to get across once the guest was told to stop."""
    transferred: int = 0
    moved: float = 0.0
    """When bytes of the rest were last seen to get across, once the guest stood still."""
    transfer: Transfer = Transfer.FLOWING
    post_copy: bool = False
    """The guest is stopped for a switch to post-copy."""
    pages_stopped: bool = False
    """The connection of the post-copy is broken."""
    image_state: Image = Image.ALIVE
    attempt: int = 0
    pending: Cas | None = None
    outcome: Outcome | None = None
    reason: str = ""
    """Why the migration does not succeed, for people; empty while it may."""

    def step(self, event: e.Event, now: float) -> Step["Outgoing"]:
        """Take in what happened at `now` (monotonic seconds); give the next state and what to do."""
        return follow(TABLE, lambda state: state.phase, self, event, now)

    @property
    def migration_state(self) -> MigrationState:
        """Give the value of the property MigrationState as of now."""
        if self.phase in (Phase.QUEUED, Phase.PREPARING):
            return MigrationState.SETUP
        if self.phase in (Phase.TRANSFER, Phase.CANCELLING):
            return MigrationState.DATA_TRANSFER
        if self.phase is not Phase.ENDED:
            return MigrationState.MOVE
        match self.outcome:
            case Outcome.DONE:
                return MigrationState.NO_MIGRATION
            case Outcome.CANCELLED:
                return MigrationState.CANCELED
            case _:
                return MigrationState.FAILURE


_Step: TypeAlias = Step[Outgoing]
_Handler: TypeAlias = Callable[[Outgoing, object, float], _Step]


# --- shared moves ------------------------------------------------------------------------------------------------


def _go(s: Outgoing, phase: Phase, now: float, *effects: object) -> _Step:
    return Step(replace(s, phase=phase, since=now), effects)


def _end(s: Outgoing, outcome: Outcome, now: float, *effects: object) -> _Step:
    ended = replace(s, phase=Phase.ENDED, since=now, outcome=outcome)
    return Step(ended, (*effects, e.Finish(outcome.value, s.reason)))


def _fail_unstopped(s: Outgoing, reason: str, now: float, outcome: Outcome = Outcome.FAILED) -> _Step:
    """End a session whose transfer QEMU has already ended, or never began."""
    return _end(replace(s, reason=reason), outcome, now, e.Abandon())


def _cancel_transfer(s: Outgoing, outcome: Outcome, reason: str, now: float, *effects: object) -> _Step:
    cancelling = replace(s, outcome=outcome, reason=reason)
    return _go(cancelling, Phase.CANCELLING, now, e.CancelTransfer(), *effects, e.WakeAfter(SILENCE_LIMIT))


def _write(s: Outgoing, kind: CasKind, phase: Phase, now: float, *effects: object) -> _Step:
    attempt = s.attempt + 1
    if kind is CasKind.GIVE:
        cas = Cas(kind, attempt, s.record, s.destination, s.destination_image, s.me, s.image)
    else:
        cas = Cas(kind, attempt, s.record, s.me, s.image)
    return _go(replace(s, attempt=attempt, pending=cas), phase, now, SendCas(cas), *effects, e.WakeAfter(SILENCE_LIMIT))


def _resume(s: Outgoing, now: float) -> _Step:
    """The right to run is there (R1): let the guest go on, unless its QEMU is gone."""
    if s.image_state is Image.GONE:
        return _end(s, Outcome.IMAGE_LOST, now, e.Abandon())
    if s.transfer is Transfer.SWITCHED:
        lost = replace(s, outcome=Outcome.IMAGE_LOST, reason=s.reason or SWITCHED_AFTER_ALL)
        return _go(lost, Phase.ENDING_IMAGE, now, e.EndImage(), e.WakeAfter(1.0))
    before = () if s.transfer is Transfer.COMPLETED else (e.CancelTransfer(),)
    return _go(s, Phase.RESUMING, now, *before, e.ResumeGuest(), e.WakeAfter(SILENCE_LIMIT))


def _wake_at_limit(s: Outgoing, now: float, limit: float = SILENCE_LIMIT) -> e.WakeAfter:
    """Look again when it may have lasted too long, and no later: a guest may stand still for it."""
    return e.WakeAfter(max(SAMPLE_PAUSE_NEAR, limit - (now - s.since)))


def _after_stop(s: Outgoing, now: float) -> _Step:
    """The record names the destination: go on, take back, or wait for the last of the memory."""
    arrived = s.transfer is Transfer.COMPLETED and (not s.reason or s.image_state is Image.GONE)
    if arrived or (s.transfer is Transfer.READY and not s.reason):
        return _go(replace(s, reason=""), Phase.NOTING_YOURS, now, e.NoteYours(s.record))
    if s.transfer is Transfer.FLOWING and not s.reason:
        return _go(s, Phase.GIVEN, now, *_watch_rest(s), e.WakeAfter(REST_PAUSE if _is_watched(s) else SILENCE_LIMIT))
    return _go(s, Phase.NOTING_TAKE_BACK, now, e.NoteTakeBack(s.record))


def _moved_past(s: Outgoing, current: OwnershipRecord, now: float) -> _Step:
    """The record has moved past the gift: to the destination, which marked or claimed it, or to somebody else."""
    reason = f"node {current.holder} owns the virtual machine since epoch {current.epoch}"
    if current.holder == s.destination and current.image == s.destination_image:
        reason = ""
        if s.transfer in (Transfer.READY, Transfer.SWITCHED) and s.image_state is Image.ALIVE:
            return _serve(replace(s, record=current, reason=""), now)
    return _go(replace(s, record=current, reason=reason), Phase.ENDING_IMAGE, now, e.EndImage(), e.WakeAfter(1.0))


def _serve(s: Outgoing, now: float) -> _Step:
    """The guest runs at the destination: pages that are missing there are only here."""
    phase = Phase.RECONNECTING if s.pages_stopped else Phase.SERVING
    return _go(s, phase, now, e.AskDestination(), e.WakeAfter(PAGES_PAUSE))


def _settle(s: Outgoing, reason: str, now: float, *effects: object) -> _Step:
    """Begin a write of our own that settles an earlier one, or that R1 wants before the guest may run."""
    return _write(replace(s, reason=reason), CasKind.KEEP, Phase.SETTLING, now, *effects)


def _broken(s: Outgoing, reason: str) -> Outgoing:
    if s.transfer in (Transfer.COMPLETED, Transfer.SWITCHED):
        return s
    return replace(s, transfer=Transfer.BROKEN, reason=s.reason or reason)


def _is_answer_to(s: Outgoing, event: CasAnswered | CasRefused | CasUnanswered) -> bool:
    return s.pending is not None and event.attempt == s.pending.attempt


# --- queued, preparing -------------------------------------------------------------------------------------------


def _on_place_free(s: Outgoing, event: object, now: float) -> _Step:
    begun = replace(s, begun=now)
    return _go(begun, Phase.PREPARING, now, e.NoteBegun(), e.AskPrepare(), e.WakeAfter(SILENCE_LIMIT))


def _on_prepared(s: Outgoing, event: object, now: float) -> _Step:
    assert isinstance(event, e.Prepared)
    return _go(s, Phase.TRANSFER, now, e.StartTransfer(event.uri), e.SampleAfter(SAMPLE_PAUSE_NEAR))


def _on_prepare_refused(s: Outgoing, event: object, now: float) -> _Step:
    assert isinstance(event, e.PrepareRefused)
    return _fail_unstopped(s, event.sentence, now)


def _on_preparing_alive(s: Outgoing, event: object, now: float) -> _Step:
    return Step(replace(s, since=now))


def _on_preparing_tick(s: Outgoing, event: object, now: float) -> _Step:
    if now - s.begun >= PREPARE_LIMIT:
        return _fail_unstopped(s, f"the destination was not ready within {PREPARE_LIMIT:.0f} s", now)
    if now - s.since < SILENCE_LIMIT:
        return Step(s, (_wake_at_limit(s, now),))
    return _fail_unstopped(s, f"the destination said nothing for {SILENCE_LIMIT:.0f} s while preparing", now)


def _on_cancel_before_transfer(s: Outgoing, event: object, now: float) -> _Step:
    return _fail_unstopped(s, "cancelled", now, Outcome.CANCELLED)


def _on_trouble_before_transfer(s: Outgoing, event: object, now: float) -> _Step:
    return _fail_unstopped(s, _sentence_of(event), now)


# --- transfer, cancelling ----------------------------------------------------------------------------------------


def _on_sampled(s: Outgoing, event: object, now: float) -> _Step:
    assert isinstance(event, e.Sampled)
    sample = event.sample
    learnt = s.convergence.learn(sample)
    moved = sample.transferred > s.transferred or sample.passes > s.convergence.seen_pass
    state = replace(s, convergence=learnt, transferred=sample.transferred, since=now if moved else s.since)
    match learnt.judge(sample):
        case Verdict.STOP:
            patient = replace(state, rest_limit=max(SILENCE_LIMIT, 0.5 + 1.5 * sample.expected_gap))
            return _go(patient, Phase.STOPPING, now, e.StopGuest(), e.WakeAfter(SILENCE_LIMIT))
        case Verdict.POST_COPY:
            return _begin_post_copy(state, now)
        case Verdict.GIVE_UP:
            return _cancel_transfer(state, Outcome.FAILED, learnt.explain_failure(sample), now)
        case Verdict.COPY_ON | Verdict.THROTTLE as verdict:
            if now - state.since >= SILENCE_LIMIT:
                return _cancel_transfer(
                    state, Outcome.FAILED, f"no byte reached the destination for {SILENCE_LIMIT:.0f} s", now
                )
            return Step(state, (*_held_back(learnt, verdict), _next_look(sample, learnt)))


def _begin_post_copy(s: Outgoing, now: float) -> _Step:
    """Stop the guest with most of its memory still here: the rest follows when it runs at the destination."""
    switching = replace(s, post_copy=True)
    return _go(switching, Phase.STOPPING, now, e.StopGuest(post_copy=True), e.WakeAfter(SILENCE_LIMIT))


def _held_back(learnt: Convergence, verdict: Verdict) -> tuple[object, ...]:
    return (e.Throttle(learnt.throttle),) if verdict is Verdict.THROTTLE else ()


def _next_look(sample: Sample, learnt: Convergence) -> e.SampleAfter:
    return e.SampleAfter(pause_until_next(sample, learnt.allowed_gap))


def _on_transfer_tick(s: Outgoing, event: object, now: float) -> _Step:
    return Step(s)


def _on_transfer_failed(s: Outgoing, event: object, now: float) -> _Step:
    return _fail_unstopped(s, _sentence_of(event), now)


def _on_completed_by_itself(s: Outgoing, event: object, now: float) -> _Step:
    """QEMU stopped the guest and finished before we said stop: it stays stopped, but that was no stop of ours (R1)."""
    return _write(replace(s, transfer=Transfer.COMPLETED), CasKind.GIVE, Phase.GIVING, now)


def _on_cancel_in_transfer(s: Outgoing, event: object, now: float) -> _Step:
    return _cancel_transfer(s, Outcome.CANCELLED, "cancelled", now)


def _on_trouble_in_transfer(s: Outgoing, event: object, now: float) -> _Step:
    return _cancel_transfer(s, Outcome.FAILED, _sentence_of(event), now)


def _on_mute_in_transfer(s: Outgoing, event: object, now: float) -> _Step:
    """QEMU cannot be told to cancel, as it does not answer: ending the destination makes the transfer fail."""
    return _cancel_transfer(s, Outcome.FAILED, _sentence_of(event), now, e.Abandon())


def _on_source_gone_unstopped(s: Outgoing, event: object, now: float) -> _Step:
    lost = replace(s, image_state=Image.GONE, reason=_sentence_of(event))
    return _end(lost, Outcome.IMAGE_LOST, now, e.Abandon())


def _on_transfer_over(s: Outgoing, event: object, now: float) -> _Step:
    assert s.outcome is not None
    return _end(s, s.outcome, now, e.Abandon())


def _on_cancelling_tick(s: Outgoing, event: object, now: float) -> _Step:
    """Not over before QEMU says so: a mute one may yet complete by itself and stand still with nobody to see it."""
    sentence = f"QEMU has not said for {SILENCE_LIMIT:.0f} s that the transfer is over; asked again"
    return Step(s, (e.Tell(sentence), e.CancelTransfer(), e.Abandon(), e.WakeAfter(SILENCE_LIMIT)))


def _on_completed_while_cancelling(s: Outgoing, event: object, now: float) -> _Step:
    """Cancel came too late for QEMU, which has stopped the guest: it runs again after a write of our own (R1)."""
    return _settle(replace(s, transfer=Transfer.COMPLETED), s.reason, now)


# --- stopping ----------------------------------------------------------------------------------------------------


def _on_stopped(s: Outgoing, event: object, now: float) -> _Step:
    return _write(replace(s, moved=now), CasKind.GIVE, Phase.GIVING, now)


def _on_completed_while_stopping(s: Outgoing, event: object, now: float) -> _Step:
    return Step(replace(s, transfer=Transfer.COMPLETED))


def _on_ready_while_stopping(s: Outgoing, event: object, now: float) -> _Step:
    return Step(replace(s, transfer=Transfer.READY) if s.transfer is Transfer.FLOWING else s)


def _on_trouble_while_stopping(s: Outgoing, event: object, now: float) -> _Step:
    """Nothing was written since our stop: `cont` follows it on the same line, whatever became of the stop (R1 iii)."""
    return _resume(_broken(replace(s, reason=_sentence_of(event)), _sentence_of(event)), now)


def _on_lease_lapsed_while_stopping(s: Outgoing, event: object, now: float) -> _Step:
    """A stop of an earlier incarnation gives no right to run (R2): a write of our own does."""
    return _settle(replace(s, transfer=_give_up_transfer(s)), _sentence_of(event), now, e.CancelTransfer())


def _on_stopping_tick(s: Outgoing, event: object, now: float) -> _Step:
    if now - s.since < SILENCE_LIMIT:
        return Step(s, (_wake_at_limit(s, now),))
    reason = f"QEMU did not stop the guest within {SILENCE_LIMIT:.0f} s"
    return _resume(_broken(replace(s, reason=reason), reason), now)


def _give_up_transfer(s: Outgoing) -> Transfer:
    return Transfer.COMPLETED if s.transfer is Transfer.COMPLETED else Transfer.BROKEN


# --- giving, given, settling -------------------------------------------------------------------------------------


def _on_give_answered(s: Outgoing, event: object, now: float) -> _Step:
    assert isinstance(event, CasAnswered)
    if not _is_answer_to(s, event):
        return Step(s)
    return _after_stop(replace(s, record=event.record, pending=None), now)


def _on_write_refused(s: Outgoing, event: object, now: float) -> _Step:
    """Our write did not land, and never will; what stands there tells what to do.

    Where it is ours (an earlier write of our own whose answer was lost, or a give-back), one more write gives the right
    to run: reading never does (R1, R2).
    """
    assert isinstance(event, CasRefused)
    if not _is_answer_to(s, event) or s.pending is None:
        return Step(s)
    current = event.current
    known = replace(s, record=current, pending=None)
    if current.is_gift_of(s.me, s.image) and current.image == s.destination_image:
        if s.phase is Phase.TAKING_BACK:
            return _write(known, CasKind.TAKE_BACK, Phase.TAKING_BACK, now)
        return _after_stop(known, now)
    if current.holder == s.me and current.image == s.image:
        return _settle(known, known.reason or "the destination gave the virtual machine back", now)
    return _moved_past(known, current, now)


def _on_give_unanswered(s: Outgoing, event: object, now: float) -> _Step:
    assert isinstance(event, CasUnanswered)
    if not _is_answer_to(s, event):
        return Step(s)
    reason = "the database did not answer while ownership was being given; paused until it does"
    unsettled = replace(s, reason=reason, pending=None)
    return _go(unsettled, Phase.SETTLING, now, e.Tell(reason), e.WakeAfter(SETTLE_PAUSE))


def _on_completed(s: Outgoing, event: object, now: float) -> _Step:
    done = replace(s, transfer=Transfer.COMPLETED)
    return _after_stop(done, now) if s.phase is Phase.GIVEN else Step(done)


def _on_ready(s: Outgoing, event: object, now: float) -> _Step:
    """All but the switch is done: with ownership given, the destination is told, and then QEMU."""
    if s.transfer is not Transfer.FLOWING:
        return Step(s)
    ready = replace(s, transfer=Transfer.READY)
    return _after_stop(ready, now) if s.phase is Phase.GIVEN else Step(ready)


def _on_trouble_after_stop(s: Outgoing, event: object, now: float) -> _Step:
    """The copy will not arrive. Once the record is known to name the destination, it is taken back."""
    broken = _broken(s, _sentence_of(event))
    if s.phase is Phase.GIVEN:
        return _after_stop(broken, now)
    return Step(broken)


def _on_destination_failed_after_stop(s: Outgoing, event: object, now: float) -> _Step:
    """Even a complete copy is taken back when the destination cannot use it, while there is something to go back to."""
    if s.transfer is Transfer.COMPLETED and s.image_state is Image.ALIVE:
        return Step(replace(s, reason=s.reason or _sentence_of(event)))
    return _on_trouble_after_stop(s, event, now)


def _on_source_gone_after_stop(s: Outgoing, event: object, now: float) -> _Step:
    """The guest's memory here is gone; what has arrived in full before that is as good as ever."""
    gone = _broken(replace(s, image_state=Image.GONE), _sentence_of(event))
    if s.phase is Phase.GIVEN:
        return _after_stop(gone, now)
    return Step(gone)


def _on_lease_lapsed_in_giving(s: Outgoing, event: object, now: float) -> _Step:
    """The answer will not count (R2): settle by a write under the new incarnation."""
    return _settle(replace(s, transfer=_give_up_transfer(s)), _sentence_of(event), now)


def _on_lease_lapsed_when_given(s: Outgoing, event: object, now: float) -> _Step:
    return _after_stop(replace(s, reason=_sentence_of(event)), now)


def _is_watched(s: Outgoing) -> bool:
    """Tell whether the rest may take so long that a dead link must not be waited for until it should have arrived."""
    return s.rest_limit > SILENCE_LIMIT and s.transfer is Transfer.FLOWING and not s.reason


def _watch_rest(s: Outgoing) -> tuple[object, ...]:
    return (e.SampleAfter(SAMPLE_PAUSE_NEAR),) if _is_watched(s) else ()


def _on_rest_sampled(s: Outgoing, event: object, now: float) -> _Step:
    """The guest stands still for the rest, as was agreed to; not for a link that takes nothing any more.

    What is in the system's buffers QEMU counts as sent: with nothing left it says no more.
    """
    assert isinstance(event, e.Sampled)
    if not _is_watched(s):
        return Step(s)
    sample = event.sample
    if sample.transferred != s.transferred or not sample.remaining:
        return Step(replace(s, transferred=sample.transferred, moved=now))
    if now - s.moved < SILENCE_LIMIT:
        return Step(s)
    broken = _broken(s, f"no byte of the rest got across for {SILENCE_LIMIT:.0f} s while the guest stood still for it")
    if s.phase is not Phase.GIVEN:
        return Step(broken)
    back = _after_stop(broken, now)
    return Step(back.state, (e.CancelTransfer(), *back.effects))


def _on_tick_after_stop(s: Outgoing, event: object, now: float) -> _Step:
    if now - s.since < s.rest_limit:
        wake = e.WakeAfter(REST_PAUSE) if _is_watched(s) else _wake_at_limit(s, now, s.rest_limit)
        return Step(s, (*_watch_rest(s), wake))
    if s.transfer is Transfer.READY:  # nothing has to get across before the switch: the database is slow
        return Step(s, (e.WakeAfter(SILENCE_LIMIT / 4),))
    reason = f"the rest of the memory did not get across within {s.rest_limit:.0f} s after the stop"
    broken = _broken(s, reason)
    if s.phase is Phase.GIVEN:
        return Step(_after_stop(broken, now).state, (e.CancelTransfer(), *_after_stop(broken, now).effects))
    return Step(broken, (e.WakeAfter(SILENCE_LIMIT / 4),))


def _on_keep_answered(s: Outgoing, event: object, now: float) -> _Step:
    assert isinstance(event, CasAnswered)
    if not _is_answer_to(s, event):
        return Step(s)
    return _resume(replace(s, record=event.record, pending=None), now)


def _on_unanswered_again(s: Outgoing, event: object, now: float) -> _Step:
    assert isinstance(event, CasUnanswered)
    if not _is_answer_to(s, event):
        return Step(s)
    return Step(replace(s, pending=None), (e.WakeAfter(SETTLE_PAUSE),))


def _on_settling_tick(s: Outgoing, event: object, now: float) -> _Step:
    if now - s.since < SETTLE_PAUSE:
        return Step(s, (e.WakeAfter(SETTLE_PAUSE),))
    kind = CasKind.TAKE_BACK if s.phase is Phase.TAKING_BACK else CasKind.KEEP
    return _write(s, kind, s.phase, now)


def _on_lease_lapsed_while_writing(s: Outgoing, event: object, now: float) -> _Step:
    kind = CasKind.TAKE_BACK if s.phase is Phase.TAKING_BACK else CasKind.KEEP
    return _write(s, kind, s.phase, now)


# --- yours, take-back --------------------------------------------------------------------------------------------


def _on_yours_noted(s: Outgoing, event: object, now: float) -> _Step:
    return _go(s, Phase.TELLING, now, *_tell(s))


def _tell(s: Outgoing) -> tuple[object, ...]:
    """Say `yours`; a QEMU that stands before the switch is told to switch first, again until it has."""
    switch = (e.EnterPostCopy(),) if s.transfer is Transfer.READY else ()
    return (*switch, e.SendYours(s.record.epoch, s.record.revision), e.WakeAfter(TELL_PAUSE))


def _on_note_failed(s: Outgoing, event: object, now: float) -> _Step:
    """Neither may happen before it is noted: try again, and say so."""
    return Step(s, (e.Tell(_sentence_of(event)), e.WakeAfter(SETTLE_PAUSE)))


def _on_noting_tick(s: Outgoing, event: object, now: float) -> _Step:
    note = e.NoteYours(s.record) if s.phase is Phase.NOTING_YOURS else e.NoteTakeBack(s.record)
    return Step(s, (note,))


def _on_take_back_noted(s: Outgoing, event: object, now: float) -> _Step:
    return _write(s, CasKind.TAKE_BACK, Phase.TAKING_BACK, now)


def _on_telling_tick(s: Outgoing, event: object, now: float) -> _Step:
    return Step(s, _tell(s))


def _on_pages_flow_while_telling(s: Outgoing, event: object, now: float) -> _Step:
    return Step(replace(s, transfer=Transfer.SWITCHED, pages_stopped=False))


def _on_pages_stopped_while_telling(s: Outgoing, event: object, now: float) -> _Step:
    return Step(replace(s, transfer=Transfer.SWITCHED, pages_stopped=True))


def _on_completed_while_telling(s: Outgoing, event: object, now: float) -> _Step:
    return Step(replace(s, transfer=Transfer.COMPLETED))


def _on_switch_failed(s: Outgoing, event: object, now: float) -> _Step:
    """QEMU could not send the devices' state and stands as it did before: what is given back can run here."""
    return Step(replace(s, transfer=Transfer.BROKEN) if s.transfer is Transfer.READY else s)


def _on_record_seen_while_telling(s: Outgoing, event: object, now: float) -> _Step:
    assert isinstance(event, e.RecordSeen)
    current = event.record
    if current.revision <= s.record.revision:
        return Step(s)
    if current.holder == s.me and current.image == s.image:
        return _settle(replace(s, record=current), "the destination could not load the guest and gave it back", now)
    return _moved_past(s, current, now)


def _on_source_gone_while_telling(s: Outgoing, event: object, now: float) -> _Step:
    return Step(replace(s, image_state=Image.GONE))


def _on_record_seen_when_given(s: Outgoing, event: object, now: float) -> _Step:
    """The destination claimed while we were silent: it runs, by the record."""
    assert isinstance(event, e.RecordSeen)
    if event.record.epoch <= s.record.epoch:
        return Step(s)
    if event.record.holder == s.me and event.record.image == s.image:
        return _settle(replace(s, record=event.record), "the destination gave the virtual machine back", now)
    return _moved_past(s, event.record, now)


# --- serving, reconnecting ----------------------------------------------------------------------------------------


def _on_pages_sampled(s: Outgoing, event: object, now: float) -> _Step:
    """Nobody tells of a link that drops everything: what does not move for two seconds is given up and replaced."""
    assert isinstance(event, e.Sampled)
    transferred = event.sample.transferred
    if transferred != s.transferred:
        return Step(replace(s, transferred=transferred, since=now))
    if now - s.since < SILENCE_LIMIT:
        return Step(s)
    return _reconnect(s, f"no page got across for {SILENCE_LIMIT:.0f} s", now, e.PausePages())


def _on_pages_stopped(s: Outgoing, event: object, now: float) -> _Step:
    return _reconnect(s, _sentence_of(event), now)


def _reconnect(s: Outgoing, why: str, now: float, *effects: object) -> _Step:
    sentence = f"{why}: the connection is being replaced; the guest may stand still until then"
    told = (e.Tell(sentence), e.TellPagesPaused(), e.WakeAfter(PAGES_PAUSE))
    return _go(replace(s, pages_stopped=True), Phase.RECONNECTING, now, *effects, *told)


def _on_recover(s: Outgoing, event: object, now: float) -> _Step:
    """The destination has given the connection up, and waits at a new address, whatever we know of it."""
    assert isinstance(event, e.Recover)
    waiting = replace(s, pages_stopped=True)
    return _go(waiting, Phase.RECONNECTING, now, e.ResumePages(event.uri), e.WakeAfter(PAGES_PAUSE))


def _on_pages_flow_again(s: Outgoing, event: object, now: float) -> _Step:
    again = replace(s, pages_stopped=False)
    return _go(again, Phase.SERVING, now, e.Tell("pages get across again"), e.WakeAfter(PAGES_PAUSE))


def _on_serving_tick(s: Outgoing, event: object, now: float) -> _Step:
    return Step(s, (e.SampleAfter(SAMPLE_PAUSE_NEAR), e.AskDestination(), e.WakeAfter(PAGES_PAUSE)))


def _on_reconnecting_tick(s: Outgoing, event: object, now: float) -> _Step:
    return Step(s, (e.PausePages(), e.TellPagesPaused(), e.AskDestination(), e.WakeAfter(PAGES_PAUSE)))


def _on_all_across(s: Outgoing, event: object, now: float) -> _Step:
    done = replace(s, transfer=Transfer.COMPLETED)
    return _go(done, Phase.ENDING_IMAGE, now, e.EndImage(), e.WakeAfter(1.0))


def _on_served_in_vain(s: Outgoing, event: object, now: float) -> _Step:
    """The destination has nothing left that could take a page, or our QEMU can send none: the image is no good."""
    stale = replace(s, reason=_sentence_of(event))
    return _go(stale, Phase.ENDING_IMAGE, now, e.EndImage(), e.Abandon(), e.WakeAfter(1.0))


def _on_record_seen_while_serving(s: Outgoing, event: object, now: float) -> _Step:
    """The destination may write itself again; an image of another id has been started from the disks."""
    assert isinstance(event, e.RecordSeen)
    current = event.record
    if current.revision <= s.record.revision:
        return Step(s)
    if current.holder == s.destination and current.image == s.destination_image:
        return Step(replace(s, record=current))
    return _moved_past(s, current, now)


def _on_source_gone_while_serving(s: Outgoing, event: object, now: float) -> _Step:
    """Pages that were only here are lost, and with them the guest: the destination is told, so that it starts anew."""
    gone = replace(s, image_state=Image.GONE, reason=_sentence_of(event))
    return _end(gone, Outcome.OVERTAKEN, now, e.Abandon())


# --- resuming, ending --------------------------------------------------------------------------------------------


def _on_resumed(s: Outgoing, event: object, now: float) -> _Step:
    return _end(s, s.outcome or Outcome.FAILED, now, e.Abandon())


def _on_resume_failed(s: Outgoing, event: object, now: float) -> _Step:
    return Step(s, (e.Tell(_sentence_of(event)), e.WakeAfter(SETTLE_PAUSE)))


def _on_resuming_tick(s: Outgoing, event: object, now: float) -> _Step:
    return Step(s, (e.ResumeGuest(), e.WakeAfter(SILENCE_LIMIT)))


def _on_switched_after_all(s: Outgoing, event: object, now: float) -> _Step:
    """The word to switch was carried out late: part of the guest is at a destination that may not run it, part is here.

    What runs from here on starts from its disks: QEMU would refuse `cont` for ever.
    """
    switched = replace(s, transfer=Transfer.SWITCHED, pages_stopped=isinstance(event, e.PagesStopped))
    return _resume(switched, now) if s.phase is Phase.RESUMING else Step(switched)


def _on_lease_lapsed_while_resuming(s: Outgoing, event: object, now: float) -> _Step:
    return _settle(s, s.reason or _sentence_of(event), now)


def _on_source_gone_while_resuming(s: Outgoing, event: object, now: float) -> _Step:
    return _end(replace(s, image_state=Image.GONE), Outcome.IMAGE_LOST, now, e.Abandon())


def _on_image_ended(s: Outgoing, event: object, now: float) -> _Step:
    if s.outcome is Outcome.IMAGE_LOST:
        return _end(s, Outcome.IMAGE_LOST, now, e.Abandon())
    return _end(s, Outcome.OVERTAKEN if s.reason else Outcome.DONE, now)


def _on_ending_tick(s: Outgoing, event: object, now: float) -> _Step:
    return Step(s, (e.EndImage(), e.WakeAfter(1.0)))


def _sentence_of(event: object) -> str:
    return (event.sentence if isinstance(event, e.Trouble) else "") or type(event).__name__


# --- the table ---------------------------------------------------------------------------------------------------


def _to(handler: _Handler, *phases: Phase) -> Rule[Outgoing, Phase]:
    return Rule(handler, phases)


def _late(why: str) -> Rule[Outgoing, Phase]:
    return Rule(None, (), why)


_P = Phase
_Rules: TypeAlias = dict[type, Rule[Outgoing, Phase]]
_ENDED_OR_RESUMING = (_P.RESUMING, _P.ENDED)
_AFTER_STOP = (_P.NOTING_YOURS, _P.GIVEN, _P.NOTING_TAKE_BACK)
_NOT_YET = _late("nothing was stopped or given yet")
_BEFORE = _late("news of a transfer that is over")
_TOO_LATE = _late("the point of no return is passed; the caller was told so")
_NO_PAGES: _Rules = {
    e.ReadyToSwitch: _late("no switch to post-copy is under way"),
    e.PagesFlow: _late("no switch to post-copy is under way"),
    e.PagesStopped: _late("no switch to post-copy is under way"),
    e.Recover: _late("the destination has not marked the record yet"),
}
_UNSTOPPED: _Rules = {
    **_NO_PAGES,
    CasAnswered: _NOT_YET,
    CasRefused: _NOT_YET,
    CasUnanswered: _NOT_YET,
    e.Stopped: _NOT_YET,
    e.StopFailed: _NOT_YET,
    e.YoursNoted: _NOT_YET,
    e.TakeBackNoted: _NOT_YET,
    e.Resumed: _NOT_YET,
    e.ResumeFailed: _NOT_YET,
    e.ImageEnded: _NOT_YET,
    e.RecordSeen: _late("the record names us; only a write of our own could move it"),
    e.SourceSpeaking: _late("nothing waits for it"),
}
_STOPPED: _Rules = {
    **_NO_PAGES,
    e.PlaceFree: _late("already begun"),
    e.Prepared: _late("already prepared"),
    e.PrepareRefused: _late("already prepared"),
    e.DestinationAlive: _late("nothing waits for it"),
    e.Sampled: _late("the decision to stop is made"),
    e.CancelRequested: _TOO_LATE,
    e.SourceSpeaking: _late("nothing waits for it"),
    e.SourceMute: _late("the deadlines of this phase decide"),
    e.GuestNotRunning: _late("the guest was stopped by us"),
    e.TransferCancelled: _BEFORE,
}
_SETTLED_LATE: _Rules = {
    e.TransferCompleted: _BEFORE,
    e.TransferFailed: _BEFORE,
    e.DestinationFailed: _BEFORE,
    e.Stopped: _late("already stopped"),
    e.StopFailed: _late("already stopped"),
}
_NO_NOTES: _Rules = {
    e.YoursNoted: _late("nothing is being noted"),
    e.TakeBackNoted: _late("nothing is being noted"),
    e.NoteFailed: _late("nothing is being noted"),
}
_NO_RESUME: _Rules = {
    e.Resumed: _late("not resuming"),
    e.ResumeFailed: _late("not resuming"),
    e.ImageEnded: _late("not ending the image"),
}
_NO_WRITE: _Rules = {
    CasAnswered: _late("an answer that no longer decides"),
    CasRefused: _late("an answer that no longer decides"),
    CasUnanswered: _late("an answer that no longer decides"),
}


def _switched(*phases: Phase) -> _Rules:
    """Whoever wants the guest back may find that QEMU has switched after all."""
    return {e.PagesFlow: _to(_on_switched_after_all, *phases), e.PagesStopped: _to(_on_switched_after_all, *phases)}


_MOVED_ON = (_P.ENDING_IMAGE, _P.SERVING, _P.RECONNECTING)
_SETTLE_TARGETS = (_P.SETTLING, _P.RESUMING, *_MOVED_ON, _P.ENDED, *_AFTER_STOP)
_SERVING: _Rules = {
    **_STOPPED,
    **_NO_NOTES,
    **_NO_RESUME,
    **_NO_WRITE,
    e.Stopped: _late("already stopped"),
    e.StopFailed: _late("already stopped"),
    e.LeaseLapsed: _late("the virtual machine is not ours; the guard ends the QEMU here"),
    e.TransferCompleted: _to(_on_all_across, _P.ENDING_IMAGE),
    e.TransferFailed: _to(_on_served_in_vain, _P.ENDING_IMAGE),
    e.DestinationFailed: _to(_on_served_in_vain, _P.ENDING_IMAGE),
    e.SourceExited: _to(_on_source_gone_while_serving, _P.ENDED),
    e.Recover: _to(_on_recover, _P.RECONNECTING),
}

TABLE: dict[Phase, _Rules] = {
    _P.QUEUED: {
        **_UNSTOPPED,
        e.PlaceFree: _to(_on_place_free, _P.PREPARING),
        e.CancelRequested: _to(_on_cancel_before_transfer, _P.ENDED),
        e.SourceExited: _to(_on_source_gone_unstopped, _P.ENDED),
        e.GuestNotRunning: _to(_on_trouble_before_transfer, _P.ENDED),
        e.NoteFailed: _NOT_YET,
        e.LeaseLapsed: _late("the session begins when it leaves the queue"),
        e.SourceMute: _late("found out when the transfer starts"),
        e.DestinationFailed: _NOT_YET,
        e.DestinationAlive: _NOT_YET,
        e.Prepared: _NOT_YET,
        e.PrepareRefused: _NOT_YET,
        e.Sampled: _NOT_YET,
        e.Tick: _late("no deadline runs"),
        e.TransferCompleted: _NOT_YET,
        e.TransferFailed: _NOT_YET,
        e.TransferCancelled: _NOT_YET,
    },
    _P.PREPARING: {
        **_UNSTOPPED,
        e.PlaceFree: _late("already begun"),
        e.Prepared: _to(_on_prepared, _P.TRANSFER),
        e.PrepareRefused: _to(_on_prepare_refused, _P.ENDED),
        e.DestinationAlive: _to(_on_preparing_alive, _P.PREPARING),
        e.Tick: _to(_on_preparing_tick, _P.PREPARING, _P.ENDED),
        e.CancelRequested: _to(_on_cancel_before_transfer, _P.ENDED),
        e.SourceExited: _to(_on_source_gone_unstopped, _P.ENDED),
        e.GuestNotRunning: _to(_on_trouble_before_transfer, _P.ENDED),
        e.DestinationFailed: _to(_on_trouble_before_transfer, _P.ENDED),
        e.LeaseLapsed: _to(_on_trouble_before_transfer, _P.ENDED),
        e.SourceMute: _to(_on_trouble_before_transfer, _P.ENDED),
        e.NoteFailed: _to(_on_trouble_before_transfer, _P.ENDED),
        e.Sampled: _NOT_YET,
        e.TransferCompleted: _NOT_YET,
        e.TransferFailed: _NOT_YET,
        e.TransferCancelled: _NOT_YET,
    },
    _P.TRANSFER: {
        **_UNSTOPPED,
        e.PlaceFree: _late("already begun"),
        e.Prepared: _late("already prepared"),
        e.PrepareRefused: _late("already prepared"),
        e.DestinationAlive: _late("bytes across tell more"),
        e.NoteFailed: _to(_on_trouble_in_transfer, _P.CANCELLING),
        e.Sampled: _to(_on_sampled, _P.TRANSFER, _P.STOPPING, _P.CANCELLING),
        e.Tick: _to(_on_transfer_tick, _P.TRANSFER),
        e.TransferCompleted: _to(_on_completed_by_itself, _P.GIVING),
        e.TransferFailed: _to(_on_transfer_failed, _P.ENDED),
        e.TransferCancelled: _to(_on_transfer_failed, _P.ENDED),
        e.CancelRequested: _to(_on_cancel_in_transfer, _P.CANCELLING),
        e.SourceExited: _to(_on_source_gone_unstopped, _P.ENDED),
        e.GuestNotRunning: _to(_on_trouble_in_transfer, _P.CANCELLING),
        e.DestinationFailed: _to(_on_trouble_in_transfer, _P.CANCELLING),
        e.LeaseLapsed: _to(_on_trouble_in_transfer, _P.CANCELLING),
        e.SourceMute: _to(_on_mute_in_transfer, _P.CANCELLING),
    },
    _P.CANCELLING: {
        **_UNSTOPPED,
        e.PlaceFree: _late("already begun"),
        e.Prepared: _late("already prepared"),
        e.PrepareRefused: _late("already prepared"),
        e.DestinationAlive: _late("nothing waits for it"),
        e.NoteFailed: _late("the session ends anyway"),
        e.Sampled: _late("the decision is made"),
        e.Tick: _to(_on_cancelling_tick, _P.CANCELLING),
        e.TransferCompleted: _to(_on_completed_while_cancelling, _P.SETTLING),
        e.TransferFailed: _to(_on_transfer_over, _P.ENDED),
        e.TransferCancelled: _to(_on_transfer_over, _P.ENDED),
        e.CancelRequested: _late("being cancelled already"),
        e.SourceExited: _to(_on_source_gone_unstopped, _P.ENDED),
        e.GuestNotRunning: _late("the session ends anyway"),
        e.DestinationFailed: _late("the session ends anyway"),
        e.LeaseLapsed: _late("the session ends anyway"),
        e.SourceMute: _late("it is asked again until it answers"),
    },
    _P.STOPPING: {
        **_STOPPED,
        **_NO_NOTES,
        **_NO_RESUME,
        **_NO_WRITE,
        e.Stopped: _to(_on_stopped, _P.GIVING),
        e.StopFailed: _to(_on_trouble_while_stopping, *_ENDED_OR_RESUMING),
        e.SourceMute: _to(_on_trouble_while_stopping, *_ENDED_OR_RESUMING),
        e.TransferCompleted: _to(_on_completed_while_stopping, _P.STOPPING),
        e.TransferFailed: _to(_on_trouble_while_stopping, *_ENDED_OR_RESUMING),
        e.TransferCancelled: _to(_on_trouble_while_stopping, *_ENDED_OR_RESUMING),
        e.DestinationFailed: _to(_on_trouble_while_stopping, *_ENDED_OR_RESUMING),
        e.SourceExited: _to(_on_source_gone_unstopped, _P.ENDED),
        e.LeaseLapsed: _to(_on_lease_lapsed_while_stopping, _P.SETTLING),
        e.RecordSeen: _late("the record names us; only a write of our own could move it"),
        e.Tick: _to(_on_stopping_tick, _P.STOPPING, *_ENDED_OR_RESUMING),
        e.ReadyToSwitch: _to(_on_ready_while_stopping, _P.STOPPING),
    },
    _P.GIVING: {
        **_STOPPED,
        e.Sampled: _to(_on_rest_sampled, _P.GIVING),
        **_NO_NOTES,
        **_NO_RESUME,
        CasAnswered: _to(_on_give_answered, _P.GIVING, *_AFTER_STOP),
        CasRefused: _to(_on_write_refused, _P.GIVING, *_SETTLE_TARGETS),
        CasUnanswered: _to(_on_give_unanswered, _P.GIVING, _P.SETTLING),
        e.TransferCompleted: _to(_on_completed, _P.GIVING),
        e.TransferFailed: _to(_on_trouble_after_stop, _P.GIVING),
        e.TransferCancelled: _to(_on_trouble_after_stop, _P.GIVING),
        e.DestinationFailed: _to(_on_destination_failed_after_stop, _P.GIVING),
        e.SourceExited: _to(_on_source_gone_after_stop, _P.GIVING),
        e.LeaseLapsed: _to(_on_lease_lapsed_in_giving, _P.SETTLING),
        e.RecordSeen: _late("our own write answers for itself"),
        e.Stopped: _late("already stopped"),
        e.StopFailed: _late("already stopped"),
        e.Tick: _to(_on_tick_after_stop, _P.GIVING),
        e.ReadyToSwitch: _to(_on_ready, _P.GIVING),
    },
    _P.GIVEN: {
        **_STOPPED,
        e.Sampled: _to(_on_rest_sampled, _P.GIVEN, _P.NOTING_TAKE_BACK),
        **_NO_NOTES,
        **_NO_RESUME,
        **_NO_WRITE,
        e.TransferCompleted: _to(_on_completed, _P.NOTING_YOURS),
        e.TransferFailed: _to(_on_trouble_after_stop, _P.NOTING_TAKE_BACK),
        e.TransferCancelled: _to(_on_trouble_after_stop, _P.NOTING_TAKE_BACK),
        e.DestinationFailed: _to(_on_destination_failed_after_stop, _P.NOTING_TAKE_BACK),
        e.SourceExited: _to(_on_source_gone_after_stop, _P.NOTING_TAKE_BACK),
        e.LeaseLapsed: _to(_on_lease_lapsed_when_given, _P.NOTING_TAKE_BACK),
        e.RecordSeen: _to(_on_record_seen_when_given, _P.GIVEN, *_MOVED_ON, _P.SETTLING),
        e.Stopped: _late("already stopped"),
        e.StopFailed: _late("already stopped"),
        e.Tick: _to(_on_tick_after_stop, _P.GIVEN, _P.NOTING_TAKE_BACK),
        e.ReadyToSwitch: _to(_on_ready, _P.NOTING_YOURS),
    },
    _P.SETTLING: {
        **_STOPPED,
        **_switched(_P.SETTLING),
        **_NO_NOTES,
        **_NO_RESUME,
        CasAnswered: _to(_on_keep_answered, _P.SETTLING, _P.ENDING_IMAGE, *_ENDED_OR_RESUMING),
        CasRefused: _to(_on_write_refused, *_SETTLE_TARGETS),
        CasUnanswered: _to(_on_unanswered_again, _P.SETTLING),
        e.TransferCompleted: _to(_on_completed, _P.SETTLING),
        e.TransferFailed: _to(_on_trouble_after_stop, _P.SETTLING),
        e.TransferCancelled: _to(_on_trouble_after_stop, _P.SETTLING),
        e.DestinationFailed: _to(_on_destination_failed_after_stop, _P.SETTLING),
        e.SourceExited: _to(_on_source_gone_after_stop, _P.SETTLING),
        e.LeaseLapsed: _to(_on_lease_lapsed_while_writing, _P.SETTLING),
        e.RecordSeen: _late("our own write answers for itself"),
        e.Stopped: _late("already stopped"),
        e.StopFailed: _late("already stopped"),
        e.Tick: _to(_on_settling_tick, _P.SETTLING),
        e.ReadyToSwitch: _to(_on_ready, _P.SETTLING),
    },
    _P.NOTING_YOURS: {
        **_STOPPED,
        **_SETTLED_LATE,
        **_NO_RESUME,
        **_NO_WRITE,
        e.YoursNoted: _to(_on_yours_noted, _P.TELLING),
        e.NoteFailed: _to(_on_note_failed, _P.NOTING_YOURS),
        e.TakeBackNoted: _late("the other way was taken"),
        e.SourceExited: _to(_on_source_gone_while_telling, _P.NOTING_YOURS),
        e.LeaseLapsed: _late("the record names the destination; our lease protects nothing any more"),
        e.RecordSeen: _to(_on_record_seen_when_given, _P.NOTING_YOURS, *_MOVED_ON, _P.SETTLING),
        e.Tick: _to(_on_noting_tick, _P.NOTING_YOURS),
    },
    _P.TELLING: {
        **_STOPPED,
        **_SETTLED_LATE,
        **_NO_NOTES,
        **_NO_RESUME,
        **_NO_WRITE,
        e.RecordSeen: _to(_on_record_seen_while_telling, _P.TELLING, *_MOVED_ON, _P.SETTLING),
        e.SourceExited: _to(_on_source_gone_while_telling, _P.TELLING),
        e.LeaseLapsed: _late("the record names the destination; our lease protects nothing any more"),
        e.Tick: _to(_on_telling_tick, _P.TELLING),
        e.PagesFlow: _to(_on_pages_flow_while_telling, _P.TELLING),
        e.PagesStopped: _to(_on_pages_stopped_while_telling, _P.TELLING),
        e.TransferCompleted: _to(_on_completed_while_telling, _P.TELLING),
        e.TransferFailed: _to(_on_switch_failed, _P.TELLING),
    },
    _P.NOTING_TAKE_BACK: {
        **_STOPPED,
        **_switched(_P.NOTING_TAKE_BACK),
        **_SETTLED_LATE,
        **_NO_RESUME,
        **_NO_WRITE,
        e.TakeBackNoted: _to(_on_take_back_noted, _P.TAKING_BACK),
        e.NoteFailed: _to(_on_note_failed, _P.NOTING_TAKE_BACK),
        e.YoursNoted: _late("the other way was taken"),
        e.SourceExited: _to(_on_source_gone_while_telling, _P.NOTING_TAKE_BACK),
        e.LeaseLapsed: _late("the write is sent under the incarnation of then"),
        e.RecordSeen: _to(_on_record_seen_when_given, _P.NOTING_TAKE_BACK, *_MOVED_ON, _P.SETTLING),
        e.Tick: _to(_on_noting_tick, _P.NOTING_TAKE_BACK),
    },
    _P.TAKING_BACK: {
        **_STOPPED,
        **_switched(_P.TAKING_BACK),
        **_SETTLED_LATE,
        **_NO_NOTES,
        **_NO_RESUME,
        CasAnswered: _to(_on_keep_answered, _P.TAKING_BACK, _P.ENDING_IMAGE, *_ENDED_OR_RESUMING),
        CasRefused: _to(_on_write_refused, _P.TAKING_BACK, *_SETTLE_TARGETS),
        CasUnanswered: _to(_on_unanswered_again, _P.TAKING_BACK),
        e.SourceExited: _to(_on_source_gone_while_telling, _P.TAKING_BACK),
        e.LeaseLapsed: _to(_on_lease_lapsed_while_writing, _P.TAKING_BACK),
        e.RecordSeen: _late("our own write answers for itself"),
        e.Tick: _to(_on_settling_tick, _P.TAKING_BACK),
    },
    _P.RESUMING: {
        **_STOPPED,
        **_switched(_P.ENDING_IMAGE),
        **_SETTLED_LATE,
        **_NO_NOTES,
        **_NO_WRITE,
        e.Resumed: _to(_on_resumed, _P.ENDED),
        e.ResumeFailed: _to(_on_resume_failed, _P.RESUMING),
        e.ImageEnded: _late("not ending the image"),
        e.SourceExited: _to(_on_source_gone_while_resuming, _P.ENDED),
        e.LeaseLapsed: _to(_on_lease_lapsed_while_resuming, _P.SETTLING),
        e.RecordSeen: _late("the record names us"),
        e.Tick: _to(_on_resuming_tick, _P.RESUMING),
    },
    _P.SERVING: {
        **_SERVING,
        e.Sampled: _to(_on_pages_sampled, _P.SERVING, _P.RECONNECTING),
        e.PagesFlow: _late("they flow already"),
        e.PagesStopped: _to(_on_pages_stopped, _P.RECONNECTING),
        e.RecordSeen: _to(_on_record_seen_while_serving, _P.SERVING, _P.ENDING_IMAGE),
        e.Tick: _to(_on_serving_tick, _P.SERVING),
    },
    _P.RECONNECTING: {
        **_SERVING,
        e.Sampled: _late("the connection is given up"),
        e.PagesFlow: _to(_on_pages_flow_again, _P.SERVING),
        e.PagesStopped: _late("it is being replaced already"),
        e.RecordSeen: _to(_on_record_seen_while_serving, _P.RECONNECTING, _P.ENDING_IMAGE),
        e.Tick: _to(_on_reconnecting_tick, _P.RECONNECTING),
    },
    _P.ENDING_IMAGE: {
        **_STOPPED,
        **_SETTLED_LATE,
        **_NO_NOTES,
        **_NO_WRITE,
        e.Resumed: _late("not resuming"),
        e.ResumeFailed: _late("not resuming"),
        e.ImageEnded: _to(_on_image_ended, _P.ENDED),
        e.SourceExited: _to(_on_image_ended, _P.ENDED),
        e.LeaseLapsed: _late("the virtual machine is not ours"),
        e.RecordSeen: _late("the virtual machine is not ours"),
        e.Tick: _to(_on_ending_tick, _P.ENDING_IMAGE),
    },
    _P.ENDED: {event: _late("the session is over") for event in e.EVENTS},
}
