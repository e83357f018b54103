"""Faults of leases, guards and promises: R2, R9 and R10."""

from dataclasses import dataclass, replace
from typing import Final

from quorate.clusapi.identity import NodeId
from quorate.clusapi.machine import Step
from quorate.cluster import lease_events as e
from quorate.cluster import observer, promise
from quorate.cluster.lease import MARGIN, Holder
from quorate.cluster.observer import EndVerdict, Judge, Subject
from quorate.cluster.promise import (
    Answer,
    Asker,
    AskerEvent,
    Granted,
    Look,
    NotGranted,
    Promises,
    Request,
    Situation,
)
from quorate.simulator.brains import PRODUCTION, Hand
from quorate.simulator.planted.fault import Planted, without

USUAL: Final = 3.0
"""Seconds that somebody takes a lease to last who does not read it."""


# --- the holder ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CountsFromTheAnswer(Holder):
    """Takes a renewal to have been sent when it was answered."""

    def step(self, event: e.Event, now: float) -> Step[Holder]:
        """Take in what happened."""
        if isinstance(event, e.Answered) and self.sending is not None:
            return Holder.step(replace(self, sending=replace(self.sending, at=now)), event, now)
        return Holder.step(self, event, now)


@dataclass(frozen=True, slots=True)
class ShortenedWhenAnswered(Holder):
    """Counts by the last answered renewal alone, whatever it has sent since."""

    @property
    def lease_until(self) -> float:
        """Until when the lease holds."""
        return 0.0 if self.answered is None else self.answered.at + self.answered.duration


@dataclass(frozen=True, slots=True)
class LengthenedWhenSent(Holder):
    """Counts by the longest duration that it has sent, answered or not."""

    @property
    def lease_until(self) -> float:
        """Until when the lease holds."""
        if self.answered is None:
            return 0.0
        sent = (self.answered, *self.maybe, *(() if self.sending is None else (self.sending,)))
        longest: float = max(one.duration for one in sent)
        return self.answered.at + longest


@dataclass(frozen=True, slots=True)
class StaysTheSame(Holder):
    """Keeps its incarnation whatever has happened to its lease."""

    def noticed(self, now: float) -> Holder:
        """See what time has done."""
        after = Holder.noticed(self, now)
        return after if after is self else replace(after, life=self.life)

    def step(self, event: e.Event, now: float) -> Step[Holder]:
        """Take in what happened."""
        step = Holder.step(self, event, now)
        if isinstance(event, e.Refused):
            same = replace(step.state, life=self.life, since_revision=self.since_revision)
            return Step(same, step.effects)
        return step


@dataclass(frozen=True, slots=True)
class KnowsNoCap(Holder):
    """Goes on by promises of some of the nodes for as long as they give them."""

    @property
    def cap(self) -> float:
        """Until when promises of some of the nodes can carry what runs here."""
        return 1e9


# --- the taker -------------------------------------------------------------------------------------------------------


def _without_margin(subject: Subject, judge: Judge, now: float, fenced: bool) -> EndVerdict:
    return observer.may_end(replace(subject, seen_at=subject.seen_at - MARGIN), judge, now, fenced=fenced)


def _by_usual_length(subject: Subject, judge: Judge, now: float, fenced: bool) -> EndVerdict:
    usual = replace(subject, lease=replace(subject.lease, duration=USUAL))
    return observer.may_end(usual, judge, now, fenced=fenced)


def _whoever_was_seen(subject: Subject, judge: Judge, now: float, fenced: bool) -> EndVerdict:
    return observer.may_end(subject, replace(judge, since_revision=1), now, fenced=fenced)


# --- promises --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeepsNoPromise(Promises):
    """Promises, and takes over all the same."""

    def outstanding(self, node: NodeId, now: float) -> float | None:
        """Until when this node may not end the lease of another one."""
        return None

    def answer(self, request: Request, situation: Situation, now: float) -> tuple[Promises, Answer]:
        """Promise, or refuse to."""
        given, answer = Promises.answer(self, request, situation, now)
        return replace(self, until=given.until), answer


@dataclass(frozen=True, slots=True)
class ShortPromises(Promises):
    """Keeps a promise no longer than was asked, and takes the time between two clocks for nothing."""

    def outstanding(self, node: NodeId, now: float) -> float | None:
        """Until when this node may not end the lease of another one."""
        until = Promises.outstanding(self, node, now)
        return None if until is None or until - MARGIN <= now else until - MARGIN

    def answer(self, request: Request, situation: Situation, now: float) -> tuple[Promises, Answer]:
        """Promise, or refuse to."""
        given, answer = Promises.answer(self, request, situation, now)
        return replace(self, until=given.until), answer


@dataclass(frozen=True, slots=True)
class IgnoresRefusals(Asker):
    """Goes on as soon as everybody has answered, whatever they said."""

    def step(self, event: AskerEvent, now: float) -> Step[Asker]:
        """Take in what happened."""
        taken = Granted(event.round, event.node) if isinstance(event, NotGranted) else event
        return Asker.step(self, taken, now)


@dataclass(frozen=True, slots=True)
class CountsFromTheLastAnswer(Asker):
    """Counts a promise from the moment at which the last one was given."""

    def step(self, event: AskerEvent, now: float) -> Step[Asker]:
        """Take in what happened."""
        step = Asker.step(self, event, now)
        effects = (replace(one, sent=now) if isinstance(one, promise.GoOn) else one for one in step.effects)
        return Step(step.state, tuple(effects))


@dataclass(frozen=True, slots=True)
class AsksAllButOne(Asker):
    """Leaves one of those out that might take over."""

    def step(self, event: AskerEvent, now: float) -> Step[Asker]:
        """Take in what happened."""
        if isinstance(event, Look):
            return Asker.step(self, replace(event, nodes=frozenset(sorted(event.nodes)[1:])), now)
        return Asker.step(self, event, now)


FAULTS: Final = (
    Planted(
        "no guard",
        "I2",
        "Nobody ends what runs when the deadline of the node has passed.",
        without(Hand.GUARD),
    ),
    Planted(
        "a lapse begins no incarnation",
        "R2",
        "A node whose lease was over goes on as the same incarnation, as if nobody had to learn of it anew.",
        replace(PRODUCTION, holder=StaysTheSame),
    ),
    Planted(
        "margin zero",
        "R9",
        "The taker adds no margin to the lease that it has seen.",
        replace(PRODUCTION, may_end=_without_margin),
    ),
    Planted(
        "the lease counts from the answer",
        "R9",
        "The holder counts its lease from the answer to its renewal, and not from the sending.",
        replace(PRODUCTION, holder=CountsFromTheAnswer),
    ),
    Planted(
        "a lease shortened while it is held",
        "R9",
        "A shorter duration binds the holder only when its renewal is answered: others may count by it before.",
        replace(PRODUCTION, holder=ShortenedWhenAnswered),
    ),
    Planted(
        "a lease lengthened before the answer",
        "R9",
        "A longer duration holds for the holder as soon as it is sent, though others may never have seen it.",
        replace(PRODUCTION, holder=LengthenedWhenSent),
    ),
    Planted(
        "leases are of usual length",
        "R9",
        f"The taker counts {USUAL:g} s and the margin, whatever duration the lease's record has.",
        replace(PRODUCTION, may_end=_by_usual_length),
    ),
    Planted(
        "promises are not kept",
        "R10",
        "A node ends a lease though it has promised its holder to take nothing over.",
        replace(PRODUCTION, promises=KeepsNoPromise),
    ),
    Planted(
        "promises without a margin",
        "R10",
        "The promiser adds no margin to the period that was asked.",
        replace(PRODUCTION, promises=ShortPromises),
    ),
    Planted(
        "promises count from the answer",
        "R10",
        "The asker counts a promise from its answer, and not from the sending of the question.",
        replace(PRODUCTION, asker=CountsFromTheLastAnswer),
    ),
    Planted(
        "refusals do not matter",
        "R10",
        "A node goes on by promises though one of those that were asked has refused, or said nothing.",
        replace(PRODUCTION, asker=IgnoresRefusals),
    ),
    Planted(
        "one node is not asked",
        "R10",
        "One of the nodes that might take over is not asked for its promise.",
        replace(PRODUCTION, asker=AsksAllButOne),
    ),
    Planted(
        "a restarted taker does not wait",
        "R10",
        "A node takes over after a lease's duration though the holder could not ask this daemon for a promise.",
        replace(PRODUCTION, may_end=_whoever_was_seen),
    ),
    Planted(
        "promises without a limit",
        "R10",
        "A node goes on by the promises of some of the nodes for longer than its resilience.",
        replace(PRODUCTION, holder=KnowsNoCap),
    ),
)
