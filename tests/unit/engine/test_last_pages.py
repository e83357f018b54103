"""A daemon that is stopped waits for guests that live elsewhere and miss pages of this node, and for no others."""

import asyncio
from dataclasses import dataclass, replace

import pytest

from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.engine import last_pages
from quorate.engine.last_pages import FLOW, PATIENCE, has_pages_left, wait_sent
from quorate.migration.outgoing import Outgoing, Phase, Transfer
from quorate.migration.ownership import OwnershipRecord

ONE, TWO = NodeId("1"), NodeId("2")
HERE, THERE = ImageId("here"), ImageId("there")
MARKED = OwnershipRecord(TWO, 3, THERE, None, None, 3)
SERVING = Outgoing(
    SessionId("s"), ONE, TWO, HERE, THERE, MARKED, phase=Phase.SERVING, transfer=Transfer.SWITCHED, post_copy=True
)


@dataclass
class Leaving:
    brain: Outgoing
    name: str = "web1"


@pytest.mark.parametrize(
    ("phase", "transfer", "has"),
    [
        (Phase.TELLING, Transfer.READY, True),
        (Phase.TELLING, Transfer.SWITCHED, True),
        (Phase.TELLING, Transfer.COMPLETED, False),
        (Phase.SERVING, Transfer.SWITCHED, True),
        (Phase.RECONNECTING, Transfer.SWITCHED, True),
        (Phase.TRANSFER, Transfer.FLOWING, False),
        (Phase.ENDING_IMAGE, Transfer.COMPLETED, False),
    ],
)
def test_whose_pages_are_here_only(phase: Phase, transfer: Transfer, has: bool) -> None:
    assert has_pages_left(replace(SERVING, phase=phase, transfer=transfer)) == has


def test_it_is_waited_for_as_long_as_pages_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_pages, "LOOK", 0.0)
    session, clock, told = Leaving(SERVING), [0.0], list[str]()

    def report(sentence: str) -> None:
        told.append(sentence)
        clock[0] += PATIENCE
        session.brain = replace(session.brain, transferred=session.brain.transferred + FLOW)
        if len(told) == 5:
            session.brain = replace(SERVING, phase=Phase.ENDING_IMAGE, transfer=Transfer.COMPLETED)

    assert asyncio.run(wait_sent(lambda: [session], report, lambda: clock[0])) == ()
    assert len(told) == 5
    assert told[0].startswith("waiting until the memory of web1 has left, which runs elsewhere")


@pytest.mark.parametrize("phases", [(Phase.RECONNECTING,), (Phase.SERVING,), (Phase.SERVING, Phase.RECONNECTING)])
def test_one_that_nobody_fetches_from_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, phases: tuple[Phase, ...]
) -> None:
    """A connection that is made, and lost, again and again is none: what greets costs bytes, too."""
    monkeypatch.setattr(last_pages, "LOOK", 0.0)
    session, clock, told = Leaving(replace(SERVING, phase=phases[0])), [0.0], list[str]()

    def report(sentence: str) -> None:
        told.append(sentence)
        clock[0] += PATIENCE / 4
        chatter = session.brain.transferred + FLOW // 10
        session.brain = replace(session.brain, phase=phases[len(told) % len(phases)], transferred=chatter)

    assert asyncio.run(wait_sent(lambda: [session], report, lambda: clock[0])) == ("web1",)
    assert len(told) == 4


def test_with_nobody_away_nothing_is_waited_for() -> None:
    told: list[str] = []
    assert asyncio.run(wait_sent(list, told.append, lambda: 0.0)) == ()
    assert told == []
