"""Post-copy as the brains see it: where there is no way back, who keeps what, and when it may be ended."""

from dataclasses import replace

import pytest

from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.clusapi.states import MigrationState
from quorate.migration import incoming, outgoing
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import Sample
from quorate.migration.incoming import Incoming
from quorate.migration.outgoing import Image, Outgoing, Transfer
from quorate.migration.ownership import Cas, CasAnswered, CasKind, OwnershipRecord, SendCas
from quorate.migration.recovery import FoundIncoming, IncomingJournal, recover_incoming

A, B, C = NodeId("1"), NodeId("2"), NodeId("3")
SOURCE, DESTINATION, OTHER = ImageId("a1"), ImageId("b2"), ImageId("c3")
SESSION = SessionId("s")
OWN = OwnershipRecord(A, 1, SOURCE, None, None, 1)
GIFT = OwnershipRecord(B, 2, DESTINATION, A, SOURCE, 2)
BACK = OwnershipRecord(A, 3, SOURCE, None, None, 3)
MARKED = OwnershipRecord(B, 3, DESTINATION, None, None, 3)
O, I = outgoing.Phase, incoming.Phase  # noqa: E741


def source(phase: outgoing.Phase, **fields: object) -> Outgoing:
    fields = {"record": GIFT, "attempt": 1, "post_copy": True, **fields}
    return Outgoing(SESSION, A, B, SOURCE, DESTINATION, phase=phase, **fields)  # type: ignore[arg-type]


def serving(**fields: object) -> Outgoing:
    return source(O.SERVING, **{"record": MARKED, "transfer": Transfer.SWITCHED, **fields})


def destination(phase: incoming.Phase, **fields: object) -> Incoming:
    return Incoming(SESSION, B, A, DESTINATION, SOURCE, phase=phase, **fields)  # type: ignore[arg-type]


def fetching(phase: incoming.Phase = I.FETCHING, **fields: object) -> Incoming:
    return destination(phase, **{"record": MARKED, "pages_missing": True, **fields})


def across(transferred: int) -> e.Sampled:
    return e.Sampled(Sample(1000, transferred, 100, 1.0, 0.0, 1))


# --- the switch ------------------------------------------------------------------------------------------------------


def test_the_word_to_switch_is_given_when_ownership_is_given_and_yours_is_noted() -> None:
    state = replace(source(O.GIVING, record=OWN), attempt=0)
    state = replace(state, phase=O.STOPPING).step(e.Stopped(), 0.0).state
    assert state.phase is O.GIVING
    state = state.step(e.ReadyToSwitch(), 0.1).state
    assert state.phase is O.GIVING
    step = state.step(CasAnswered(1, GIFT), 0.2)
    assert (step.state.phase, step.effects) == (O.NOTING_YOURS, (e.NoteYours(GIFT),))
    step = step.state.step(e.YoursNoted(), 0.3)
    assert step.state.phase is O.TELLING
    assert step.effects[:2] == (e.EnterPostCopy(), e.SendYours(GIFT.epoch, GIFT.revision))
    again = step.state.step(e.Tick(), 0.4)
    assert e.EnterPostCopy() in again.effects, "a word that was lost is said again"
    switched = step.state.step(e.PagesFlow(), 0.4).state
    assert e.EnterPostCopy() not in switched.step(e.Tick(), 0.5).effects


def test_before_the_switch_the_gift_is_taken_back_and_the_guest_resumed() -> None:
    state = source(O.GIVEN)
    step = state.step(e.DestinationFailed("it is gone"), 0.1)
    assert step.state.phase is O.NOTING_TAKE_BACK
    state = step.state.step(e.TakeBackNoted(), 0.2).state
    step = state.step(CasAnswered(state.attempt, BACK), 0.3)
    assert step.state.phase is O.RESUMING
    assert e.CancelTransfer() in step.effects and e.ResumeGuest() in step.effects


def test_what_is_given_back_after_the_switch_starts_from_its_disks() -> None:
    state = source(O.TELLING, transfer=Transfer.SWITCHED)
    step = state.step(e.RecordSeen(BACK), 0.1)
    assert step.state.phase is O.SETTLING
    step = step.state.step(CasAnswered(step.state.attempt, replace(BACK, epoch=4, revision=4)), 0.2)
    assert step.state.phase is O.ENDING_IMAGE
    assert e.ResumeGuest() not in step.effects
    step = step.state.step(e.ImageEnded(), 0.3)
    assert step.state.outcome is outgoing.Outcome.IMAGE_LOST


def test_a_switch_that_failed_leaves_a_guest_that_can_be_given_back_and_resumed() -> None:
    state = source(O.TELLING, transfer=Transfer.READY).step(e.TransferFailed("an I/O error"), 0.1).state
    step = state.step(e.RecordSeen(BACK), 0.2)
    step = step.state.step(CasAnswered(step.state.attempt, replace(BACK, epoch=4, revision=4)), 0.3)
    assert step.state.phase is O.RESUMING


@pytest.mark.parametrize("event", [e.PagesFlow(), e.PagesStopped("cut")], ids=str)
@pytest.mark.parametrize("phase", [O.SETTLING, O.TAKING_BACK, O.NOTING_TAKE_BACK], ids=str)
def test_who_wants_the_guest_back_learns_that_qemu_has_switched(phase: outgoing.Phase, event: e.Event) -> None:
    cas = Cas(CasKind.KEEP, 1, GIFT, A, SOURCE)
    state = source(phase, transfer=Transfer.BROKEN, pending=cas).step(event, 0.1).state
    assert (state.phase, state.transfer) == (phase, Transfer.SWITCHED)
    if phase is O.NOTING_TAKE_BACK:
        state = state.step(e.TakeBackNoted(), 0.2).state
    step = state.step(CasAnswered(state.attempt, BACK), 0.3)
    assert step.state.phase is O.ENDING_IMAGE
    assert e.ResumeGuest() not in step.effects
    assert step.state.step(e.ImageEnded(), 0.4).state.outcome is outgoing.Outcome.IMAGE_LOST


@pytest.mark.parametrize("event", [e.PagesFlow(), e.PagesStopped("cut")], ids=str)
def test_a_guest_that_qemu_will_never_resume_starts_from_its_disks(event: e.Event) -> None:
    step = source(O.RESUMING, record=BACK, transfer=Transfer.BROKEN).step(event, 0.1)
    assert (step.state.phase, step.effects[0]) == (O.ENDING_IMAGE, e.EndImage())
    step = step.state.step(e.ImageEnded(), 0.2)
    assert step.state.outcome is outgoing.Outcome.IMAGE_LOST
    assert "switched to post-copy" in step.state.reason


# --- the source serves -----------------------------------------------------------------------------------------------


def test_after_the_mark_the_image_is_kept_until_all_is_across() -> None:
    step = source(O.TELLING, transfer=Transfer.SWITCHED).step(e.RecordSeen(MARKED), 1.0)
    assert step.state.phase is O.SERVING
    assert e.EndImage() not in step.effects
    assert step.state.migration_state is MigrationState.MOVE
    assert step.state.step(e.CancelRequested(), 1.1).state == step.state, "too late"
    step = step.state.step(e.TransferCompleted(), 2.0)
    assert (step.state.phase, step.effects[0]) == (O.ENDING_IMAGE, e.EndImage())
    assert step.state.step(e.ImageEnded(), 2.1).state.outcome is outgoing.Outcome.DONE


def test_all_across_before_the_mark_is_an_end_as_ever() -> None:
    state = source(O.TELLING, transfer=Transfer.SWITCHED).step(e.TransferCompleted(), 1.0).state
    assert state.step(e.RecordSeen(MARKED), 1.1).state.phase is O.ENDING_IMAGE


@pytest.mark.parametrize(
    ("event", "ends"),
    [
        (e.DestinationFailed("it is gone"), True),
        (e.RecordSeen(replace(MARKED, holder=C, image=OTHER, epoch=4, revision=4)), True),
        (e.RecordSeen(replace(MARKED, image=OTHER, epoch=4, revision=4)), True),
        (e.RecordSeen(replace(MARKED, epoch=4, revision=4)), False),
        (e.LeaseLapsed("it lapsed"), False),
        (e.SourceMute("mute"), False),
        (e.Tick(), False),
        (e.PagesStopped("cut"), False),
    ],
    ids=str,
)
def test_only_a_destination_without_use_for_it_ends_the_image(event: e.Event, ends: bool) -> None:
    for phase in (O.SERVING, O.RECONNECTING):
        step = replace(serving(), phase=phase).step(event, 100.0)
        assert (e.EndImage() in step.effects) == ends


def test_a_link_that_drops_everything_is_noticed_and_replaced() -> None:
    state = serving(transferred=5, since=10.0).step(across(6), 11.0).state
    assert state.step(across(6), 12.9).state.phase is O.SERVING
    step = state.step(across(6), 13.0)
    assert step.state.phase is O.RECONNECTING
    assert e.PausePages() in step.effects and e.TellPagesPaused() in step.effects
    step = step.state.step(e.Recover("tcp:10.0.0.2:4444"), 14.0)
    assert (step.state.phase, step.effects[0]) == (O.RECONNECTING, e.ResumePages("tcp:10.0.0.2:4444"))
    again = step.state.step(e.PagesStopped("refused"), 14.1).state
    assert e.TellPagesPaused() in again.step(e.Tick(), 15.0).effects
    assert again.step(e.PagesFlow(), 16.0).state.phase is O.SERVING


def test_the_destination_may_have_noticed_first() -> None:
    step = serving().step(e.Recover("unix:/x"), 1.0)
    assert (step.state.phase, step.effects[0]) == (O.RECONNECTING, e.ResumePages("unix:/x"))


def test_a_source_that_died_tells_the_destination() -> None:
    step = serving().step(e.SourceExited("killed"), 1.0)
    assert step.state.outcome is outgoing.Outcome.OVERTAKEN
    assert e.Abandon() in step.effects
    gone = source(O.TELLING, transfer=Transfer.SWITCHED, image_state=Image.GONE).step(e.RecordSeen(MARKED), 1.0)
    assert gone.state.phase is O.ENDING_IMAGE


# --- the destination fetches -----------------------------------------------------------------------------------------


def test_the_guest_runs_when_told_and_able_and_the_session_ends_with_the_last_page() -> None:
    state = destination(I.TOLD, record=GIFT).step(i.SwitchedOver(), 0.1).state
    assert (state.phase, state.pages_missing) == (I.NOTING_CONT, True)
    state = state.step(i.ContNoted(), 0.2).state
    step = state.step(i.ContDone(), 0.3)
    cas = next(effect.cas for effect in step.effects if isinstance(effect, SendCas))
    assert cas.kind is CasKind.MARK
    step = step.state.step(CasAnswered(step.state.attempt, MARKED), 0.4)
    assert (step.state.phase, step.effects[0]) == (I.FETCHING, i.TakeOn())
    step = step.state.step(i.LoadCompleted(), 0.5)
    assert step.state.outcome is incoming.Outcome.RUNS


def test_pages_that_are_all_there_before_the_mark_need_no_fetching() -> None:
    state = destination(I.MARKING, record=GIFT, attempt=1, pages_missing=True)
    state = replace(state, pending=None).step(i.LoadCompleted(), 0.1).state
    assert not state.pages_missing


def test_a_broken_connection_is_replaced() -> None:
    step = fetching().step(i.PagesStopped("cut"), 1.0)
    assert step.state.phase is I.RECONNECTING
    assert i.ListenAgain() in step.effects
    step = step.state.step(i.ListensAgain("tcp:10.0.0.2:1"), 1.1)
    assert step.effects == (i.TellRecover("tcp:10.0.0.2:1"),)
    assert i.TellRecover("tcp:10.0.0.2:1") in step.state.step(i.Tick(), 1.6).effects
    assert i.ListenAgain() in step.state.step(i.Tick(), 4.2).effects, "nobody came"
    assert step.state.step(i.PagesStopped("again"), 1.3).effects == (i.ListenAgain(),)
    state = step.state.step(i.PagesFlow(), 2.0).state
    assert state.phase is I.FETCHING
    assert state.step(i.LoadCompleted(), 3.0).state.outcome is incoming.Outcome.RUNS


def test_it_broke_before_the_mark() -> None:
    state = destination(I.STARTING, record=GIFT, pages_missing=True).step(i.PagesStopped("cut"), 0.1).state
    step = state.step(i.ContDone(), 0.2)
    step = step.state.step(CasAnswered(step.state.attempt, MARKED), 0.3)
    assert step.state.phase is I.RECONNECTING
    assert i.TakeOn() in step.effects and i.ListenAgain() in step.effects


def test_without_the_source_a_guest_that_misses_pages_starts_anew() -> None:
    step = fetching(I.RECONNECTING).step(i.SessionDead(), 5.0)
    assert (step.state.phase, step.effects[0]) == (I.ENDING, i.EndImage())
    assert step.state.step(i.ImageEnded(), 5.1).state.outcome is incoming.Outcome.IMAGE_LOST


def test_who_is_told_that_it_is_over_asks_whether_anything_is_left() -> None:
    """The source's QEMU may have sent everything before it ended, and nobody has looked at ours yet."""
    step = fetching(I.RECONNECTING).step(i.Abandoned("its QEMU is gone"), 5.0)
    assert (step.state.phase, step.effects) == (I.RECONNECTING, (i.AskSession(),))
    assert step.state.step(i.LoadCompleted(), 5.1).state.outcome is incoming.Outcome.RUNS
    assert step.state.step(i.SessionDead(), 5.1).state.phase is I.ENDING


@pytest.mark.parametrize("event", [i.SessionDead(), i.Abandoned("its QEMU is gone")], ids=str)
def test_pages_that_still_flow_are_taken_from_a_source_that_is_said_to_be_gone(event: i.Event) -> None:
    state = fetching(since=0.0).step(event, 5.0).state
    assert state.phase is I.FETCHING
    assert state.step(i.Tick(), 6.0).state.phase is I.FETCHING
    assert state.step(i.LoadCompleted(), 6.0).state.outcome is incoming.Outcome.RUNS
    assert state.step(i.Tick(), 7.1).state.phase is I.RECONNECTING
    assert not state.step(i.SessionAlive(), 6.0).state.given_up


def test_a_silent_source_is_waited_for() -> None:
    for phase in (I.FETCHING, I.RECONNECTING):
        state = fetching(phase)
        assert state.step(i.SourceSilent(), 1000.0).state == state


def test_taken_over_by_another_node_nothing_is_claimed() -> None:
    step = fetching().step(i.RecordSeen(replace(MARKED, holder=C, image=OTHER, epoch=9, revision=9)), 1.0)
    assert (step.state.phase, step.effects[0]) == (I.ENDING, i.EndImage())
    assert step.state.step(i.ImageEnded(), 1.1).state.outcome is incoming.Outcome.DROPPED


def test_the_end_of_its_own_qemu_is_told_to_the_source() -> None:
    step = fetching().step(i.ImageExited("killed"), 1.0)
    assert step.state.outcome is incoming.Outcome.IMAGE_LOST
    assert i.TellFailed("killed") in step.effects


def test_a_restarted_destination_goes_on_fetching() -> None:
    journal = IncomingJournal(SESSION, B, A, DESTINATION, SOURCE, GIFT, True)
    step = recover_incoming(journal, MARKED, FoundIncoming.RUNNING, 5.0, pages_missing=True, pages_stopped=True)
    assert step.state.phase is I.MARKING
    step = step.state.step(CasAnswered(step.state.attempt, replace(MARKED, epoch=4, revision=4)), 5.1)
    assert step.state.phase is I.RECONNECTING
    loaded = recover_incoming(
        replace(journal, cont_may_be_out=False), GIFT, FoundIncoming.LOADED, 5.0, pages_missing=True
    )
    assert (loaded.state.phase, loaded.state.pages_missing) == (I.LOADED, True)
