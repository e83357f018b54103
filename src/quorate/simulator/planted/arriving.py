"""Faults of the destination of a migration: R3, R6, R7 and R11."""

from dataclasses import replace
from typing import Final

from quorate.clusapi.machine import Step
from quorate.migration import incoming_events as i
from quorate.migration import recovery
from quorate.migration.incoming import Incoming, Phase
from quorate.migration.ownership import Cas, CasKind, OwnershipRecord, SendCas
from quorate.migration.recovery import FoundIncoming, IncomingJournal
from quorate.simulator.brains import Hand
from quorate.simulator.planted.fault import NOTHING_THERE, Mask, Planted, destination, without


def _run_when_loaded(s: Incoming, event: object, now: float) -> Step[Incoming]:
    record = OwnershipRecord(s.me, 2, s.image, s.source, s.source_image, 2)
    return Step(replace(s, phase=Phase.NOTING_CONT, since=now, record=record), (i.NoteCont(),))


def _lapse_is_nothing(s: Incoming, event: object, now: float) -> Step[Incoming]:
    return Step(s)


def _give_back(s: Incoming, event: object, now: float) -> Step[Incoming]:
    assert s.record is not None, "it was told, or it has claimed"
    cas = Cas(CasKind.GIVE_BACK, s.attempt + 1, s.record, s.source, s.source_image)
    state = replace(s, phase=Phase.GIVING_BACK, since=now, attempt=cas.attempt, pending=cas, reason="its QEMU is gone")
    return Step(state, (SendCas(cas), i.WakeAfter(1.0)))


def _recover_as_if_unnoted(
    journal: IncomingJournal, record: OwnershipRecord, found: FoundIncoming, now: float
) -> Step[Incoming]:
    return recovery.recover_incoming(replace(journal, cont_may_be_out=False), record, found, now)


def _wait_on(s: Incoming, event: object, now: float) -> Step[Incoming]:
    return Step(s, (i.WakeAfter(1.0),))


def _names_this_node(s: Incoming, record: OwnershipRecord) -> bool:
    return record.holder == s.me


NO_GIVE_BACK: Final = destination(
    {
        (Phase.TOLD, i.LoadFailed): _wait_on,
        (Phase.TOLD, i.ImageExited): _wait_on,
        (Phase.TOLD, i.Tick): _wait_on,
        (Phase.LEFT, i.Yours): _wait_on,
    }
)
"""Never gives back what it was told to be its own."""
ASKS_NOBODY: Final = destination(NOTHING_THERE, leaves_out=(i.AskSession,))
"""Never asks its source whether a session lives."""
_BEFORE_CONT: Final = (Phase.RECEIVING, Phase.LOADED, Phase.TOLD, Phase.NOTING_CONT, Phase.STARTING)
_STANDING_SURVIVE: Final = Mask(
    "guard",
    "the guard ends what stands as well as what runs, so that no loaded image outlives the lease under which it came",
    without(Hand.GUARD_OF_STANDING),
)

FAULTS: Final = (
    Planted(
        "run when loaded",
        "R6",
        "The destination runs as soon as all has arrived, without `yours`.",
        destination({(Phase.RECEIVING, i.LoadCompleted): _run_when_loaded}),
    ),
    Planted(
        "stale yours believed",
        "R6",
        "`yours` suffices though the destination's lease has lapsed since the session began.",
        destination({(phase, i.LeaseLapsed): _lapse_is_nothing for phase in _BEFORE_CONT}),
        _STANDING_SURVIVE,
    ),
    Planted(
        "give back after cont",
        "R7",
        "The destination gives back what may have run there, when its QEMU is gone.",
        destination({(Phase.STARTING, i.ImageExited): _give_back, (Phase.MARKING, i.ImageExited): _give_back}),
    ),
    Planted(
        "give back after a restart",
        "R7",
        "A restarted destination does not look into its journal whether `cont` may be out.",
        destination(NOTHING_THERE, _recover_as_if_unnoted),
    ),
    Planted(
        "no give-back",
        "R7",
        "A destination that was told and cannot load the guest does not give it back.",
        NO_GIVE_BACK,
    ),
    Planted(
        "a word about another session",
        "R3",
        "What is said about a session that a node does not know is taken for another one's.",
        without(Hand.SESSION),
    ),
    Planted(
        "any complete image resumed",
        "I5",
        "A loaded image is claimed and run when the record names its node, whichever image it names.",
        destination(NOTHING_THERE, is_mine=_names_this_node),
    ),
    Planted(
        "a destination asks nobody",
        "R11",
        "The destination never asks its source whether the session lives.",
        ASKS_NOBODY,
    ),
)
