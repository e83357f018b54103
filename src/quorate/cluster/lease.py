"""A node's own lease, as the node itself counts it (rules R2, R9 and R10, the holder's side).

    unread --(Due)--> reading --(Found)--> known --(Due)--> renewing --(Answered)--> known
       ^                 |                 ^   ^               | | |
       '--(Unanswered)---'                 |   |               | | '--(Unanswered: it may yet land)--> known
                                           |   '--(Refused)----' |     and is compared away by the next
                         (Due, rested) ----'                     |
                                           resting <--(Refused: it was ended, or another hand holds it)

Every renewal is a compare-and-swap on the revision that this node knows: so a write that was lost for long can never
land over a newer one, and that somebody has ended the lease is never overlooked.

What is counted, on CLOCK_BOOTTIME:

- The lease holds from the *sending* of the last answered renewal for the duration that this renewal says. A renewal
  that was sent since may have landed, and others may count by it: no longer than *it* says, from its own sending. So a
  shorter duration binds from the moment before it is sent, a longer one from the moment it is answered.
- Promises of the other nodes carry what runs here beyond the lease (I2): from the sending of the question, for the
  period that was promised. They never carry it past a renewal that says less, and they carry nothing once it is over.
- When both are over, that is a lapse: the node goes on as another incarnation, and nothing that was asked, stopped or
  begun under the earlier one counts (R2). So it does when its record turns out to be ended.

The deadline after which nothing may run here is told (`KeepUntil`) before the renewal goes out that shortens it.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from quorate.clusapi.frozen import replace
from quorate.clusapi.machine import Rule, Step, Table, follow
from quorate.cluster import lease_events as e

MARGIN: Final = 0.5
"""Seconds that others add to a lease, and to a promise: more than the guard's lateness and what two clocks drift apart
within one."""
REST: Final = 1.0
"""Seconds for which a node whose lease was taken from it renews nothing: the guard has surely acted by then."""
AGAIN: Final = 0.05
"""Seconds after which a renewal is repeated that was refused because an earlier one of ours had landed."""
SOONEST: Final = 0.05
"""Seconds that lie between two renewals at least, however long the first one took."""
LATELY: Final = 1.5
"""Delays within which an answered renewal says that this node can write."""


class Phase(Enum):
    """Where the keeping of the lease stands."""

    UNREAD = "unread"
    """Nothing is known of the record yet."""
    READING = "reading"
    """It is being read, once; later a refused renewal tells what stands there."""
    KNOWN = "known"
    """Its revision is known; the next renewal is due after a pause."""
    RENEWING = "renewing"
    """A renewal was sent, and is not answered."""
    RESTING = "resting"
    """The lease was taken from this node: nothing is renewed until the guard has surely ended what ran by it."""


# --- the state ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """A renewal that went out: what others may count by."""

    at: float
    duration: float
    resilience: float
    life: int
    """The number of the incarnation that it was sent for."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A node's lease as the node itself counts it. Never handed on from one daemon to the next but for `over`."""

    base: str
    """An id that no other daemon has: the incarnations of this one are numbered below it."""
    over: float = 0.0
    """The deadline of before this incarnation: an earlier daemon's, or of the one that lapsed. 0: none is known."""
    phase: Phase = Phase.UNREAD
    life: int = 1
    sequence: int = 0
    revision: int = 0
    """Of the record as this node knows it; 0: there is none."""
    since_revision: int = 0
    """The revision of the first answered renewal since which the record was this daemon's and never ended: whoever has
    seen it, or anything later, asks this daemon for promises. A mere lapse does not change that."""
    held_since: float = 0.0
    """When the lease was answered for the first time after it had not been held: before that this node may have been
    deaf itself, and the silence of others says nothing about them."""
    answered: Sent | None = None
    """The last renewal that was answered under this incarnation."""
    maybe: tuple[Sent, ...] = ()
    """Sent since, and not answered: may have landed, or may yet."""
    sending: Sent | None = None
    promised_until: float = 0.0
    delay: float = 1.0
    rested_at: float = 0.0

    @property
    def incarnation(self) -> str:
        """The incarnation; ask after `noticed`."""
        return self.incarnation_of(self.life)

    @property
    def begins_under(self) -> str:
        """What begins now counts as long as this stays the same (R2); ask after `noticed`.

        Before a renewal of this incarnation was answered nothing begins under it: the lease of the one before may be
        ended meanwhile by others, who know nothing of this one, and it would be held later as if nothing had happened.
        """
        return self.incarnation if self.answered is not None else f"{self.incarnation}, not held yet"

    def incarnation_of(self, life: int) -> str:
        """The incarnation of this number."""
        return f"{self.base}.{life}"

    @property
    def lease_until(self) -> float:
        """Until when the lease holds: as the last answered renewal says, or less where one that was sent since does."""
        if self.answered is None:
            return 0.0
        until = self.answered.at + self.answered.duration
        for sent in self.maybe:
            until = min(until, sent.at + sent.duration)
        return until if self.sending is None else min(until, self.sending.at + self.sending.duration)

    @property
    def deadline(self) -> float:
        """Until when what runs here may run (I2): by the lease, or by promises. 0: no lease was ever known here."""
        return self.over if self.answered is None else max(self.lease_until, self.promised_until)

    @property
    def period(self) -> float:
        """Seconds for which a promise is asked: the duration, the shortest of those that others may count by."""
        return min((sent.duration for sent in (self.answered, *self._possible) if sent is not None), default=0.0)

    @property
    def cap(self) -> float:
        """Until when promises of some of the nodes can carry what runs here."""
        known = (sent for sent in (self.answered, *self._possible) if sent is not None)
        return min((sent.at + sent.duration + sent.resilience for sent in known), default=0.0)

    @property
    def _possible(self) -> tuple[Sent, ...]:
        return self.maybe if self.sending is None else (*self.maybe, self.sending)

    def is_held(self, now: float) -> bool:
        """Tell whether the lease itself holds: what a start, and the end of another node's lease, need."""
        return now < self.lease_until

    def may_run(self, now: float) -> bool:
        """Tell whether what runs here may go on, by the lease or by promises (I2)."""
        return self.answered is not None and now < self.deadline

    def is_writable(self, now: float) -> bool:
        """Tell whether this node could write to the database a moment ago."""
        return self.answered is not None and now - self.answered.at < LATELY * self.delay

    def noticed(self, now: float) -> "Holder":
        """See what time has done: the lease and every promise over is a lapse, and begins another incarnation.

        `since_revision` stays: the record was not ended, so that everybody still asks this daemon for promises.
        """
        if self.answered is None or now < self.deadline:
            return self
        return replace(self, over=self.deadline, life=self.life + 1, answered=None, promised_until=0.0)

    def step(self, event: e.Event, now: float) -> Step["Holder"]:
        """Take in what happened at `now`; give the next state and what to do, in this order."""
        deadline = self.deadline
        before = self if now < deadline else self.noticed(now)
        lapse = () if before is self else (e.Say("the node's lease has run out; it goes on as another incarnation"),)
        step = follow(TABLE, lambda state: state.phase, before, event, now)
        kept = () if (new := step.state.deadline) == deadline else (e.KeepUntil(new),)
        return Step(step.state, (*kept, *lapse, *step.effects))


_Step: TypeAlias = Step[Holder]


# --- reading -----------------------------------------------------------------------------------------------------


def _on_due_unread(s: Holder, event: object, now: float) -> _Step:
    assert isinstance(event, e.Due)
    return Step(replace(s, phase=Phase.READING, delay=event.terms.delay), (e.Read(),))


def _on_found(s: Holder, event: object, now: float) -> _Step:
    assert isinstance(event, e.Found)
    return Step(_known(s, event.record, event.revision), (e.Pause(0.0),))


def _on_not_read(s: Holder, event: object, now: float) -> _Step:
    return Step(replace(s, phase=Phase.UNREAD), (e.Pause(s.delay),))


def _known(s: Holder, record: e.LeaseRecord | None, revision: int) -> Holder:
    sequence = s.sequence if record is None else max(s.sequence, record.sequence)
    return replace(s, phase=Phase.KNOWN, revision=revision, sequence=sequence)


# --- renewing ----------------------------------------------------------------------------------------------------


def _on_due(s: Holder, event: object, now: float) -> _Step:
    """Send a renewal. From this moment on others may count by it, so what it takes away is given up before."""
    assert isinstance(event, e.Due)
    terms = event.terms
    if not event.is_member:
        return Step(s, (e.Pause(terms.delay),))
    sent = Sent(now, terms.duration, terms.resilience, s.life)
    until = now + terms.duration
    new = replace(
        s,
        phase=Phase.RENEWING,
        sequence=s.sequence + 1,
        sending=sent,
        delay=terms.delay,
        over=min(s.over, until),
        promised_until=min(s.promised_until, until),
    )
    record = e.LeaseRecord(
        incarnation=s.incarnation,
        sequence=new.sequence,
        duration=terms.duration,
        seen=event.seen,
        resilience=terms.resilience,
        joining=event.joining,
    )
    return Step(new, (e.Send(record, s.revision),))


def _on_answered(s: Holder, event: object, now: float) -> _Step:
    """It has landed on what this node knew: whatever was sent before it never will."""
    assert isinstance(event, e.Answered) and s.sending is not None
    sent = s.sending
    is_of_now = sent.life == s.life
    new = replace(
        s,
        phase=Phase.KNOWN,
        revision=event.revision,
        maybe=(),
        sending=None,
        answered=sent if is_of_now else s.answered,
        since_revision=s.since_revision or event.revision if is_of_now else s.since_revision,
        held_since=s.held_since if not is_of_now or s.is_held(now) else now,
    )
    return Step(new, (e.Pause(_rest_of_delay(s, sent, now)),))


def _on_unanswered(s: Holder, event: object, now: float) -> _Step:
    assert s.sending is not None
    sent = s.sending
    binds = all((sent.duration, sent.resilience) != (other.duration, other.resilience) for other in s.maybe)
    maybe = (*s.maybe, sent) if binds else s.maybe  # one that was sent earlier with the same words binds more
    return Step(replace(s, phase=Phase.KNOWN, maybe=maybe, sending=None), (e.Pause(_rest_of_delay(s, sent, now)),))


def _rest_of_delay(s: Holder, sent: Sent, now: float) -> float:
    return max(SOONEST, sent.at + s.delay - now)


def _on_refused(s: Holder, event: object, now: float) -> _Step:
    """Another write stands there: this very one, an earlier one of ours or of an earlier daemon, or the lease is taken.

    One that was not this very one has not landed, and never will: the revision that it compares with is gone for good.
    """
    assert isinstance(event, e.Refused)
    found, sent = event.record, s.sending
    assert sent is not None
    this = (s.incarnation_of(sent.life), s.sequence)
    if found is not None and not found.ended and (found.incarnation, found.sequence) == this:
        return _on_answered(s, e.Answered(event.revision), now)
    new = replace(_known(s, found, event.revision), sending=None)
    if found is None or found.ended or not found.incarnation.startswith(f"{s.base}."):
        new = replace(new, since_revision=0)  # somebody may have seen the record so, and asks this daemon nothing
    if s.answered is not None:
        if found is None:
            return _forfeit(new, "the node's lease was removed from the database", now)
        if found.ended:
            return _forfeit(new, "the node's lease was ended by another node", now)
        if not found.incarnation.startswith(f"{s.base}."):
            return _forfeit(new, "another daemon writes this node's lease", now)
    elif found is not None and found.ended and found.incarnation == s.incarnation:
        new = replace(new, life=s.life + 1)
    return Step(new, (e.Pause(AGAIN),))


def _forfeit(s: Holder, reason: str, now: float) -> _Step:
    """Give everything up at once, though by our own count it still held: others may have taken over already.

    It never happens by time alone (R9); a person or a fence agent has said that this node is dead, or evicted it.
    """
    sentence = f"{reason} while it held: nothing that ran by it may run on"
    new = replace(
        s,
        phase=Phase.RESTING,
        life=s.life + 1,
        since_revision=0,
        answered=None,
        maybe=(),
        promised_until=0.0,
        over=now,
        rested_at=now + REST,
    )
    return Step(new, (e.Say(sentence), e.Pause(REST)))


def _on_due_resting(s: Holder, event: object, now: float) -> _Step:
    if now < s.rested_at:
        return Step(s, (e.Pause(s.rested_at - now),))
    return _on_due(replace(s, phase=Phase.KNOWN), event, now)


# --- promises ----------------------------------------------------------------------------------------------------


def _on_promised(s: Holder, event: object, now: float) -> _Step:
    """Go on by promises. Only what still runs by right can be carried on: a lapse was noticed before."""
    assert isinstance(event, e.Promised)
    if s.answered is None:
        return Step(s)
    until = event.sent + min(event.period, s.period)
    if event.capped:
        until = min(until, s.cap)
    return Step(replace(s, promised_until=max(s.promised_until, until)))


_PROMISED = {phase: Rule(_on_promised, (phase,)) for phase in Phase}
_AFTER_DUE = (Phase.RENEWING, Phase.KNOWN)

TABLE: Final[Table[Phase, Holder]] = {
    Phase.UNREAD: {
        e.Due: Rule(_on_due_unread, (Phase.READING,)),
        e.Promised: _PROMISED[Phase.UNREAD],
    },
    Phase.READING: {
        e.Found: Rule(_on_found, (Phase.KNOWN,)),
        e.Unanswered: Rule(_on_not_read, (Phase.UNREAD,)),
        e.Promised: _PROMISED[Phase.READING],
    },
    Phase.KNOWN: {
        e.Due: Rule(_on_due, _AFTER_DUE),
        e.Promised: _PROMISED[Phase.KNOWN],
    },
    Phase.RENEWING: {
        e.Answered: Rule(_on_answered, (Phase.KNOWN,)),
        e.Refused: Rule(_on_refused, (Phase.KNOWN, Phase.RESTING)),
        e.Unanswered: Rule(_on_unanswered, (Phase.KNOWN,)),
        e.Promised: _PROMISED[Phase.RENEWING],
    },
    Phase.RESTING: {
        e.Due: Rule(_on_due_resting, (Phase.RESTING, *_AFTER_DUE)),
        e.Promised: _PROMISED[Phase.RESTING],
    },
}
