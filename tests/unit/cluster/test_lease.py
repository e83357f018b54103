"""The holder's side of a lease, step by step."""

from dataclasses import replace

import pytest

from quorate.clusapi.machine import UndeclaredTransition, render
from quorate.cluster import lease
from quorate.cluster.lease import AGAIN, REST, TABLE, Holder, Phase
from quorate.cluster.lease_events import (
    Answered,
    Due,
    Found,
    KeepUntil,
    LeaseRecord,
    Pause,
    Promised,
    Read,
    Refused,
    Say,
    Send,
    Terms,
    Unanswered,
)

FIVE = Terms(delay=1.0, duration=5.0, resilience=240.0)
TWO = Terms(delay=1.0, duration=2.0, resilience=0.0)
TEN = Terms(delay=1.0, duration=10.0, resilience=300.0)


def due(terms: Terms = FIVE, seen: int = 7) -> Due:
    return Due(terms, seen)


def sent(holder: Holder, now: float, terms: Terms = FIVE) -> tuple[Holder, tuple[object, ...]]:
    step = holder.step(due(terms), now)
    assert step.state.phase is Phase.RENEWING
    return step.state, step.effects


def renewed(holder: Holder, now: float, revision: int, terms: Terms = FIVE) -> Holder:
    """A renewal that is answered at once."""
    return sent(holder, now, terms)[0].step(Answered(revision), now).state


def first(now: float = 0.0, over: float = 0.0) -> Holder:
    """A daemon that has read that there is no record."""
    reading = Holder("me", over=over).step(due(), now)
    assert reading.effects == (Read(),)
    return reading.state.step(Found(None, 0), now).state


def held(now: float = 0.0) -> Holder:
    return renewed(first(now), now, 10)


def says(effects: tuple[object, ...]) -> list[str]:
    return [effect.sentence for effect in effects if isinstance(effect, Say)]


def test_it_reads_then_writes_what_it_says_of_itself() -> None:
    holder = Holder("me").step(due(), 0.0).state.step(Found(LeaseRecord("you.3", 41, 5.0), 9), 0.1).state
    step = holder.step(Due(FIVE, seen=8, joining=True), 0.2)
    assert step.effects == (Send(LeaseRecord("me.1", 42, 5.0, 8, 240.0, joining=True), 9),)


def test_the_lease_holds_from_the_sending_of_the_renewal_that_was_answered() -> None:
    sending, _ = sent(first(), 1.0)
    step = sending.step(Answered(10), 3.0)
    assert step.effects == (KeepUntil(6.0), Pause(lease.SOONEST))
    holder = step.state
    assert holder.is_held(5.99) and not holder.is_held(6.0)
    assert holder.since_revision == 10
    again = renewed(holder, 3.1, 12)
    assert again.since_revision == 10 and again.deadline == 8.1


def test_the_pause_runs_from_one_sending_to_the_next() -> None:
    step = sent(first(), 1.0)[0].step(Answered(10), 1.25)
    assert step.effects[-1] == Pause(0.75)


def test_an_unanswered_renewal_changes_nothing_and_the_next_compares_with_what_is_known() -> None:
    holder = sent(held(), 1.0)[0].step(Unanswered(), 2.0).state
    assert holder.deadline == 5.0
    assert sent(holder, 2.0)[1] == (Send(LeaseRecord("me.1", 3, 5.0, 7, 240.0), 10),)


def test_a_refusal_by_an_earlier_renewal_of_ours_is_followed_at_once_by_another() -> None:
    lost = sent(held(), 1.0)[0].step(Unanswered(), 2.0).state
    step = sent(lost, 2.0)[0].step(Refused(LeaseRecord("me.1", 2, 5.0), 11), 2.1)
    assert step.effects == (Pause(AGAIN),) and step.state.revision == 11
    holder = renewed(step.state, 2.2, 12)
    assert holder.deadline == 7.2 and not holder.maybe


def test_a_renewal_that_the_client_sent_twice_was_answered() -> None:
    shorter, _ = sent(held(), 1.0, TWO)
    holder = shorter.step(Refused(LeaseRecord("me.1", 2, 2.0), 11), 1.2).state
    assert holder.deadline == 3.0 and holder.is_writable(1.2) and holder.revision == 11
    ended = sent(held(), 1.0)[0].step(Refused(LeaseRecord("me.1", 2, 5.0, ended=True), 12), 1.2).state
    assert ended.phase is Phase.RESTING


def test_a_lapse_begins_another_incarnation_and_an_answer_to_the_earlier_one_does_not_count() -> None:
    sending, _ = sent(held(), 4.0)
    assert sending.noticed(4.99).incarnation == "me.1"
    lapsed = sending.noticed(5.0)
    assert (lapsed.incarnation, lapsed.since_revision, lapsed.deadline) == ("me.2", 10, 5.0)
    step = sending.step(Answered(11), 5.5)
    assert says(step.effects) and step.state.incarnation == "me.2"
    assert not step.state.is_held(5.5) and step.state.deadline == 5.0
    holder = renewed(step.state, 5.6, 12)
    assert holder.is_held(5.6) and holder.since_revision == 10, "nobody has ended it: everybody asks this daemon"


def test_a_lapse_that_somebody_has_seen_the_end_of_is_a_new_beginning() -> None:
    sending, _ = sent(held(), 6.0)
    refused = sending.step(Refused(LeaseRecord("me.1", 1, 5.0, ended=True), 12), 6.1).state
    assert refused.since_revision == 0
    assert renewed(refused, 7.0, 15).since_revision == 15


def test_the_record_says_the_new_incarnation_from_the_next_renewal_on() -> None:
    _, effects = sent(held(), 6.0)
    assert effects[-1] == Send(LeaseRecord("me.2", 2, 5.0, 7, 240.0), 10)


def test_a_shorter_lease_binds_before_it_is_sent() -> None:
    step = held().step(due(TWO), 1.0)
    assert isinstance(step.effects[0], KeepUntil) and step.effects[0].deadline == 3.0
    assert isinstance(step.effects[1], Send)
    holder = step.state.step(Unanswered(), 2.0).state
    assert not holder.is_held(3.0)
    assert holder.step(due(FIVE), 2.5).state.deadline == 3.0, "a longer one that is not answered gives nothing back"


def test_a_longer_lease_holds_once_it_is_answered() -> None:
    sending, effects = sent(held(), 1.0, TEN)
    assert len(effects) == 1 and sending.deadline == 5.0
    assert sending.step(Answered(11), 1.1).state.deadline == 11.0


def test_what_an_earlier_daemon_left_is_no_lease_but_stays_with_the_guard() -> None:
    holder = first(over=4.0)
    assert not holder.is_held(1.0) and not holder.may_run(1.0) and holder.deadline == 4.0
    assert sent(holder, 1.0)[0].deadline == 4.0
    step = holder.step(due(TWO), 1.0)
    assert step.effects[0] == KeepUntil(3.0), "others may count by the shorter one from now on"
    assert step.state.step(Answered(10), 1.1).state.deadline == 3.0


ENDED = LeaseRecord("me.1", 1, 5.0, ended=True)


@pytest.mark.parametrize(
    ("record", "why"),
    [(ENDED, "ended by another node"), (None, "removed"), (LeaseRecord("you.1", 9, 5.0), "another daemon")],
)
def test_who_loses_the_record_while_it_holds_gives_everything_up_and_waits_for_the_guard(
    record: LeaseRecord | None, why: str
) -> None:
    step = sent(held(), 1.0)[0].step(Refused(record, 11), 1.1)
    assert step.effects[0] == KeepUntil(1.1) and why in says(step.effects)[0] and step.effects[-1] == Pause(REST)
    resting = step.state
    assert resting.phase is Phase.RESTING and resting.incarnation == "me.2" and not resting.may_run(1.1)
    early = resting.step(due(), 1.5)
    (pause,) = early.effects
    assert early.state.phase is Phase.RESTING and isinstance(pause, Pause) and pause.seconds == pytest.approx(0.6)
    _, effects = sent(resting, 1.1 + REST)
    assert effects[0] == Send(LeaseRecord("me.2", max(3, (record.sequence if record else 0) + 1), 5.0, 7, 240.0), 11)


def test_an_end_that_was_foreseen_needs_no_rest() -> None:
    step = sent(held(), 6.0)[0].step(Refused(ENDED, 11), 6.1)
    assert step.effects == (Pause(AGAIN),) and step.state.incarnation == "me.2"


def test_an_incarnation_that_was_ended_before_it_heard_an_answer_is_never_gone_on_with() -> None:
    lost = sent(first(), 0.0)[0].step(Unanswered(), 1.0).state
    step = sent(lost, 20.0)[0].step(Refused(ENDED, 11), 20.1)
    assert step.state.incarnation == "me.2"


def test_an_evicted_node_renews_nothing() -> None:
    step = held().step(Due(FIVE, 7, is_member=False), 1.0)
    assert step.effects == (Pause(1.0),) and step.state.phase is Phase.KNOWN


# --- promises --------------------------------------------------------------------------------------------------------


def test_promises_carry_the_incarnation_beyond_the_lease_but_start_nothing() -> None:
    step = held().step(Promised(3.0, 5.0, capped=False), 3.2)
    assert step.effects == (KeepUntil(8.0),)
    holder = step.state.noticed(7.0)
    assert holder.incarnation == "me.1" and holder.may_run(7.0) and not holder.is_held(7.0)
    assert holder.noticed(8.0).incarnation == "me.2"
    answered = renewed(holder, 7.5, 11)
    assert answered.incarnation == "me.1" and answered.since_revision == 10 and answered.is_held(7.5)


def test_promises_of_some_end_with_the_resilience_counted_from_the_last_answer() -> None:
    holder = renewed(first(), 0.0, 10, replace(FIVE, resilience=4.0))
    holder = holder.step(Promised(4.0, 5.0, capped=True), 4.1).state
    assert holder.deadline == 9.0
    holder = holder.step(Promised(8.0, 5.0, capped=True), 8.1).state
    assert holder.deadline == 9.0
    assert holder.step(Promised(8.5, 5.0, capped=False), 8.6).state.deadline == 13.5


def test_the_cap_is_that_of_any_renewal_that_may_have_landed() -> None:
    holder = sent(held(), 1.0, replace(FIVE, resilience=0.0))[0].step(Unanswered(), 2.0).state
    assert holder.cap == 6.0
    assert holder.step(Promised(3.0, 5.0, capped=True), 3.1).state.deadline == 6.0


def test_what_is_over_is_not_revived_by_promises() -> None:
    step = held().step(Promised(4.9, 5.0, capped=False), 5.0)
    assert step.state.deadline == 5.0 and step.state.incarnation == "me.2"


def test_a_promise_carries_no_further_than_a_shorter_lease_that_was_sent_meanwhile() -> None:
    assert held().period == 5.0
    holder, effects = sent(held().step(Promised(3.0, 5.0, capped=False), 3.1).state, 3.5, TWO)
    assert effects[0] == KeepUntil(5.5) and holder.period == 2.0
    assert holder.step(Promised(3.4, 5.0, capped=False), 3.6).state.deadline == 5.5
    assert holder.step(Promised(4.0, 5.0, capped=False), 4.1).state.deadline == 6.0


def test_it_is_writable_as_long_as_answers_are_recent() -> None:
    holder = held()
    assert holder.is_writable(1.4) and not holder.is_writable(1.5)
    assert not first().is_writable(0.0)


# --- the table -------------------------------------------------------------------------------------------------------


def test_every_phase_has_rules_and_can_be_shown() -> None:
    assert set(TABLE) == set(Phase)
    assert "| renewing | Answered | known |" in render(TABLE, "The lease")


def test_an_answer_that_nobody_asked_for_is_a_bug() -> None:
    with pytest.raises(UndeclaredTransition):
        held().step(Answered(3), 1.0)


def test_a_database_that_does_not_answer_the_first_question_is_asked_again() -> None:
    step = Holder("me").step(due(), 0.0).state.step(Unanswered(), 1.0)
    assert step.state.phase is Phase.UNREAD and step.effects == (Pause(1.0),)


def test_of_many_unanswered_renewals_with_the_same_words_the_first_says_it_all() -> None:
    holder = held()
    for second in range(1, 5):
        holder = sent(holder, float(second))[0].step(Unanswered(), second + 0.5).state
    assert [one.at for one in holder.maybe] == [1.0]


def test_nothing_begins_under_a_lease_that_is_not_held_yet() -> None:
    holder = held()
    assert holder.begins_under == "me.1" == holder.incarnation
    lapsed = holder.noticed(5.0)
    assert lapsed.incarnation == "me.2" and lapsed.begins_under != "me.2"
    assert renewed(lapsed, 9.0, 11).begins_under == "me.2"
    assert first().begins_under != held().begins_under


def test_since_when_it_is_held_begins_anew_after_every_break() -> None:
    holder = held(1.0)
    assert holder.held_since == 1.0
    holder = renewed(holder, 4.0, 11)
    assert holder.held_since == 1.0, "there was no break"
    carried = holder.step(Promised(8.0, 60.0, capped=False), 8.5).state
    sending, _ = sent(carried, 10.0)
    assert sending.life == holder.life, "promises have carried it on"
    assert sending.step(Answered(12), 10.5).state.held_since == 10.5, "but they are no lease"
