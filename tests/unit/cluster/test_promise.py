"""Promises while the database is silent, step by step."""

from dataclasses import replace

import pytest

from quorate.clusapi.identity import NodeId
from quorate.clusapi.machine import render
from quorate.cluster.lease import MARGIN
from quorate.cluster.promise import (
    MAX_PERIOD,
    SOON,
    TABLE,
    Ask,
    Asker,
    GoOn,
    Granted,
    Look,
    LookAgain,
    NotGranted,
    Phase,
    Promises,
    Request,
    Say,
    Situation,
)

TWO, THREE, FOUR = NodeId("2"), NodeId("3"), NodeId("4")
BOTH = frozenset({TWO, THREE})
SILENT = Look(since=10.0, deadline=15.0, delay=1.0, period=5.0, nodes=BOTH, configured=BOTH)


def asking(look: Look = SILENT, now: float = 12.0) -> Asker:
    step = Asker().step(look, now)
    assert step.effects == (Ask(1, look.nodes, look.period), LookAgain(now + 1.0))
    return step.state


def test_nobody_is_asked_before_two_renewals_are_missing() -> None:
    step = Asker().step(SILENT, 11.9)
    assert step.effects == (LookAgain(12.0),) and step.state.phase is Phase.QUIET


def test_without_a_lease_or_past_the_deadline_nobody_is_asked() -> None:
    for look, now in ((replace(SILENT, since=None), 12.0), (SILENT, 15.0)):
        assert Asker().step(look, now).effects == (LookAgain(now + 1.0),)


def test_when_all_have_promised_it_goes_on_from_the_moment_before_the_first_question() -> None:
    step = asking().step(Granted(1, TWO), 12.3)
    assert not step.effects
    step = step.state.step(Granted(1, THREE), 12.6)
    assert GoOn(12.0, 5.0, capped=False) in step.effects and LookAgain(13.0) in step.effects
    again = step.state.step(replace(SILENT, deadline=17.0), 13.0)
    assert again.effects[0] == Ask(2, BOTH, 5.0)


def test_one_refusal_is_enough_and_it_asks_again_soon() -> None:
    step = asking().step(Granted(1, TWO), 12.1).state.step(NotGranted(1, THREE, "no"), 12.2)
    assert not any(isinstance(effect, GoOn) for effect in step.effects)
    assert LookAgain(12.0 + SOON) in step.effects
    (said,) = [effect for effect in step.effects if isinstance(effect, Say)]
    assert "node 3: no" in said.sentence
    repeated = step.state.step(SILENT, 12.5).state
    repeated = repeated.step(Granted(2, TWO), 12.6).state
    assert not any(isinstance(e, Say) for e in repeated.step(NotGranted(2, THREE, "no"), 12.7).effects)


def test_an_answer_of_an_earlier_round_or_of_somebody_else_is_nothing() -> None:
    asker = asking().step(Granted(1, TWO), 12.1).state
    for event in (Granted(0, THREE), Granted(1, FOUR), NotGranted(0, THREE, ""), NotGranted(1, FOUR, "")):
        assert asker.step(event, 12.2).state == asker
    done = asker.step(Granted(1, THREE), 12.3).state
    assert done.step(Granted(1, THREE), 12.4).state == done
    assert done.step(NotGranted(1, TWO, "late"), 12.4).state == done


def test_without_all_configured_nodes_the_time_is_limited() -> None:
    look = replace(SILENT, configured=BOTH | {FOUR})
    step = asking(look).step(Granted(1, TWO), 12.1).state.step(Granted(1, THREE), 12.2)
    assert GoOn(12.0, 5.0, capped=True) in step.effects


def test_where_nobody_is_left_to_be_asked_it_goes_on_at_once() -> None:
    alone = replace(SILENT, nodes=frozenset(), configured=frozenset())
    assert GoOn(12.0, 5.0, capped=False) in Asker().step(alone, 12.0).effects
    last = replace(alone, configured=frozenset({TWO}))
    assert GoOn(12.0, 5.0, capped=True) in Asker().step(last, 12.0).effects


def test_the_table_can_be_shown() -> None:
    assert "| quiet | Look | quiet · asking |" in render(TABLE, "The asker")


# --- the promiser ----------------------------------------------------------------------------------------------------

REQUEST = Request(TWO, "two.1", 5.0)
CUT_OFF = Situation(is_writable=False)


def test_a_promise_counts_from_its_receipt_with_the_margin() -> None:
    promises, answer = Promises().answer(REQUEST, CUT_OFF, 100.0)
    assert answer.granted and answer.seconds == 5.0 + MARGIN
    assert promises.outstanding(TWO, 105.4) == 105.5
    assert promises.outstanding(TWO, 105.5) is None and promises.outstanding(THREE, 100.0) is None


def test_a_shorter_promise_takes_nothing_of_a_longer_one_away() -> None:
    promises, _ = Promises().answer(REQUEST, CUT_OFF, 100.0)
    promises, answer = promises.answer(replace(REQUEST, period=1.0), CUT_OFF, 101.0)
    assert answer.granted and promises.outstanding(TWO, 101.0) == 105.5


def test_promises_of_the_past_are_forgotten() -> None:
    promises, _ = Promises().answer(REQUEST, CUT_OFF, 100.0)
    promises, _ = promises.answer(replace(REQUEST, node=THREE), CUT_OFF, 200.0)
    assert set(promises.until) == {THREE}


@pytest.mark.parametrize(
    ("request_", "situation", "why"),
    [
        (REQUEST, Situation(is_writable=True), "can write"),
        (REQUEST, Situation(is_writable=False, ended="two.1"), "over"),
        (replace(REQUEST, period=MAX_PERIOD + 1), CUT_OFF, "up to"),
        (replace(REQUEST, period=0.0), CUT_OFF, "up to"),
        (replace(REQUEST, period=float("nan")), CUT_OFF, "up to"),
    ],
)
def test_a_promise_is_refused_with_the_reason(request_: Request, situation: Situation, why: str) -> None:
    promises, answer = Promises().answer(request_, situation, 100.0)
    assert not answer.granted and why in answer.sentence and promises.outstanding(TWO, 100.0) is None


def test_another_incarnation_than_the_one_that_was_ended_is_promised() -> None:
    assert Promises().answer(REQUEST, Situation(False, ended="two.0"), 100.0)[1].granted
