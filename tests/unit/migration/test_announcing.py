"""How long a guest that has arrived is announced."""

from quorate.migration.announcing import PAUSES, Announcing, Verdict

ONE, TWO = "52:54:00:00:00:01", "52:54:00:00:00:02"
NOBODY: frozenset[str] = frozenset()


def test_it_ends_when_somebody_has_sent_to_each_of_its_addresses() -> None:
    state = Announcing(frozenset({ONE, TWO}))
    state, verdict = state.after_look(frozenset({ONE}))
    assert (verdict, state.unseen, state.said) == (Verdict.AGAIN, frozenset({TWO}), 2)
    state, verdict = state.after_look(frozenset({ONE}))
    assert verdict is Verdict.AGAIN, "that one was seen before"
    assert state.after_look(frozenset({TWO}))[1] is Verdict.SEEN


def test_a_guest_to_whom_nobody_sends_is_announced_at_growing_pauses_for_a_minute() -> None:
    state, verdict, waited = Announcing(frozenset({ONE})), Verdict.AGAIN, []
    while verdict is Verdict.AGAIN:
        waited.append(state.pause)
        state, verdict = state.after_look(NOBODY)
    assert verdict is Verdict.GIVEN_UP
    assert tuple(waited) == PAUSES
    assert waited == sorted(waited)
    assert 60 <= sum(waited) < 65
    assert state.said == len(PAUSES)
