"""Rules of R9 and R10, each taken out of the brains once: the world must notice.

One part of the rules is not here, as no story can show that it is needed for safety:

- *A node that can write refuses a promise.* Granted, the promise would be kept. But then a node that alone is cut off
  from the database would go on for ever out of everybody's sight: see the tests of what must happen.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from tests.worlds import lease_world
from tests.worlds.lease_world import Daemon, Refusal, World

from quorate.clusapi.machine import Rule, Step
from quorate.cluster import lease, observer, promise
from quorate.cluster import lease_events as e
from quorate.cluster.lease import Holder
from quorate.cluster.lease_events import LeaseRecord

Patch = pytest.MonkeyPatch


def no_margin_on_a_lease(patch: Patch) -> None:
    patch.setattr(observer, "MARGIN", 0.0)


def no_margin_on_a_promise(patch: Patch) -> None:
    patch.setattr(promise, "MARGIN", 0.0)


def holder_counts_from_the_answer(patch: Patch) -> None:
    honest = lease._on_answered

    def handler(s: Holder, event: object, now: float) -> Step[Holder]:
        assert s.sending is not None
        return honest(replace(s, sending=replace(s.sending, at=now)), event, now)

    patch.setitem(lease.TABLE[lease.Phase.RENEWING], e.Answered, Rule(handler, (lease.Phase.KNOWN,)))


def asker_counts_from_the_answer(patch: Patch) -> None:
    honest = promise._concluded
    patch.setattr(promise, "_concluded", lambda s, now: honest(replace(s, sent=now), now))


def taker_ignores_who_was_seen(patch: Patch) -> None:
    patch.setattr(observer, "ground", lambda subject, judge: observer.Ground.ASKED)


def restarted_taker_does_not_wait(patch: Patch) -> None:
    honest = observer.over_at

    def over_at(subject: observer.Subject, judge: observer.Judge) -> float | None:
        over = honest(subject, judge)
        if observer.ground(subject, judge) is observer.Ground.WAITS:
            return subject.seen_at + subject.lease.duration + lease.MARGIN
        return over

    patch.setattr(observer, "over_at", over_at)


def new_node_concludes_from_time(patch: Patch) -> None:
    honest = observer.ground

    def ground(subject: observer.Subject, judge: observer.Judge) -> observer.Ground:
        found = honest(subject, judge)
        return observer.Ground.WAITS if found is observer.Ground.NEVER else found

    patch.setattr(observer, "ground", ground)


def no_cap(patch: Patch) -> None:
    patch.setattr(Holder, "cap", property(lambda s: 1e9))


def cap_from_the_answered_alone(patch: Patch) -> None:
    patch.setattr(Holder, "cap", property(lambda s: s.answered.at + s.answered.duration + s.answered.resilience))


def one_node_is_not_asked(patch: Patch) -> None:
    honest = promise._on_look

    def handler(s: promise.Asker, event: object, now: float) -> Step[promise.Asker]:
        assert isinstance(event, promise.Look)
        return honest(s, replace(event, nodes=frozenset(sorted(event.nodes)[1:])), now)

    phases = (promise.Phase.QUIET, promise.Phase.ASKING)
    patch.setitem(promise.TABLE[promise.Phase.QUIET], promise.Look, Rule(handler, phases))


def a_refusal_does_not_matter(patch: Patch) -> None:
    def concluded(s: promise.Asker, now: float) -> Step[promise.Asker]:
        if s.granted | frozenset(s.refused) != s.nodes or (s.nodes and not s.granted):
            return Step(s)
        return Step(replace(s, phase=promise.Phase.QUIET), (promise.GoOn(s.sent, s.period, s.capped),))

    patch.setattr(promise, "_concluded", concluded)


def promises_are_not_kept(patch: Patch) -> None:
    patch.setattr(promise.Promises, "outstanding", lambda self, node, now: None)


def lapse_keeps_the_incarnation(patch: Patch) -> None:
    """The lease runs out, and is found ended, and the node goes on as if nobody had to learn of it anew."""
    honest = Holder.noticed

    def noticed(self: Holder, now: float) -> Holder:
        after = honest(self, now)
        return after if after is self else replace(after, life=self.life, since_revision=self.since_revision)

    refused = lease._on_refused

    def on_refused(s: Holder, event: object, now: float) -> Step[Holder]:
        step = refused(s, event, now)
        return Step(replace(step.state, life=s.life, since_revision=s.since_revision), step.effects)

    patch.setattr(Holder, "noticed", noticed)
    rule = Rule(on_refused, (lease.Phase.KNOWN, lease.Phase.RESTING))
    patch.setitem(lease.TABLE[lease.Phase.RENEWING], e.Refused, rule)


def renewal_without_a_compare(patch: Patch) -> None:
    def write_lease(self: World, node: lease_world.Node, record: LeaseRecord, expected: int) -> Refusal:
        revision = self.snap.revision + 1
        self.commit(replace(self.snap, revision=revision, leases={**self.snap.leases, node.id: (record, revision)}))
        return True, record, revision

    patch.setattr(World, "write_lease", write_lease)


def shorter_lease_binds_when_answered(patch: Patch) -> None:
    patch.setattr(Holder, "lease_until", property(lambda s: s.answered.at + s.answered.duration if s.answered else 0.0))


def longer_lease_holds_when_sent(patch: Patch) -> None:
    def lease_until(s: Holder) -> float:
        if s.answered is None:
            return 0.0
        return s.answered.at + max(sent.duration for sent in (s.answered, *s._possible))

    patch.setattr(Holder, "lease_until", property(lease_until))


def _due_keeping(patch: Patch, **kept: Callable[[Holder], float]) -> None:
    honest = lease._on_due

    def handler(s: Holder, event: object, now: float) -> Step[Holder]:
        step = honest(s, event, now)
        return Step(replace(step.state, **{name: of(s) for name, of in kept.items()}), step.effects)  # type: ignore[arg-type]

    for phase in (lease.Phase.KNOWN,):
        patch.setitem(lease.TABLE[phase], e.Due, Rule(handler, (lease.Phase.RENEWING, lease.Phase.KNOWN)))


def promise_survives_a_shorter_lease(patch: Patch) -> None:
    _due_keeping(patch, promised_until=lambda s: s.promised_until)


def deadline_of_before_survives_a_shorter_lease(patch: Patch) -> None:
    _due_keeping(patch, over=lambda s: s.over)


def promise_is_counted_as_long_as_it_was_asked(patch: Patch) -> None:
    patch.setattr(Holder, "period", property(lambda s: s.answered.duration if s.answered else 0.0))


def promise_revives(patch: Patch) -> None:
    """What is over goes on once everybody has promised."""

    def handler(s: Holder, event: object, now: float) -> Step[Holder]:
        assert isinstance(event, e.Promised)
        if s.answered is None:
            return Step(replace(s, over=event.sent + event.period))
        return lease._on_promised(s, event, now)

    for phase in lease.Phase:
        patch.setitem(lease.TABLE[phase], e.Promised, Rule(handler, (phase,)))
    honest = promise._on_look

    def look(s: promise.Asker, event: object, now: float) -> Step[promise.Asker]:
        assert isinstance(event, promise.Look)
        return honest(s, replace(event, since=event.since or 0.0, deadline=1e9, period=event.period or 3.0), now)

    phases = (promise.Phase.QUIET, promise.Phase.ASKING)
    patch.setitem(promise.TABLE[promise.Phase.QUIET], promise.Look, Rule(look, phases))


def seen_is_newer_than_who_is_asked(patch: Patch) -> None:
    """The renewal says what the database is at, and not what this node knows of it."""
    honest = World.due

    def due(self: World, daemon: Daemon) -> None:
        view = daemon.view
        assert view is not None
        daemon.view = replace(view, revision=max(view.revision, self.snap.revision))
        honest(self, daemon)
        daemon.view = view

    patch.setattr(World, "due", due)


def promises_are_taken_from_the_dead(patch: Patch) -> None:
    """Who is not there to be asked does not count."""
    honest = promise._on_not_granted

    def handler(s: promise.Asker, event: object, now: float) -> Step[promise.Asker]:
        assert isinstance(event, promise.NotGranted)
        if event.sentence == "no answer":
            return promise._on_granted(s, promise.Granted(event.round, event.node), now)
        return honest(s, event, now)

    phases = (promise.Phase.QUIET, promise.Phase.ASKING)
    patch.setitem(promise.TABLE[promise.Phase.ASKING], promise.NotGranted, Rule(handler, phases))


def taker_needs_no_lease(patch: Patch) -> None:
    """A node whose own lease may have been ended, so that it is asked for nothing, ends the leases of others."""
    honest = observer.may_end

    def may_end(
        subject: observer.Subject, judge: observer.Judge, now: float, *, fenced: bool = False
    ) -> observer.EndVerdict:
        return honest(subject, replace(judge, is_held=True, held_since=0.0), now, fenced=fenced)

    patch.setattr(observer, "may_end", may_end)


UNSAFE: Mapping[Callable[[Patch], None], str] = {
    no_margin_on_a_lease: "lengthening",
    no_margin_on_a_promise: "outage",
    holder_counts_from_the_answer: "slow_answers",
    asker_counts_from_the_answer: "outage",
    taker_ignores_who_was_seen: "admission_unseen",
    restarted_taker_does_not_wait: "return_into_silence",
    new_node_concludes_from_time: "admission_into_silence",
    seen_is_newer_than_who_is_asked: "admission_unseen",
    no_cap: "return_into_silence",
    cap_from_the_answered_alone: "return_after_shortening",
    one_node_is_not_asked: "outage",
    a_refusal_does_not_matter: "outage",
    promises_are_taken_from_the_dead: "",
    promises_are_not_kept: "outage",
    promise_revives: "return_into_silence",
    lapse_keeps_the_incarnation: "usurper",
    taker_needs_no_lease: "",
    renewal_without_a_compare: "lengthening_with_a_late_write",
    shorter_lease_binds_when_answered: "shortening",
    longer_lease_holds_when_sent: "lengthening",
    promise_survives_a_shorter_lease: "promiser_restarts",
    promise_is_counted_as_long_as_it_was_asked: "promiser_restarts",
    deadline_of_before_survives_a_shorter_lease: "shortening_with_a_restart",
}
"""What breaks a law, and the story in which the world finds it soonest; "" is any mixture of faults."""
