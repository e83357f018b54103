"""The tables themselves: any event in any phase, absurd ones included, is declared; and the right to run stays guarded.

The checker here knows only what a brain was told and what it asked for. It is written from rules R1 to R7.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.system.soak import soaking

from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.clusapi.machine import Rule, Step, Table, UndeclaredTransition, follow, render
from quorate.migration import incoming, outgoing
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import Sample
from quorate.migration.incoming import Incoming
from quorate.migration.outgoing import Outgoing
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasRefused, CasUnanswered, OwnershipRecord, SendCas
from quorate.migration.recovery import (
    Found,
    FoundIncoming,
    IncomingJournal,
    Noted,
    OutgoingJournal,
    recover_incoming,
    recover_outgoing,
)

ME, OTHER, THIRD = NodeId("1"), NodeId("2"), NodeId("3")
MINE, THEIRS, ALIEN = ImageId("a1"), ImageId("b1"), ImageId("c1")
SESSION = SessionId("s1")
OWN = OwnershipRecord(ME, 1, MINE, None, None, 1)

records = st.builds(
    OwnershipRecord,
    holder=st.sampled_from((ME, OTHER, THIRD)),
    epoch=st.integers(1, 6),
    image=st.sampled_from((MINE, THEIRS, ALIEN, None)),
    giver=st.sampled_from((ME, OTHER, None)),
    giver_image=st.sampled_from((MINE, THEIRS, None)),
    revision=st.integers(1, 6),
)
gifts = st.builds(
    OwnershipRecord, st.just(OTHER), st.integers(2, 6), st.just(THEIRS), st.just(ME), st.just(MINE), st.integers(2, 6)
)
sentences = st.sampled_from(("", "because"))
attempts = st.integers(0, 8)
samples = st.builds(
    Sample,
    total=st.integers(0, 100),
    transferred=st.integers(0, 100),
    remaining=st.sampled_from((0, 1, 10**9)),
    bytes_per_second=st.sampled_from((0.0, 1e9)),
    dirty_bytes_per_second=st.just(1.0),
    passes=st.integers(0, 30),
)


def events(kinds: Sequence[type]) -> st.SearchStrategy[object]:
    known = {
        CasAnswered: st.builds(CasAnswered, attempts, st.one_of(records, gifts, st.just(OWN))),
        CasRefused: st.builds(CasRefused, attempts, st.one_of(records, gifts, st.just(OWN))),
        CasUnanswered: st.builds(CasUnanswered, attempts),
        e.Sampled: st.builds(e.Sampled, samples),
        e.RecordSeen: st.builds(e.RecordSeen, st.one_of(records, gifts)),
        e.Prepared: st.just(e.Prepared("unix:x")),
        i.Launched: st.just(i.Launched("unix:x")),
        i.ListensAgain: st.just(i.ListensAgain("unix:x")),
        e.Recover: st.just(e.Recover("unix:x")),
        i.Yours: st.builds(i.Yours, st.one_of(gifts, records)),
    }
    plain = [kind for kind in kinds if kind not in known]
    return st.one_of(
        *(known[kind] for kind in kinds if kind in known),
        *(st.builds(kind, sentences) if issubclass(kind, e.Trouble) else st.just(kind()) for kind in plain),
    )


times = st.sampled_from((0.0, 0.1, 1.0, 3.0, 20.0))
outgoing_stories = st.lists(st.tuples(events(e.EVENTS), times), max_size=40)
incoming_stories = st.lists(st.tuples(events(i.EVENTS), times), max_size=40)

fresh_outgoing = st.just(Step(Outgoing(SESSION, ME, OTHER, MINE, THEIRS, OWN)))
recovered_outgoing = st.builds(
    lambda noted, record, found: recover_outgoing(
        OutgoingJournal(SESSION, ME, OTHER, MINE, THEIRS, noted), record, found, 0.0
    ),
    st.sampled_from(Noted),
    st.one_of(records, gifts, st.just(OWN)),
    st.sampled_from(Found),
)
fresh_incoming = st.just((False, incoming.begin(Incoming(SESSION, OTHER, ME, THEIRS, MINE), 0.0)))
recovered_incoming = st.builds(
    lambda told, cont, record, found: (
        cont,
        recover_incoming(IncomingJournal(SESSION, OTHER, ME, THEIRS, MINE, told, cont), record, found, 0.0),
    ),
    st.one_of(st.none(), gifts),
    st.booleans(),
    st.one_of(records, gifts, st.just(OWN)),
    st.sampled_from(FoundIncoming),
)
SOAK = soaking()
EXAMPLES = 20_000 if SOAK else 200


class SourceChecker:
    """R1, R4 and R5 for one life of a source's brain."""

    def __init__(self, *, recovered: bool) -> None:
        self.latest: Cas | None = None
        self.answered = self.stopped = False
        self.gift = self.completed = self.noted = recovered
        self.told: set[int] = set()
        self.entered = self.switched = False

    def hear(self, event: object) -> None:
        match event:
            case e.LeaseLapsed():
                self.answered = self.stopped = False
            case CasAnswered(attempt, _) if self.latest is not None and attempt == self.latest.attempt:
                self.answered = self.latest.holder == ME
                self.gift |= self.latest.kind is CasKind.GIVE
            case CasRefused(_, current):
                self.gift |= current.is_gift_of(ME, MINE)
            case e.TransferCompleted() | e.ReadyToSwitch():
                self.completed = True
            case e.PagesFlow() | e.PagesStopped():
                self.switched |= self.entered
            case e.YoursNoted():
                self.noted = True
            case _:
                pass

    def asked(self, effect: object) -> None:
        match effect:
            case SendCas(cas):
                self.latest, self.answered, self.stopped = cas, False, False
                assert cas.expected.revision not in self.told or not cas.expected.is_gift_of(ME, MINE), "R5"
            case e.StopGuest():
                self.stopped = True
            case e.EnterPostCopy():
                assert self.noted, "R4: no way back from here"
                self.entered = True
            case e.ResumeGuest():
                assert self.answered or self.stopped, "R1"
                assert not self.switched, "in post-copy QEMU never runs it again"
            case e.SendYours(_, revision):
                assert self.gift and self.completed and self.noted, "R4"
                self.told.add(revision)
            case _:
                pass


class DestinationChecker:
    """R6 and R7 for one life of a destination's brain."""

    def __init__(self, *, recovered: bool, cont_noted: bool) -> None:
        self.latest: Cas | None = None
        self.answered = self.told = self.noted = False
        self.noting = cont_noted
        self.broken = recovered
        self.loaded = recovered

    def hear(self, event: object) -> None:
        match event:
            case i.LeaseLapsed():
                self.broken, self.answered = True, False
            case CasAnswered(attempt, _) if self.latest is not None and attempt == self.latest.attempt:
                self.answered = self.latest.holder == OTHER
            case i.Yours():
                self.told = True
            case i.LoadCompleted() | i.SwitchedOver():
                self.loaded = True
            case i.ContNoted():
                self.noted |= self.noting
            case _:
                pass

    def asked(self, effect: object) -> None:
        match effect:
            case SendCas(cas):
                self.latest, self.answered = cas, False
                assert cas.kind is not CasKind.GIVE_BACK or not self.noting, "R7"
            case i.NoteCont():
                self.noting = True
            case i.Cont():
                assert (self.told and not self.broken) or self.answered, "R6"
                assert self.loaded and self.noted, "R6, R7"
            case _:
                pass


@pytest.mark.soak
@settings(max_examples=EXAMPLES, deadline=None, derandomize=not SOAK)
@given(st.one_of(fresh_outgoing, recovered_outgoing), outgoing_stories)
def test_a_source_knows_every_event_and_keeps_the_rules(
    start: Step[Outgoing], story: list[tuple[e.Event, float]]
) -> None:
    state, now = start.state, 0.0
    checker = SourceChecker(recovered=state.phase is not outgoing.Phase.QUEUED)
    for effect in start.effects:
        checker.asked(effect)
    for event, later in story:
        now += later
        checker.hear(event)
        step = state.step(event, now)
        state = step.state
        for effect in step.effects:
            checker.asked(effect)
        assert state.phase is not O.ENDED or state.outcome is not None


@pytest.mark.soak
@settings(max_examples=EXAMPLES, deadline=None, derandomize=not SOAK)
@given(st.one_of(fresh_incoming, recovered_incoming), incoming_stories)
def test_a_destination_knows_every_event_and_keeps_the_rules(
    start: tuple[bool, Step[Incoming]], story: list[tuple[i.Event, float]]
) -> None:
    cont_noted, begun = start
    state, now = begun.state, 0.0
    checker = DestinationChecker(recovered=state.phase is not incoming.Phase.PREPARING, cont_noted=cont_noted)
    for effect in begun.effects:
        checker.asked(effect)
    for event, later in story:
        now += later
        checker.hear(event)
        step = state.step(event, now)
        state = step.state
        for effect in step.effects:
            checker.asked(effect)
        assert state.phase is not I.ENDED or state.outcome is not None


O = outgoing.Phase  # noqa: E741
I = incoming.Phase  # noqa: E741


@pytest.mark.parametrize("phase", outgoing.Phase)
def test_a_source_has_a_rule_for_every_event(phase: outgoing.Phase) -> None:
    assert set(outgoing.TABLE[phase]) == set(e.EVENTS)


@pytest.mark.parametrize("phase", incoming.Phase)
def test_a_destination_has_a_rule_for_every_event(phase: incoming.Phase) -> None:
    assert set(incoming.TABLE[phase]) == set(i.EVENTS)


def test_what_is_ignored_says_why() -> None:
    tables = (*outgoing.TABLE.values(), *incoming.TABLE.values())
    assert all(rule.handler or rule.why for rules in tables for rule in rules.values())  # type: ignore[attr-defined]


def test_an_unknown_event_is_a_bug() -> None:
    state = Outgoing(SESSION, ME, OTHER, MINE, THEIRS, OWN)
    with pytest.raises(UndeclaredTransition, match="Yours in phase QUEUED has no rule"):
        state.step(i.Yours(OWN), 0.0)  # type: ignore[arg-type]


def test_a_step_off_the_table_is_a_bug() -> None:
    state = Outgoing(SESSION, ME, OTHER, MINE, THEIRS, OWN)
    table: Table[outgoing.Phase, Outgoing] = {
        O.QUEUED: {e.Tick: Rule(lambda s, event, now: Step(replace(s, phase=O.ENDED)), (O.QUEUED,))}
    }
    with pytest.raises(UndeclaredTransition, match="led to ENDED"):
        follow(table, lambda s: s.phase, state, e.Tick(), 0.0)


def test_a_table_is_rendered() -> None:
    table: Table[outgoing.Phase, Outgoing] = {
        O.QUEUED: {
            e.Tick: Rule(lambda s, event, now: Step(s), (O.QUEUED, O.ENDED, O.QUEUED)),
            e.PlaceFree: Rule(None, (), "too early"),
        }
    }
    assert render(table, "A table") == (
        "### A table\n\n| phase | event | leads to |\n|---|---|---|\n"
        "| queued | Tick | queued · ended |\n| queued | PlaceFree | – (too early) |\n"
    )
