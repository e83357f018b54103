"""The fencing of dead nodes: who is switched off, when that is a proof, and how many at most."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.machine import UndeclaredTransition
from quorate.cluster import fencing as f


@dataclass
class Hands:
    """Carries effects out by what a test has laid down, and keeps what was told."""

    leave: bool = True
    answers: list[f.Event] = field(default_factory=list)
    """What the agents answer, in order, whatever their attempt."""
    fence: f.Fence = field(default_factory=lambda: f.Fence("node2"))
    now: float = 100.0
    asked: list[object] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def phase(self) -> f.Phase:
        return self.fence.phase

    def post(self, event: f.Event) -> None:
        step = self.fence.step(event, self.now)
        self.fence = step.state
        for effect in step.effects:
            match effect:
                case f.AskLeave(attempt):
                    self.post(f.LeaveGiven(attempt) if self.leave else f.LeaveRefused(attempt, "over the budget"))
                case f.PowerOff(attempt, agent):
                    self.asked.append(("off", agent))
                    self._answer(attempt)
                case f.LookAt(attempt, agent):
                    self.asked.append(("status", agent))
                    self._answer(attempt)
                case f.Tell(news, sentence):
                    self.told.append(f"{news.value}: {sentence}")

    def _answer(self, attempt: int) -> None:
        match self.answers.pop(0):
            case f.FoundOff(_, revision, sentence):
                self.post(f.FoundOff(attempt, revision, sentence))
            case f.FoundOn():
                self.post(f.FoundOn(attempt))
            case f.AgentFailed(_, sentence):
                self.post(f.AgentFailed(attempt, sentence))


OFF = f.FoundOff(0, 7, "fence_x has switched it off")
FAILED = f.AgentFailed(0, "fence_x failed: no route")


def test_a_node_that_its_agent_has_switched_off_is_fenced() -> None:
    hands = Hands(answers=[OFF])
    hands.post(f.Suspected(1, "node2 is silent"))
    assert (hands.phase(), hands.fence.revision) == (f.Phase.OFF, 7)
    assert hands.told == ["begun: node2 is silent", "fenced: node2 is fenced: fence_x has switched it off"]
    hands.post(f.Suspected(1, "node2 is silent"))
    assert hands.asked == [("off", 0)]


def test_a_node_without_agents_is_left_to_its_lease() -> None:
    hands = Hands()
    hands.post(f.Suspected(0, "node2 is silent"))
    assert hands.phase() is f.Phase.IDLE
    assert hands.fence.sentence == "node2 has no fence agent: the end of its lease decides"


def test_the_next_agent_is_tried_and_all_of_them_again_after_a_pause() -> None:
    hands = Hands(answers=[FAILED, FAILED, FAILED, OFF])
    hands.post(f.Suspected(2, "node2 is silent"))
    assert hands.phase() is f.Phase.FAILED
    assert hands.told[-1] == (
        "failed: node2 could not be switched off, and the end of its lease decides: fence_x failed: no route"
    )
    hands.now += f.RETRY_PAUSE / 2
    hands.post(f.Suspected(2, "node2 is silent"))
    assert hands.asked == [("off", 0), ("off", 1)]
    hands.now += f.RETRY_PAUSE
    hands.post(f.Suspected(2, "node2 is silent"))
    assert hands.phase() is f.Phase.OFF
    assert hands.asked == [("off", 0), ("off", 1)] * 2


def test_the_same_failure_is_told_once() -> None:
    hands = Hands(answers=[FAILED, FAILED, FAILED])
    for _ in range(3):
        hands.post(f.Suspected(1, "node2 is silent"))
        hands.now += 2 * f.RETRY_PAUSE
    assert [words.partition(":")[0] for words in hands.told] == ["begun", "failed"]


def test_over_the_budget_a_node_is_only_looked_at_and_one_that_is_off_already_is_fenced() -> None:
    hands = Hands(leave=False, answers=[f.FoundOff(0, 3, "fence_x says that it is off")])
    hands.post(f.Suspected(1, "node2 is silent"))
    assert hands.phase() is f.Phase.OFF
    assert hands.asked == [("status", 0)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [(f.FoundOn(0), "and it is on"), (FAILED, "and whether it is off cannot be told: fence_x failed: no route")],
)
def test_over_the_budget_a_node_that_is_not_off_waits_for_a_person(answer: f.Event, words: str) -> None:
    hands = Hands(leave=False, answers=[answer])
    hands.post(f.Suspected(1, "node2 is silent"))
    assert hands.phase() is f.Phase.HELD
    assert hands.told[-1] == (
        f"held: over the budget; {words}. See whether it is off, and say so: quorate node confirm-off node2"
    )
    hands.leave, hands.answers = True, [OFF]
    hands.now += f.RETRY_PAUSE
    hands.post(f.Suspected(1, "node2 is silent"))
    assert hands.phase() is f.Phase.OFF


def test_a_node_that_returns_voids_every_proof_and_every_answer_on_its_way() -> None:
    hands = Hands(answers=[OFF])
    hands.post(f.Suspected(1, "node2 is silent"))
    late = hands.fence.attempt
    hands.post(f.Returned())
    assert hands.phase() is f.Phase.IDLE
    hands.post(f.FoundOff(late, 9, "late"))
    assert hands.phase() is f.Phase.IDLE
    under_way = hands.fence.step(f.Suspected(1, "again"), 0.0).state.step(f.LeaveGiven(late + 2), 0.0).state
    assert under_way.phase is f.Phase.POWERING_OFF
    assert under_way.step(f.FoundOff(late, 9, "late"), 0.0).state == under_way


EVENTS: st.SearchStrategy[f.Event] = st.one_of(
    st.builds(f.Suspected, st.integers(0, 3), st.just("silent")),
    st.builds(f.LeaveGiven, st.integers(0, 5)),
    st.builds(f.LeaveRefused, st.integers(0, 5), st.just("over")),
    st.builds(f.FoundOff, st.integers(0, 5), st.integers(1, 9), st.just("off")),
    st.builds(f.FoundOn, st.integers(0, 5)),
    st.builds(f.AgentFailed, st.integers(0, 5), st.just("no")),
    st.just(f.Returned()),
)


@given(st.lists(EVENTS, max_size=40))
def test_whatever_comes_nothing_is_undeclared_and_off_is_said_by_an_agent_of_this_attempt(
    events: list[f.Event],
) -> None:
    fence, now = f.Fence("node2"), 0.0
    for event in events:
        now += 4.0
        try:
            step = fence.step(event, now)
        except UndeclaredTransition as error:
            raise AssertionError(f"{event} in {fence}") from error
        if step.state.phase is f.Phase.OFF and fence.phase is not f.Phase.OFF:
            assert isinstance(event, f.FoundOff)
            assert event.attempt == fence.attempt
        if any(isinstance(effect, f.PowerOff) for effect in step.effects) and fence.phase is f.Phase.ASKING_LEAVE:
            assert isinstance(event, f.LeaveGiven)
        fence = step.state
