"""What a restarted daemon makes of its journal, the record, and what is left of its QEMU: every combination."""

import pytest

from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.migration import incoming, outgoing
from quorate.migration import outgoing_events as e
from quorate.migration.incoming import Right
from quorate.migration.ownership import CasKind, OwnershipRecord, SendCas
from quorate.migration.recovery import (
    Concern,
    Found,
    FoundIncoming,
    IncomingJournal,
    Noted,
    OutgoingJournal,
    TakeOn,
    plan_take_on,
    recover_incoming,
    recover_outgoing,
)

A, B, C = NodeId("1"), NodeId("2"), NodeId("3")
SOURCE, DESTINATION, OTHER = ImageId("a1"), ImageId("b2"), ImageId("c3")
OWN = OwnershipRecord(A, 1, SOURCE, None, None, 1)
GIFT = OwnershipRecord(B, 2, DESTINATION, A, SOURCE, 2)
MARKED = OwnershipRecord(B, 3, DESTINATION, None, None, 3)
ELSE = OwnershipRecord(C, 4, OTHER, None, None, 4)
O, I = outgoing.Phase, incoming.Phase  # noqa: E741


@pytest.mark.parametrize("noted", Noted)
@pytest.mark.parametrize("found", Found)
@pytest.mark.parametrize("record", [OWN, GIFT, MARKED, ELSE], ids=["own", "gift", "marked", "else"])
def test_a_source(noted: Noted, found: Found, record: OwnershipRecord) -> None:
    step = recover_outgoing(OutgoingJournal(SessionId("s"), A, B, SOURCE, DESTINATION, noted), record, found, 5.0)
    kinds = [effect.cas.kind for effect in step.effects if isinstance(effect, SendCas)]
    if record is MARKED and found is Found.SERVING:
        assert (step.state.phase, kinds) == (O.SERVING, [])
        assert e.EndImage() not in step.effects
    elif record in (MARKED, ELSE):
        assert step.state.phase is O.ENDING_IMAGE
        ended = step.state.step(e.ImageEnded(), 5.1).state
        assert ended.outcome is (outgoing.Outcome.DONE if record is MARKED else outgoing.Outcome.OVERTAKEN)
    elif record is OWN and found is Found.RUNNING:
        assert (step.state.phase, kinds) == (O.CANCELLING, [])
        assert e.CancelTransfer() in step.effects
    elif record is OWN:
        assert (step.state.phase, kinds) == (O.SETTLING, [CasKind.KEEP])
    elif noted is Noted.YOURS:
        assert (step.state.phase, kinds) == (O.TELLING, [])
        assert (e.EnterPostCopy() in step.effects) == (found is Found.READY)
    elif noted is Noted.TAKE_BACK:
        assert (step.state.phase, kinds) == (O.TAKING_BACK, [CasKind.TAKE_BACK])
    else:
        assert (step.state.phase, kinds) == (O.NOTING_TAKE_BACK, [])
    assert e.ResumeGuest() not in step.effects
    assert (e.StopGuest() in step.effects) == (record is GIFT and found is Found.RUNNING)


DESTINATION_CASES = [
    # record, cont noted, found -> phase, write
    (GIFT, False, FoundIncoming.RECEIVING, I.RECEIVING, None),
    (GIFT, False, FoundIncoming.LOADED, I.LOADED, None),
    (GIFT, False, FoundIncoming.GONE, I.LEFT, None),
    (GIFT, True, FoundIncoming.RECEIVING, I.CLAIMING, CasKind.CLAIM),
    (GIFT, True, FoundIncoming.LOADED, I.CLAIMING, CasKind.CLAIM),
    (GIFT, True, FoundIncoming.RUNNING, I.MARKING, CasKind.MARK),
    (GIFT, True, FoundIncoming.GONE, I.MARKING, CasKind.MARK),
    (MARKED, False, FoundIncoming.GONE, I.MARKING, CasKind.MARK),
    (MARKED, True, FoundIncoming.RUNNING, I.MARKING, CasKind.MARK),
    (MARKED, True, FoundIncoming.GONE, I.MARKING, CasKind.MARK),
    (OWN, False, FoundIncoming.RECEIVING, I.RECEIVING, None),
    (OWN, False, FoundIncoming.LOADED, I.LOADED, None),
    (OWN, False, FoundIncoming.GONE, I.LEFT, None),
    (ELSE, False, FoundIncoming.LOADED, I.LOADED, None),
    (ELSE, True, FoundIncoming.LOADED, I.ENDING, None),
    (ELSE, True, FoundIncoming.RUNNING, I.ENDING, None),
    (ELSE, True, FoundIncoming.GONE, I.ENDING, None),
]


@pytest.mark.parametrize(("record", "cont", "found", "phase", "write"), DESTINATION_CASES)
def test_a_destination(
    record: OwnershipRecord, cont: bool, found: FoundIncoming, phase: incoming.Phase, write: CasKind | None
) -> None:
    journal = IncomingJournal(SessionId("s"), B, A, DESTINATION, SOURCE, GIFT if cont else None, cont)
    step = recover_incoming(journal, record, found, 5.0)
    kinds = [effect.cas.kind for effect in step.effects if isinstance(effect, SendCas)]
    assert (step.state.phase, kinds) == (phase, [] if write is None else [write])
    assert step.state.right is Right.MUST_CLAIM
    assert step.state.over == (phase is I.ENDING)


OUT = OutgoingJournal(SessionId("s"), A, B, SOURCE, DESTINATION, Noted.YOURS)
IN = IncomingJournal(SessionId("s"), A, C, SOURCE, OTHER, None, True)
BACK = OwnershipRecord(A, 6, OTHER, None, None, 6)
"""The virtual machine came back to A meanwhile, as another image."""


@pytest.mark.parametrize(
    ("record", "found", "out", "arriving", "expected"),
    [
        (OWN, SOURCE, OUT, None, TakeOn(Concern.OUTGOING, SOURCE)),
        (GIFT, SOURCE, OUT, None, TakeOn(Concern.OUTGOING, SOURCE)),
        (MARKED, None, OUT, None, TakeOn(Concern.OUTGOING, SOURCE)),
        (OWN, SOURCE, None, IN, TakeOn(Concern.INCOMING, SOURCE)),
        (ELSE, SOURCE, None, IN, TakeOn(Concern.INCOMING, SOURCE)),
        (OWN, SOURCE, None, None, TakeOn(Concern.OWN, SOURCE)),
        (OWN, None, None, None, TakeOn(Concern.OWN, SOURCE)),
        (OWN, OTHER, None, None, TakeOn(Concern.OWN, SOURCE)),
        (ELSE, SOURCE, None, None, TakeOn(Concern.NONE, None)),
        (BACK, OTHER, OUT, None, TakeOn(Concern.OWN, OTHER)),
        (BACK, OTHER, None, IN, TakeOn(Concern.OWN, OTHER)),
        (BACK, OTHER, OUT, IN, TakeOn(Concern.OWN, OTHER)),
        (BACK, SOURCE, OUT, None, TakeOn(Concern.OUTGOING, SOURCE)),
    ],
)
def test_a_note_that_was_left_lying_ends_no_qemu_that_the_record_wants(
    record: OwnershipRecord,
    found: ImageId | None,
    out: OutgoingJournal | None,
    arriving: IncomingJournal | None,
    expected: TakeOn,
) -> None:
    assert plan_take_on(record, A, found, out, arriving) == expected
