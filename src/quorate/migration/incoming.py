"""The destination's side of one live migration.

    preparing -> receiving -> loaded -------(yours)------> noting cont -> starting -> marking -> ended (runs here)
        |         |    |        |                              ^
        |         |    |        `-(source gone)-> claiming ----'
        |         | (yours)                           ^
        |         |    `-> told ----(loaded)----------'--(lease unbroken: straight to noting cont)
        |         |         |
        |         |         `-(cannot load)-> giving back -> ending -> ended
        `---------+-> ending -> left -> ended
                              |    `-(yours)-> giving back
                              `-(the source gave the session up)-> ended

        marking -> fetching -> ended (runs here, in full)              (post-copy)
                   |    ^ `-(no pages will come)-> ending -> ended
               reconnecting

The QEMU here never runs by itself. It runs when the guest has arrived in full and the source has said `yours` for this
session and our lease is unbroken since the session began (R6): no database stands in the way then. In every other case
ownership is claimed by a write first. That `cont` may be out is noted before it is sent: only a destination that
surely never sent it may give back (R7).

A destination that ends its image by its own decision stays (`left`) until the source has given the session up: a gift,
and `yours`, may be on their way to it, and nobody else may give them back. Nobody leaves while the record names him.

Post-copy. Loaded means here that QEMU has all but pages and can run. After the mark the guest runs while they come
(`fetching`); the session ends when none is missing. A broken connection is replaced by one that we listen for
(`reconnecting`), until the source is known to have nothing left: then the guest cannot go on, its image is ended and
the virtual machine is started from its disks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.clusapi.machine import Rule, Step, follow
from quorate.migration import incoming_events as e
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasRefused, CasUnanswered, OwnershipRecord, SendCas

ASK_PAUSE = 0.5
"""Seconds between two questions to the source whether the session lives."""
SOURCE_PATIENCE = 2.0
"""Seconds without an answer of the source after which a loaded guest looks into the record for itself."""
GIVEN_UP = "the source has given the session up"
DROP_PATIENCE = 15.0
"""Seconds without an answer of the source, and without a gift on record, after which the image is dropped: longer than
the source's lease, so that whoever may take the virtual machine over has the say by then."""
TOLD_PATIENCE = 30.0
"""Seconds after `yours` within which the rest must have been loaded: the source has sent all of it by then."""
SETTLE_PAUSE = 0.2
LISTEN_PATIENCE = 3.0
"""Seconds without the source at the new address of a broken post-copy after which another one is opened."""


class Phase(Enum):
    """Where the destination's side stands."""

    PREPARING = "preparing"
    """A QEMU is being started that waits for the guest."""
    RECEIVING = "receiving"
    """The guest's memory arrives."""
    LOADED = "loaded"
    """All has arrived; the source has not said whose it is."""
    TOLD = "told"
    """The source said `yours`; QEMU has not yet said that all has arrived."""
    CLAIMING = "claiming"
    """The record gives the guest to us and is being written by us, as being told was not enough."""
    NOTING_CONT = "noting cont"
    """The journal takes down that `cont` is about to be sent."""
    STARTING = "starting"
    """`cont` was sent."""
    MARKING = "marking"
    """The guest runs here; the record is being marked so that the source may end its image."""
    FETCHING = "fetching"
    """Post-copy: the guest runs here and pages of it are still to come."""
    RECONNECTING = "reconnecting"
    """Post-copy: the connection broke while pages were missing; the guest stands still at the first that it needs."""
    GIVING_BACK = "giving back"
    """Told, but the guest did not load and never ran here: the record is made to name the giver's image."""
    ENDING = "ending"
    """The QEMU of this session is being ended."""
    LEFT = "left"
    """The QEMU is gone by our own decision; the source has not yet given the session up, and may still give to us."""
    ENDED = "ended"
    """Nothing more to do; see the outcome."""


class Outcome(Enum):
    """How the session ended on this side."""

    RUNS = "runs"
    """The guest runs here and the record says so."""
    DROPPED = "dropped"
    """The image was ended; it never ran."""
    GAVE_BACK = "gave back"
    """The record names the giver's image again."""
    IMAGE_LOST = "image lost"
    """The virtual machine is ours and its QEMU is gone: to be started from its disks by policy."""
    NOT_ARRIVED = "not arrived"
    """The virtual machine is ours and its memory never came here, as its giver is gone: to be started from its disks.
    Nothing of it has failed."""


class Right(Enum):
    """What it takes before the guest may run here."""

    TOLD_SUFFICES = "told suffices"
    MUST_CLAIM = "must claim"
    """The lease has lapsed, or the daemon was restarted, since the session began."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One migration as its destination sees it."""

    session: SessionId
    me: NodeId
    source: NodeId
    image: ImageId
    source_image: ImageId
    phase: Phase = Phase.PREPARING
    since: float = 0.0
    heard: float = 0.0
    """When the source last answered."""
    right: Right = Right.TOLD_SUFFICES
    record: OwnershipRecord | None = None
    attempt: int = 0
    pending: Cas | None = None
    outcome: Outcome | None = None
    image_gone: str = ""
    """Why the QEMU here is gone; empty while it lives."""
    uri: str = ""
    """Where the QEMU here listens; said again until the source sends."""
    has_left: bool = False
    """There was no guest here that could have run, and there is no image any more."""
    given_up: bool = False
    """The source has answered that it does not know the session any more: the record decides."""
    over: bool = False
    """Nothing can be given to this session any more."""
    pages_missing: bool = False
    """Post-copy: what has come is enough to run, and not all."""
    pages_stopped: bool = False
    """Post-copy: the connection is broken."""
    reason: str = ""

    def step(self, event: e.Event, now: float) -> Step["Incoming"]:
        """Take in what happened at `now` (monotonic seconds); give the next state and what to do."""
        return follow(TABLE, lambda state: state.phase, self, event, now)

    def is_mine(self, record: OwnershipRecord) -> bool:
        """Tell whether the record names this image here."""
        return record.holder == self.me and record.image == self.image


_Step: TypeAlias = Step[Incoming]


def begin(state: Incoming, now: float) -> _Step:
    """Begin a new session."""
    return Step(replace(state, since=now, heard=now), (e.Launch(), e.WakeAfter(ASK_PAUSE)))


# --- shared moves ------------------------------------------------------------------------------------------------


def _go(s: Incoming, phase: Phase, now: float, *effects: object) -> _Step:
    return Step(replace(s, phase=phase, since=now), effects)


def _end(s: Incoming, outcome: Outcome, now: float, *effects: object) -> _Step:
    ended = replace(s, phase=Phase.ENDED, since=now, outcome=outcome)
    return Step(ended, (*effects, e.Finish(outcome.value, s.reason)))


def _drop(s: Incoming, reason: str, now: float, *effects: object, over: bool = False) -> _Step:
    """End the image. Unless the session is `over`, we stay: what the source still gives must find somebody."""
    dropped = replace(s, reason=s.reason or reason, over=s.over or over)
    return _go(dropped, Phase.ENDING, now, e.EndImage(), *effects, e.WakeAfter(1.0))


def _write(s: Incoming, kind: CasKind, phase: Phase, now: float) -> _Step:
    assert s.record is not None, "nothing is written before a record was seen"
    attempt = s.attempt + 1
    if kind is CasKind.GIVE_BACK:
        cas = Cas(kind, attempt, s.record, s.source, s.source_image)
    else:
        cas = Cas(kind, attempt, s.record, s.me, s.image)
    return _go(replace(s, attempt=attempt, pending=cas), phase, now, SendCas(cas), e.WakeAfter(1.0))


def _loaded_and_told(s: Incoming, now: float) -> _Step:
    if s.right is Right.MUST_CLAIM:
        return _write(s, CasKind.CLAIM, Phase.CLAIMING, now)
    return _go(s, Phase.NOTING_CONT, now, e.NoteCont())


def _is_answer_to(s: Incoming, event: CasAnswered | CasRefused | CasUnanswered) -> bool:
    return s.pending is not None and event.attempt == s.pending.attempt


def _sentence_of(event: object) -> str:
    return (event.sentence if isinstance(event, e.Trouble) else "") or type(event).__name__


# --- preparing, receiving ----------------------------------------------------------------------------------------


def _on_launched(s: Incoming, event: object, now: float) -> _Step:
    assert isinstance(event, e.Launched)
    listening = replace(s, uri=event.uri)
    return _go(listening, Phase.RECEIVING, now, e.TellPrepared(event.uri), e.WakeAfter(ASK_PAUSE))


def _on_bad_image(s: Incoming, event: object, now: float) -> _Step:
    sentence = _sentence_of(event)
    return _drop(s, sentence, now, e.TellFailed(sentence))


def _on_abandoned(s: Incoming, event: object, now: float) -> _Step:
    return _drop(s, _sentence_of(event), now, over=True)


def _on_ask_tick(s: Incoming, event: object, now: float) -> _Step:
    return Step(s, (e.AskSession(), e.WakeAfter(ASK_PAUSE)))


def _on_receiving_tick(s: Incoming, event: object, now: float) -> _Step:
    again = (e.TellPrepared(s.uri),) if s.uri else ()
    return Step(s, (*again, e.AskSession(), e.WakeAfter(ASK_PAUSE)))


def _on_session_alive(s: Incoming, event: object, now: float) -> _Step:
    return Step(replace(s, heard=now))


def _on_session_dead(s: Incoming, event: object, now: float) -> _Step:
    """Nobody will tell us any more. A loaded guest may be ours by the record; anything less is worth nothing."""
    known = replace(s, given_up=True)
    if s.phase is Phase.LOADED:
        return Step(known, (e.ReadRecord(),))
    return _drop(known, GIVEN_UP, now)


def _on_source_silent(s: Incoming, event: object, now: float) -> _Step:
    if s.phase is Phase.LOADED and now - s.heard >= SOURCE_PATIENCE:
        return Step(s, (e.ReadRecord(),))
    if now - s.heard >= DROP_PATIENCE:
        return _drop(s, f"the source has not answered for {DROP_PATIENCE:.0f} s", now)
    return Step(s)


def _loaded(s: Incoming, now: float) -> _Step:
    return _go(s, Phase.LOADED, now, e.WakeAfter(ASK_PAUSE))


def _on_load_completed(s: Incoming, event: object, now: float) -> _Step:
    """All of it; also where a daemon has come back that found it in post-copy, before it could run."""
    return _loaded(replace(s, pages_missing=False, pages_stopped=False), now)


def _on_switched_over(s: Incoming, event: object, now: float) -> _Step:
    return _loaded(replace(s, pages_missing=True), now)


def _on_switched_over_when_told(s: Incoming, event: object, now: float) -> _Step:
    return _loaded_and_told(replace(s, pages_missing=True), now)


def _on_all_pages_early(s: Incoming, event: object, now: float) -> _Step:
    return Step(replace(s, pages_missing=False, pages_stopped=False))


def _on_pages_stopped_early(s: Incoming, event: object, now: float) -> _Step:
    return Step(replace(s, pages_stopped=True))


def _on_pages_flow_early(s: Incoming, event: object, now: float) -> _Step:
    return Step(replace(s, pages_stopped=False))


def _on_yours_while_receiving(s: Incoming, event: object, now: float) -> _Step:
    assert isinstance(event, e.Yours)
    return _go(replace(s, record=event.record), Phase.TOLD, now, e.WakeAfter(1.0))


def _on_lease_lapsed(s: Incoming, event: object, now: float) -> _Step:
    return Step(replace(s, right=Right.MUST_CLAIM))


def _on_lease_lapsed_when_told(s: Incoming, event: object, now: float) -> _Step:
    """We were away: QEMU may have said long ago that the guest is loaded, and its word comes after this one."""
    return Step(replace(s, right=Right.MUST_CLAIM, since=now))


# --- loaded, told ------------------------------------------------------------------------------------------------


def _on_yours_when_loaded(s: Incoming, event: object, now: float) -> _Step:
    assert isinstance(event, e.Yours)
    return _loaded_and_told(replace(s, record=event.record), now)


def _on_loaded_when_told(s: Incoming, event: object, now: float) -> _Step:
    return _loaded_and_told(replace(s, pages_missing=False, pages_stopped=False), now)


def _on_record_seen_when_loaded(s: Incoming, event: object, now: float) -> _Step:
    """The source is silent or knows nothing: the record decides whether the guest is ours to claim."""
    assert isinstance(event, e.RecordSeen)
    if s.is_mine(event.record) and (s.given_up or now - s.heard >= SOURCE_PATIENCE):
        return _write(replace(s, record=event.record), CasKind.CLAIM, Phase.CLAIMING, now)
    if s.is_mine(event.record):
        return Step(s)
    if s.given_up:
        return _drop(s, GIVEN_UP, now)
    if now - s.heard >= DROP_PATIENCE:
        return _drop(s, f"the source has not answered for {DROP_PATIENCE:.0f} s and has not given the guest", now)
    return Step(s)


def _on_bad_image_when_told(s: Incoming, event: object, now: float) -> _Step:
    """Told, and `cont` was never sent, as it is noted only after the load: the giver's image is good as ever (R7)."""
    sentence = _sentence_of(event)
    gone = replace(s, reason=sentence, image_gone=sentence if isinstance(event, e.ImageExited) else "")
    return _write(gone, CasKind.GIVE_BACK, Phase.GIVING_BACK, now)


def _on_told_tick(s: Incoming, event: object, now: float) -> _Step:
    if now - s.since < TOLD_PATIENCE:
        return Step(s, (e.WakeAfter(1.0),))
    late = replace(s, reason=f"the guest was not loaded within {TOLD_PATIENCE:.0f} s after all of it was sent")
    return _write(late, CasKind.GIVE_BACK, Phase.GIVING_BACK, now)


# --- claiming, starting, marking ---------------------------------------------------------------------------------


def _on_claimed(s: Incoming, event: object, now: float) -> _Step:
    assert isinstance(event, CasAnswered)
    if not _is_answer_to(s, event):
        return Step(s)
    claimed = replace(s, record=event.record, pending=None)
    if claimed.image_gone:
        return _write(claimed, CasKind.MARK, Phase.MARKING, now)
    return _go(claimed, Phase.NOTING_CONT, now, e.NoteCont())


def _on_claim_refused(s: Incoming, event: object, now: float) -> _Step:
    """Ours by an earlier write whose answer was lost: write once more, reading gives no right. Else: not ours."""
    assert isinstance(event, CasRefused)
    if not _is_answer_to(s, event):
        return Step(s)
    known = replace(s, record=event.current, pending=None)
    if known.is_mine(event.current):
        return _write(known, CasKind.CLAIM, Phase.CLAIMING, now)
    return _drop(known, f"node {event.current.holder} owns the virtual machine", now, over=True)


def _on_unanswered(s: Incoming, event: object, now: float) -> _Step:
    assert isinstance(event, CasUnanswered)
    return Step(s, (e.WakeAfter(SETTLE_PAUSE),)) if _is_answer_to(s, event) else Step(s)


def _on_write_tick(s: Incoming, event: object, now: float) -> _Step:
    kinds = {Phase.CLAIMING: CasKind.CLAIM, Phase.MARKING: CasKind.MARK, Phase.GIVING_BACK: CasKind.GIVE_BACK}
    return _write(s, kinds[s.phase], s.phase, now)


def _on_image_gone_while_writing(s: Incoming, event: object, now: float) -> _Step:
    return Step(replace(s, image_gone=_sentence_of(event)))


def _on_lease_lapsed_while_claiming(s: Incoming, event: object, now: float) -> _Step:
    """The answer under way will not count (R2): write again."""
    return _write(replace(s, right=Right.MUST_CLAIM), CasKind.CLAIM, Phase.CLAIMING, now)


def _on_lease_lapsed_around_cont(s: Incoming, event: object, now: float) -> _Step:
    """`cont` is not sent, or not sent again, without a claim: the one that is out may never have been carried out."""
    return _write(replace(s, right=Right.MUST_CLAIM), CasKind.CLAIM, Phase.CLAIMING, now)


def _on_cont_noted(s: Incoming, event: object, now: float) -> _Step:
    return _go(s, Phase.STARTING, now, e.Cont(), e.WakeAfter(1.0))


def _on_note_failed(s: Incoming, event: object, now: float) -> _Step:
    return Step(s, (e.Tell(_sentence_of(event)), e.WakeAfter(SETTLE_PAUSE)))


def _on_noting_tick(s: Incoming, event: object, now: float) -> _Step:
    return Step(s, (e.NoteCont(),))


def _on_image_lost(s: Incoming, event: object, now: float) -> _Step:
    """The guest is ours, `cont` may have been sent, and its QEMU is gone: its disks may be newer than any image.

    The record is marked all the same: whoever finds the session gone may then be sure that nothing is to be given back.
    """
    return _write(replace(s, image_gone=_sentence_of(event)), CasKind.MARK, Phase.MARKING, now)


def _on_cont_done(s: Incoming, event: object, now: float) -> _Step:
    step = _write(s, CasKind.MARK, Phase.MARKING, now)
    return Step(step.state, (*step.effects, e.Announce()))


def _on_cont_failed(s: Incoming, event: object, now: float) -> _Step:
    return Step(s, (e.Tell(_sentence_of(event)), e.WakeAfter(SETTLE_PAUSE)))


def _on_starting_tick(s: Incoming, event: object, now: float) -> _Step:
    return Step(s, (e.Cont(), e.WakeAfter(1.0)))


def _on_marked(s: Incoming, event: object, now: float) -> _Step:
    assert isinstance(event, CasAnswered)
    if not _is_answer_to(s, event):
        return Step(s)
    marked = replace(s, record=event.record, pending=None)
    if marked.image_gone:
        outcome = Outcome.NOT_ARRIVED if marked.has_left else Outcome.IMAGE_LOST
        return _end(replace(marked, reason=marked.image_gone), outcome, now)
    if marked.pages_missing:
        fetching = _go(replace(marked, heard=now), Phase.FETCHING, now, e.TakeOn(), e.WakeAfter(ASK_PAUSE))
        return _reconnect_after(fetching, now) if marked.pages_stopped else fetching
    return _end(marked, Outcome.RUNS, now)


def _on_mark_refused(s: Incoming, event: object, now: float) -> _Step:
    """An earlier mark of ours has landed, or the virtual machine was taken from us: then it must not run here."""
    assert isinstance(event, CasRefused)
    if not _is_answer_to(s, event):
        return Step(s)
    known = replace(s, record=event.current, pending=None)
    if known.is_mine(event.current):
        return _write(known, CasKind.MARK, Phase.MARKING, now)
    return _drop(known, f"node {event.current.holder} owns the virtual machine", now, over=True)


# --- fetching, reconnecting --------------------------------------------------------------------------------------


def _reconnect(s: Incoming, why: str, now: float) -> _Step:
    sentence = f"{why}: pages of the guest are missing and it may stand still; the connection is being replaced"
    stopped = replace(s, pages_stopped=True, uri="", reason=sentence)
    return _go(stopped, Phase.RECONNECTING, now, e.Tell(sentence), e.ListenAgain(), e.WakeAfter(ASK_PAUSE))


def _reconnect_after(step: _Step, now: float) -> _Step:
    again = _reconnect(step.state, "the connection broke", now)
    return Step(again.state, (*step.effects, *again.effects))


def _on_pages_stopped(s: Incoming, event: object, now: float) -> _Step:
    return _reconnect(s, _sentence_of(event), now)


def _on_pages_stopped_again(s: Incoming, event: object, now: float) -> _Step:
    """An attempt has failed, and with it the address is used up."""
    return Step(replace(s, uri="", since=now), (e.ListenAgain(),))


def _on_listens_again(s: Incoming, event: object, now: float) -> _Step:
    assert isinstance(event, e.ListensAgain)
    return Step(replace(s, uri=event.uri, since=now), (e.TellRecover(event.uri),))


def _on_pages_flow(s: Incoming, event: object, now: float) -> _Step:
    again = replace(s, pages_stopped=False, reason="", uri="")
    return _go(again, Phase.FETCHING, now, e.Tell("pages get across again"), e.WakeAfter(ASK_PAUSE))


def _on_all_pages(s: Incoming, event: object, now: float) -> _Step:
    return _end(replace(s, pages_missing=False, pages_stopped=False, reason=""), Outcome.RUNS, now)


def _on_fetching_tick(s: Incoming, event: object, now: float) -> _Step:
    """With the source gone for good no page comes any more, whether or not anybody has told QEMU."""
    if s.given_up and now - s.since >= SOURCE_PATIENCE:
        return _reconnect(s, GIVEN_UP, now)
    return Step(s, (e.AskSession(), e.WakeAfter(ASK_PAUSE)))


def _on_reconnecting_tick(s: Incoming, event: object, now: float) -> _Step:
    if s.uri and now - s.since < LISTEN_PATIENCE:
        return Step(s, (e.TellRecover(s.uri), e.AskSession(), e.WakeAfter(ASK_PAUSE)))
    return Step(replace(s, since=now), (e.ListenAgain(), e.AskSession(), e.WakeAfter(ASK_PAUSE)))


def _on_session_alive_while_fetching(s: Incoming, event: object, now: float) -> _Step:
    return Step(replace(s, heard=now, given_up=False))


def _on_session_dead_while_fetching(s: Incoming, event: object, now: float) -> _Step:
    """While pages flow they are taken: the last of them may be on its way."""
    return Step(s if s.given_up else replace(s, given_up=True, since=now))


def _on_abandoned_while_reconnecting(s: Incoming, event: object, now: float) -> _Step:
    """It is asked whether it has anything left, and our QEMU is looked at: what it has sent may all be here."""
    return Step(replace(s, given_up=True), (e.AskSession(),))


def _on_pages_lost(s: Incoming, event: object, now: float) -> _Step:
    """The source has nothing left, and what is missing here was only there: the guest cannot go on."""
    reason = f"pages of the guest were lost with its source: {_sentence_of(event)}"
    if isinstance(event, e.SessionDead):
        reason = f"pages of the guest were lost with its source: {GIVEN_UP}"
    lost = replace(s, reason=reason, outcome=Outcome.IMAGE_LOST, over=True)
    return _go(lost, Phase.ENDING, now, e.EndImage(), e.WakeAfter(1.0))


def _on_image_gone_while_fetching(s: Incoming, event: object, now: float) -> _Step:
    sentence = _sentence_of(event)
    gone = replace(s, reason=sentence, image_gone=sentence)
    return _end(gone, Outcome.IMAGE_LOST, now, e.TellFailed(sentence))


def _on_record_seen_while_fetching(s: Incoming, event: object, now: float) -> _Step:
    """Taken over, as our lease had lapsed: the guard has ended it, or we do."""
    assert isinstance(event, e.RecordSeen)
    current = event.record
    if s.is_mine(current) or s.record is None or current.revision <= s.record.revision:
        return Step(s)
    return _drop(replace(s, record=current), f"node {current.holder} owns the virtual machine", now, over=True)


# --- giving back, ending -----------------------------------------------------------------------------------------


def _on_gave_back(s: Incoming, event: object, now: float) -> _Step:
    assert isinstance(event, CasAnswered)
    if not _is_answer_to(s, event):
        return Step(s)
    given = replace(s, record=event.record, pending=None, outcome=Outcome.GAVE_BACK)
    return _go(given, Phase.ENDING, now, e.EndImage(), e.TellFailed(s.reason), e.WakeAfter(1.0))


def _on_give_back_refused(s: Incoming, event: object, now: float) -> _Step:
    assert isinstance(event, CasRefused)
    if not _is_answer_to(s, event):
        return Step(s)
    landed = s.pending is not None and s.pending.has_landed_as(event.current)
    outcome = Outcome.GAVE_BACK if landed else Outcome.DROPPED
    if s.is_mine(event.current):
        # A claim of the daemon before us has landed: the giver may have ended its image by now.
        outcome = Outcome.IMAGE_LOST
    return _go(
        replace(s, record=event.current, pending=None, outcome=outcome),
        Phase.ENDING,
        now,
        e.EndImage(),
        e.WakeAfter(1.0),
    )


def _on_image_ended(s: Incoming, event: object, now: float) -> _Step:
    if s.over or s.outcome is not None:
        return _end(s, s.outcome or Outcome.DROPPED, now)
    return leave(s, now)


def _on_abandoned_while_ending(s: Incoming, event: object, now: float) -> _Step:
    return Step(replace(s, over=True))


# --- left --------------------------------------------------------------------------------------------------------


def leave(s: Incoming, now: float) -> _Step:
    """Have no image any more, and wait until the source has given the session up as well."""
    look = e.ReadRecord() if s.given_up else e.AskSession()
    return _go(replace(s, image_gone=s.reason, has_left=True), Phase.LEFT, now, look, e.WakeAfter(ASK_PAUSE))


def _on_left_tick(s: Incoming, event: object, now: float) -> _Step:
    if s.given_up:
        return Step(s, (e.ReadRecord(), e.WakeAfter(ASK_PAUSE)))
    return Step(s, (e.TellFailed(s.reason), e.AskSession(), e.WakeAfter(ASK_PAUSE)))


def _on_yours_when_left(s: Incoming, event: object, now: float) -> _Step:
    """`cont` was never sent, and nobody but us may give back what was given by `yours` (R5, R7)."""
    assert isinstance(event, e.Yours)
    return _write(replace(s, record=event.record), CasKind.GIVE_BACK, Phase.GIVING_BACK, now)


def _on_abandoned_when_left(s: Incoming, event: object, now: float) -> _Step:
    return _end(s, Outcome.DROPPED, now)


def _on_session_dead_when_left(s: Incoming, event: object, now: float) -> _Step:
    return Step(replace(s, given_up=True), (e.ReadRecord(),))


def _on_source_silent_when_left(s: Incoming, event: object, now: float) -> _Step:
    return Step(s, (e.ReadRecord(),)) if now - s.heard >= SOURCE_PATIENCE else Step(s)


def _on_record_seen_when_left(s: Incoming, event: object, now: float) -> _Step:
    """Ours, and there is no image. A source that has nothing left leaves us to claim it, to be started from its disks.

    One that is only silent may still have the guest's memory: it is given back (R7); if its machine is dead, that is
    found out as for any other holder.
    """
    assert isinstance(event, e.RecordSeen)
    record = event.record
    if s.is_mine(record):
        if s.given_up:
            return _write(replace(s, record=record), CasKind.CLAIM, Phase.CLAIMING, now)
        if now - s.heard >= DROP_PATIENCE:
            return _write(replace(s, record=record), CasKind.GIVE_BACK, Phase.GIVING_BACK, now)
        return Step(s)
    if s.given_up or record.holder != s.source or record.image != s.source_image:
        return _end(s, Outcome.DROPPED, now)
    return Step(s)


def _on_ending_tick(s: Incoming, event: object, now: float) -> _Step:
    return Step(s, (e.EndImage(), e.WakeAfter(1.0)))


# --- the table ---------------------------------------------------------------------------------------------------


def _to(handler: Callable[[Incoming, object, float], _Step], *phases: Phase) -> Rule[Incoming, Phase]:
    return Rule(handler, phases)


def _late(why: str) -> Rule[Incoming, Phase]:
    return Rule(None, (), why)


_P = Phase
_Rules: TypeAlias = dict[type, Rule[Incoming, Phase]]
_HAS_RIGHT = (_P.CLAIMING, _P.NOTING_CONT)
_NO_CONT: _Rules = {
    e.ContNoted: _late("nothing was noted"),
    e.NoteFailed: _late("nothing was noted"),
    e.ContDone: _late("no cont was sent"),
    e.ContFailed: _late("no cont was sent"),
}
_NO_WRITE: _Rules = {
    CasAnswered: _late("an answer that no longer decides"),
    CasRefused: _late("an answer that no longer decides"),
    CasUnanswered: _late("an answer that no longer decides"),
}
_LAUNCHED: _Rules = {e.Launched: _late("already listening"), e.LaunchFailed: _late("already listening")}
_NO_PAGES: _Rules = {
    e.SwitchedOver: _late("no page can be missing"),
    e.PagesFlow: _late("no page can be missing"),
    e.PagesStopped: _late("no page can be missing"),
    e.PagesPaused: _late("looked to when the guest runs; the source says it again"),
    e.ListensAgain: _late("nothing waits for it"),
}


def _load_over(phase: Phase) -> _Rules:
    """Loaded: in post-copy the last page may come, or the connection break, before the guest runs."""
    return {
        **_NO_PAGES,
        e.LoadCompleted: _to(_on_all_pages_early, phase),
        e.LoadFailed: _late("already loaded"),
        e.PagesFlow: _to(_on_pages_flow_early, phase),
        e.PagesStopped: _to(_on_pages_stopped_early, phase),
    }


_NO_QUESTIONS: _Rules = {
    e.SessionAlive: _late("the source's word no longer decides"),
    e.SessionDead: _late("the source's word no longer decides"),
    e.SourceSilent: _late("the source's word no longer decides"),
}
_NOT_ENDING: _Rules = {e.ImageEnded: _late("not ending the image")}
_OURS: _Rules = {
    e.Yours: _late("known already; the source repeats it until the record is marked"),
    e.Abandoned: _late("the guest is ours; the source cannot end it any more"),
    e.RecordSeen: _late("our own write answers for itself"),
}

_FETCHING: _Rules = {
    **_NO_CONT,
    **_NO_WRITE,
    **_LAUNCHED,
    **_NOT_ENDING,
    e.SwitchedOver: _late("it was, before the guest ran"),
    e.LoadCompleted: _to(_on_all_pages, _P.ENDED),
    e.LoadFailed: _to(_on_pages_lost, _P.ENDING),
    e.Yours: _late("known already; the source repeats it until the record is marked"),
    e.SourceSilent: _late("its QEMU may send pages all the same"),
    e.ImageExited: _to(_on_image_gone_while_fetching, _P.ENDED),
    e.LeaseLapsed: _late("the guest runs; the guard has the say over what runs without a lease"),
}

TABLE: dict[Phase, _Rules] = {
    _P.PREPARING: {
        **_NO_CONT,
        **_NO_WRITE,
        **_NOT_ENDING,
        **_NO_PAGES,
        e.Launched: _to(_on_launched, _P.RECEIVING),
        e.LaunchFailed: _to(_on_bad_image, _P.ENDING),
        e.NoteFailed: _to(_on_bad_image, _P.ENDING),
        e.ImageExited: _to(_on_bad_image, _P.ENDING),
        e.LoadCompleted: _late("nothing listens yet"),
        e.LoadFailed: _to(_on_bad_image, _P.ENDING),
        e.Yours: _late("nothing was sent yet"),
        e.Abandoned: _to(_on_abandoned, _P.ENDING),
        e.Tick: _to(_on_ask_tick, _P.PREPARING),
        e.SessionAlive: _to(_on_session_alive, _P.PREPARING),
        e.SessionDead: _to(_on_session_dead, _P.ENDING),
        e.SourceSilent: _to(_on_source_silent, _P.PREPARING, _P.ENDING),
        e.RecordSeen: _late("nothing was given yet"),
        e.LeaseLapsed: _to(_on_lease_lapsed, _P.PREPARING),
    },
    _P.RECEIVING: {
        **_NO_CONT,
        **_NO_WRITE,
        **_LAUNCHED,
        **_NOT_ENDING,
        **_NO_PAGES,
        e.LoadCompleted: _to(_on_load_completed, _P.LOADED),
        e.LoadFailed: _to(_on_bad_image, _P.ENDING),
        e.ImageExited: _to(_on_bad_image, _P.ENDING),
        e.Yours: _to(_on_yours_while_receiving, _P.TOLD),
        e.Abandoned: _to(_on_abandoned, _P.ENDING),
        e.Tick: _to(_on_receiving_tick, _P.RECEIVING),
        e.SessionAlive: _to(_on_session_alive, _P.RECEIVING),
        e.SessionDead: _to(_on_session_dead, _P.ENDING),
        e.SourceSilent: _to(_on_source_silent, _P.RECEIVING, _P.ENDING),
        e.RecordSeen: _late("the guest has not arrived; the record is read when it has"),
        e.LeaseLapsed: _to(_on_lease_lapsed, _P.RECEIVING),
        e.SwitchedOver: _to(_on_switched_over, _P.LOADED),
    },
    _P.LOADED: {
        **_NO_CONT,
        **_NO_WRITE,
        **_LAUNCHED,
        **_load_over(_P.LOADED),
        **_NOT_ENDING,
        e.ImageExited: _to(_on_bad_image, _P.ENDING),
        e.Yours: _to(_on_yours_when_loaded, *_HAS_RIGHT),
        e.Abandoned: _to(_on_abandoned, _P.ENDING),
        e.Tick: _to(_on_ask_tick, _P.LOADED),
        e.SessionAlive: _to(_on_session_alive, _P.LOADED),
        e.SessionDead: _to(_on_session_dead, _P.LOADED),
        e.SourceSilent: _to(_on_source_silent, _P.LOADED, _P.ENDING),
        e.RecordSeen: _to(_on_record_seen_when_loaded, _P.LOADED, _P.CLAIMING, _P.ENDING),
        e.LeaseLapsed: _to(_on_lease_lapsed, _P.LOADED),
    },
    _P.TOLD: {
        **_NO_CONT,
        **_NO_WRITE,
        **_LAUNCHED,
        **_NO_QUESTIONS,
        **_NOT_ENDING,
        **_NO_PAGES,
        **_OURS,
        e.LoadCompleted: _to(_on_loaded_when_told, *_HAS_RIGHT),
        e.LoadFailed: _to(_on_bad_image_when_told, _P.GIVING_BACK),
        e.ImageExited: _to(_on_bad_image_when_told, _P.GIVING_BACK),
        e.Tick: _to(_on_told_tick, _P.TOLD, _P.GIVING_BACK),
        e.LeaseLapsed: _to(_on_lease_lapsed_when_told, _P.TOLD),
        e.SwitchedOver: _to(_on_switched_over_when_told, *_HAS_RIGHT),
    },
    _P.CLAIMING: {
        **_NO_CONT,
        **_LAUNCHED,
        **_load_over(_P.CLAIMING),
        **_NO_QUESTIONS,
        **_NOT_ENDING,
        **_OURS,
        CasAnswered: _to(_on_claimed, _P.CLAIMING, _P.NOTING_CONT, _P.MARKING),
        CasRefused: _to(_on_claim_refused, _P.CLAIMING, _P.ENDING),
        CasUnanswered: _to(_on_unanswered, _P.CLAIMING),
        e.Tick: _to(_on_write_tick, _P.CLAIMING),
        e.ImageExited: _to(_on_image_gone_while_writing, _P.CLAIMING),
        e.LeaseLapsed: _to(_on_lease_lapsed_while_claiming, _P.CLAIMING),
    },
    _P.NOTING_CONT: {
        **_NO_WRITE,
        **_LAUNCHED,
        **_load_over(_P.NOTING_CONT),
        **_NO_QUESTIONS,
        **_NOT_ENDING,
        **_OURS,
        e.ContNoted: _to(_on_cont_noted, _P.STARTING),
        e.NoteFailed: _to(_on_note_failed, _P.NOTING_CONT),
        e.ContDone: _late("no cont was sent"),
        e.ContFailed: _late("no cont was sent"),
        e.Tick: _to(_on_noting_tick, _P.NOTING_CONT),
        e.ImageExited: _to(_on_image_lost, _P.MARKING),
        e.LeaseLapsed: _to(_on_lease_lapsed_around_cont, _P.CLAIMING),
    },
    _P.STARTING: {
        **_NO_WRITE,
        **_LAUNCHED,
        **_load_over(_P.STARTING),
        **_NO_QUESTIONS,
        **_NOT_ENDING,
        **_OURS,
        e.ContNoted: _late("noted already"),
        e.NoteFailed: _late("noted already"),
        e.ContDone: _to(_on_cont_done, _P.MARKING),
        e.ContFailed: _to(_on_cont_failed, _P.STARTING),
        e.Tick: _to(_on_starting_tick, _P.STARTING),
        e.ImageExited: _to(_on_image_lost, _P.MARKING),
        e.LeaseLapsed: _to(_on_lease_lapsed_around_cont, _P.CLAIMING),
    },
    _P.MARKING: {
        **_NO_CONT,
        **_LAUNCHED,
        **_load_over(_P.MARKING),
        **_NO_QUESTIONS,
        **_NOT_ENDING,
        **_OURS,
        CasAnswered: _to(_on_marked, _P.MARKING, _P.FETCHING, _P.RECONNECTING, _P.ENDED),
        CasRefused: _to(_on_mark_refused, _P.MARKING, _P.ENDING),
        CasUnanswered: _to(_on_unanswered, _P.MARKING),
        e.Tick: _to(_on_write_tick, _P.MARKING),
        e.ImageExited: _to(_on_image_gone_while_writing, _P.MARKING),
        e.LeaseLapsed: _late("the guest runs; the guard has the say over what runs without a lease"),
    },
    _P.FETCHING: {
        **_FETCHING,
        e.PagesFlow: _late("they flow already"),
        e.PagesStopped: _to(_on_pages_stopped, _P.RECONNECTING),
        e.PagesPaused: _to(_on_pages_stopped, _P.RECONNECTING),
        e.ListensAgain: _late("pages flow again"),
        e.Tick: _to(_on_fetching_tick, _P.FETCHING, _P.RECONNECTING),
        e.SessionDead: _to(_on_session_dead_while_fetching, _P.FETCHING),
        e.Abandoned: _to(_on_session_dead_while_fetching, _P.FETCHING),
        e.SessionAlive: _to(_on_session_alive_while_fetching, _P.FETCHING),
        e.RecordSeen: _to(_on_record_seen_while_fetching, _P.FETCHING, _P.ENDING),
    },
    _P.RECONNECTING: {
        **_FETCHING,
        e.PagesFlow: _to(_on_pages_flow, _P.FETCHING),
        e.PagesStopped: _to(_on_pages_stopped_again, _P.RECONNECTING),
        e.PagesPaused: _late("it is being replaced already"),
        e.ListensAgain: _to(_on_listens_again, _P.RECONNECTING),
        e.Tick: _to(_on_reconnecting_tick, _P.RECONNECTING),
        e.SessionDead: _to(_on_pages_lost, _P.ENDING),
        e.Abandoned: _to(_on_abandoned_while_reconnecting, _P.RECONNECTING),
        e.SessionAlive: _to(_on_session_alive_while_fetching, _P.RECONNECTING),
        e.RecordSeen: _to(_on_record_seen_while_fetching, _P.RECONNECTING, _P.ENDING),
    },
    _P.GIVING_BACK: {
        **_NO_CONT,
        **_LAUNCHED,
        **_load_over(_P.GIVING_BACK),
        **_NO_QUESTIONS,
        **_NOT_ENDING,
        **_OURS,
        CasAnswered: _to(_on_gave_back, _P.GIVING_BACK, _P.ENDING),
        CasRefused: _to(_on_give_back_refused, _P.GIVING_BACK, _P.ENDING),
        CasUnanswered: _to(_on_unanswered, _P.GIVING_BACK),
        e.Tick: _to(_on_write_tick, _P.GIVING_BACK),
        e.ImageExited: _to(_on_image_gone_while_writing, _P.GIVING_BACK),
        e.LeaseLapsed: _late("giving back needs no lease, only the record as it was read"),
    },
    _P.ENDING: {
        **_NO_CONT,
        **_NO_WRITE,
        **_LAUNCHED,
        **_load_over(_P.ENDING),
        **_NO_QUESTIONS,
        e.Yours: _late("answered when the image has ended; the source says it again"),
        e.Abandoned: _to(_on_abandoned_while_ending, _P.ENDING),
        e.RecordSeen: _late("being ended already"),
        e.Tick: _to(_on_ending_tick, _P.ENDING),
        e.ImageEnded: _to(_on_image_ended, _P.ENDED, _P.LEFT),
        e.ImageExited: _to(_on_image_ended, _P.ENDED, _P.LEFT),
        e.LeaseLapsed: _to(_on_lease_lapsed, _P.ENDING),
    },
    _P.LEFT: {
        **_NO_CONT,
        **_NO_WRITE,
        **_LAUNCHED,
        **_load_over(_P.LEFT),
        e.Yours: _to(_on_yours_when_left, _P.GIVING_BACK),
        e.Abandoned: _to(_on_abandoned_when_left, _P.ENDED),
        e.RecordSeen: _to(_on_record_seen_when_left, _P.LEFT, _P.CLAIMING, _P.GIVING_BACK, _P.ENDED),
        e.SessionAlive: _to(_on_session_alive, _P.LEFT),
        e.SessionDead: _to(_on_session_dead_when_left, _P.LEFT),
        e.SourceSilent: _to(_on_source_silent_when_left, _P.LEFT),
        e.Tick: _to(_on_left_tick, _P.LEFT),
        e.ImageEnded: _late("ended already"),
        e.ImageExited: _late("ended already"),
        e.LeaseLapsed: _to(_on_lease_lapsed, _P.LEFT),
    },
    _P.ENDED: {event: _late("the session is over") for event in e.EVENTS},
}
